"""Other people's applications, unmodified, bare and behind `streamvitals run`; all of them are in `make apps`."""

from __future__ import annotations

import dataclasses

import pytest

from bench.apps_real.apps import APPS, FAST, TOGETHER
from bench.apps_real.retries import CASES
from bench.apps_real.run import ROOT, WORK, lay_out, try_app
from environment_support import made

pytestmark = pytest.mark.xdist_group("apps")  # one after another: they share an environment that is made once
ONE = "together"


@pytest.fixture(scope="module")
def one_environment():
    """With all of them in it."""
    lay_out()
    made(WORK / "venvs" / ONE, TOGETHER)


@pytest.mark.usefixtures("one_environment")
@pytest.mark.parametrize(("name", "mode"), FAST)
def test_same_view_and_every_fault_reported(name, mode):
    (app,) = (app for app in APPS if app.name == name)
    assert try_app(dataclasses.replace(app, env={**app.env, "ONE_VENV": ONE}), mode).wrong == []


def _first_cells(part):
    text = (ROOT / "docs" / "compatibility.md").read_text()
    lines = text.partition(f"<!-- {part} -->")[2].partition(f"<!-- /{part} -->")[0].splitlines()
    return [line.split("|")[1].strip() for line in lines if line.startswith("|")][2:]


def test_the_documented_tables_are_of_what_is_tried_now():
    for part, tried in (("apps", [app.name for app in APPS]), ("retries", [case.name for case in CASES])):
        documented = _first_cells(part)
        assert documented
        assert documented == [name for name in tried if name in documented]
