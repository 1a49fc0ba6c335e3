"""`streamvitals run` says on stderr what was asked for and will not work: at once, briefly, and at nobody's cost."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import socket
import subprocess
import termios
import threading
import time
import tty
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from run_support import APPS, RUN, UNSHARE, environment, python, started, unshare_works
from streamvitals.agent import endpoints
from streamvitals.agent.endpoints import EndpointWatch
from streamvitals.config.problems import Endpoint, Problem
from streamvitals.faults import ThreadedFaultServer, refused_url
from streamvitals.system import console

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
RAN = python("-c", "print('ran')")


def run(*command: str, **more: str) -> subprocess.CompletedProcess[str]:
    arguments = [*RUN, "--port", "0", "--", *(command or RAN)]
    return subprocess.run(arguments, env=environment(**more), capture_output=True, text=True, check=False)


def refused() -> str:
    return refused_url().removesuffix("/v1")


# -- before the app starts


def test_the_url_is_said_where_stderr_is_no_terminal_and_stdout_is_the_apps() -> None:
    done = run()
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.startswith("streamvitals: the live page is at http://localhost:")
    assert done.stderr.count("\n") == 1


def test_each_problem_is_a_line_under_it() -> None:
    wrong = {"STREAMVITALS_STALL_SECONDS": "5s", "STREAMVITALS_JURNAL": "x", "STREAMVITALS_JOURNAL": "/no/such/file"}
    done = run(**wrong, **{ENDPOINT: "localhost:4318"})
    where, *lines = done.stderr.splitlines()
    assert "metrics are at" in where
    parts = ("STREAMVITALS_STALL_SECONDS='5s'", "did you mean STREAMVITALS_JOURNAL?", f"{ENDPOINT}='localhost:4318'",
             "the journal /no/such/file cannot be written")
    assert [[part for part in parts if part in line] for line in lines] == [[part] for part in parts]
    assert (done.returncode, done.stdout) == (0, "ran\n")


@pytest.mark.parametrize("wrong", [
    {}, {"STREAMVITALS_STALL_SECONDS": "5s"}, {ENDPOINT: "localhost:4318"},
    {"OTEL_EXPORTER_PROMETHEUS_HOST": "no such"},
])
def test_all_of_it_is_off_when_asked(wrong: Mapping[str, str]) -> None:
    done = run(STREAMVITALS_QUIET="true", **wrong)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ran\n", "")


def test_many_problems_are_few_lines() -> None:
    done = run(**{f"STREAMVITALS_{'Q' * n}": "x" for n in range(1, 40)})
    assert done.stderr.count("\n") == 14
    assert "27 more -> see `streamvitals doctor`" in done.stderr


def test_a_python_without_the_sdk_is_said(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    done = run(str(tmp_path / "venv" / "bin" / "python"), "-c", "print('ran')")
    assert done.stdout == "ran\n"
    assert "has no openai: there is nothing to watch" in done.stderr.splitlines()[1]


# -- the app's stderr, whatever it is


def test_a_full_pipe_does_not_keep_the_app_from_starting() -> None:
    reader, writer = os.pipe()
    with contextlib.closing(os.fdopen(reader, "rb")), contextlib.closing(os.fdopen(writer, "wb")):
        fcntl.fcntl(writer, fcntl.F_SETFL, os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        fcntl.fcntl(writer, fcntl.F_SETFL, 0)
        done = subprocess.run([*RUN, "--port", "0", "--", *RAN], env=environment(), stdout=subprocess.PIPE,
                              stderr=writer, check=True, timeout=60)
    assert done.stdout == b"ran\n"


@pytest.mark.parametrize("redirection", ["2>&-", "2</dev/null", "2>/dev/full", "2>&- 3>&1"])
def test_a_stderr_that_takes_nothing_does_not_either(redirection: str, tmp_path: Path) -> None:
    command = " ".join([*RUN, "--port", "0", "--", "echo", "ran"])
    done = subprocess.run(["sh", "-c", f"exec {command} {redirection}"], env=environment(), stdout=subprocess.PIPE,
                          check=True)
    assert done.stdout == b"ran\n"


def test_a_reader_that_has_gone_does_not_either() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([*RUN, "--port", "0", "--", *RAN], env=environment(), stdout=subprocess.PIPE, stderr=writer,
                          check=True)
    os.close(writer)
    assert done.stdout == b"ran\n"


def test_a_line_is_whole_or_not_there_and_never_longer_than_a_pipe_takes() -> None:
    reader, writer = os.pipe()
    with contextlib.closing(os.fdopen(reader, "rb")) as read:
        assert console.say("a\nb" + "x" * 9000, writer)
        os.close(writer)
        line = read.read()
    assert line.startswith(b"streamvitals: a bx")
    assert (len(line), line.count(b"\n")) == (console.MOST - 1, 1)


@contextlib.contextmanager
def terminal(*, raw: bool) -> Iterator[tuple[int, int]]:
    master, slave = pty.openpty()
    if raw:
        tty.setraw(slave)
    os.set_blocking(master, False)
    yield master, slave
    os.close(slave)
    os.close(master)


def read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except BlockingIOError:
        return b""


def test_a_terminal_in_raw_mode_has_no_staircase_and_later_no_line_at_all() -> None:
    with terminal(raw=True) as (master, slave):
        assert console.say("now", slave)
        assert read(master) == b"streamvitals: now\r\n"
        assert not console.say("later", slave, late=True)
        assert read(master) == b""
    with terminal(raw=False) as (master, slave):
        assert console.say("later", slave, late=True)
        assert read(master) == b"streamvitals: later\r\n"


def test_a_terminal_that_is_stopped_is_left_alone() -> None:
    with terminal(raw=False) as (_, slave):
        termios.tcflow(slave, termios.TCOOFF)
        assert not console.say("now", slave)
        termios.tcflow(slave, termios.TCOON)


# -- whether a collector answers


def test_a_collector_that_refuses_is_said_while_the_app_runs() -> None:
    env = environment(**{ENDPOINT: refused()})
    with started(python("-c", "input()"), env, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as app:
        assert app.process.stderr is not None
        assert b"metrics are at" in app.process.stderr.readline()
        said = app.process.stderr.readline().decode()
        assert "OTLP does not arrive: 127.0.0.1:" in said
        assert f"({ENDPOINT}) refuses the connection -> is the collector up" in said
        assert app.process.poll() is None
        health = app.health()
        assert health["status"] == "degraded"
        assert [problem["what"] in said for problem in health["problems"]] == [True]
        app.process.communicate(b"\n")
        assert app.process.returncode == 0


def test_the_end_of_stderr_comes_with_the_end_of_the_app_though_a_collector_is_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        began = time.monotonic()
        done = run(**{ENDPOINT: f"http://127.0.0.1:{silent.getsockname()[1]}"})
        # The agent stays for much longer, the collector is waited for longer, and the test would be.
        assert time.monotonic() - began < float(environment()["STREAMVITALS_LINGER_SECONDS"])
    assert done.stdout == "ran\n"


class Asking:
    """Collectors that answer as they are told to, and what was said on a pipe."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.over = threading.Event()
        self.reader, writer = os.pipe()
        self.app = subprocess.Popen(["sleep", "1000"])
        where = [Endpoint("traces", "http://c:1/v1/traces", ENDPOINT)]
        self.watch = EndpointWatch(where, {}, writer, self.app.pid, self.ask)

    def ask(self, where: Endpoint, env: Mapping[str, str]) -> Problem | None:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer == "end":
            self.app.kill()
            answer = "silent"
        if answer == "silent":
            self.over.wait()
        return Problem(answer, "") if answer else None

    def said(self) -> str:
        """All that was said, when our end is let go."""
        self.watch.start()
        with os.fdopen(self.reader) as read:
            text = read.read()
        self.watch.stop()
        self.over.set()
        for thread in threading.enumerate():
            if thread.name in ("say", "endpoints"):
                thread.join()
        self.app.kill()
        self.app.wait()
        return text


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoints, "BETWEEN", 0.0)
    monkeypatch.setattr(endpoints, "GRACE", 0.2)
    monkeypatch.setattr(endpoints, "AFTER_APP", 0.2)


