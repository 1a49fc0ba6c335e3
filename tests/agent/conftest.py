"""Fixtures of the tests of the agent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from store_support import Processes


@pytest.fixture
def directory(tmp_path: Path) -> str:
    """A private directory."""
    (tmp_path / "d").mkdir()
    return str(tmp_path / "d")


@pytest.fixture
def processes(directory: str, monkeypatch: pytest.MonkeyPatch) -> Processes:
    """Processes of a user who is not root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return Processes(directory, monkeypatch)
