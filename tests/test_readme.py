"""What the README says is what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_its_generated_parts_are_up_to_date() -> None:
    checked = subprocess.run([sys.executable, ROOT / "docs" / "generate.py", "--check"], check=False, stderr=-1)
    assert checked.returncode == 0, checked.stderr.decode()


def test_the_make_targets_that_it_names_exist() -> None:
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_its_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text())
    assert targets
    for target in targets:
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_picture_needs_nothing_from_elsewhere() -> None:
    picture = (ROOT / "docs" / "demo.svg").read_text()
    assert "://" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert "no differences" in picture.replace("&#160;", " ")
