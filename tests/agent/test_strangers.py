"""What strangers leave in the directory, and files that are damaged: each costs itself, once, and harms nobody."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from store_support import LABELS, Processes, ended, record, segments, value
from streamvitals import names
from streamvitals.agent import dead, private_directory, reader
from streamvitals.agent.monitor import ProcessMonitor
from streamvitals.agent.proc import may_be_of, users_of
from streamvitals.agent.tree import Tree
from streamvitals.startup import registration
from streamvitals.store import memory
from streamvitals.store.memory import MappedMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store

NOBODY = 65534
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has files of others")
forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def processes(directory: str, monkeypatch: pytest.MonkeyPatch) -> Processes:
    return Processes(directory, monkeypatch)


def errors(snapshot: Snapshot) -> float:
    return sum(value(snapshot, names.INTERNAL_ERRORS, where) for where in ("agent", "layout"))


def one_stream(processes: Processes, pid: int) -> Path:
    """A process with one stream that has ended and one that is open; its file."""
    made, sink = processes.start(pid)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    made.open_slot(LABELS, 990.0)
    (name,) = (name for name in segments(processes.directory) if name.startswith(f"{pid}-"))
    return Path(processes.directory, name)


def fifo(path: Path, _: bytes) -> None:
    os.mkfifo(path)


def link(path: Path, own: bytes) -> None:
    target = path.parent.parent / "elsewhere"
    target.write_bytes(own)
    path.symlink_to(target)


def bound_socket(path: Path, _: bytes) -> None:
    short = path.parent.parent / "s"  # a socket's path may have 107 bytes
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(short))
    short.rename(path)


def sparse(path: Path, _: bytes) -> None:
    path.touch()
    os.truncate(path, 8 << 40)


def written(change: Callable[[bytes], bytes]) -> Callable[[Path, bytes], None]:
    def write(path: Path, own: bytes) -> None:
        path.write_bytes(change(own))

    return write


def with_nan(own: bytes) -> bytes:
    rows = bytearray(own)
    for at in range(segment_body(), len(rows), 8):
        if struct.unpack_from("d", rows, at)[0] > 0:
            struct.pack_into("d", rows, at, float("nan"))
    return bytes(rows)


def segment_body() -> int:
    return 128


THINGS: dict[str, Callable[[Path, bytes], None]] = {
    "fifo": fifo, "link": link, "socket": bound_socket, "folder": lambda path, _: path.mkdir(), "sparse": sparse,
    "a copy of another's": written(lambda own: own), "empty": written(lambda _: b""),
    "0xff": written(lambda own: own[:128] + b"\xff" * (len(own) - 128)),
    "promises 2^24 slots": written(lambda own: own[:72] + struct.pack("<I", 1 << 24) + own[76:]),
}


@pytest.mark.parametrize("thing", THINGS)
def test_whatever_is_named_like_a_file_of_the_app_costs_only_itself(processes: Processes, thing: str) -> None:
    own = one_stream(processes, 10)
    THINGS[thing](Path(processes.directory, "10-100.7.sv") if "0xff" not in thing
                  else Path(processes.directory, "11-100.0.sv"), own.read_bytes() if thing != "a copy of another's"
                  else one_stream(processes, 11).read_bytes())
    tree = processes.tree()
    streams = 2 if thing == "a copy of another's" else 1
    for _ in range(3):
        snapshot = tree.snapshot()
        assert ended(snapshot) == {"completed": streams}
        assert snapshot.active == {LABELS: streams}
        assert errors(snapshot) == 1, "counted once"


@pytest.mark.parametrize("at", range(8, 72, 4))
def test_a_copy_with_another_head_is_no_file(processes: Processes, at: int) -> None:
    own = one_stream(processes, 10).read_bytes()
    changed = own[:at] + struct.pack("<I", (struct.unpack_from("<I", own, at)[0] + 1) & 0xFFFFFFFF) + own[at + 4 :]
    Path(processes.directory, "10-100.7.sv").write_bytes(changed)
    snapshot = processes.tree().snapshot()
    assert ended(snapshot) == {"completed": 1}
    assert errors(snapshot) == 1


def damage(path: Path, how: str) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        if how == "0xff after a page":
            file.seek(4096)
            file.write(b"\xff" * (size - 4096))
        elif how == "NaN":
            content = with_nan(path.read_bytes())
            file.write(content)
        elif how == "garbage":
            file.seek(512)
            file.write(os.urandom(size - 512))
        elif how == "zeros":
            file.write(bytes(size))
        else:
            file.truncate(0 if how == "cut to nothing" else 4096)


@pytest.mark.parametrize("how", ["0xff after a page", "NaN", "garbage", "zeros", "cut to nothing", "cut to a page"])
def test_a_file_that_is_damaged_counts_as_it_did_when_it_was_last_whole(processes: Processes, how: str) -> None:
    bad = one_stream(processes, 10)
    one_stream(processes, 11)
    tree = processes.tree()
    assert tree.snapshot().active == {LABELS: 2}
    damage(bad, how)
    for _ in range(3):
        snapshot = tree.snapshot()
        assert ended(snapshot) == {"completed": 2}
        assert snapshot.active == {LABELS: 1}, "what is open in it nobody knows"
        assert errors(snapshot) == 1
    processes.die(10, 11)
    assert ended(tree.snapshot()) == {"completed": 2, "abandoned": 1}
    assert segments(processes.directory) == []
    fresh = ended(Tree(processes.directory).snapshot())
    assert fresh == {"completed": 2, "abandoned": 1}


def test_a_damaged_file_that_nobody_has_read_whole_is_nothing(processes: Processes) -> None:
    bad = one_stream(processes, 10)
    one_stream(processes, 11)
    damage(bad, "0xff after a page")
    tree = processes.tree()
    assert ended(tree.snapshot()) == {"completed": 1}
    processes.die(10)
    assert ended(tree.snapshot()) == {"completed": 1}
    assert len(segments(processes.directory)) == 1, "and it goes with its process"


def test_a_file_with_two_names_counts_once(processes: Processes) -> None:
    own = one_stream(processes, 10)
    os.link(own, Path(processes.directory, "10-100.7.sv"))
    snapshot = processes.tree().snapshot()
    assert ended(snapshot) == {"completed": 1}
    assert snapshot.active == {LABELS: 1}


def test_more_files_than_there_are_descriptors_to_keep_are_read_all_the_same(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_stream(processes, 10)
    monkeypatch.setattr(reader.resource, "getrlimit", lambda _: (2, 2))
    tree = processes.tree()
    before = os.listdir("/proc/self/fd")
    for _ in range(2):
        assert ended(tree.snapshot()) == {"completed": 1}
    assert len(os.listdir("/proc/self/fd")) == len(before)
    processes.die(10)
    assert ended(tree.snapshot()) == {"completed": 1, "abandoned": 1}


# -- other users


@only_root
def test_a_file_of_another_user_is_not_the_process_s(processes: Processes) -> None:
    own = one_stream(processes, 10)
    forged = Path(processes.directory, "10-100.7.sv")
    shutil.copy(own, forged)
    os.chown(forged, NOBODY, NOBODY)
    snapshot = processes.tree().snapshot()
    assert ended(snapshot) == {"completed": 1}
    assert errors(snapshot) == 1


@contextlib.contextmanager
def somebody_else(act: Callable[[], object]) -> Iterator[int]:
    """A child of another user that has done something and waits; its pid."""
    ready, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            act()
            os.write(writer, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(ready, 1) == b"x"
        yield pid
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@forks
@only_root
def test_a_worker_that_has_become_another_user_goes_on_to_count(tmp_path: Path) -> None:
    tmp_path.chmod(0o711)
    for folder in list(tmp_path.parents)[:3]:
        folder.chmod(0o711)
    directory = tmp_path / "d"
    directory.mkdir()
    directory.chmod(0o1733)

    def work() -> None:
        registration.register(str(directory), registration.FORK)
        store = Store(MappedMemory(str(directory)))
        store.open_slot(LABELS, 1.0)

    watcher = ProcessMonitor(str(directory))
    with somebody_else(work) as pid:
        assert users_of(pid) == {NOBODY}
        assert Path(directory, segments(str(directory))[0]).stat().st_uid == NOBODY
        assert watcher.anyone_left()
        assert [identity.pid for identity in watcher._registered] == [pid]
        tree = Tree(str(directory), trusts=watcher.trusts)
        assert tree.snapshot().active == {LABELS: 1}
        assert not may_be_of(NOBODY, os.getpid())
        assert not watcher.trusts(NOBODY, os.getpid()), "he speaks for no other that lives"
    assert ended(tree.snapshot()) == {"abandoned": 1}
    assert watcher.trusts(NOBODY, pid), "also of what he has left and nobody has looked at"


@forks
@only_root
def test_a_stranger_can_neither_register_others_nor_make_us_write_for_him(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    start = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    me = f"{os.getpid()}-{start}"
    forged = directory / f"{me}.1.fault.Forged.proc"
    forged.touch()
    os.chown(forged, NOBODY, NOBODY)
    complaints: list[str] = []
    watcher = ProcessMonitor(str(directory), None, complaints.append)
    for _ in range(3):
        assert watcher.health({}).faults == ()
    assert len(complaints) == 1
    assert registration.register(str(directory), registration.PYTHON)
    assert watcher.health({}).alive == 1


@only_root
def test_what_a_stranger_leaves_for_one_that_has_gone_is_removed(processes: Processes) -> None:
    own = one_stream(processes, 10)
    forged = Path(processes.directory, "10-100.7.sv")
    shutil.copy(own, forged)
    said = Path(processes.directory, "10-100.1.python.proc")
    said.touch()
    for path in (forged, said):
        os.chown(path, NOBODY, NOBODY)
    processes.die(10)
    complaints: list[str] = []
    watcher = ProcessMonitor(processes.directory, None, complaints.append)
    tree = processes.tree(trusts=watcher.trusts)
    assert ended(tree.snapshot()) == {"completed": 1, "abandoned": 1}
    assert errors(tree.snapshot()) == 1
    assert not watcher.anyone_left()
    assert complaints == []
    assert not [name for name in os.listdir(processes.directory) if name.startswith("10-")]


# -- registrations


@pytest.mark.parametrize("thing", ["fifo", "link", "socket", "folder", "a text"])
def test_a_name_that_somebody_has_taken_neither_holds_a_process_up_nor_silences_it(
    directory: str, tmp_path: Path, thing: str
) -> None:
    assert registration.register(directory, registration.PYTHON)
    ((_, said),) = private_directory.registered(directory).items()
    (taken,) = map(Path, said.files)
    taken.unlink()
    important = tmp_path / "elsewhere"
    if thing == "a text":
        taken.write_text("not ours")
        os.chown(taken, NOBODY, NOBODY) if os.geteuid() == 0 else pytest.skip("needs another user's file")
    else:
        THINGS[thing](taken, b"important")
    complaints: list[str] = []
    assert registration.register(directory, registration.PYTHON)
    ((_, again),) = private_directory.registered(directory, complaints.append).items()
    assert again.kind == "python"
    assert again.files != said.files
    assert complaints == [str(taken)]
    if thing == "link":
        assert important.read_bytes() == b"important"


def test_all_that_a_process_has_said_is_known(directory: str) -> None:
    registration.register(directory, registration.UNSEEN, "ENOSPC")
    registration.register(directory, registration.FAULT, "LookupError")
    registration.register(directory, registration.PROBLEM, "redact")
    watcher = ProcessMonitor(directory)
    for _ in range(2):
        health = watcher.health({})
        assert health.unseen == ((os.getpid(), "ENOSPC"),)
        assert health.faults == ((os.getpid(), "LookupError"),)
        assert watcher.unseen == 1


def test_who_registers_a_second_time_has_one_file(directory: str) -> None:
    for _ in range(3):
        assert registration.register(directory, registration.PYTHON)
    assert len(os.listdir(directory)) == 1


def test_registrations_have_no_content_and_one_name(directory: str) -> None:
    registration.register(directory, registration.PYTHON)
    (name,) = os.listdir(directory)
    stem = name.split(".")[0]
    Path(directory, f"{stem}.2.fault.Forged.proc").write_text("x")
    os.link(Path(directory, name), Path(directory, f"{stem}.3.run.proc"))
    complaints: list[str] = []
    assert private_directory.registered(directory, complaints.append) == {}
    assert len(complaints) == 3


def test_a_long_or_odd_name_is_none(directory: str) -> None:
    for stem in ("0-1", "-1-1", "9" * 30 + "-1", "1-" + "9" * 60, "x-1", "1_1", "٣-1"):
        Path(directory, f"{stem}.1.run.proc").touch()
    assert {identity.pid for identity in private_directory.registered(directory)} <= {3}


# -- what is written


def test_a_link_in_place_of_a_temporary_file_is_not_followed(processes: Processes, tmp_path: Path) -> None:
    important = tmp_path / "important"
    important.write_text("important")
    Path(processes.directory, dead._ASIDE).symlink_to(important)
    one_stream(processes, 10)
    processes.die(10)
    assert ended(processes.tree().snapshot()) == {"completed": 1, "abandoned": 1}
    assert important.read_text() == "important"
    assert not Path(processes.directory, dead.NAME).is_symlink()


@pytest.mark.parametrize("thing", ["fifo", "link", "folder", "sparse"])
def test_taken_names_cost_a_process_its_memory_nothing(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, thing: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    identity = memory.process_identity()
    for number in range(1200 if thing == "fifo" else 5):
        THINGS[thing](Path(directory, f"{identity.pid}-{identity.start}.{number}.sv"), b"important")
    store = Store(MappedMemory(directory))
    store.open_slot(LABELS, 1.0)
    assert store.mapped
    assert Tree(directory).snapshot().active == {LABELS: 1}
    if thing == "link":
        assert (tmp_path / "elsewhere").read_bytes() == b"important"


def test_the_agent_writes_where_nobody_else_may(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(private_directory, "parents", lambda _: [str(tmp_path)])
    if os.geteuid():
        pytest.skip("only root's directory is open to others")
    directory = private_directory.create({})
    private_directory.note(directory, "text")
    private_directory.write_facts(directory, {"url": "x"})
    assert private_directory.lock(directory) is not None
    made = Store(MappedMemory(directory))
    made.open_slot(LABELS, 1.0)
    Tree(directory, alive=lambda _: False).snapshot()
    assert os.listdir(directory) == []
    outer = os.path.dirname(directory)
    assert {private_directory.LOG, private_directory.FACTS, private_directory.LOCK, dead.NAME} < set(os.listdir(outer))
    assert os.stat(outer).st_mode & 0o7777 == 0o711
    private_directory.remove(directory)
    assert list(tmp_path.iterdir()) == []


def test_the_sum_is_not_read_from_what_it_cannot_be(processes: Processes) -> None:
    one_stream(processes, 10)
    for thing in ("fifo", "folder", "sparse"):
        path = Path(processes.directory, dead.NAME)
        THINGS[thing](path, b"")
        snapshot = processes.tree().snapshot()
        assert ended(snapshot) == {"completed": 1}, thing
        assert errors(snapshot) == 1
        path.rmdir() if thing == "folder" else path.unlink()


