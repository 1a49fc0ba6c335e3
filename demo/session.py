"""Starts the processes of the demo: the fault server, and the client program behind `streamvitals run`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from streamvitals.faults import connect_timeout_url, dns_failure_url, refused_url, tls_failure_url

from . import client, plan, scrape
from .plan import Job, Urls
from .truth import Entry, Said, read_log

STARTS_WITHIN = 30.0
ENDS_WITHIN = 15.0
# A resolver that takes longer to deny a name would hold the run up. Seconds.
DENIES_WITHIN = 2.0
USUAL_PORT = 9464
# What the environment says of proxies, of the SDK and of us is not meant for the demo; OTLP settings are.
_NOT_INHERITED = re.compile(
    r"(https?|all|no)_proxy|OPENAI_.*|STREAMVITALS_.*|OTEL_SDK_DISABLED|OTEL_EXPORTER_PROMETHEUS_.*", re.IGNORECASE
)


class DemoError(Exception):
    """The demo cannot be run here; the text says why."""


class Session:
    """Both processes, while inside ``with``. ``origin`` is when the program was there, monotonic time."""

    def __init__(self, host: str, port: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="streamvitals-demo-")
        self._path = Path(self._folder.name)
        self._server: subprocess.Popen[bytes] | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._host, self._port = host, port or free_port(host)
        self._said: dict[int, Said] = {}
        self._ready: list[int] = []
        self._exit_codes: list[int] | None = None
        self._batch_ended = threading.Event()
        self.metrics_url = f"http://{self._host}:{self._port}/metrics"

    def __enter__(self) -> Session:
        try:
            self.urls = self._start_server()
            self._start_program()
            self._find_agent()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    # -- starting

    def _start_server(self) -> Urls:
        port_file = self._path / "port"
        command = [sys.executable, "-m", "streamvitals", "faults", "--port-file", str(port_file)]
        with open(self._path / "server.err", "wb") as errors:
            self._server = subprocess.Popen(  # noqa: S603  our own module
                [*command, "--log", str(self._path / "log")], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=errors, start_new_session=True,
            )
        give_up = time.monotonic() + STARTS_WITHIN
        while not port_file.exists():
            if self._server.poll() is not None or time.monotonic() > give_up:
                raise DemoError(f"the fault server did not start: {self._text('server.err')}")
            time.sleep(0.02)
        url = f"http://127.0.0.1:{int(port_file.read_text())}/v1"
        return Urls(
            server=url, refused=refused_url(), connect_timeout=connect_timeout_url(),
            dns_failure=dns_failure_url(), tls_failure=tls_failure_url(url),
        )

    def _start_program(self) -> None:
        program = shutil.copy(client.__file__, self._path / "client.py")
        env = {key: value for key, value in os.environ.items() if not _NOT_INHERITED.fullmatch(key)}
        env |= {
            "DEMO_API_KEY": plan.API_KEY, "STREAMVITALS_STALL_SECONDS": str(plan.STALL_AFTER),
            "STREAMVITALS_FIRST_TOKEN_STALL_SECONDS": str(plan.STALL_AFTER),
        }
        command = [sys.executable, "-m", "streamvitals", "run", "--host", self._host, "--port", str(self._port)]
        with open(self._path / "client.err", "wb") as errors:
            self._program = subprocess.Popen(  # noqa: S603
                [*command, "--", sys.executable, program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=errors, env=env, start_new_session=True,
            )
        if self._program.stdout is not None:
            threading.Thread(target=self._listen, args=(self._program.stdout,), daemon=True).start()

    def _find_agent(self) -> None:
        give_up = time.monotonic() + STARTS_WITHIN
        while True:
            # Somebody was faster at that port: the line on stderr says which one was taken instead.
            found = re.search(r"metrics are at (\S+)", self._text("client.err"))
            if found:
                self.metrics_url = found[1]
            try:
                scrape.fetch(self.metrics_url)
            except (OSError, ValueError) as error:
                if self._ended() or time.monotonic() > give_up:
                    why = self._text("client.err") or str(error)
                    raise DemoError(f"no metrics at {self.metrics_url}: {why}") from error
            else:
                return
            time.sleep(0.05)

    # -- the program at work

    def _listen(self, lines: IO[bytes]) -> None:
        for line in lines:
            event: dict[str, Any] = json.loads(line)
            if "ready" in event:
                self._ready.append(event["ready"])
            elif "batch" in event:
                self._exit_codes = event["batch"]
                self._batch_ended.set()
            else:
                self._said[event["id"]] = Said(
                    event["pid"], event["chunks"], event["saw"], event["first"], tuple(event["waits"]), event["held"]
                )
        self._batch_ended.set()

    def start_workers(self, numbers: Iterable[int]) -> None:
        """Have the program start these workers, and wait until they have imported what they need."""
        wanted = [*numbers]
        self._ready.clear()
        for number in wanted:
            self._write(str(number))
        give_up = time.monotonic() + STARTS_WITHIN
        while len(self._ready) < len(wanted):
            if self._ended() or time.monotonic() > give_up:
                raise DemoError(f"the client program's workers did not start: {self._text('client.err')}")
            time.sleep(0.02)

    def send(self, job: Job) -> None:
        """Give the program a job. Raises DemoError if it is not there any more."""
        self._write(json.dumps(job.for_client()))

    def end_batch(self) -> None:
        """Send no more jobs: the workers are to finish and exit."""
        self._write("")

    def _write(self, line: str) -> None:
        try:
            if self._program is not None and self._program.stdin is not None:
                self._program.stdin.write(line.encode() + b"\n")
                self._program.stdin.flush()
        except OSError as error:
            raise DemoError(f"the client program is gone: {self._text('client.err') or error}") from error

    @property
    def done(self) -> int:
        """How many jobs of this batch the program has reported as done."""
        return len(self._said)

    @property
    def batch_ended(self) -> bool:
        """Whether every worker of the batch has exited."""
        return self._batch_ended.is_set()

    def take_batch(self, requests: int) -> tuple[dict[int, Said], list[Entry], list[str]]:
        """The program's results, the server's log, and the workers that failed to exit with 0.

        ``requests`` is how many entries the server's log will have; it is given a moment to write them.
        """
        give_up = time.monotonic() + ENDS_WITHIN
        while len(entries := self._log()) < requests and time.monotonic() < give_up:
            time.sleep(0.05)
        os.truncate(self._path / "log", 0)
        said, self._said = self._said, {}
        codes, self._exit_codes = self._exit_codes, None
        self._batch_ended.clear()
        if codes is None:
            return said, entries, ["the client program did not end its batch"]
        return said, entries, [f"a worker exited with {code}" for code in codes if code not in (0, -9)]

    def _log(self) -> list[Entry]:
        with open(self._path / "log", encoding="utf-8") as log:
            return read_log(log)

    def finish(self) -> list[str]:
        """Let the program end by itself; return its status, and output that it has only with us."""
        found = []
        if self._program is not None:
            if self._program.stdin is not None:
                self._program.stdin.close()
            try:
                status = self._program.wait(ENDS_WITHIN)
            except subprocess.TimeoutExpired:
                found.append("the client program did not end")
            else:
                found += [f"the client program exited with {status}"] if status else []
        lines = [line for line in self._text("client.err").splitlines() if not line.startswith("streamvitals: ")]
        return found + [f"the client program printed: {line}" for line in lines[:20]]

    # -- stopping

    def _ended(self) -> bool:
        return self._program is not None and self._program.poll() is not None

    def _stop(self) -> None:
        for process in (self._program, self._server):
            if process is not None:
                _end_group(process)
        self._folder.cleanup()

    def _text(self, name: str) -> str:
        return (self._path / name).read_text(errors="replace").strip()


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and those that it started: each leads a group of its own, without the agent."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(ENDS_WITHIN)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def free_port(host: str) -> int:
    """The usual port if nobody has it, else any. Raises DemoError for a host that is not this machine's."""
    for port in (USUAL_PORT, 0):
        with contextlib.suppress(OSError), socket.create_server((host, port)) as probe:
            found: int = probe.getsockname()[1]
            return found
    raise DemoError(f"cannot serve on {host}")


def denies_names() -> bool:
    """Whether this machine's resolver answers soon that a name does not exist."""
    denied = threading.Event()

    def ask() -> None:
        try:
            socket.getaddrinfo("nonexistent.invalid", 80)
        except socket.gaierror:
            denied.set()

    threading.Thread(target=ask, daemon=True).start()
    return denied.wait(DENIES_WITHIN)
