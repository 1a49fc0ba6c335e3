"""`dashboards --by tenant`: every query heeds the label, and what is drawn by model is drawn by it, too."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from alerts_support import needs
from dashboard_queries import BOARDS
from streamvitals import names
from streamvitals.alerts.objectives import Objectives
from streamvitals.cli import main
from streamvitals.export.dashboards import dashboards_for

BY_TENANT = {name: json.loads(text) for name, text in dashboards_for(Objectives(by=("tenant",))).items()}
CLASHES = {name: json.loads(text) for name, text in dashboards_for(Objectives(by=("model", "route"))).items()}
_WORD = re.compile(r"\$(?:\{\w+\}|\w+)")


def queries(board: dict[str, Any]) -> list[str]:
    targets = [target for panel in board["panels"] for target in panel.get("targets", ())]
    return [one["expr"] for one in (*targets, *board["annotations"]["list"]) if "expr" in one]


@pytest.mark.parametrize("name", BOARDS)
def test_every_selector_of_streams_heeds_the_variable(name: str) -> None:
    selectors = [one for expr in queries(BY_TENANT[name]) for one in re.findall(r"\{([^}]*)\}", expr)]
    of_streams = [one for one in selectors if "gen_ai_request_model=~" in one]
    assert of_streams
    assert all(one.count('tenant=~"$tenant"') == 1 for one in of_streams)
    variables = {one["name"]: one for one in BY_TENANT[name]["templating"]["list"]}
    assert variables["tenant"]["query"]["query"].endswith(", tenant)")
    assert variables["tenant"]["allValue"] == ".*", "streams without the label are among all"


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_ids_and_places_of_their_own(name: str) -> None:
    for board in (BY_TENANT[name], CLASHES[name]):
        ids = [panel["id"] for panel in board["panels"]]
        assert len(ids) == len(set(ids))
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        assert len(places) == len(set(places))


def test_what_is_drawn_by_model_is_drawn_by_the_label_too() -> None:
    titles = {panel["title"] for board in BY_TENANT.values() for panel in board["panels"]}
    drawn = ("Streams", "Failing", "First token p95", "Chunk gap p95")
    assert {f"{what}, by tenant" for what in drawn} <= titles
    made = [panel for board in BY_TENANT.values() for panel in board["panels"] if panel["title"].endswith("by tenant")]
    for panel in made:
        assert not re.search(r'by \((?!job|cluster)[^)]*gen_ai', json.dumps(panel["targets"]))
        assert "{{gen_ai_request_model}}" not in json.dumps(panel)
    links = re.findall(r'"url": "([^"]+)"', json.dumps(made))
    assert any("&var-tenant=${__data.fields.tenant}" in link for link in links)
    assert all("${tenant:queryparam}" not in link or "var-tenant=" not in link for link in links)


def test_a_label_that_is_called_as_a_variable_of_ours_gets_another_one() -> None:
    for board in CLASHES.values():
        variables = [one["name"] for one in board["templating"]["list"]]
        assert len(variables) == len(set(variables))
        assert {"model", "label_model", "route"} <= set(variables)
    assert 'model=~"$label_model", route=~"$route"' in queries(CLASHES["streams.json"])[1]


def test_without_a_label_they_are_as_ever() -> None:
    assert dashboards_for(Objectives(by=())) == dashboards_for(Objectives())


@needs("promtool")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    every = [expr for boards in (BY_TENANT, CLASHES) for board in boards.values() for expr in queries(board)]
    rules = [
        {"record": f"r{number}", "expr": _WORD.sub("5m", re.sub(r'"\$\w+"', '".*"', expr.replace("$budget", "0.005")))}
        for number, expr in enumerate(every)
    ]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_command_takes_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["dashboards", "--by", "tenant", "--output", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert 'tenant=~' in (tmp_path / "streams.json").read_text()
    ours = next(iter(names.STREAM_LABELS))
    refused = CliRunner().invoke(main, ["dashboards", "--by", ours, "--output", str(tmp_path)])
    assert refused.exit_code == 2
    assert "is not allowed" in refused.output
