"""Whatever fails of ours, the app is started all the same; what the user got wrong is said at once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from run_support import RUN, alive, answered, environment, eventually, free_port, get, python, started
from streamvitals.agent import private_directory
from streamvitals.config import Config
from streamvitals.run import launch, spawn
from streamvitals.run.command import Command, CommandError

PRINT_ENV = "import os; print(os.environ.get('STREAMVITALS_DIR'), os.environ.get('PYTHONPATH'))"


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*RUN, *arguments], env=environment(**more), capture_output=True, text=True, check=False)


def test_command_not_found():
    done = run("--", "there-is-no-such-command", "x")
    assert (done.returncode, done.stdout) == (127, "")
    assert done.stderr == "streamvitals: there-is-no-such-command: command not found\n"


def test_command_not_executable(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, tmp_path):
        done = run("--", str(path))
        assert (done.returncode, done.stderr) == (126, f"streamvitals: {path}: found, but it cannot be executed\n")


def test_script_without_an_interpreter(tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/there/is/none\n")
    script.chmod(0o755)
    done = run("--port", "0", "--", str(script))
    assert done.returncode == 127
    said = f"streamvitals: {script}: found, but what its first line says should run it is not"
    assert done.stderr.splitlines()[1:] == [said]


def test_script_that_names_no_interpreter_is_a_shell_script(tmp_path):
    script = tmp_path / "script"
    script.write_text("echo ran with $1\n")
    script.chmod(0o755)
    assert run("--port", "0", "--", str(script), "this").stdout == "ran with this\n"


@pytest.mark.parametrize("arguments", [(), ("--",), ("--port", "x", "--", "true"), ("--nonsense", "true"),
                                       ("--port", "70000", "true")])
def test_bad_usage(arguments):
    done = run(*arguments)
    assert done.returncode == 2
    assert "Usage: streamvitals run" in done.stderr


@pytest.mark.parametrize(("name", "value", "instead"), [
    ("STREAMVITALS_STALL_SECONDS", "5s", "5 is used"), ("STREAMVITALS_LINGER_SECONDS", "-1", "15 is used"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "http", "9464 is used"), ("OTEL_SDK_DISABLED", "perhaps", "false is used"),
    ("STREAMVITALS_QUIET", "1", "false is used"), ("STREAMVITALS_PROVIDERS", "llm=nobody", "none is used"),
    ("STREAMVITALS_REDACT", "not a function", "no text is captured"),
])
def test_bad_variable_is_said_and_its_default_is_used(tmp_path, name, value, instead):
    mark = tmp_path / "started"
    done = run("touch", str(mark), **{name: value})
    assert done.returncode == 0
    line = next(line for line in done.stderr.splitlines() if name in line)
    assert line.startswith(f"streamvitals: {name}={value!r} is not allowed: ")
    assert f"; {instead} -> " in line
    assert mark.exists()


@pytest.mark.parametrize("separator", [(), ("--",)])
def test_arguments_are_the_commands(separator):
    code = "import sys; print(sys.argv[1:])"
    done = run("--port", "0", *separator, *python("-c", code, "--port", "1", "--", "-x", "--help"))
    assert done.stdout == "['--port', '1', '--', '-x', '--help']\n"


def test_arguments_need_not_be_text():
    odd = os.fsdecode(b"\xff\xfe")
    code = "import os, sys; print(os.fsencode(sys.argv[1]), os.environb[b'ODD'])"
    assert run("--port", "0", "--", *python("-c", code, odd), ODD=odd).stdout == r"b'\xff\xfe' b'\xff\xfe'" + "\n"


def test_disabled():
    done = run("--", *python("-c", PRINT_ENV), OTEL_SDK_DISABLED="TRUE", STREAMVITALS_STALL_SECONDS="nonsense")
    assert (done.stdout, done.stderr) == ("None None\n", "")


def test_taken_port_is_no_obstacle_and_the_one_beside_it_is_left_to_its_owner():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = holder.getsockname()[1]
        done = run("--port", str(port), "--", *python("-c", "print('ran')"))
    assert done.stdout == "ran\n"
    assert f":{port + 1}/" not in done.stderr
    where, why = done.stderr.splitlines()
    assert where.startswith("streamvitals: the live page is at http://localhost:")
    assert f":{port}/" not in where
    assert why.startswith(f"streamvitals: port {port} is not free; ")
    assert "--port or STREAMVITALS_PORT" in why


@pytest.mark.parametrize("host", ["192.0.2.1", "nosuch.invalid", "a" * 300, "not a host"])
@pytest.mark.parametrize("by", ["option", "variable"])
def test_host_that_is_not_ours_is_said_and_the_default_is_used(host, by):
    options = ("--host", host) if by == "option" else ()
    variables = {} if by == "option" else {"OTEL_EXPORTER_PROMETHEUS_HOST": host}
    done = run("--port", "0", *options, "--", *python("-c", PRINT_ENV), **variables)
    assert "None" not in done.stdout
    where, why = done.stderr.splitlines()
    assert where.startswith("streamvitals: the live page is at http://localhost:")
    assert why.startswith(f"streamvitals: {host[:100]!r} is no address to serve on (")
    assert "--host or STREAMVITALS_HOST" in why


def test_machine_without_proc_is_told_what_to_do(monkeypatch, capfd):
    """As macOS is."""
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc") and real(path))
    (_, env), = become_nothing(monkeypatch)
    assert "STREAMVITALS_DIR" not in env
    said = capfd.readouterr().err
    assert "need /proc of Linux" in said
    assert "streamvitals.instrument()" in said


def become_nothing(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """`run` up to the exec: what would have been exec'ed."""
    seen: list[Any] = []

    class Become(Exception):
        pass

    def become(command: Command, env: dict[str, str]) -> None:
        seen.append((command, env))
        raise Become

    monkeypatch.setattr(launch, "become", become)
    with contextlib.suppress(Become):
        launch.run(["true"], Config(port=0), {"PATH": os.environ["PATH"], "MARK": "1"})
    return seen


