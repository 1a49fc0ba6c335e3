"""`streamvitals run` as PID 1: an init for an app that is its child."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from run_support import (
    APPS,
    RUN,
    UNSHARE,
    environment,
    eventually,
    free_port,
    get,
    parse_metrics,
    python,
    total,
    unshare_works,
)
from terminal_support import Screen, in_a_terminal

pytestmark = pytest.mark.skipif(not unshare_works(), reason="no new pid namespace may be made here")


def contained(command: Sequence[str], port: int | None = None) -> list[str]:
    return [*UNSHARE, *RUN, "--port", str(port or free_port()), "--", *command]


def run(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(contained(command), env=environment(), capture_output=True, check=False, **options)


@pytest.mark.parametrize("status", [0, 3, 255])
def test_exit_status(status):
    assert run(python("-c", f"raise SystemExit({status})")).returncode == status


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGABRT])
def test_death_by_signal(number):
    assert run(["/bin/sh", "-c", f"kill -{int(number)} $$"]).returncode == 128 + number


def test_command_that_cannot_be_run():
    assert run(["there-is-no-such-command"]).returncode == 127


def test_app_is_a_child_with_everything_it_was_given():
    code = "import os, sys; print(os.getpid() > 1, os.getppid(), sys.stdin.read(), os.environ['MARK'])"
    done = subprocess.run(
        contained(python("-c", code)), env=environment(MARK="here", STREAMVITALS_QUIET="true"), input=b"piped",
        capture_output=True, check=True,
    )
    assert done.stdout == b"True 1 piped here\n"
    assert done.stderr == b""


def test_signal_dispositions_and_mask_are_the_apps():
    bare = json.loads(subprocess.run(
        [*UNSHARE, *python(str(APPS / "facts.py"))], env=environment(), capture_output=True, check=True
    ).stdout)
    seen = json.loads(run(python(str(APPS / "facts.py"))).stdout)
    for name in ("ignored", "blocked", "pending", "cwd", "umask", "limits", "flags", "path", "sigint"):
        assert seen[name] == bare[name], name


def test_nothing_is_left_behind():
    code = "import os; print(os.environ['STREAMVITALS_DIR'])"
    directory = run(python("-c", code)).stdout.decode().strip()
    assert "/streamvitals-" in directory
    assert not os.path.exists(directory)
    assert not os.path.exists(os.path.dirname(directory)) or os.path.dirname(directory) == "/dev/shm"


def test_orphans_are_reaped():
    # A grandchild whose parent has gone ends; it is to vanish, and not to stay as a zombie.
    code = """
import os, time
reader, writer = os.pipe()
pids, told = os.pipe()
if os.fork() == 0:
    if os.fork() == 0:
        os.close(writer)
        os.write(told, str(os.getpid()).encode())
        os.read(reader, 1)
        os._exit(0)
    os._exit(0)
os.wait()
orphan = os.read(pids, 100).decode()
print(os.path.exists("/proc/" + orphan))
os.close(writer)
end = time.monotonic() + 30
while os.path.exists("/proc/" + orphan) and time.monotonic() < end:
    time.sleep(0.02)
