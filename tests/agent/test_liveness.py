"""Whether a process is taken for alive: in doubt it is."""

from __future__ import annotations

import builtins
import errno
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from store_support import (
    LABELS,
    ended,
    segments,
)
from streamvitals.agent import liveness, private_directory, proc
from streamvitals.agent.monitor import ProcessMonitor
from streamvitals.agent.tree import Tree
from streamvitals.startup import registration
from streamvitals.store import segment


def spawn(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def identity_of(pid: int) -> segment.Identity:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
    return segment.Identity(pid, int(fields[19]), int(fields[25]), namespace, 0)


def test_a_process_is_alive_until_it_is_a_zombie() -> None:
    with spawn("print(flush=True); input()") as child:
        assert child.stdout is not None
        child.stdout.readline()
        identity = identity_of(child.pid)
        assert liveness.alive(identity)
        assert not liveness.alive(identity._replace(start=identity.start + 1)), "the pid is another's now"
        assert not liveness.alive(identity._replace(image=identity.image ^ 4096)), "another program by now"
        assert liveness.alive(identity._replace(image=0))
        assert liveness.alive(identity._replace(start=0))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        assert not liveness.alive(identity)
    assert not liveness.alive(identity)
    assert not liveness.alive(identity._replace(start=0))


def test_a_process_whose_main_thread_has_gone_is_alive_while_others_run() -> None:
    script = """
        import ctypes, os, threading
        def rest():
            print("ready", flush=True)
            os.read(0, 1)
            os._exit(0)
        threading.Thread(target=rest).start()
        ctypes.CDLL(None).pthread_exit(None)
        """
    with spawn(script) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        identity = identity_of(child.pid)
        state = ""
        while state != "Z":
            state = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert liveness.alive(identity)
        child.stdin.write("x")
        child.stdin.close()
    assert not liveness.alive(identity)


def test_an_exec_makes_another_program_of_a_process() -> None:
    script = """
        import os, sys
        if "again" not in sys.argv:
            print("here", flush=True)
            input()
            os.execv(sys.executable, [sys.executable, "-c", "print('there', flush=True); input()", "again"])
        """
    with spawn(script) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        identity = identity_of(child.pid)
        assert liveness.alive(identity)
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "there\n"
        assert not liveness.alive(identity)
        assert liveness.alive(identity_of(child.pid))
        child.kill()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_process_in_another_pid_namespace_is_alive_though_its_pid_means_another_here(directory: str) -> None:
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from store_support import LABELS
        from streamvitals.store.memory import MappedMemory
        from streamvitals.store.store import Store
        store = Store(MappedMemory({directory!r}))
        store.open_slot(LABELS, 1.0)
        print("ready", flush=True)
        input()
        """
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command += [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            pytest.skip("may not make a pid namespace")
        reader = Tree(directory)
        assert segments(directory)[0].startswith("1-")
        assert reader.snapshot().active == {LABELS: 1}
        child.communicate("\n")
    assert ended(reader.snapshot()) == {"abandoned": 1}


# -- in doubt


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EACCES, errno.EPERM, errno.EIO])
def test_only_no_such_process_says_that_one_is_gone(
    directory: str, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    registration.register(directory, registration.PYTHON)
    identity = identity_of(os.getpid())
    pair = proc.Identity(identity.pid, identity.start)
    gone = identity._replace(pid=2**22 - 1), proc.Identity(2**22 - 1, 1)
    watcher = ProcessMonitor(directory)
    assert watcher.health({}).alive == 1
    real_open, real_os_open, real_list = builtins.open, os.open, os.listdir

    def refuse(path: Any) -> None:
        if str(path).startswith(("/proc", directory)):
            raise OSError(code, os.strerror(code))

    def refusing_open(path: Any, *rest: Any, **more: Any) -> Any:
        refuse(path)
        return real_open(path, *rest, **more)

    def refusing_os_open(path: Any, *rest: Any, **more: Any) -> Any:
        refuse(path)
        return real_os_open(path, *rest, **more)

    def refusing_list(path: Any = ".") -> Any:
        refuse(path)
        return real_list(path)

    with monkeypatch.context() as patch:
        patch.setattr(builtins, "open", refusing_open)
        patch.setattr(os, "open", refusing_os_open)
        patch.setattr(os, "listdir", refusing_list)
        patch.setattr(os, "scandir", refusing_list)
        assert liveness.alive(identity)
        assert proc.alive(pair)
        assert watcher.anyone_left()
        assert watcher.health({}).alive == 1
    assert not liveness.alive(gone[0])
    assert not proc.alive(gone[1])


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_process_that_is_hidden_from_us_is_alive() -> None:
    """hidepid=2, and a process that became undumpable, as one that has changed its user is."""
    script = f"""
        import ctypes, os, sys
        sys.path[:0] = {sys.path!r}
        from streamvitals.agent import liveness, proc
        from streamvitals.store.segment import Identity
        reader, writer = os.pipe()
        os.setgid(65534); os.setuid(65534)
        child = os.fork()
        if child == 0:
            ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
            os.write(writer, b"x"); os.read(reader, 1); os._exit(0)
        while os.path.exists(f"/proc/{{child}}"): pass
        assert not os.path.exists("/proc/1")
        identity = Identity(child, 1, 1, os.stat("/proc/self/ns/pid").st_ino, 1)
        assert liveness.alive(identity)
        assert proc.alive(proc.Identity(child, 1))
        os.kill(child, 9); os.waitpid(child, 0)
        assert not liveness.alive(identity)
        assert not proc.alive(proc.Identity(child, 1))
        print("done")
        """
    inner = 'mount -t proc -o hidepid=2 proc /proc || exit 77; "$@"; exit $?'
    command = ["unshare", "--pid", "--mount", "--fork", "--kill-child", "sh", "-c", inner, "sh"]
    command += [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if done.returncode == 77 or "Operation not permitted" in done.stderr:
        pytest.skip("may not mount a /proc of its own")
    assert done.stdout == "done\n", done.stderr


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_process_in_another_time_namespace_has_the_same_start_time(directory: str) -> None:
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from store_support import LABELS
        from streamvitals.startup import registration
        from streamvitals.store.memory import MappedMemory
        from streamvitals.store.store import Store
        registration.register({directory!r}, registration.PYTHON)
        store = Store(MappedMemory({directory!r}))
        store.open_slot(LABELS, 1.0)
        print("ready", flush=True)
        input()
        """
    command = ["unshare", "--time", "--boottime", "100000", "--fork", "--kill-child"]
    command += [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            pytest.skip("may not make a time namespace")
        reader, watcher = Tree(directory), ProcessMonitor(directory)
        assert reader.snapshot().active == {LABELS: 1}
        assert watcher.anyone_left()
        (identity,) = private_directory.registered(directory)
        assert identity.start < 10_000_000 + proc.table()[identity.pid].identity.start
        assert proc.alive(identity)
        child.communicate("\n")
    assert ended(reader.snapshot()) == {"abandoned": 1}
    assert not watcher.anyone_left()
