"""`streamvitals run` in front of plain programs: what they stream is counted, and nothing else changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from otlp_receiver import Receiver, attributes
from otlp_receiver import receiver as receiving
from run_support import (
    APPS,
    PACKAGES,
    RUN,
    UNSHARE,
    environment,
    eventually,
    everybodys_python,
    free_port,
    only_root,
    python,
    started,
    total,
    unshare_works,
)
from streamvitals.agent import private_directory

SCRIPT = str(APPS / "stream_script.py")


def test_script_is_counted(server):
    models = ("sv-ok", "sv-reset-after-n", "sv-silent-cut")
    with started(python(SCRIPT, *models), environment(server.base_url), stdout=subprocess.PIPE) as app:
        out, _ = app.process.communicate()
        assert out.decode().split()[::2] == list(models)
        assert out.decode().split()[3] in ("APIConnectionError", "ReadError")  # before 3.10 the transport's own
        for outcome in ("completed", "reset", "truncated"):
            app.wait_for_streams(outcome, 1)
        assert app.health()["processes"] == {"seen": 1, "alive": 0}


def test_module_is_counted(server):
    env = environment(server.base_url)
    with started(python("-m", "stream_script", "sv-ok"), env, cwd=APPS) as app:
        assert app.process.wait() == 0
        app.wait_for_streams("completed", 1)


def test_code_from_stdin_is_counted(server):
    with started(python("-", "sv-ok"), environment(server.base_url), stdin=subprocess.PIPE) as app:
        app.process.communicate(Path(SCRIPT).read_bytes())
        assert app.process.returncode == 0
        app.wait_for_streams("completed", 1)


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_is_counted(server, method):
    env = environment(server.base_url)
    with started(python(str(APPS / "multi.py"), method, "sv-ok"), env, stdout=subprocess.PIPE) as app:
        out, _ = app.process.communicate()
        assert out.decode() == "[0, 0, 0]\n"
        app.wait_for_streams("completed", 4)


def test_child_of_a_shell_is_counted_after_the_shell_has_gone(server):
    # The process that `run` became has gone, and nothing but the environment tells whose the next one is, for
    # longer than the agent of an app that has streamed nothing waits.
    line = f'(sleep 3; exec "{sys.executable}" "{SCRIPT}" sv-ok) &'
    with started(["/bin/sh", "-c", line], environment(server.base_url), stdout=subprocess.DEVNULL) as app:
        assert app.process.wait() == 0
        app.wait_for_agent()
        app.wait_for_streams("completed", 1)
        # An agent that is ended while somebody lives leaves the directory.
        eventually(lambda: app.health()["processes"]["alive"] == 0)


def test_exec_chain_is_counted(server):
    code = f"import os, sys; os.execv(sys.executable, [sys.executable, {SCRIPT!r}, 'sv-ok'])"
    with started(python("-c", code), environment(server.base_url)) as app:
        assert app.process.wait() == 0
        app.wait_for_streams("completed", 1)
        assert app.health()["processes"]["seen"] == 1


def test_killed_stream_is_abandoned(server):
    env = environment(server.base_url)
    model = "sv-stall?after=3&stall=600"
    with started(python(SCRIPT, model), env) as app:
        app.wait_for_agent()
        eventually(lambda: total(app.samples(), "streamvitals_streams_active") == 1)
        app.process.kill()
        assert app.process.wait() == -signal.SIGKILL
        app.wait_for_streams("abandoned", 1)


def test_stopped_process_keeps_its_stream_open(server):
    model = "sv-stall?after=3&stall=600"
    with started(python(SCRIPT, model), environment(server.base_url)) as app:
        app.wait_for_agent()
        eventually(lambda: total(app.samples(), "streamvitals_streams_active") == 1)
        os.kill(app.pid, signal.SIGSTOP)
        state = Path(f"/proc/{app.pid}/stat")
        eventually(lambda: state.read_text().rpartition(")")[2].split()[0] == "T")
        assert app.streams("abandoned") == 0
        assert app.health()["processes"]["alive"] == 1
        os.kill(app.pid, signal.SIGCONT)


def test_directory_goes_with_the_last_process(server):
    env = environment(server.base_url, STREAMVITALS_LINGER_SECONDS="0")
    code = "import os; print(os.environ['STREAMVITALS_DIR'])"
    with started(python("-c", code), env, stdout=subprocess.PIPE) as app:
        directory = app.process.communicate()[0].decode().strip()
        eventually(lambda: not os.path.exists(directory), "the end of the directory")


def test_agent_can_die_and_another_serve_what_it_left(server):
    port = free_port()
    env = environment(server.base_url)
    script = f"{Path(SCRIPT).read_text()}\ninput()\n"
    with started(python("-c", script, "sv-ok", "sv-silent-cut"), env, stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        app.wait_for_streams("truncated", 1)
        directory = app.directory()
        os.kill(app.health()["agent_pid"], signal.SIGKILL)
        assert app.process.poll() is None
        second = subprocess.Popen(
            python("-m", "streamvitals", "agent", "--dir", directory, "--port", str(port)), env=env,
            stderr=subprocess.PIPE,
        )
        app.url = f"http://127.0.0.1:{port}"
        try:
            app.wait_for_agent()
            app.wait_for_streams("completed", 1)
            app.wait_for_streams("truncated", 1)
            app.process.communicate(b"\n")
            assert app.process.returncode == 0
            app.wait_for_streams("completed", 1)
            refused = subprocess.run(
                python("-m", "streamvitals", "agent", "--dir", directory, "--port", "0"), env=env,
                capture_output=True, check=False,
            )
            assert refused.returncode == 1
            assert b"served already" in refused.stderr
        finally:
            second.terminate()
            second.communicate()
            private_directory.remove(directory)


@only_root
def test_app_of_another_user_behind_a_run_of_root(server):
    """An entrypoint that starts as root and execs the app as somebody else."""
    chain = f"os.execv(sys.executable, [sys.executable, {SCRIPT!r}, 'sv-ok', 'sv-silent-cut'])"
    code = f"import os, sys; os.setgid(65534); os.setuid(65534); {chain}"
    env = environment(server.base_url, PYTHONPATH=PACKAGES, HOME="/")
    with started([everybodys_python(), "-c", code], env, stdout=subprocess.DEVNULL) as app:
        assert app.process.wait() == 0
        app.wait_for_streams("completed", 1)
        app.wait_for_streams("truncated", 1)
        assert app.health()["processes"] == {"seen": 1, "alive": 0}


@only_root
def test_nobody_else_finds_the_directory_of_root():
    with started(python("-c", "input()"), environment(), stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        directory = Path(app.directory())
        assert directory.stat().st_mode & 0o7777 == 0o1733
        assert directory.parent.stat().st_mode & 0o7777 == 0o711
        code = f"import os; os.setuid(65534); os.listdir({str(directory.parent)!r})"
        refused = subprocess.run(python("-c", code), capture_output=True, check=False)
        assert b"PermissionError" in refused.stderr
    eventually(lambda: not directory.parent.exists(), "the end of the directory")


def exported(receiver: Receiver, name: str) -> dict[tuple[tuple[str, str], ...], float]:
    """The last value of every series of a counter that was sent."""
    found: dict[tuple[tuple[str, str], ...], float] = {}
    for request in receiver.requests:
        for resource in getattr(request.message, "resource_metrics", ()):
            for metric in (m for scope in resource.scope_metrics for m in scope.metrics if m.name == name):
                for point in metric.sum.data_points:
                    found[tuple(sorted(attributes(point).items()))] = point.as_double or point.as_int
    return found


@pytest.mark.parametrize("init", [False, True])
def test_agent_exports_metrics_when_the_app_has_gone(server, init):
    """By default the exporter works once a minute: what was counted since goes out at the end."""
    if init and not unshare_works():
        pytest.skip("no new pid namespace may be made here")
    with receiving() as receiver:
        env = environment(
            server.base_url, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, OTEL_METRICS_EXPORTER="otlp",
            OTEL_TRACES_EXPORTER="none", STREAMVITALS_LINGER_SECONDS="0",
        )
        run = [*UNSHARE, *RUN] if init else RUN
        with started(python(SCRIPT, "sv-ok", "sv-silent-cut"), env, stdout=subprocess.DEVNULL, run=run) as app:
            assert app.process.wait() == 0
            counts = eventually(lambda: exported(receiver, "streamvitals.streams"))
            assert sum(counts.values()) == 2
            ended = {dict(series)["outcome"]: count for series, count in counts.items() if count}
            assert ended == {"completed": 1, "truncated": 1}
