"""Starts real programs behind `streamvitals run` and asks their agents."""

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
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

import streamvitals

APPS = Path(__file__).parent / "apps"
# The script, as a user types it: with -m the working folder is on the command's own path.
RUN = (str(Path(sys.executable).with_name("streamvitals")), "run")
UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
# Generous: a wait ends when what it waits for is there.
DEADLINE = 60.0

# What an interpreter needs that is not the one which runs the tests.
PACKAGES = os.pathsep.join([sysconfig.get_path("purelib"), str(Path(streamvitals.__file__).parents[1])])

T = TypeVar("T")
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def eventually(look: Callable[[], T], what: str = "", deadline: float = DEADLINE) -> T:
    """Look until there is something to see; AssertionError if there never is."""
    end = time.monotonic() + deadline
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"never came to be: {what or look}, last seen: {found!r}"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(base_url: str = "", **more: str) -> dict[str, str]:
    """This process's, without what would show the tests' own surroundings."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("OTEL_", "STREAMVITALS_", "OPENAI_", "PYTHON", "PYTEST"))
        or name in ("PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")
    }
    env |= {"STREAMVITALS_LINGER_SECONDS": "300", "OPENAI_API_KEY": "sk-test", "NO_PROXY": "127.0.0.1"}
    if base_url:
        env["OPENAI_BASE_URL"] = base_url
    return env | more


def get(url: str, headers: Mapping[str, str] | None = None) -> str:
    request = urllib.request.Request(url, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=DEADLINE) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        error.close()  # from Python 3.14 on it warns if that is left to the collector
        raise


def answered(url: str) -> str:
    """The body once the server is up, "" before."""
    try:
        return get(url)
    except OSError:
        return ""


def parse_metrics(text: str) -> Samples:
    samples: Samples = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            labels = frozenset(re.findall(r'(\w+)="([^"]*)"', name))
            samples[name.partition("{")[0], labels] = float(value)
    return samples


def total(samples: Samples, name: str, **labels: str) -> float:
    return sum(v for (n, have), v in samples.items() if n == name and labels.items() <= dict(have).items())


class App:
    """A command behind `streamvitals run`, and what its agent says."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], *, run: Sequence[str] = RUN, port: int = 0, **popen: Any
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        arguments = [*run, "--port", str(self.port), "--", *command]
        self.process = subprocess.Popen(arguments, env=dict(env), **popen)
        self.pid = self.process.pid

    def health(self) -> dict[str, Any]:
        return dict(json.loads(get(self.url + "/healthz")))

    def samples(self) -> Samples:
        return parse_metrics(get(self.url + "/metrics"))

    def streams(self, outcome: str) -> float:
        return total(self.samples(), "streamvitals_streams_total", outcome=outcome)

    def wait_for_streams(self, outcome: str, count: float) -> None:
        """Exactly so many; what is counted too often is caught by looking once more."""
        eventually(lambda: self.streams(outcome) >= count, f"{count} streams {outcome}")
        assert self.streams(outcome) == count

    def wait_for_agent(self) -> dict[str, Any]:
        eventually(lambda: answered(self.url + "/healthz"), "an agent")
        return self.health()

    def directory(self) -> str:
        """STREAMVITALS_DIR of the app, which must still be running."""
        return eventually(lambda: environment_of(self.pid).get("STREAMVITALS_DIR", ""), "STREAMVITALS_DIR")

    def end(self) -> None:
        """End it, whatever it has become, and the agent."""
        with contextlib.suppress(OSError, KeyError):
            agent = int(self.health()["agent_pid"])
            self._kill_app()
            os.kill(agent, signal.SIGTERM)
            eventually(lambda: not Path(f"/proc/{agent}").exists(), "the end of the agent")
        self._kill_app()

    def _kill_app(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()


def environment_of(pid: int) -> dict[str, str]:
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(entry.decode().split("=", 1) for entry in entries if b"=" in entry)


@contextlib.contextmanager
def started(command: Sequence[str], env: Mapping[str, str], **options: Any) -> Iterator[App]:
    """An app behind `run`, that is ended with its agent."""
    app = App(command, env, **options)
    try:
        yield app
    finally:
        app.end()


def python(*arguments: str) -> list[str]:
    return [sys.executable, *arguments]


def everybodys_python() -> str:
    """An interpreter of this version that other users can run; "" if there is none."""
    for executable in (sys.executable, "/usr/bin/python3", "/usr/local/bin/python3"):
        code = f"import os, sys; print(sys.version_info[:2] == {sys.version_info[:2]!r}, os.__file__)"
        with contextlib.suppress(OSError):
            done = subprocess.run([executable, "-c", code], stdout=subprocess.PIPE, check=False)
            same, _, library = done.stdout.decode().strip().partition(" ")
            needed = (library, executable, str(APPS / "any"), *PACKAGES.split(os.pathsep))
            if same == "True" and all(os.stat(f).st_mode & 1 for path in needed for f in Path(path).parents):
                return executable
    return ""


def only_root(test: Callable[..., None]) -> Callable[..., None]:
    """For tests in which root becomes somebody else."""
    able = os.geteuid() == 0 and bool(everybodys_python())
    mark = pytest.mark.skipif(not able, reason="needs root, and a Python that others can read")
    return mark(test)


def unshare_works() -> bool:
    """Whether a new pid namespace may be made here."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True, check=False).returncode == 0
