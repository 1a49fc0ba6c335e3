"""What tests of alerts share: the programs that they need, which may be missing, but not in CI."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

# Put there by newer_prometheus.sh, where it could.
NEWER = Path(__file__).parents[1] / ".build" / "prometheus-3" / "usr" / "bin"
# Debian calls it after its package; upstream just alertmanager.
ALERTMANAGERS = ("prometheus-alertmanager", "alertmanager")


def alertmanager() -> str | None:
    return next((path for name in ALERTMANAGERS if (path := shutil.which(name))), None)


def newer(program: str) -> str | None:
    """The program of Prometheus 3, or None."""
    return shutil.which(program, path=str(NEWER))


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip without these programs; in CI they are there, or the test fails."""
    missing = [p for p in programs if not (alertmanager() if p == "alertmanager" else shutil.which(p))]
    skip = bool(missing) and os.environ.get("CI") != "true"
    return pytest.mark.skipif(skip, reason=f"not installed: {', '.join(missing)}")


def amtool(*arguments: str | Path) -> str:
    """What it says, where it objects to nothing."""
    done = subprocess.run(["amtool", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()
