"""Whether a process is taken for alive: in doubt it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from store_support import (
    LABELS,
    ended,
    segments,
)
from streamvitals.agent import liveness
from streamvitals.agent.tree import Tree
from streamvitals.sinks import segment


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "d").mkdir()
    return str(tmp_path / "d")


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
        from streamvitals.sinks.memory import MappedMemory
        from streamvitals.sinks.store import Store
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