@pytest.mark.usefixtures("_soon")
def test_a_collector_that_is_late_is_no_news() -> None:
    asking = Asking("refuses", "refuses", "refuses", "")
    assert asking.said() == ""
    assert asking.watch.problems == ()


@pytest.mark.usefixtures("_soon")
def test_one_that_does_not_come_is_said_once() -> None:
    asking = Asking("refuses")
    assert asking.said() == "streamvitals: refuses\n"
    assert [problem.what for problem in asking.watch.problems] == ["refuses"]


@pytest.mark.usefixtures("_soon")
def test_an_app_that_ends_before_is_told_what_was_seen_and_not_waited_with() -> None:
    assert Asking("refuses", "end").said() == "streamvitals: refuses\n"
    assert Asking("end").said() == ""


def test_what_a_collector_does_is_told_by_its_kind(tmp_path: Path) -> None:
    def why(url: str, answer: bytes = b"") -> str:
        with socket.create_server(("127.0.0.1", 0)) as server:
            def serve() -> None:
                with server.accept()[0] as connection:
                    connection.recv(65536)
                    connection.sendall(answer)

            thread = threading.Thread(target=serve, daemon=True)
            thread.start()
            port = server.getsockname()[1]
            where = Endpoint("traces", url.replace("PORT", str(port)), ENDPOINT)
            problem = endpoints.ask(where, {ENDPOINT: "set", "OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, 5.0)
            with contextlib.suppress(OSError):  # where nobody has called
                socket.create_connection(server.getsockname()).close()
            thread.join()
        return str(problem)

    answers = (("401 No", "OTLP_HEADERS"), ("404 No", "check the path"), ("302 Found", "302"), ("503 No", "with 503"))
    for status, part in answers:
        answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()
        assert part in why("http://127.0.0.1:PORT/v1/traces", answer)
    good = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert why("http://127.0.0.1:PORT/v1/traces", good) == "None"
    assert why("http://user:secret@127.0.0.1:PORT/v1/traces", good) == "None"
    assert "does not speak HTTP" in why("http://127.0.0.1:PORT/v1/traces", b"\0\0\x12\x04\0\0\0\0\0")
    assert "fails the TLS handshake" in why("https://127.0.0.1:PORT/v1/traces", b"plain text, and no TLS at all\r\n")
    assert "no name that can be resolved" in why("http://nonexistent.invalid:1/v1/traces")
    assert "refuses the connection" in str(endpoints.ask(Endpoint("traces", f"{refused()}/v1/traces", ENDPOINT), {}))


# -- what only the app's own Python knows


def test_a_redaction_hook_that_is_missing_is_said_and_nothing_is_captured(
    server: ThreadedFaultServer, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    env = environment(
        server.base_url, STREAMVITALS_CAPTURE_PARTIAL="100", STREAMVITALS_REDACT="nosuch.module:hook",
        STREAMVITALS_JOURNAL=str(journal),
    )
    code = f"import sys; sys.argv += ['sv-reset']; exec(open({str(APPS / 'stream_script.py')!r}).read()); input()"
    with started(python("-c", code), env, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as app:
        app.wait_for_agent()
        app.wait_for_streams("reset", 1)
        health = app.health()
        assert health["status"] == "degraded"
        assert "STREAMVITALS_REDACT cannot be used" in health["problems"][0]["what"]
        _, said = app.process.communicate(b"\n")
    lines = said.decode().splitlines()
    assert ["STREAMVITALS_REDACT" in line for line in lines] == [False, True, False]
    assert "no text is captured" in lines[1]
    assert "partial" not in journal.read_text()


def test_a_redaction_hook_in_the_very_module_that_imports_the_sdk_is_used(
    server: ThreadedFaultServer, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    (tmp_path / "shop.py").write_text(
        "import openai\n\n"
        "def hide(text): return f'{len(text)} hidden'\n\n"
        "try:\n"
        "    list(openai.OpenAI(max_retries=0).chat.completions.create(model='sv-reset', messages=[], stream=True))\n"
        "except Exception: pass\n"
    )
    env = environment(
        server.base_url, STREAMVITALS_CAPTURE_PARTIAL="100", STREAMVITALS_REDACT="shop:hide",
        STREAMVITALS_JOURNAL=str(journal), PYTHONPATH=str(tmp_path),
    )
    command = [*RUN, "--port", "0", "--", *python("-c", "import shop")]
    done = subprocess.run(command, env=env, capture_output=True, check=True)
    assert b"REDACT" not in done.stderr
    assert "hidden" in journal.read_text()


@pytest.mark.skipif(not unshare_works(), reason="needs a pid namespace")
def test_it_is_said_by_pid_1_too() -> None:
    arguments = [*UNSHARE, *RUN, "--port", "0", "--", "echo", "ran"]
    done = subprocess.run(arguments, env=environment(STREAMVITALS_JURNAL="x"), capture_output=True, check=True)
    assert done.stdout == b"ran\n"
    assert [b"metrics are at" in line for line in done.stderr.splitlines()] == [True, False]


def test_a_background_job_is_not_stopped_by_a_line_of_ours() -> None:
    """With `stty tostop` a write to the terminal from the background stops who writes."""
    script = (
        "set -m; stty tostop; "
        f"{' '.join([*RUN, '--port', '0', '--', 'true'])} & wait %1; echo status $?"
    )
    pid, master = pty.fork()
    if pid == 0:
        os.execvpe("bash", ["bash", "--norc", "-c", script], environment())
    text = b""
    try:
        while b"status" not in text or not text.endswith(b"\n"):
            text += os.read(master, 4096)
    finally:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)
    assert b"status 0" in text


