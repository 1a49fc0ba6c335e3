"""Who a service is by default, and rules whose groups are evaluated in any order."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from alerts_support import needs, newer
from alerts_world import Course, Thing, streams
from promtool_support import RULES, Promtool, needed
from streamvitals.alerts.objectives import ObjectiveError, Objectives
from streamvitals.alerts.ruleset import every_rule, rule_groups
from streamvitals.export.rules import name_of

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


def test_services_with_other_objectives_side_by_side(tmp_path: Path) -> None:
    """Of either 12% fail, which one of them may. Each has its rules, and no series is there twice."""
    strict = every_rule(Objectives(only=(("job", "=", "chat"),)))
    loose = every_rule(Objectives(availability=95, only=(("job", "!=", "chat"),)))
    read = {rule.get("alert") or rule["record"] for rule in needed(FAILING)}
    promtool = Promtool(tmp_path, [rule for rule in (*strict, *loose) if (rule.get("alert") or rule["record"]) in read])
    chat = Course({streams("reset"): 17.0}, ill=10, after=0)
    promtool.expect("side by side", chat)
    given = promtool.groups[0]["input_series"]
    given += [{**one, "series": one["series"].replace('job="chat"', 'job="search"')} for one in given]
    promtool.groups[0]["promql_expr_test"] = [
        {"expr": expr, "eval_time": "30m", "exp_samples": [{"labels": f'{{job="{job}"}}', "value": 1} for job in jobs]}
        for expr, jobs in (
            (f'count by (job) (ALERTS{{alertname="{FAILING}",alertstate="firing"}})', ["chat"]),
            ("count by (job) (streamvitals:operations:increase5m)", ["chat", "search"]),
        )
    ]
    promtool.check()


def test_rules_for_some_services_alone_have_a_name_of_their_own() -> None:
    names = [name_of(Objectives(only=only)) for only in ((), (("job", "=", "chat"),), (("job", "!=", "chat"),))]
    assert names == ["streamvitals", "streamvitals-chat", "streamvitals-not-chat"]
    assert len(name_of(Objectives(only=(("job", "=", "x" * 300),)))) <= 50
    with pytest.raises(ObjectiveError, match="only 'team=llm' is not allowed: a label that tells services apart"):
        Objectives(only=(("team", "=", "llm"),))


@pytest.mark.skipif(not newer("promtool"), reason="newer_prometheus.sh says why")
def test_histograms_that_were_converted_to_native_ones_are_read(tmp_path: Path) -> None:
    """As Prometheus 3 does with convert_classic_histograms_to_nhcb: their buckets are no series any more."""
    chosen = needed("StreamvitalsFirstTokenRegression")
    bounds = "custom_values:[0.5 1 2.5 4]"
    fast, slow = (f"{{{{schema:-53 count:60 sum:{total} {bounds} buckets:[{buckets}]}}}}" for total, buckets in (
        (30, "60 0 0 0 0"), (240, "0 0 0 60 0")))
    series = 'streamvitals_time_to_first_token_seconds{job="chat",instance="a",gen_ai_request_model="m"}'
    (tmp_path / "rules.yaml").write_text(json.dumps({"groups": [{"name": "all", "rules": chosen}]}))
    tests = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [{
        "interval": "1m", "input_series": [{"series": series, "values": f"{fast}+{fast}x90 {slow}+{slow}x20"}],
        "promql_expr_test": [{
            "expr": "streamvitals:first_token:p95_5m > 2.5", "eval_time": "105m",
            "exp_samples": [{"labels": 'streamvitals:first_token:p95_5m{job="chat",gen_ai_request_model="m"}',
                             "value": 3.925}],
        }],
    }]}
    (tmp_path / "test.yaml").write_text(json.dumps(tests))
    command = [str(newer("promtool")), "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
