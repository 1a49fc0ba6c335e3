"""The dashboards say only what Grafana understands: by the types of @grafana/schema and the lists of @grafana/data."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from alerts_support import needs
from dashboards.render import RENDERER
from dashboards_schema import BUILT_UNITS, TARGET_KEYS, compiled, complaints, facts, panels, texts_at

# All wait for the same packages, which are installed once.
pytestmark = [needs("node", "npm"), pytest.mark.xdist_group("dashboards")]
BOARDS = {path.name: json.loads(path.read_text()) for path in sorted(RENDERER.parent.glob("*.json"))}


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    return facts()


def test_the_types_have_nothing_to_say(tmp_path: Path) -> None:
    assert len(BOARDS) >= 4
    assert complaints(BOARDS, tmp_path) == []


def test_what_is_wrong_is_found(tmp_path: Path) -> None:
    """All of it in one go, since the compiler takes its time."""
    board = {"title": "t", "panels": [], "schemaVersion": 41}
    stat: dict[str, Any] = {"id": 1, "type": "stat", "gridPos": {"x": 0, "y": 0, "w": 6, "h": 4}}
    width = {"fieldConfig": {"defaults": {"custom": {"width": 3}}, "overrides": []}}
    gouge = {"matcher": {"id": "byName"}, "properties": [{"id": "custom.cellOptions", "value": {"type": "gouge"}}]}
    wrong = {
        "an option that is none": {**stat, "options": {"colourMode": "value"}},
        "a value that is none": {**stat, "options": {"colorMode": "rainbow"}},
        "a number as text": {**stat, "type": "heatmap", "options": {"cellGap": "1"}},
        "custom of another panel": {**stat, "type": "timeseries", **width},
        "custom where there is none": {**stat, **width},
        "an override": {**stat, "type": "table", "fieldConfig": {"defaults": {}, "overrides": [gouge]}},
        "a panel": {**stat, "gridPosition": {}},
    }
    boards = {what: {**board, "panels": [{**panel, "title": what}]} for what, panel in wrong.items()}
    boards["a board"] = {**board, "tags": "llm"}
    found = complaints(boards, tmp_path)
    assert {line.partition(":")[0] for line in found} == set(boards)
    assert complaints({"fine": {**board, "panels": [{**stat, "title": "fine"}]}}, tmp_path) == []


def test_the_renderers_own_types_agree() -> None:
    assert compiled(RENDERER) == ""


@pytest.mark.parametrize("name", BOARDS)
def test_units_are_known(name: str, known: dict[str, set[str]]) -> None:
    units = set(texts_at(BOARDS[name], "unit"))
    assert units
    assert {unit for unit in units - known["units"] if not unit.startswith(BUILT_UNITS)} == set()


@pytest.mark.parametrize("name", BOARDS)
def test_transformations_matchers_and_calculations_are_known(name: str, known: dict[str, set[str]]) -> None:
    board = BOARDS[name]
    rules = [rule for panel in panels(board) for rule in panel.get("fieldConfig", {}).get("overrides", [])]
    made = [one["id"] for panel in panels(board) for one in panel.get("transformations", [])]
    calculations = [
        calc for panel in panels(board) for part in ("reduceOptions", "legend")
        for calc in panel.get("options", {}).get(part, {}).get("calcs", [])
    ]
    assert set(made) <= known["transformations"]
    assert {rule["matcher"]["id"] for rule in rules} <= known["matchers"]
    assert calculations
    assert set(calculations) <= known["calculations"]


@pytest.mark.parametrize("name", BOARDS)
def test_targets_say_what_the_data_source_reads(name: str) -> None:
    targets = [target for panel in panels(BOARDS[name]) for target in panel.get("targets", [])]
    assert targets
    assert {key for target in targets for key in target} <= TARGET_KEYS


def test_the_lists_are_not_of_everything(known: dict[str, set[str]]) -> None:
    board = copy.deepcopy(BOARDS["streams.json"])
    board["panels"][0]["fieldConfig"]["defaults"]["unit"] = "parsecs"
    assert set(texts_at(board, "unit")) - known["units"] >= {"parsecs"}
    assert "s" in known["units"]
    assert "merge" in known["transformations"]
    assert "mergeAll" not in known["transformations"]
