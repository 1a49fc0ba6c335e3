"""What is built is what is needed: the commands hand out their files from an installed wheel, outside of a checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from run_support import environment
from streamvitals.alerts import links
from streamvitals.alerts.objectives import Objectives

pytestmark = pytest.mark.xdist_group("wheel")
ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel that was built from the source distribution."""
    folder = tmp_path_factory.mktemp("wheel")
    # Builds the wheel from what is in the source distribution.
    built = subprocess.run(
        [UV, "build", "-q", "--out-dir", folder / "dist", ROOT], capture_output=True, text=True, check=False
    )
    if built.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"nothing to build with, as without a network: {built.stderr[-300:]}")
    assert built.returncode == 0, built.stderr
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run([UV, "pip", "install", "-q", "--no-deps", "--target", folder / "packages", wheel], check=True)
    return folder / "packages"


def ask(installed: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line of the installed package, from ``folder``."""
    return subprocess.run(
        [sys.executable, "-m", "streamvitals", *arguments], env=environment(PYTHONPATH=str(installed)), cwd=folder,
        capture_output=True, text=True, check=False,
    )


def texts(folder: Path, pattern: str = "**/*") -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.glob(pattern) if path.is_file()}


def test_alerts(installed: Path, tmp_path: Path) -> None:
    done = ask(installed, tmp_path, "alerts", "--with-examples", "--output", "out")
    assert done.returncode == 0, done.stderr
    committed = [texts(ROOT / "alerts", pattern) for pattern in ("*.yaml", "*.tmpl", "runbooks/*")]
    assert texts(tmp_path / "out") == committed[0] | committed[1] | committed[2]


@pytest.mark.parametrize("url", ["", "https://wiki.example.com/llm"])
def test_dashboards(installed: Path, tmp_path: Path, url: str) -> None:
    more = ("--runbook-url", url + "/") if url else ()
    done = ask(installed, tmp_path, "dashboards", "--output", "out", *more)
    assert done.returncode == 0, done.stderr
    expected = texts(ROOT / "dashboards", "*.json")
    assert all(Objectives.runbook_url in text for text in expected.values())
    if url:
        expected = {name: text.replace(Objectives.runbook_url, url) for name, text in expected.items()}
    assert texts(tmp_path / "out") == expected
    assert {json.loads(text)["uid"] for text in expected.values()} == set(links.DASHBOARDS)


def test_dashboards_as_config_maps(installed: Path, tmp_path: Path) -> None:
    done = ask(installed, tmp_path, "dashboards", "--format", "kubernetes")
    made = list(yaml.safe_load_all(done.stdout))
    assert {name: text for one in made for name, text in one["data"].items()} == texts(ROOT / "dashboards", "*.json")
    for one in made:
        kubernetes_validate.validate(one, "1.30", strict=True)
        # What `kubectl apply` keeps of an object in its annotations may be no longer.
        assert len(json.dumps(one)) < 262_144


def test_it_is_the_installed_one_that_was_asked(installed: Path, tmp_path: Path) -> None:
    code = "from streamvitals.export import find; print(find.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(PYTHONPATH=str(installed)), cwd=tmp_path,
        capture_output=True, text=True, check=True,
    )
    assert Path(done.stdout.strip()).is_relative_to(installed)


def test_nothing_of_the_code_is_left_out(installed: Path) -> None:
    ours = {str(path.relative_to(ROOT / "src")) for path in (ROOT / "src" / "streamvitals").rglob("*.py")}
    built = {str(path.relative_to(installed)) for path in (installed / "streamvitals").rglob("*.py")}
    assert built == ours
