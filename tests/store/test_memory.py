"""Mapped files inside somebody else's process: what must not happen to it, and what the files say."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_support import LABELS, OTHER_SET, ended, record, total, value
from streamvitals import names
from streamvitals.agent import private_directory
from streamvitals.agent.tree import Tree
from streamvitals.store import memory, segment
from streamvitals.store.labels import clean
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.memory import HeapMemory, MappedMemory, MemoryUnavailableError, process_identity
from streamvitals.store.segment import BadSegmentError, Header, Shape, shape
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import StreamLabels

NOW = 1000.0
SRC = Path(memory.__file__).parents[2]


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "d").mkdir(mode=0o700)
    return str(tmp_path / "d")


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def files(directory: str) -> list[str]:
    return sorted(os.listdir(directory))


def stem() -> str:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return f"{os.getpid()}-{fields[19]}"


def descriptors() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        # The one that the directory was listed with has gone.
        with contextlib.suppress(FileNotFoundError):
            found[name] = os.readlink(f"/proc/self/fd/{name}")
    return found


def labels_of(i: int) -> StreamLabels:
    return LABELS._replace(model=f"m{i}")


# -- files


def test_a_process_that_makes_one_stream_costs_three_pages(directory: str, ordinary_user: None) -> None:
    store = Store(MappedMemory(directory))
    assert files(directory) == [], "nothing until it is needed"
    store.open_slot(LABELS, NOW)
    assert files(directory) == [f"{stem()}.0.sv"]
    found = os.stat(os.path.join(directory, files(directory)[0]))
    assert found.st_size == found.st_blocks * 512 == 3 * segment.PAGE
    assert stat.S_IMODE(found.st_mode) == 0o600


def test_files_grow_with_use(directory: str, ordinary_user: None) -> None:
    store = Store(MappedMemory(directory))
    for i in range(names.MAX_MODELS):
        store.open_slot(labels_of(i), NOW)
    assert len(files(directory)) <= 12
    for _ in range(5000):
        store.open_slot(LABELS, NOW)
    assert len(files(directory)) <= 20


def test_root_takes_what_a_worker_may_need_before_it_becomes_somebody_else(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    store = Store(MappedMemory(directory))
    assert files(directory) == [f"{stem()}.0.sv"]
    for i in range(16):
        for _ in range(30):
            store.open_slot(labels_of(i), NOW)
    assert files(directory) == [f"{stem()}.0.sv"]


def test_a_name_that_a_program_before_an_exec_used_is_left_alone(directory: str, ordinary_user: None) -> None:
    older = Path(directory, f"{stem()}.0.sv")
    older.write_text("mine")
    Store(MappedMemory(directory)).open_slot(LABELS, NOW)
    assert older.read_text() == "mine"
    assert files(directory) == [f"{stem()}.0.sv", f"{stem()}.1.sv"]


@pytest.mark.parametrize("version", [(3, 11), (3, 13)])
def test_no_descriptor_is_kept(directory: str, version: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    if version > sys.version_info:
        pytest.skip("mmap can do without one from 3.13 on")
    monkeypatch.setattr(memory.sys, "version_info", version)
    before = descriptors()
    store = Store(MappedMemory(directory))
    for i in range(300):
        store.open_slot(labels_of(i), NOW)
    assert descriptors() == before


def test_numbers_are_in_the_file_as_soon_as_they_are_counted(directory: str, ordinary_user: None) -> None:
    store = Store(MappedMemory(directory))
    StoreSink(store).on_end(record(store.open_slot(LABELS, NOW)))
    raw = memoryview(bytearray(Path(directory, files(directory)[0]).read_bytes())).cast("d")
    header = segment.read_header(raw)
    assert header.identity == process_identity()._replace(store=header.identity.store)
    at = header.shape.block_at(1)
    assert segment.read_labels(raw, at) == LABELS
    row_at = segment.row_at(at, raw[at])
    assert raw[row_at + STREAM_LAYOUT.at(names.STREAMS, "completed", "completed")] == 1.0


# -- when there is no memory


class NoSpace:
    """posix_fallocate on a file system that is full after so many files."""

    def __init__(self, files: int, code: int = errno.ENOSPC) -> None:
        self.files = files
        self.code = code

    def __call__(self, fd: int, offset: int, size: int) -> None:
        self.files -= 1
        if self.files < 0:
            raise OSError(self.code, os.strerror(self.code))
        os.ftruncate(fd, size)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_without_space_for_a_first_file_everything_is_on_the_heap_and_that_is_said_once(
    directory: str, ordinary_user: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", NoSpace(0, code))
    store = Store(MappedMemory(directory))
    sink = StoreSink(store)
    for i in range(500):
        sink.on_end(record(store.open_slot(labels_of(i), NOW), labels=labels_of(i)))
        store.open_slot(LABELS, NOW)
    assert not store.mapped
    (told,) = private_directory.registered(directory).values()
    assert (told.kind, told.detail) == ("unseen", errno.errorcode[code]), "and to the agent"
    assert files(directory) == [os.path.basename(told.files[0])]
    snapshot = store.snapshot(NOW)
    assert ended(snapshot) == {"completed": 500}
    assert value(snapshot, names.INTERNAL_ERRORS, "store") == 1
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert directory not in caplog.text


def test_without_space_for_more_files_streams_are_counted_under_other(
    directory: str, ordinary_user: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", NoSpace(1))
    store = Store(MappedMemory(directory))
    sink = StoreSink(store)
    slots = [store.open_slot(labels_of(i % 3), NOW) for i in range(600)]
    assert store.mapped
    for i, slot in enumerate(slots):
        sink.on_end(record(slot, labels=labels_of(i % 3)))
    for snapshot in (store.snapshot(NOW), Tree(directory).snapshot()):
        assert set(snapshot.streams) == {labels_of(0), OTHER_SET}
        assert value(snapshot, names.STREAMS, "completed", labels=labels_of(0)) == 200
        assert value(snapshot, names.STREAMS, "completed", labels=OTHER_SET) == 400
        assert value(snapshot, names.INTERNAL_ERRORS, "store") == 1
        assert snapshot.active == {}
    assert len(caplog.records) == 1
    assert all(name.endswith(".sv") for name in files(directory))


def test_a_file_system_without_fallocate_is_filled_by_writing(
    directory: str, ordinary_user: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", NoSpace(0, errno.EOPNOTSUPP))
    store = Store(MappedMemory(directory))
    store.open_slot(LABELS, NOW)
    assert store.mapped
    assert os.stat(os.path.join(directory, files(directory)[0])).st_blocks * 512 == 3 * segment.PAGE


@pytest.mark.parametrize("missing", ["directory", "ctypes"])
def test_whatever_is_missing_the_app_does_not_notice(
    directory: str, missing: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if missing == "ctypes":
        monkeypatch.setattr(memory.sys, "version_info", (3, 12))
        monkeypatch.setitem(sys.modules, "ctypes", None)
    else:
        directory += "/is gone"
    store = Store(MappedMemory(directory))
    StoreSink(store).on_end(record(store.open_slot(LABELS, NOW)))
    assert ended(store.snapshot(NOW)) == {"completed": 1}
    assert not store.mapped
    assert missing == "directory" or [name.split(".")[2:4] for name in files(directory)] == [["unseen", "no_ctypes"]]
    assert len(caplog.records) == 1


def test_a_child_may_have_memory_again_and_does_not_say_a_second_time_that_it_has_none(
    directory: str, ordinary_user: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(os, "posix_fallocate", NoSpace(0))
    store = Store(MappedMemory(directory))
    store.open_slot(LABELS, NOW)
    store.reset_after_fork()
    store.open_slot(LABELS, NOW)
    assert len(caplog.records) == 1
    monkeypatch.undo()
    store.reset_after_fork()
    store.open_slot(LABELS, NOW)
    assert store.mapped
    assert value(store.snapshot(NOW), names.INTERNAL_ERRORS, "store") == 0


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", PRELUDE + textwrap.dedent(script), *arguments],
        capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{SRC}:{Path(__file__).parents[1]}"},
    )


PRELUDE = """
import errno, logging, os, sys
from store_support import LABELS, ended, record
from streamvitals.store.memory import MappedMemory
from streamvitals.store.store import Store, StoreSink
directory = sys.argv[1]
logging.basicConfig()
"""


@pytest.fixture
def small_tmpfs(tmp_path: Path) -> Iterator[str]:
    where = tmp_path / "small"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k,mode=700", "tmpfs", str(where)],
        capture_output=True, text=True, check=False,
    )
    if mounted.returncode:
        pytest.skip(f"may not mount a tmpfs: {mounted.stderr.strip()}")
    try:
        yield str(where)
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")
@pytest.mark.parametrize("full_from_the_start", [True, False])
def test_a_full_tmpfs_neither_kills_the_app_nor_loses_what_was_counted_before(
    small_tmpfs: str, full_from_the_start: bool
) -> None:
    done = run(
        """
        os.geteuid = lambda: 1000
        def fill():
            with open(directory + "/ballast", "wb", buffering=0) as ballast:
                try:
                    while True:
                        ballast.write(bytes(4096))
                except OSError as error:
                    assert error.errno == errno.ENOSPC
        if sys.argv[2] == "True":
            fill()
        store = Store(MappedMemory(directory))
        sink = StoreSink(store)
        sink.on_end(record(store.open_slot(LABELS, 1.0)))
        fill()
        for i in range(3000):
            labels = LABELS._replace(model=f"m{i % 50}")
            slot = store.open_slot(labels, 1.0)
            if i % 2:
                sink.on_end(record(slot, labels=labels))
        assert ended(store.snapshot(2.0)) == {"completed": 1501}
        assert sum(store.snapshot(2.0).active.values()) == 1500
        """,
        small_tmpfs, str(full_from_the_start),
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("no more memory that the agent can see (ENOSPC)") == 1
    counted = ended(Tree(small_tmpfs).snapshot())
    if full_from_the_start:
        assert counted == {}
    else:
        assert counted["completed"] == 1501
        assert counted["abandoned"] > 0, "those of the open ones that found a slot in a file"


def test_an_app_that_closes_every_descriptor_and_reuses_their_numbers_is_not_hurt(directory: str) -> None:
    done = run(
        """
        store = Store(MappedMemory(directory))
        sink = StoreSink(store)
        slot = store.open_slot(LABELS, 1.0)
        os.closerange(3, 256)
        own = [os.open(f"{directory}/own{i}", os.O_RDWR | os.O_CREAT) for i in range(40)]
        for fd in own:
            os.write(fd, b"mine" * 5000)
        sink.on_end(record(slot))
        for i in range(2000):
            labels = LABELS._replace(model=f"m{i % 90}")
            slot = store.open_slot(labels, 1.0)
            sink.on_end(record(slot, labels=labels))
            store.open_slot(labels, 1.0)
        for i, fd in enumerate(own):
            assert os.pread(fd, 30000, 0) == b"mine" * 5000
            assert os.path.samestat(os.fstat(fd), os.stat(f"{directory}/own{i}"))
        """,
        directory,
    )
    assert done.returncode == 0, done.stderr
    assert ended(Tree(directory).snapshot()) == {"completed": 2001, "abandoned": 2000}


def test_what_runs_in_apps_needs_the_standard_library_only(directory: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-S", "-E", "-c",
         "import sys; sys.path.insert(0, sys.argv[1]); import streamvitals.store.store, streamvitals.store.memory;"
         "print(*sorted(sys.modules))", str(SRC)],
        capture_output=True, text=True, check=True,
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"prometheus_client", "opentelemetry", "click", "wrapt", "openai", "ctypes", "asyncio"}


# -- the format


HEADERS = st.builds(
    Header, st.builds(segment.Identity, *[st.integers(0, 2**64 - 1)] * 5), st.integers(0, 2**63),
    st.builds(
        shape, first=st.booleans(), slots=st.integers(1, 200), blocks=st.integers(0, 3), ordinal=st.integers(0, 99)
    ),
)


def heap(form: Shape) -> memoryview[float]:
    return HeapMemory().allocate(form)


@given(HEADERS)
def test_a_header_is_read_as_it_was_written(header: Header) -> None:
    view = heap(header.shape)
    segment.write_header(view, header)
    assert segment.read_header(view) == header


@given(HEADERS, st.integers(0, 87), st.integers(1, 255))
def test_a_header_with_any_byte_changed_is_none(header: Header, at: int, change: int) -> None:
    view = heap(header.shape)
    segment.write_header(view, header)
    view.cast("B")[at] ^= change
    with pytest.raises(BadSegmentError):
        segment.read_header(view)


def test_a_segment_of_another_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    view = heap(shape(first=True, slots=1, blocks=1, ordinal=0))
    monkeypatch.setattr(STREAM_LAYOUT, "fingerprint", STREAM_LAYOUT.fingerprint ^ 1)
    with pytest.raises(BadSegmentError, match="another layout"):
        segment.read_header(view)


def test_a_segment_that_was_cut_is_refused() -> None:
    view = heap(shape(first=False, slots=1, blocks=2, ordinal=0))
    with pytest.raises(BadSegmentError, match="shorter"):
        segment.read_header(view[: len(view) - 1])
    with pytest.raises(BadSegmentError, match="shorter"):
        segment.read_header(view[:3])


@given(st.lists(st.text(), min_size=4, max_size=4), st.lists(st.text(), max_size=3), st.integers(0, 2))
def test_labels_are_read_as_they_were_written_whatever_they_are(
    texts: list[str], custom: list[str], block: int
) -> None:
    operation, provider, model, server = (
        clean(text, size) for text, size in zip(texts, segment.LABEL_FIELDS, strict=True)
    )
    values = [clean(text, names.MAX_CUSTOM_VALUE) for text in custom]
    pairs = tuple((f"{'n' * (names.MAX_CUSTOM_NAME - 1)}{at}", value) for at, value in enumerate(values) if value)
    labels = StreamLabels(operation, provider, model, server, pairs)
    form = shape(first=False, slots=1, blocks=3, ordinal=0, custom=bool(custom))
    view = heap(form)
    segment.write_labels(view, form.block_at(block), labels, form.custom)
    for ordinal in range(3):
        read = segment.read_labels(view, form.block_at(ordinal), form.custom)
        assert read == (labels if ordinal == block and any(labels) else None)
    assert not any(view[form.block_at(2) : form.block_at(2) + STREAM_LAYOUT.size])


@pytest.mark.parametrize("custom", [False, True])
def test_labels_that_are_half_written_are_none_yet(custom: bool) -> None:
    form = shape(first=False, slots=1, blocks=1, ordinal=0, custom=custom)
    view = heap(form)
    segment.write_labels(view, form.block_at(0), LABELS, custom)
    assert segment.read_labels(view, form.block_at(0), custom) == LABELS
    view[form.blocks_at + 3] = 0.5
    assert segment.read_labels(view, form.block_at(0), custom) is None


def test_a_build_is_read_as_it_was_written() -> None:
    form = shape(first=True, slots=1, blocks=1, ordinal=0)
    view = heap(form)
    assert segment.read_build(view) is None
    segment.write_build(view, ("1.2.3", "3.52.0", "because " * 100))
    version, openai, patched = segment.read_build(view) or ("", "", "")
    assert (version, openai) == ("1.2.3", "3.52.0")
    assert ("because " * 100).startswith(patched)
    assert len(patched) > 100
    assert not any(view[segment.PROCESS_AT : segment.PROCESS_AT + 24])


@pytest.mark.parametrize("custom", [False, True])
def test_regions_of_a_segment_do_not_overlap(custom: bool) -> None:
    for first in (True, False):
        form = shape(first=first, slots=3, blocks=2, ordinal=7, custom=custom)
        head = segment.PROCESS_END if first else segment.BUILD_AT
        assert head <= form.slots_at < form.blocks_at < form.block_at(7)
        first_row, second_row = (segment.row_at(form.block_at(7), version) for version in (2.0, 3.0))
        assert form.block_at(7) < first_row <= second_row - STREAM_LAYOUT.size
        end = second_row + STREAM_LAYOUT.size
        assert form.block_at(7) - form.blocks_at <= form.block_at(8) - end
        assert form.block_at(8) + end - form.block_at(7) <= form.size // 8
        assert form.slots_at % segment.SLOT == 0, "a slot must not straddle cache lines"


def test_a_memory_says_why_it_has_none_without_a_path(directory: str) -> None:
    with pytest.raises(MemoryUnavailableError, match=r"^ENOENT$"):
        MappedMemory(directory + "/secret").allocate(shape(first=True, slots=1, blocks=1, ordinal=0))


def test_total_is_over_all_label_sets(tmp_path: Any) -> None:
    store = Store(HeapMemory())
    for i in range(3):
        StoreSink(store).on_end(record(labels=labels_of(i)))
    assert total(store.snapshot(NOW), names.STREAMS, "completed") == 3
