"""The processes behind a comparison: one per side, the server of the loopback row, and programs that are only
started to see what that costs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .sides import Side

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"
INJECT = SOURCE / "streamvitals" / "startup" / "inject"

Pair = tuple[list[float], list[float]]


def environ(side: Side, directory: str, *, observed: bool = True) -> dict[str, str]:
    """The environment of a side's process. Nothing of the caller's settings gets in."""
    unwanted = ("OTEL_", "OPENAI_", "STREAMVITALS_", "PYTHON", "TRACELOOP_", "SENTRY_", "OPENINFERENCE_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    env["PYTHONHASHSEED"] = "0"
    if side.injected and observed:
        env.update(side.env, PYTHONPATH=str(INJECT), STREAMVITALS_DIR=directory)
    return env


class Worker:
    """A side's process (bench/worker.py)."""

    def __init__(self, side: Side, python: Path, directory: str) -> None:
        env = environ(side, directory)
        env["PYTHONPATH"] = os.pathsep.join(p for p in (env.get("PYTHONPATH"), str(ROOT)) if p)
        # Exporters of its own would be one more thing that runs: spans go to the pipeline in the worker.
        for name, _ in side.env:
            env.pop(name, None)
        self.side = side
        self._process = subprocess.Popen(  # noqa: S603
            [str(python), "-m", "bench.worker", side.name],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )

    def measure(self, name: str, size: int, pairs: int, base_url: str = "") -> list[Pair]:
        """Pairs of what was found with the observer off and on. Raises RuntimeError if the process died."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError("no pipes")
        try:
            stdin.write(json.dumps({"measure": name, "size": size, "pairs": pairs, "url": base_url}) + "\n")
            answer = stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"the process of {self.side.title} ended while it measured {name}")
        found: list[Pair] = json.loads(answer)
        return found

    def close(self) -> None:
        """End the process."""
        if self._process.stdin is not None:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait(timeout=30)


@contextmanager
def loopback_server() -> Iterator[str]:
    """The base URL of a fault server in a process of its own, whose CPU is not counted."""
    env = {**os.environ, "PYTHONPATH": str(SOURCE)}
    command = [sys.executable, "-m", "streamvitals", "faults"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as server:  # noqa: S603
        try:
            yield server.stdout.readline().strip() if server.stdout is not None else ""
        finally:
            server.terminate()


def cpu_of(python: Path, program: str, env: dict[str, str]) -> float:
    """User and system CPU of a program from exec to exit, in seconds. Raises RuntimeError if it fails."""
    process = subprocess.Popen([str(python), "-c", program], env=env, stderr=subprocess.DEVNULL)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode} of: {program}")
    return usage.ru_utime + usage.ru_stime


def installed(python: Path, package: str) -> str:
    """The version of a package in an environment."""
    program = f"import importlib.metadata as m; print(m.version({package!r}))"
    done: Any = subprocess.run([str(python), "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    return str(done.stdout).strip()
