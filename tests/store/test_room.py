"""Nothing of ours grows without bound or takes what the app needs, and who cannot report says so."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from run_support import environment, eventually, python, started, total
from store_support import LABELS, ended, record, segments
from streamvitals.agent import health, private_directory
from streamvitals.agent.claim import Claim
from streamvitals.agent.monitor import ProcessMonitor
from streamvitals.agent.tree import Tree
from streamvitals.faults import ThreadedFaultServer
from streamvitals.startup import registration
from streamvitals.store import memory
from streamvitals.store.memory import MappedMemory
from streamvitals.store.store import Store, StoreSink

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a tmpfs")
STREAM = (
    "import openai, sys\n"
    "for _ in openai.OpenAI(max_retries=0).chat.completions.create(model='sv-ok', messages=[], stream=True): pass\n"
)


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "streamvitals-0123456789ab").mkdir(mode=0o700)
    return str(tmp_path / "streamvitals-0123456789ab")


@contextlib.contextmanager
def held_by_another(directory: str) -> Iterator[int]:
    """A process that holds the directory as an agent does; its pid."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            claim = Claim(directory)
            claim.renew()
            os.write(writer, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    try:
        assert os.read(reader, 1) == b"x"
        yield pid
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def new_processes(monkeypatch: pytest.MonkeyPatch, directory: str, count: int) -> int:
    """How many of so many new processes could register."""
    done = 0
    for pid in range(10, 10 + count):
        monkeypatch.setattr(registration, "_self", lambda pid=pid: (str(pid), 1, "1"))
        done += registration.register(directory, registration.FORK)
    return done


# -- an agent that is gone


def test_with_the_agent_dead_only_a_few_more_processes_leave_anything(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert new_processes(monkeypatch, directory, 100) == 100, "it has not come yet"
    with held_by_another(directory):
        assert new_processes(monkeypatch, directory, 300) == 300
    for name in os.listdir(directory):
        if name.endswith(".proc"):
            os.unlink(os.path.join(directory, name))
    size = os.stat(directory).st_size
    done = new_processes(monkeypatch, directory, 3000)
    assert done < 200
    assert os.stat(directory).st_size <= size + 4096
    monkeypatch.undo()
    before = os.listdir(directory)
    store = Store(MappedMemory(directory))
    StoreSink(store).on_end(record(store.open_slot(LABELS, 1.0)))
    if done < 3000:
        assert (store.mapped, os.listdir(directory)) in ((False, before), (True, os.listdir(directory)))
    with held_by_another(directory):
        assert registration.register(directory, registration.PYTHON), "another agent serves what is left"


def test_what_a_process_leaves_is_bounded_also_while_somebody_reads(
    directory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "_MOST", 0)
    assert not registration.register(directory, registration.PYTHON)
    store = Store(MappedMemory(directory))
    store.open_slot(LABELS, 1.0)
    assert not store.mapped
    assert os.listdir(directory) == []


def test_a_lock_that_cannot_be_asked_for_says_nothing(directory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(directory, registration.READER).write_text("-1000000")  # how large the directory was
    assert not registration.register(directory, registration.PYTHON), "nobody has it locked"

    def refused(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(registration.os, "lockf", refused)
    assert registration.register(directory, registration.PYTHON)


def test_one_agent_at_a_time(directory: str) -> None:
    with held_by_another(directory), pytest.raises(BlockingIOError):
        Claim(directory)


# -- a file system that is full


def with_reserve(directory: str, tmp_path: Path) -> str:
    other = tmp_path / "other" / os.path.basename(directory)
    other.mkdir(parents=True, mode=0o700)
    private_directory.link_reserve(directory, str(other))
    return str(other)


def test_what_the_app_needs_of_a_file_system_is_left_to_it(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = with_reserve(directory, tmp_path)
    real = os.statvfs

    def nearly_full(path: Any) -> Any:
        found = real(path)
        blocks = (64 << 20) // found.f_frsize
        values = [*found[:2], blocks, blocks // 5, blocks // 5, *found[5:]] if str(path) == directory else found
        return os.statvfs_result(values)

    monkeypatch.setattr(memory.os, "statvfs", nearly_full)
    store = Store(MappedMemory(directory))
    StoreSink(store).on_end(record(store.open_slot(LABELS, 1.0)))
    assert segments(directory) == []
    assert len(segments(other)) == 1
    assert ended(Tree(directory).snapshot()) == {"completed": 1}
    assert ended(Tree(directory, alive=lambda _: False).snapshot()) == {"completed": 1}
    assert segments(other) == [], "folded like any other"
    private_directory.remove(directory)
    assert not os.path.exists(directory)
    assert not os.path.exists(other)


@pytest.fixture
def tiny_tmpfs(directory: str) -> Iterator[Callable[[str], None]]:
    """Mounts one over the directory, with these options."""
    mounted = []

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", directory]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("may not mount a tmpfs")
        mounted.append(directory)

    yield mount
    for path in mounted:
        subprocess.run(["umount", "-l", path], check=True)


@only_root
@pytest.mark.parametrize("reserve", [True, False])
@pytest.mark.parametrize("options", ["size=64k", "nr_inodes=4"])
def test_a_full_file_system_costs_no_count_where_there_is_another(
    directory: str, tmp_path: Path, tiny_tmpfs: Callable[[str], None], options: str, reserve: bool
) -> None:
    tiny_tmpfs(options)
    other = with_reserve(directory, tmp_path) if reserve else ""
    with contextlib.suppress(OSError):
        for i in range(100):
            Path(directory, f"ballast{i}").write_bytes(bytes(4096))
    registered = registration.register(directory, registration.PYTHON)
    assert registered or (options == "nr_inodes=4" and not reserve)
    store = Store(MappedMemory(directory))
    StoreSink(store).on_end(record(store.open_slot(LABELS, 1.0)))
    watcher = ProcessMonitor(directory)
    if reserve:
        assert len(segments(other)) == 1
        assert ended(Tree(directory).snapshot()) == {"completed": 1}
        assert watcher.health({}).unseen == ()
    elif options == "size=64k":
        assert [error for _, error in watcher.health({}).unseen] == ["ENOSPC"]
        assert watcher.unseen == 1


def test_the_directory_is_made_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full, free = tmp_path / "full", tmp_path / "free"
    full.mkdir()
    free.mkdir()
    monkeypatch.setattr(private_directory, "parents", lambda _: [str(full), str(free)])
    monkeypatch.setattr(private_directory, "_is_full", lambda parent: parent == str(full))
    assert private_directory.create({}).startswith(str(free))


def test_both_directories_go_when_nobody_comes_back_for_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(private_directory, "parents", lambda _: [str(tmp_path / "one"), str(tmp_path / "two")])
    real = os.stat
    devices = {str(tmp_path / "one"): 1, str(tmp_path / "two"): 2}

    class Device:
        def __init__(self, path: str) -> None:
            self.st_dev = devices[path]

    def create() -> list[str]:
        with monkeypatch.context() as patch:
            stat = lambda path, **k: Device(path) if path in devices else real(path, **k)  # noqa: E731
            patch.setattr(private_directory.os, "stat", stat)
            return private_directory.places(private_directory.create({}))

    first, second = create(), create()
    assert len(first) == len(second) == 2
    for path in (*first, registration.home(first[1])):
        os.utime(path, (0, 0))
    os.utime(second[1], (0, 0))
    private_directory.sweep(second[0])
    assert not any(map(os.path.exists, first))
    assert all(map(os.path.exists, second)), "an empty reserve is as old as its directory"
    private_directory.remove(second[0])
    assert list((tmp_path / "one").iterdir()) == list((tmp_path / "two").iterdir()) == []


# -- whole


LIMITED = (
    "import resource, signal\n"
    "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))\n"
)


def test_a_limit_on_file_sizes_does_not_kill_the_app_and_somebody_is_told(server: ThreadedFaultServer) -> None:
    code = LIMITED + STREAM + "print('done', flush=True); input()"
    env = environment(server.base_url, PYTHONDONTWRITEBYTECODE="1")
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(python("-c", code), env, **options) as app:
        app.wait_for_agent()
        assert app.process.stdout is not None
        assert app.process.stdout.readline() == b"done\n"
        assert eventually(lambda: app.health()["not_counting"]) == [
            {"pid": app.pid, "error": "EFBIG", "mend": health.NO_ROOM}
        ]
        assert total(app.samples(), "streamvitals_internal_errors_total", where="store") == 1
        doctor = [str(Path(sys.executable).with_name("streamvitals")), "doctor", "--url", app.url]
        said = subprocess.run(doctor, env=environment(), capture_output=True, text=True, check=False)
        assert f"pid {app.pid} counts where the agent does not see it: EFBIG" in said.stdout
        assert said.returncode == 1
        app.process.communicate(b"\n")
        assert app.process.returncode == 0


def test_an_agent_whose_directory_is_removed_serves_on(server: ThreadedFaultServer) -> None:
    """As cleaners of /dev/shm do, and systemd's RemoveIPC when its user logs out."""
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {STREAM!r}], check=True)\n"
    code = STREAM + "print('one', flush=True); input()\n" + STREAM + child + "print('three', flush=True); input()"
    options: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(python("-c", code), environment(server.base_url), **options) as app:
        agent = app.wait_for_agent()["agent_pid"]
        assert app.process.stdin is not None
        assert app.process.stdout is not None
        assert app.process.stdout.readline() == b"one\n"
        app.wait_for_streams("completed", 1)
        directory = app.directory()
        shutil.rmtree(registration.home(directory))
        eventually(lambda: os.path.isdir(directory), "the directory once more")
        eventually(lambda: app.health()["agent_faults"] == 1, "a word about it")
        app.process.stdin.write(b"\n")
        app.process.stdin.flush()
        assert app.process.stdout.readline() == b"three\n"
        app.wait_for_streams("completed", 3)
        app.process.communicate(b"\n")
        assert app.process.returncode == 0
        eventually(lambda: app.health()["processes"]["alive"] == 0)
        app.wait_for_streams("completed", 3)
        assert private_directory.read_facts(directory)["pid"] == agent
        command = Path(f"/proc/{agent}/cmdline").read_bytes()
        assert os.path.basename(directory).encode() not in command
        assert os.path.basename(registration.home(directory)).encode() not in command
