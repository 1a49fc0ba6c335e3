"""The dashboards say what the code says, name nothing that there is not, and leave nobody alone with a panel."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from dashboard_queries import BOARDS, FOLDER, filled, model, queries
from streamvitals import names
from streamvitals.alerts import links as known
from streamvitals.alerts.objectives import Objectives
from streamvitals.export.dashboards import BUDGET, LEAST_STEP, adapt, dashboards_for, with_least_step
from streamvitals.palette import OUTCOME_COLORS

pytest.importorskip("grafana_foundation_sdk", reason="the dashboards' SDK is for Python 3.11 and later")

from dashboards.__main__ import files
from dashboards.lint import faults

ROOT = Path(__file__).parents[2]
NEEDED = {"datasource", "job", "instance", "provider", "model", "operation", "server"}


def test_files_are_what_the_code_makes() -> None:
    made = files()
    assert made.keys() == {*BOARDS, "README.md"}
    for name, text in made.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, f"{name}: python -m dashboards writes it"


@pytest.mark.parametrize("board", BOARDS)
def test_every_dashboard_is_without_fault(board: str) -> None:
    assert list(faults(model(board))) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("expr", "sum(streamvitals_streams)"), "streamvitals_streams is not in names.py"),
        (("expr", 'sum(rate(streamvitals_streams_total{outcome="resett"}[5m]))'), "'resett'"),
        (("expr", "sum by (modell) (streamvitals_streams_active{})"), "modell is no label"),
        (("expr", 'sum(streamvitals_streams_active{flavour="x"})'), "flavour is no label"),
        (("expr", 'streamvitals_streams_active{job=~"$job"}'), "does not heed $model"),
        (("expr", 'streamvitals_build_info{job=~"$job"}'), "does not heed $instance"),
        (("expr", 'ALERTS{job=~"$jobb"}'), "$jobb is no variable"),
        (("legendFormat", "{{modell}}"), "its legend has the label modell"),
    ],
)
def test_a_query_that_asks_for_what_there_is_not_is_a_fault(change: tuple[str, str], said: str) -> None:
    broken = copy.deepcopy(model("streams.json"))
    broken["panels"][0]["targets"][0][change[0]] = change[1]
    assert any(said in fault for fault in faults(broken)), list(faults(broken))


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("description",), "", "has no description"),
        (("fieldConfig", "defaults", "unit"), "", "has no unit"),
        (("fieldConfig", "defaults", "noValue"), "", "says nothing where nothing streams"),
        (("datasource", "uid"), "abc", "asks another data source"),
        (("title",), "Models", "two panels are called 'Models'"),
    ],
)
def test_a_panel_that_leaves_its_reader_alone_is_a_fault(where: tuple[str, ...], value: str, said: str) -> None:
    broken = copy.deepcopy(model("streams.json"))
    place: Any = broken["panels"][0]
    for step in where[:-1]:
        place = place[step]
    place[where[-1]] = value
    assert any(said in fault for fault in faults(broken))


def test_a_table_that_cuts_a_column_is_a_fault() -> None:
    broken = copy.deepcopy(model("streams.json"))
    (firing,) = (panel for panel in broken["panels"] if panel["title"] == "Alerts firing")
    firing["gridPos"]["w"] -= 1
    assert "Alerts firing: its columns need 500 pixels, and it has 455" in set(faults(broken))


@pytest.mark.parametrize("board", BOARDS)
def test_every_panel_heeds_the_variables_and_no_other(board: str) -> None:
    said = model(board)
    variables = {variable["name"]: variable for variable in said["templating"]["list"]}
    assert variables.keys() >= NEEDED
    for name in NEEDED - {"datasource"}:
        assert variables[name]["includeAll"]
        assert variables[name]["multi"]
    assert json.dumps(said).count('"uid": "${datasource}"') > len(said["panels"])


def test_dashboards_are_those_that_alerts_link_to() -> None:
    assert {model(board)["uid"] for board in BOARDS} == set(known.DASHBOARDS)


def test_links_lead_to_dashboards_and_runbooks_that_there_are() -> None:
    text = "".join((FOLDER / board).read_text() for board in BOARDS)
    assert set(re.findall(r'"url": "/d/([\w-]+)\?', text)) == {known.INCIDENT, known.LATENCY}
    assert "Streamvitals${" not in text, "nobody knows where runbooks are"
    led = "".join(dashboards_for(Objectives(runbook_url="https://wiki.example.com/llm/")).values())
    assert led.count('"https://wiki.example.com/llm/Streamvitals${__data.fields.Alert}.md"') >= 1


def test_time_and_variables_go_along() -> None:
    for board in BOARDS:
        for url in re.findall(r'"url": "(/d/[^"]+)"', (FOLDER / board).read_text()):
            assert "${__url_time_range}" in url
            for variable in NEEDED:
                assert f"${{{variable}:queryparam}}" in url or f"var-{variable}=" in url, (url, variable)


def test_an_outcome_has_one_colour_everywhere() -> None:
    assert OUTCOME_COLORS.keys() == set(names.OUTCOMES)
    for board in BOARDS:
        for panel in model(board)["panels"]:
            for override in panel.get("fieldConfig", {}).get("overrides", ()):
                name = override["matcher"]["options"]
                if name in OUTCOME_COLORS:
                    assert override["properties"][0]["value"]["fixedColor"] == OUTCOME_COLORS[name]


def test_thresholds_are_the_alerts() -> None:
    """What is red is where the rules of the same objectives fire."""
    rules = (ROOT / "alerts" / "streamvitals.rules.yaml").read_text()
    drawn = {
        panel["title"]: [step["value"] for step in panel["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]]
        for board in BOARDS for panel in model(board)["panels"] if panel["type"] in ("stat", "timeseries")
        if panel["fieldConfig"]["defaults"].get("thresholds")
    }
    assert f"failure_ratio:increase5m > {drawn['Failing now'][1]:g}\n" in rules
    assert f"streamvitals:first_token:p95_5m > {drawn['First token p95'][0]:g}\n" in rules
    assert f"streamvitals:chunk_gap:p95_5m > {drawn['Chunk gap p95'][0]:g}\n" in rules
    assert re.search(rf"min_over_time\(streamvitals:stalled\[\w+\]\) >= {drawn['Stalled now'][1]:g}\n", rules)
    assert f"[15m]) < {drawn['Least headroom'][0]:g})" in rules
    lag = f"rate(streamvitals_event_loop_lag_seconds[15m])))) > {drawn['Event loop lag'][0]:g}\n"
    assert lag in rules


def test_thresholds_follow_the_users_objectives() -> None:
    """As many as there are, and no others: what does not follow from the objectives stays."""
    told = Objectives(availability=99.0, ttft_p95=1.5, chunk_gap_p95=0.4)
    moved: dict[tuple[float, ...], set[tuple[float, ...]]] = {}
    for board in BOARDS:
        text = (FOLDER / board).read_text(encoding="utf-8")
        assert adapt(text, Objectives()) == text
        for before, after in zip(*(_steps(json.loads(each)) for each in (text, adapt(text, told))), strict=True):
            moved.setdefault(before, set()).add(after)
        variables = json.loads(adapt(text, told))["templating"]["list"]
        assert [variable["query"] for variable in variables if variable["name"] == BUDGET] == ["0.01"]
    assert moved[0.005, 0.05] == {(0.01, 0.1)}
    assert moved[2.5,] == {(1.5,)}
    assert moved[0.25,] == {(0.4,), (0.25,)}, "a gap's moves, the event loop's stays"
    assert {before for before, after in moved.items() if after != {before}} == {(0.005, 0.05), (2.5,), (0.25,)}


def _steps(said: dict[str, Any]) -> list[tuple[float, ...]]:
    found = re.findall(r'"steps": (\[[^]]*\])', json.dumps(said))
    return [tuple(step["value"] for step in json.loads(steps)[1:]) for steps in found]


def test_positions_do_not_overlap_and_fill_the_grid() -> None:
    for board in BOARDS:
        taken: set[tuple[int, int]] = set()
        panels = model(board)["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        for panel in panels:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, panel["title"]
            taken |= cells
        assert len(taken) == 24 * (1 + max(y for _, y in taken)), f"{board} has holes"


def test_the_first_page_fits_a_screen() -> None:
    """A unit of the grid is 38 pixels; a full-HD screen has 1080, of which Grafana's own head takes some 130."""
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in model("streams.json")["panels"])
    assert bottom * 38 + 130 <= 1080


def test_a_query_has_only_variables_that_a_test_knows() -> None:
    values = dict.fromkeys(("__rate_interval", "__interval", "__range", "compare", "budget", *NEEDED), "1m")
    for query in queries():
        filled(query.expr, values)




def test_rates_have_two_scrapes_however_seldom_prometheus_scrapes() -> None:
    """Grafana takes rates over four times a query's least step; where there is none, over a minute."""
    for board in BOARDS:
        text = (FOLDER / board).read_text(encoding="utf-8")
        for said, least in ((text, LEAST_STEP), (with_least_step(text, 300.0), "5m")):
            targets = [target for panel in json.loads(said)["panels"] for target in panel.get("targets", ())]
            assert {target["interval"] for target in targets if "expr" in target} == {least}
