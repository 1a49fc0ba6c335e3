"""Who a service is by default, and rules whose groups are evaluated in any order."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from alerts_support import needs
from alerts_world import Course, Thing, streams
from promtool_support import RULES, Promtool, needed
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.ruleset import rule_groups

pytestmark = needs("promtool")
FAILING = "StreamvitalsFailing"


def named(series: list[dict[str, str]], **labels: str) -> list[dict[str, str]]:
    """The same series with these labels, too."""
    more = ",".join(f'{name}="{value}"' for name, value in labels.items())
    return [{**one, "series": one["series"].replace("{", "{" + more + ",", 1)} for one in series]


@pytest.mark.parametrize("label", ["namespace", "cluster"])
def test_one_job_in_two_places_is_two_services(label: str, tmp_path: Path) -> None:
    """All of one fails, and a busy load test in the other is well; and so with two clusters in one Prometheus."""
    promtool = Promtool(tmp_path, needed(FAILING))
    failing: dict[Thing, Any] = {streams("completed"): 0.0, streams("reset"): 2.0}
    prod = Course(failing, healthy={streams("completed"): 2.0}, replicas=("a:9464",), ill=10, after=0)
    staging = Course({}, healthy={streams("completed"): 600.0}, replicas=("a:9464",), ill=10, after=0)
    promtool.expect("two", prod)
    promtool.groups[0]["input_series"] = [
        *named(list(prod.series()), **{label: "prod"}), *named(list(staging.series()), **{label: "staging"}),
    ]
    promtool.groups[0]["promql_expr_test"] = [{
        "expr": f'count by ({label}, job) (ALERTS{{alertname="{FAILING}",alertstate="firing"}})', "eval_time": "30m",
        "exp_samples": [{"labels": f'{{{label}="prod", job="chat"}}', "value": 1}],
    }]
    promtool.check()


@pytest.mark.parametrize("backwards", [False, True])
def test_groups_in_any_order_page_alike(backwards: bool, tmp_path: Path) -> None:
    """What they read of each other is a beat old at most; an alert comes a beat or two later, and none more comes."""
    read = {rule.get("alert") or rule["record"] for rule in needed(FAILING, "StreamvitalsResetStorm")}
    groups = [
        {**group, "rules": kept} for group in rule_groups(Objectives())["groups"]
        if (kept := [rule for rule in group["rules"] if (rule.get("alert") or rule["record"]) in read])
    ]
    course = Course({streams("reset"): 30.0}, ill=10, after=0)
    fires = 'count by (alertname) (ALERTS{alertstate="firing"})'
    both = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in (FAILING, "StreamvitalsResetStorm")]
    order = [group["name"] for group in groups]
    tests = {
        "rule_files": ["rules.yaml"], "evaluation_interval": "30s",
        "group_eval_order": order[::-1] if backwards else order,
        "tests": [{
            "interval": "30s", "input_series": list(course.series()), "promql_expr_test": [
                {"expr": fires, "eval_time": "19m", "exp_samples": []},
                {"expr": fires, "eval_time": "27m", "exp_samples": both},
            ],
        }],
    }
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": groups}))
    (tmp_path / "test.yaml").write_text(json.dumps(tests))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rules_are_told_apart_by_their_names() -> None:
    assert len({rule.get("alert") or rule["record"] for rule in RULES}) == len(RULES)