def test_no_directory(monkeypatch, capfd):
    monkeypatch.setattr(private_directory, "parents", lambda _: ["/proc/nowhere", "/proc/nothing"])
    (_, env), = become_nothing(monkeypatch)
    assert env == {"PATH": os.environ["PATH"], "MARK": "1"}
    assert capfd.readouterr().err.startswith("streamvitals: not watching this app: ")


@pytest.mark.parametrize("fault", ["fork", "executable", "exec"])
def test_no_agent(monkeypatch, capfd, tmp_path, fault):
    monkeypatch.setattr(private_directory, "parents", lambda _: [str(tmp_path)])
    if fault == "fork":
        def refused() -> int:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        monkeypatch.setattr(spawn.os, "fork", refused)
    else:
        monkeypatch.setattr(spawn.sys, "executable", "" if fault == "executable" else "/there/is/none")
    (_, env), = become_nothing(monkeypatch)
    assert "STREAMVITALS_DIR" not in env
    assert capfd.readouterr().err.startswith("streamvitals: not watching this app: ")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """A launch that stops short of the exec has already given signals back: the tests' process needs its own."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_exec_that_fails_at_the_last_moment_leaves_nothing(monkeypatch, tmp_path):
    """Found, executable, and yet not: the agent that was started has nobody to wait for."""
    monkeypatch.setattr(private_directory, "parents", lambda _: [str(tmp_path)])
    broken = tmp_path / "broken"
    broken.write_text("#!/there/is/none\n")
    broken.chmod(0o755)
    agents: list[int] = []
    real = launch.spawn_agent

    def spawn_agent(*arguments: Any) -> int:
        agents.append(real(*arguments))
        return agents[-1]

    monkeypatch.setattr(launch, "spawn_agent", spawn_agent)
    with pytest.raises(CommandError) as caught:
        launch.run([str(broken)], Config(port=0), dict(os.environ))
    assert caught.value.status == 127
    eventually(lambda: not alive(agents[0]))
    assert list(tmp_path.iterdir()) == [broken]


@pytest.mark.parametrize("umask", [0, 0o177, 0o777])
def test_directory_is_private(tmp_path, monkeypatch, umask):
    monkeypatch.setattr(private_directory, "parents", lambda _: [str(tmp_path)])
    monkeypatch.setattr(private_directory.os, "geteuid", lambda: 1000)
    old = os.umask(umask)
    try:
        directory = private_directory.create({})
    finally:
        os.umask(old)
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    private_directory.remove(directory)
    assert list(tmp_path.iterdir()) == []


def test_directories_that_killed_agents_left_are_removed_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(private_directory, "parents", lambda _: [str(tmp_path)])
    old, recent, served, living, own = (private_directory.create({}) for _ in range(5))
    stranger = tmp_path / "streamvitals-of-somebody"
    stranger.mkdir()
    held = private_directory.lock(served)
    assert held is not None
    me = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    Path(living, f"{os.getpid()}-{me}.0.python.proc").touch()
    for path in (old, served, living, own):
        os.utime(path, (0, 0))
    private_directory.sweep(own)
    assert not os.path.exists(old)
    assert all(map(os.path.exists, (recent, served, living, own, stranger)))
    private_directory.unlock(held)


def test_log_is_bounded(tmp_path):
    for _ in range(3000):
        private_directory.note(str(tmp_path), "x" * 100)
    size = (tmp_path / private_directory.LOG).stat().st_size
    assert private_directory.LOG_LIMIT <= size < private_directory.LOG_LIMIT + 200


def test_pythons_that_do_not_report_are_listed():
    code = (
        "import subprocess, sys\n"
        "wait = 'input()'\n"
        "p = [subprocess.Popen([sys.executable, *o, '-c', wait], stdin=subprocess.PIPE, env=e)\n"
        "     for o, e in ((['-I'], None), (['-u', '-E'], None), ([], {}), ([], None))]\n"
        "print(*[q.pid for q in p], flush=True)\n"
        "input()\n"
        "for q in p: q.communicate(b'\\n')\n"
    )
    with started(python("-c", code), environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as app:
        isolated, ignoring, cleared, _ = map(int, app.process.stdout.readline().split())
        app.wait_for_agent()
        silent = eventually(lambda: (found := app.health()["not_reporting"]) and len(found) > 2 and found)
        assert {s["pid"]: s["reason"] for s in silent} == {
            isolated: "started with -I", ignoring: "started with -E", cleared: "started with a cleared environment"
        }
        assert app.health()["processes"]["alive"] == 5
        app.process.communicate(b"\n")
        assert app.process.returncode == 0


def test_app_that_is_not_watched_at_all_is_listed():
    """The very process that `run` becomes: what it wrote before the exec is not taken for the app's word."""
    with started(python("-I", "-c", "input()"), environment(), stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        silent = eventually(lambda: app.health()["not_reporting"])
        assert [(s["pid"], s["reason"]) for s in silent] == [(app.pid, "started with -I")]
        app.process.communicate(b"\n")
        assert app.process.returncode == 0


def test_run_inside_run():
    """The inner one watches what it runs; the folder of ours stands on the path once."""
    port = free_port()
    inner = [*RUN, "--port", str(port), "--", *python("-c", "input()")]
    with started(inner, environment(), stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        eventually(lambda: answered(f"http://127.0.0.1:{port}/healthz"))
        health = json.loads(get(f"http://127.0.0.1:{port}/healthz"))
        assert health["processes"]["alive"] == 1
        env = Path(f"/proc/{app.pid}/environ").read_bytes().split(b"\0")
        paths = [e for e in env if e.startswith(b"PYTHONPATH=")]
        assert paths == [b"PYTHONPATH=" + launch.INJECT.encode()]
        app.process.communicate(b"\n")
        os.kill(health["agent_pid"], signal.SIGTERM)
        # To the outer one it is a process of the app.
        eventually(lambda: not alive(health["agent_pid"]))


def test_folder_that_cannot_stand_in_pythonpath(monkeypatch, capfd):
    monkeypatch.setattr(launch, "INJECT", "/a:b/inject")
    (_, env), = become_nothing(monkeypatch)
    assert "STREAMVITALS_DIR" not in env
    assert "cannot stand in PYTHONPATH" in capfd.readouterr().err


