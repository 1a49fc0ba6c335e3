"""Fixtures of the tests of what every Python does at its start."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A private directory."""
    path = tmp_path / "private"
    path.mkdir(mode=0o700)
    return path
