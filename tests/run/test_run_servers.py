"""`streamvitals run` in front of servers: every worker is counted, and they are run as ever."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from run_support import (
    APPS,
    DEADLINE,
    PACKAGES,
    RUN,
    App,
    answered,
    environment,
    eventually,
    everybodys_python,
    free_port,
    get,
    only_root,
    python,
    started,
    total,
)
from streamvitals.agent.unreported import GRACE
from terminal_support import Screen, in_a_terminal

pytest.importorskip("uvicorn")
pytest.importorskip("gunicorn")


class Site:
    """A server's address, and what it answers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"

    def worker(self) -> int:
        return int(get(self.url + "/pid").split()[-1])

    def wait(self) -> None:
        eventually(lambda: answered(self.url + "/pid"), "a server")

    def wait_for_workers(self, count: int) -> set[int]:
        seen: set[int] = set()

        def enough() -> bool:
            seen.add(self.worker())
            return len(seen) >= count

        eventually(enough, f"{count} workers")
        return seen

    def stream(self, model: str, times: int = 1) -> None:
        for _ in range(times):
            with contextlib.suppress(OSError):
                get(f"{self.url}/stream/{model}")


def uvicorn(site: Site, *options: str) -> list[str]:
    return python("-m", "uvicorn", "asgi_app:app", "--port", str(site.port), "--log-level", "error", *options)


def gunicorn(site: Site, *options: str) -> list[str]:
    bind = f"127.0.0.1:{site.port}"
    # Its script, for with -m it cannot start itself anew on USR2.
    script = str(Path(sys.executable).with_name("gunicorn"))
    return python(script, "wsgi_app:app", "-b", bind, "--log-level", "error", *options)


@contextlib.contextmanager
def serving(command: list[str], site: Site, env: dict[str, str]) -> Iterator[App]:
    with started(command, env, cwd=APPS) as app:
        site.wait()
        yield app
        app.process.send_signal(signal.SIGTERM)
        app.process.wait()


def test_uvicorn_workers(server):
    site = Site()
    with serving(uvicorn(site, "--workers", "2"), site, environment(server.base_url)) as app:
        site.wait_for_workers(2)
        site.stream("sv-ok", 6)
        site.stream("sv-silent-cut", 2)
        app.wait_for_streams("completed", 6)
        app.wait_for_streams("truncated", 2)


def test_requests_that_one_thread_answers_do_not_try_again_for_each_other(server):
    """A worker of gunicorn answers one after the other: all ask the same, as health checks do, and all fail."""
    site = Site()
    with serving(gunicorn(site, "-w", "1"), site, environment(server.base_url)) as app:
        site.stream("sv-reset", 3)
        site.stream("sv-ok")
        app.wait_for_streams("reset", 3)
        app.wait_for_streams("completed", 1)
        samples = app.samples()
        assert total(samples, "streamvitals_retries_total", source="app") == 0
        assert total(samples, "streamvitals_recoveries_total", source="app") == 0
        assert total(samples, "streamvitals_operations_failed_total") == 3


def test_uvicorn_ends_a_request_in_flight_on_ctrl_c(server):
    site, port = Site(), free_port()
    command = [*RUN, "--port", str(port), "--", *uvicorn(site, "--app-dir", str(APPS))]
    with in_a_terminal(command, environment(server.base_url)) as (pid, fd):
        screen = Screen(fd)
        site.wait()
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(get, f"{site.url}/stream/sv-ok?chunks=100&gap=0.02")
            active = "streamvitals_streams_active{"
            eventually(lambda: any(
                line.startswith(active) and line.endswith(" 1.0")
                for line in answered(f"http://127.0.0.1:{port}/metrics").splitlines()
            ), "a stream")
            os.write(fd, b"\x03")
            assert answer.result(DEADLINE).count(".") > 100
        eventually(lambda: screen.shows("") or os.waitpid(pid, os.WNOHANG)[0] == pid, "the end of uvicorn")
        assert "Traceback" not in screen.text
    metrics = eventually(lambda: answered(f"http://127.0.0.1:{port}/metrics"))
    assert 'outcome="completed"' in metrics
    end_agent(port)


def end_agent(port: int) -> None:
    os.kill(json.loads(get(f"http://127.0.0.1:{port}/healthz"))["agent_pid"], signal.SIGTERM)


