"""Runs tests of ours with another interpreter and counts what came of them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
_COUNT = re.compile(r"(\d+) (passed|failed|skipped|errors?)")


class Result(NamedTuple):
    """How many passed, failed (or could not be set up) and were skipped; pytest's exit code; how long it took."""

    passed: int
    failed: int
    skipped: int
    code: int
    seconds: str


def run(python: str, tests: Sequence[str], variables: Mapping[str, str] | None = None) -> Result:
    """pytest with these arguments. What it has printed is shown if it did not end well."""
    # Without what a pytest around it has told its own workers.
    around = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(  # noqa: S603 - a list of our own, no shell
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests], cwd=ROOT,
        env={**around, **(variables or {})}, stdout=subprocess.PIPE, text=True, check=False,
    )
    if done.returncode:
        print(done.stdout)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    counts = {what.rstrip("s"): int(count) for count, what in _COUNT.findall(last)}
    seconds = (re.findall(r"in ([\d.]+)s", last) or ["?"])[0]
    wrong = counts.get("failed", 0) + counts.get("error", 0)
    return Result(counts.get("passed", 0), wrong, counts.get("skipped", 0), done.returncode, seconds)


def version_of(python: str, package: str = "") -> str:
    """The version of a package that this interpreter has; of itself if none is named. Raises CalledProcessError."""
    code = "import sys, importlib.metadata as of; print(of.version(sys.argv[1]))" if package else (
        "import sys; print(sys.version.split()[0])"
    )
    command = (python, "-c", code, package)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()  # noqa: S603
