"""The Pythons that are promised are those that are tested, and the suite passes on the others, not only on this one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench import interpreters, pythons

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("end", ["oldest", "newest"])
def test_a_part_of_the_suite_passes_on_the_oldest_and_the_newest_python(end: str) -> None:
    """Imports, patches, every fault, an agent, /metrics; all of the suite is `make test-pythons`."""
    command = (sys.executable, "-m", "bench.pythons", "--short-on", end)
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 3:
        pytest.skip(done.stdout.strip().splitlines()[-1])
    assert done.returncode == 0, done.stdout


def test_what_is_tested_is_what_is_promised() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    assert tuple(re.findall(r"Python :: (3\.\d+)", project)) == pythons.SUPPORTED
    assert f'requires-python = ">={pythons.SUPPORTED[0]}"' in project
    promised = f"Python {pythons.SUPPORTED[0]} to {pythons.SUPPORTED[-1]}"
    for page in ("README.md", "docs/versions.md"):
        assert promised in (ROOT / page).read_text(), page


def put(path: Path, version: str) -> str:
    """A program that says it is a Python of this version; "" says nothing, as a shim that leads nowhere."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n[ '{version}' ] && echo '{version} {path}'\n")
    path.chmod(0o755)
    return str(path)


def test_a_python_is_found_by_what_it_says_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    builds = tmp_path / "pyenv" / "versions"
    assert interpreters.interpreter("3.98") == ""
    put(builds / "3.98.9" / "bin" / "python", "3.98")
    newest = put(builds / "3.98.10" / "bin" / "python", "3.98")
    free_threaded = put(builds / "3.98.11t" / "bin" / "python", "3.98t")
    put(tmp_path / "bin" / "python3.98", "")
    assert interpreters.interpreter("3.98") == newest
    assert interpreters.interpreter("3.98t") == free_threaded
    put(tmp_path / "bin" / "python3.98", "3.97")
    assert interpreters.interpreter("3.98") == newest
    on_the_path = put(tmp_path / "bin" / "python3.98", "3.98")
    assert interpreters.interpreter("3.98") == on_the_path
    assert interpreters.interpreter("3.9") != on_the_path


def test_a_row_of_the_whole_suite_takes_the_place_of_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- pythons -->\n\n| run |\n|---|\n\n<!-- /pythons -->\n")
    monkeypatch.setattr(pythons, "WRITTEN", page)
    labels = ["3.14: store", "3.10: short", "3.10", "3.14-oldest: sdk"]
    for label in labels:
        pythons.write((label, "", "", "", "", "", "ok"))
    assert re.findall(r"^\| (3\S*(?: \w+)?)", page.read_text(), re.M) == ["3.10", "3.14: store", "3.14-oldest: sdk"]