def test_gunicorn_preload_and_hup(server):
    site = Site()
    with serving(gunicorn(site, "-w", "2", "--preload"), site, environment(server.base_url)) as app:
        first = site.wait_for_workers(2)
        site.stream("sv-ok", 4)
        app.wait_for_streams("completed", 4)
        app.process.send_signal(signal.SIGHUP)
        eventually(lambda: site.worker() not in first, "new workers")
        site.wait_for_workers(2)
        site.stream("sv-ok", 3)
        app.wait_for_streams("completed", 7)


def test_gunicorn_upgrade_by_usr2(server):
    site = Site()
    with serving(gunicorn(site, "-w", "1"), site, environment(server.base_url)) as app:
        site.stream("sv-ok", 2)
        first = site.worker()
        app.process.send_signal(signal.SIGUSR2)
        # Two masters now, on one socket; the first one goes, the second stays.
        seen: set[int] = {first}
        eventually(lambda: seen.add(site.worker()) or len(seen) > 1, "a second master's worker")
        app.process.send_signal(signal.SIGTERM)
        app.process.wait()
        eventually(lambda: answered(site.url + "/pid"))
        assert site.worker() != first
        site.stream("sv-ok", 2)
        app.wait_for_streams("completed", 4)
        second = int(Path(f"/proc/{site.worker()}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(second, signal.SIGTERM)
        eventually(lambda: not os.path.exists(f"/proc/{second}"), "the end of the second master")


def test_gunicorn_daemon(server, tmp_path):
    """The process that `run` became is gone at once, with all its descriptors closed; the workers are counted."""
    site, pidfile = Site(), tmp_path / "pid"
    command = gunicorn(site, "-w", "1", "--daemon", "--pid", str(pidfile), "--chdir", str(APPS))
    with started(command, environment(server.base_url)) as app:
        assert app.process.wait() == 0
        site.wait()
        master = int(pidfile.read_text())
        try:
            site.stream("sv-ok", 3)
            app.wait_for_streams("completed", 3)
            assert app.health()["processes"]["alive"] == 2
        finally:
            os.kill(master, signal.SIGTERM)
            eventually(lambda: not os.path.exists(f"/proc/{master}"), "the end of the daemon")


@only_root
@pytest.mark.parametrize("preload", [(), ("--preload",)])
def test_gunicorn_workers_of_another_user(server, preload):
    site = Site()
    nobody = pwd.getpwnam("nobody")
    command = gunicorn(site, "-w", "2", "--user", "nobody", "--group", str(nobody.pw_gid), *preload)
    env = environment(server.base_url, HOME="/", PYTHONPATH=PACKAGES)
    with serving([everybodys_python(), *command[1:]], site, env) as app:
        for worker in site.wait_for_workers(2):
            assert f"Uid:\t{nobody.pw_uid}\t" in Path(f"/proc/{worker}/status").read_text()
        site.stream("sv-ok", 4)
        app.wait_for_streams("completed", 4)


def test_killed_master_leaves_its_counts(server):
    site = Site()
    with serving(gunicorn(site, "-w", "1"), site, environment(server.base_url)) as app:
        site.stream("sv-ok", 2)
        worker = site.worker()
        app.process.kill()
        assert app.process.wait() == -signal.SIGKILL
        app.wait_for_streams("completed", 2)
        eventually(lambda: not os.path.exists(f"/proc/{worker}"), "the end of the worker")
        app.wait_for_streams("completed", 2)


def test_stopped_master_serves_on(server):
    site = Site()
    with serving(gunicorn(site, "-w", "1"), site, environment(server.base_url)) as app:
        os.kill(app.pid, signal.SIGSTOP)
        site.stream("sv-ok", 2)
        app.wait_for_streams("completed", 2)
        os.kill(app.pid, signal.SIGCONT)


def test_opentelemetry_instrument_inside(server):
    """Its sitecustomize stands in front and chains to nothing: there the entry point takes over."""
    pytest.importorskip("opentelemetry.instrumentation.auto_instrumentation")
    instrument = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    script = (APPS / "stream_script.py").read_text() + "\ninput()\n"
    command = [instrument, *python("-c", script, "sv-ok", "sv-silent-cut")]
    none = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
    env = environment(server.base_url, **none)
    with started(command, env, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as app:
        app.wait_for_agent()
        app.wait_for_streams("completed", 1)
        app.wait_for_streams("truncated", 1)
        assert total(app.samples(), "streamvitals_streams_total") == 2
        # Older than what a process may take to report in.
        eventually(lambda: app.health()["uptime_seconds"] > GRACE + 1)
        assert app.health()["not_reporting"] == []
        app.process.communicate(b"\n")
        assert app.process.returncode == 0
