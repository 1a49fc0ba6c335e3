"""Start programs that are observed, ask them, and end them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

# Waits end when what they wait for is there; a slow machine gets there too.
PATIENCE = 60.0
# In front of a program: the command, or a module that observes the program from within.
RUN = (str(Path(sys.executable).with_name("streamvitals")), "run", "--port", "{port}", "--")
SERVE = (sys.executable, str(Path(__file__).with_name("serving.py")), "{port}")
_OURS = ("OTEL_", "STREAMVITALS_", "OPENAI_", "PYTHON", "PYTEST")


class SceneError(Exception):
    """The scene cannot be played here; the text says why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(**more: str) -> dict[str, str]:
    """Copy this process's environment, without what says how to observe or which provider to ask."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")} | more


def get(url: str) -> str:
    """Get the body of an address. Raises OSError."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def until_answered(url: str, what: str) -> str:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            return get(url)
        time.sleep(0.02)
    raise SceneError(f"never came up: {what}")


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Replica:
    """One process of a service. ``agent`` says whether another process serves its metrics."""

    def __init__(self, name: str, program: Sequence[str], agent: bool, env: Mapping[str, str], log: Path) -> None:
        self.name, self.port = name, free_port()
        before = [word.format(port=self.port) for word in (RUN if agent else SERVE)]
        self._command = [*before, *([sys.executable] if agent else []), *program]
        self._ready = f"http://127.0.0.1:{self.port}/{'healthz' if agent else 'metrics'}"
        self._has_agent, self._agent = agent, 0
        self._env, self._log = dict(env), log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(self._command, env=self._env, stdout=log, stderr=log)
        ready = until_answered(self._ready, f"{self.name}, see {self._log}")
        self._agent = int(json.loads(ready)["agent_pid"]) if self._has_agent else 0

    def stop(self) -> None:
        """End the program, and its agent, which is no child of ours."""
        if self._process is not None:
            ended(self._process)
            self._process = None
        if self._agent:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._agent, signal.SIGTERM)
            _until_gone(self._agent)
            self._agent = 0

    def restart(self) -> None:
        self.stop()
        self.start()


def _until_gone(pid: int) -> None:
    end = time.monotonic() + PATIENCE
    while Path(f"/proc/{pid}").exists():
        if time.monotonic() > end:
            raise SceneError(f"process {pid} does not end")
        time.sleep(0.02)
