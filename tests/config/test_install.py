"""How to install what is missing: for a clone, an index, a repository, an archive, pipx, an environment without pip."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamvitals import __version__
from streamvitals.config import install

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install.here.cache_clear()
    monkeypatch.setattr(install, "_installer", lambda: "pip install")
    yield
    install.here.cache_clear()


def installed(folder: Path, direct: Any = None, version: str = __version__) -> None:
    """Put metadata there, as an installer does, below what `run` puts into the path."""
    for name, number, source in (("streamvitals-0", "0", None), (f"streamvitals-{version}", version, direct)):
        info = folder / f"{name}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: streamvitals\nVersion: {number}\n")
        if source is not None:
            (info / "direct_url.json").write_text(source if isinstance(source, str) else json.dumps(source))


def git(**more: str) -> dict[str, object]:
    return {"url": "https://token@git.example/sv.git", "vcs_info": {"vcs": "git", "commit_id": "abc123", **more}}


@pytest.mark.parametrize(("direct", "command"), [
    (None, "pip install 'streamvitals[otlp]'"),
    ({"url": "file://HERE", "dir_info": {"editable": True}}, "pip install -e 'HERE[otlp]'"),
    ({"url": "file://HERE", "dir_info": {}}, "pip install 'HERE[otlp]'"),
    ({"url": "file://HERE/sv.whl", "archive_info": {}}, "pip install 'HERE/sv.whl[otlp]'"),
    ({"url": "file:///gone", "dir_info": {}}, "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"),
    (git(), "pip install 'streamvitals[otlp] @ git+https://git.example/sv.git@abc123'"),
    (git(requested_revision="main"), "pip install 'streamvitals[otlp] @ git+https://git.example/sv.git@main'"),
    ({"url": "https://h/sv.whl", "archive_info": {}}, "pip install 'streamvitals[otlp] @ https://h/sv.whl'"),
    ("{not json", "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"),
    ('["a"]', "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"),
])
def test_the_command_is_for_how_it_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, direct: Any, command: str
) -> None:
    home = tmp_path / "a clone's"
    home.mkdir()
    (home / "sv.whl").touch()
    if isinstance(direct, dict):
        direct["url"] = direct["url"].replace("HERE", str(home).replace(" ", "%20"))
    installed(tmp_path, direct)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert shlex.split(install.here("otlp")) == [word.replace("HERE", str(home)) for word in shlex.split(command)]


def test_an_index_is_not_assumed_where_only_an_entry_point_or_another_version_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, version="0.0.1")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert install.here("otlp") == "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"


def test_in_an_environment_of_pipx_it_is_pipx_that_adds_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pipx_metadata.json").touch()
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert install.here("otlp") == "pipx inject streamvitals opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"


@pytest.mark.parametrize(("beside", "module", "command"), [
    (True, True, "pip install"), (False, True, "{} -m pip install"), (False, False, "uv pip install --python {}"),
])
def test_the_installer_is_that_of_this_python(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beside: bool, module: bool, command: str
) -> None:
    monkeypatch.undo()
    python = tmp_path / "python"
    for file in (python, tmp_path / "pip"):
        file.touch(0o755)
    if not beside:
        (tmp_path / "other").mkdir()
        (tmp_path / "pip").rename(tmp_path / "other" / "pip")
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", f"{tmp_path}:{tmp_path / 'other'}")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: object() if module else None)
    assert install._installer() == command.format(python)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib is of 3.11")
def test_the_packages_are_those_of_the_extras() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]

    def packages(extra: str) -> set[str]:
        found = set()
        for requirement in extras[extra]:
            name, own = re.match(r"([a-z0-9-]+)(?:\[(.+)\])?", requirement).groups()  # type: ignore[union-attr]
            found |= packages(own) if own else {name}
        return found

    assert {extra: set(named) for extra, named in install.EXTRAS.items()} == {
        extra: packages(extra) for extra in extras if extra != "instruments"
    }


def test_no_other_place_says_how_to_install_an_extra() -> None:
    """By name the package is on no index yet, and a hint that does not work is worse than none."""
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        if path.name != "install.py":
            assert not re.search(r"install [^\n]*streamvitals(\[|\b *['\"]$)", path.read_text()), path
