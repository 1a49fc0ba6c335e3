"""Environments of other people's packages, made once in .build and kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.environments import environment


def made(folder: Path, requirements: Sequence[str]) -> Path:
    """Its interpreter. Skips where it cannot be made, as without a network; in CI that is a failure."""
    try:
        return environment(folder, requirements)
    except subprocess.CalledProcessError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"the environment {folder.name} could not be made")