print(os.path.exists("/proc/" + orphan))
"""
    assert run(python("-W", "ignore", "-c", code)).stdout == b"True\nFalse\n"


def test_pipe_that_the_app_closes_is_closed():
    """The init holds no end of it."""
    reader, writer = os.pipe()
    code = f"import os, sys; os.close({writer}); print('closed', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        contained(python("-c", code)), env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        pass_fds=[writer],
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == b"closed\n"
        # `unshare` is one that still holds it, outside; the app's end and the init's are gone.
        inner = only_child(process.pid)
        holders = [pid for pid in (inner, only_child(inner, but_agents=True)) if holds(pid, reader)]
        assert holders == []
        process.stdin.close()
        assert process.wait() == 0
    os.close(reader)
    os.close(writer)


def test_what_is_written_to_the_output_of_pid_1_comes_out():
    """As cron jobs and programs that log to files do in a container."""
    code = (
        "import os, sys\n"
        "for fd in (1, 2): open(f'/proc/1/fd/{fd}', 'w').write(f'to {fd}\\n')\n"
        "print(os.read(os.open('/proc/1/fd/0', os.O_RDONLY), 100))"
    )
    done = subprocess.run(
        contained(python("-c", code)), env=environment(STREAMVITALS_QUIET="true"), input=b"in", capture_output=True,
        check=True,
    )
    assert (done.stdout, done.stderr) == (b"to 1\nb'in'\n", b"to 2\n")


def test_a_socket_that_is_handed_on_is_for_the_app():
    """Socket activation into a container, and a watchdog: who is to take it is said by pid."""
    told = {"LISTEN_FDS": "1", "LISTEN_PID": "1", "LISTEN_PIDFDID": "7", "WATCHDOG_PID": "1", "SYSTEMD_EXEC_PID": "42"}
    code = (
        "import os; me = str(os.getpid())\n"
        "print(*[(n, me if os.environ[n] != me else 'me') for n in ('LISTEN_PID', 'WATCHDOG_PID')],"
        " os.environ['SYSTEMD_EXEC_PID'], os.environ['LISTEN_FDS'], 'LISTEN_PIDFDID' in os.environ)"
    )
    done = subprocess.run(contained(python("-c", code)), env=environment(**told), capture_output=True, check=True)
    assert done.stdout == b"('LISTEN_PID', 'me') ('WATCHDOG_PID', 'me') 42 1 False\n"


def test_a_signal_to_every_process_leaves_the_agent_to_count_what_drains(server):
    """`kill -TERM -1` in a container reaches all but PID 1."""
    port = free_port()
    code = (
        "import os, signal\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "os.kill(-1, signal.SIGTERM)\n"
        "exec(open({!r}).read())\n"
        "print('drained', flush=True); input()\n"
    ).format(str(APPS / "stream_script.py"))
    command = contained(python("-c", code, "sv-ok"), port)
    with subprocess.Popen(
        command, env=environment(server.base_url), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        while process.stdout.readline() != b"drained\n":
            pass
        metrics = get(f"http://127.0.0.1:{port}/metrics")
        assert total(parse_metrics(metrics), "streamvitals_streams_total", outcome="completed") == 1
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait() == 0


def only_child(pid: int, but_agents: bool = False) -> int:
    def children() -> list[int]:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            found = [int(child) for child in file.read().split()]
        if but_agents:
            found = [c for c in found if b"streamvitals/agent" not in open_bytes(f"/proc/{c}/cmdline")]
        return found

    return eventually(children)[0]


def open_bytes(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def holds(pid: int, fd: int) -> bool:
    mine = os.fstat(fd).st_ino
    return any(os.stat(f"/proc/{pid}/fd/{n}").st_ino == mine for n in os.listdir(f"/proc/{pid}/fd"))


def test_signals_are_passed_on():
    code = (
        "import os, signal\n"
        "def told(number, _):\n"
        "    os.write(1, signal.Signals(number).name.encode() + b'\\n')\n"
        "for name in ('SIGHUP', 'SIGUSR1', 'SIGWINCH', 'SIGINT'):\n"
        "    signal.signal(getattr(signal, name), told)\n"
        "print('ready', flush=True)\n"
        "while True: signal.pause()\n"
    )
    with subprocess.Popen(contained(python("-c", code)), env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        init = only_child(process.pid)
        for name in ("SIGHUP", "SIGUSR1", "SIGWINCH", "SIGINT"):
            os.kill(init, getattr(signal, name))
            assert process.stdout.readline().decode().strip() == name
        os.kill(init, signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def test_one_interrupt_for_one_ctrl_c():
    code = (
        "import signal, time\n"
        "seen = []\n"
        "signal.signal(signal.SIGINT, lambda *_: seen.append(1))\n"
        "signal.signal(signal.SIGALRM, lambda *_: None)\n"
        "print('rea' + 'dy', flush=True)\n"
        "while not seen: time.sleep(0.01)\n"
        "signal.alarm(1)\n"
        "signal.pause()\n"
        "print('se' + 'en', len(seen), 'times', flush=True)\n"
    )
    with in_a_terminal(contained(python("-c", code)), environment()) as (_, fd):
        screen = Screen(fd)
        eventually(lambda: screen.shows("ready"))
        os.write(fd, b"\x03")
        eventually(lambda: screen.shows("times"))
        assert "seen 1 times" in screen.text


def test_streams_are_counted(server):
    port = free_port()
    command = contained(python("-c", (APPS / "stream_script.py").read_text() + "\ninput()\n", "sv-ok"), port)
    with subprocess.Popen(
        command, env=environment(server.base_url), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline().startswith(b"sv-ok")
        metrics = get(f"http://127.0.0.1:{port}/metrics")
        assert total(parse_metrics(metrics), "streamvitals_streams_total", outcome="completed") == 1
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait() == 0
