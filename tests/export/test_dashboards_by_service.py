"""Dashboards for services that other labels than `job` tell apart: as the alerts have it."""

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
from streamvitals.alerts.objectives import SERVICE, Objectives
from streamvitals.alerts.ruleset import every_rule
from streamvitals.cli import main
from streamvitals.export.dashboards import dashboards_for

CHOICES = [SERVICE, ("region", "namespace", "job"), ("app",)]
_WORD = re.compile(r"\$(?:\{\w+\}|\w+)")


def made_for(service: tuple[str, ...], by: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    found = dashboards_for(Objectives(service=service, by=by))
    return {name: json.loads(text) for name, text in found.items()}


def queries(board: dict[str, Any]) -> list[str]:
    targets = [target for panel in board["panels"] for target in panel.get("targets", ())]
    return [one["expr"] for one in (*targets, *board["annotations"]["list"]) if "expr" in one]


@pytest.mark.parametrize("service", CHOICES)
def test_every_query_and_link_heeds_all_labels(service: tuple[str, ...]) -> None:
    for name, board in made_for(service).items():
        variables = {one["name"]: one for one in board["templating"]["list"]}
        assert [one for one in variables if one in (*service, "job")] == list(service), name
        for at, label in enumerate(service):
            asked = variables[label]["query"]["query"]
            assert asked.endswith(f", {label})")
            assert re.findall(r'(\w+)=~"\$\1"', asked) == list(service[:at])
            assert variables[label]["allValue"] == ".*", "a service without the label is among all"
        later = json.dumps([one for one in board["templating"]["list"] if one["name"] not in service])
        text = json.dumps(board["panels"]) + json.dumps(board["annotations"]) + later
        for label in service:
            assert text.count(rf'{label}=~\"${label}\"') == text.count(rf'{service[-1]}=~\"${service[-1]}\"') > 3
            assert text.count(f"${{{label}:queryparam}}") == text.count(f"${{{service[-1]}:queryparam}}")
        if "job" not in service:
            assert not re.search(r"\bjob\b(?!\")", "".join(queries(board))), name
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", "".join(queries(board))):
            listed = labels.split(", ")
            assert len(listed) == len(set(listed))
            assert not {*service} & {*listed} or {*service} <= {*listed}, labels


@needs("promtool")
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    boards = [board for service in CHOICES for board in made_for(service, ("tenant",)).values()]
    rules = [
        {"record": f"r{number}", "expr": _WORD.sub("5m", re.sub(r'"\$\w+"', '".*"', expr.replace("$budget", "0.005")))}
        for number, expr in enumerate(expr for board in boards for expr in queries(board))
    ]
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", "rules.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", CHOICES)
def test_links_of_alerts_name_variables_that_there_are(service: tuple[str, ...]) -> None:
    boards = made_for(service).values()
    variables = {board["uid"]: {one["name"] for one in board["templating"]["list"]} for board in boards}
    links = [
        rule["annotations"]["dashboard_url"]
        for rule in every_rule(Objectives(service=service, dashboard_url="https://grafana.example.com"))
        if "dashboard_url" in rule.get("annotations", {})
    ]
    assert links
    for link in links:
        uid = link.partition("/d/")[2].partition("?")[0]
        assert set(re.findall(r"var-(\w+)=", link)) <= variables[uid], link


def test_the_command_takes_it_and_refuses_a_label_of_ours(tmp_path: Path) -> None:
    asked = ["dashboards", "--service-label", "cluster", "--service-label", "namespace", "--output", str(tmp_path)]
    assert CliRunner().invoke(main, asked).exit_code == 0
    assert {path.name for path in tmp_path.iterdir()} == set(BOARDS)
    refused = CliRunner().invoke(main, ["dashboards", "--service-label", "server", "--output", str(tmp_path / "x")])
    assert refused.exit_code == 2
    assert "service-label 'server' is not allowed: the dashboards have a variable so called" in refused.stderr
