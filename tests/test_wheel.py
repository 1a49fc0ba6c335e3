"""What is built is what is needed, and nothing else: the wheel, the source distribution, the long description.

The commands hand out their files from an installed wheel, outside of a checkout.
"""

from __future__ import annotations

import email
import json
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from run_support import environment
from streamvitals.alerts import links
from streamvitals.alerts.objectives import Objectives
from streamvitals.export.dashboards import dashboards_for

pytestmark = pytest.mark.xdist_group("wheel")
ROOT = Path(__file__).resolve().parents[1]
UV = Path(sys.executable).with_name("uv")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel that was built from what is in it."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run([UV, "build", "-q", "--out-dir", folder, ROOT], capture_output=True, text=True, check=False)
    if done.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"nothing to build with, as without a network: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the wheel in it."""
    packages = tmp_path_factory.mktemp("packages")
    (wheel,) = built.glob("*.whl")
    subprocess.run([UV, "pip", "install", "-q", "--no-deps", "--target", packages, wheel], check=True)
    return packages


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
    assert texts(tmp_path / "out") == dashboards_for(Objectives(runbook_url=url))
    assert {json.loads(text)["uid"] for text in expected.values()} == set(links.DASHBOARDS)


def test_dashboards_as_config_maps(installed: Path, tmp_path: Path) -> None:
    done = ask(installed, tmp_path, "dashboards", "--format", "kubernetes")
    made = list(yaml.safe_load_all(done.stdout))
    assert {name: text for one in made for name, text in one["data"].items()} == dashboards_for(Objectives())
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


def test_the_wheel_has_all_of_the_package_and_nothing_else(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    there = [path.relative_to(ROOT / "src") for path in (ROOT / "src" / "streamvitals").rglob("*") if path.is_file()]
    code = {str(path) for path in there if "__pycache__" not in path.parts}
    alerts = {*(ROOT / "alerts").glob("*.example.yaml"), *(ROOT / "alerts").glob("*.tmpl")}
    handed_out = {*alerts, *(ROOT / "alerts" / "runbooks").glob("*"), *(ROOT / "dashboards").glob("*.json")}
    files = {f"streamvitals/_files/{path.relative_to(ROOT)}" for path in handed_out}
    about = {name for name in names if re.match(r"streamvitals-[^/]+\.dist-info/", name)}
    assert names - about == code | files
    assert {"streamvitals/py.typed", "streamvitals/startup/inject/sitecustomize.py"} <= code
    assert {name.partition("/")[2] for name in about} == {
        "METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"
    }


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an unpacked source distribution: nothing to compare with")
def test_the_source_distribution_has_all_that_is_committed(built: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True,
        check=True,
    )
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {member.name.partition("/")[2] for member in archive.getmembers() if member.isfile()}
    assert names == {name for name in listed.stdout.splitlines() if (ROOT / name).is_file()} | {"PKG-INFO"}


def test_the_long_description_works_on_an_index_page(installed: Path) -> None:
    """It has the README's text, and no link or picture that leads into the repository."""
    (metadata,) = installed.glob("streamvitals-*.dist-info/METADATA")
    found = email.message_from_string(metadata.read_text())
    assert found["Description-Content-Type"] == "text/markdown"
    text = found.get_payload()
    assert isinstance(text, str)
    assert [target for target in re.findall(r"\]\(([^)]+)\)", text) if not target.startswith("https://")] == []
    readme = (ROOT / "README.md").read_text()
    headings = re.findall(r"^#.*$", readme, re.MULTILINE)
    assert headings == re.findall(r"^#.*$", text, re.MULTILINE)
    assert re.findall(r"^```.*?^```", readme, re.MULTILINE | re.DOTALL) == re.findall(
        r"^```.*?^```", text, re.MULTILINE | re.DOTALL
    )
