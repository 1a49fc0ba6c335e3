"""The dashboards say only what Grafana understands: by the types of @grafana/schema and the lists of @grafana/data."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from alerts_support import needs
from dashboards.render import RENDERER
from dashboards_schema import BUILT_UNITS, TARGET_KEYS, TRACE_KEYS, compiled, complaints, facts, panels, texts_at
from streamvitals.export.schema_v2 import API_VERSION, to_v2

# All wait for the same packages, which are installed once.
pytestmark = [needs("node", "npm"), pytest.mark.xdist_group("dashboards")]
BOARDS = {path.name: json.loads(path.read_text()) for path in sorted(RENDERER.parent.glob("*.json"))}


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    queries = [target["query"] for board in BOARDS.values() for panel in panels(board)
               for target in panel.get("targets", ()) if target["datasource"]["type"] == "tempo"]
    assert queries
    return facts(*(re.sub(r"\$\w+", ".*", query) for query in queries))


def test_the_types_have_nothing_to_say(tmp_path: Path) -> None:
    assert len(BOARDS) >= 4
    second = {f"{name} v2": json.loads(to_v2(json.dumps(board))) for name, board in BOARDS.items()}
    assert complaints(BOARDS | second, tmp_path) == []


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
    boards["of the second schema"] = json.loads(to_v2(json.dumps(BOARDS["streams.json"] | {"tags": "llm"})))
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
    for target in targets:
        assert target.keys() <= (TARGET_KEYS if target["datasource"]["type"] == "prometheus" else TRACE_KEYS)


def test_the_lists_are_not_of_everything(known: dict[str, set[str]]) -> None:
    board = copy.deepcopy(BOARDS["streams.json"])
    board["panels"][0]["fieldConfig"]["defaults"]["unit"] = "parsecs"
    assert set(texts_at(board, "unit")) - known["units"] >= {"parsecs"}
    assert "s" in known["units"]
    assert "merge" in known["transformations"]
    assert "mergeAll" not in known["transformations"]


@pytest.mark.parametrize("name", BOARDS)
def test_the_second_schema_has_all_that_the_first_one_has(name: str) -> None:
    board, second = BOARDS[name], json.loads(to_v2(json.dumps(BOARDS[name])))
    assert (second["apiVersion"], second["kind"]) == (API_VERSION, "Dashboard")
    assert second["metadata"]["name"] == board["uid"]
    spec = second["spec"]
    for one in board["panels"]:
        if one["type"] == "row":
            continue
        element = spec["elements"][f"panel-{one['id']}"]["spec"]
        asked = [query["spec"]["query"]["spec"] for query in element["data"]["spec"]["queries"]]
        assert [one.get("expr") for one in asked] == [target.get("expr") for target in one.get("targets", ())]
        assert element["vizConfig"]["group"] == one["type"]
        assert element["vizConfig"]["spec"]["options"] == one["options"]
        assert element["title"] == one["title"]
    assert [one["spec"]["name"] for one in spec["variables"]] == [one["name"] for one in board["templating"]["list"]]
    rows = spec["layout"]["spec"]["rows"]
    assert [row["spec"]["title"] for row in rows if row["spec"]["title"]] == [
        panel["title"] for panel in board["panels"] if panel["type"] == "row"
    ]
    placed = [item["spec"] for row in rows for item in row["spec"]["layout"]["spec"]["items"]]
    assert {item["element"]["name"] for item in placed} == spec["elements"].keys()
    assert all(item["x"] + item["width"] <= 24 and item["y"] >= 0 for item in placed)


def test_traces_are_asked_for_in_traceql(known: dict[str, set[str]]) -> None:
    assert known["misunderstood"] == set()
    assert facts("{ span.a = }")["misunderstood"] == {"}"}
