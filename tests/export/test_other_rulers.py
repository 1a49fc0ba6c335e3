"""The rules and routes for other systems: by their tools where there are any, else by the fields of their pages."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from alerts_support import amtool, needs
from alerts_world import Course, streams
from promtool_support import Promtool
from streamvitals.alerts.groups import ALERTS, MOST_RULES
from streamvitals.alerts.language import recorded_in
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.ruleset import rule_groups
from streamvitals.cli import main
from streamvitals.export.alertmanager_config import FILE as CONFIG
from streamvitals.export.grafana_rules import FILE as GRAFANA
from streamvitals.export.grafana_rules import PAGING
from streamvitals.export.grafana_texts import TextError, Texts, of_each, without_questions
from streamvitals.export.rules import FILE

GROUPS = rule_groups(Objectives())["groups"]
# https://grafana.com/docs/grafana/latest/alerting/set-up/provision-alerting-resources/file-provisioning/
RULE = {
    "uid", "title", "condition", "data", "noDataState", "execErrState", "for", "keepFiringFor", "annotations", "labels",
}
QUERY = {"refId", "relativeTimeRange", "datasourceUid", "model"}


def ask(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["alerts", *map(str, arguments)])


def promtool_accepts(folder: Path, groups: list[dict[str, Any]]) -> None:
    (folder / "checked.yaml").write_text(json.dumps({"groups": groups}))
    asked = ["promtool", "check", "rules", folder / "checked.yaml"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


@needs("promtool")
def test_a_ruler_gets_the_same_groups_in_its_form(tmp_path: Path) -> None:
    mimir = yaml.safe_load(ask("--format", "mimir").stdout)
    assert mimir == {"namespace": "streamvitals", "groups": GROUPS}
    thanos = yaml.safe_load(ask("--format", "thanos").stdout)["groups"]
    assert {group.pop("partial_response_strategy") for group in thanos} == {"abort"}
    assert thanos == GROUPS
    victoria = yaml.safe_load(ask("--format", "victoriametrics", "--namespace", "chat").stdout)
    assert (victoria["apiVersion"], victoria["kind"]) == ("operator.victoriametrics.com/v1beta1", "VMRule")
    assert (victoria["metadata"]["namespace"], victoria["spec"]["groups"]) == ("chat", GROUPS)
    promtool_accepts(tmp_path, GROUPS)


def operator_makes(config: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The configuration that Prometheus' operator makes of an AlertmanagerConfig, for what is used of it."""
    own = [f'namespace = "{namespace}"']

    def matchers(given: list[dict[str, str]]) -> list[str]:
        return [f'{one["name"]} {one["matchType"]} "{one["value"]}"' for one in given]

    def snake(given: dict[str, Any]) -> dict[str, Any]:
        return {re.sub(r"(?<=[a-z])([A-Z])", lambda m: "_" + m[1].lower(), key): value for key, value in given.items()}

    def route(given: dict[str, Any], first: list[str]) -> dict[str, Any]:
        made = snake(given) | {"matchers": first + matchers(given.get("matchers", []))}
        return made | {"routes": [route(one, []) for one in given.get("routes", [])]}

    spec = config["spec"]
    receivers = []
    for one in spec["receivers"]:
        made: dict[str, Any] = {"name": one["name"]}
        for pagerduty in one.get("pagerdutyConfigs", []):
            details = {detail["key"]: detail["value"] for detail in pagerduty["details"]}
            made["pagerduty_configs"] = [snake(pagerduty) | {"routing_key": "0" * 32, "details": details}]
        for slack in one.get("slackConfigs", []):
            others = {key: value for key, value in slack.items() if key != "apiURL"}
            made["slack_configs"] = [snake(others) | {"api_url": "https://slack.example.com/x"}]
        receivers.append(made)
    inhibit = [{
        "source_matchers": own + matchers(rule["sourceMatch"]), "target_matchers": own + matchers(rule["targetMatch"]),
        "equal": rule["equal"],
    } for rule in spec["inhibitRules"]]
    top = {"receiver": "null", "routes": [route(spec["route"], own) | {"continue": True}]}
    return {"route": top, "receivers": [{"name": "null"}, *receivers], "inhibit_rules": inhibit}


@needs("amtool")
def test_an_alertmanager_config_routes_as_the_example_does(tmp_path: Path) -> None:
    done = ask(
        "--severity", "page=critical", "--severity", "ticket=warning", "--format", "kubernetes", "--namespace", "chat",
        "--with-examples", "--output", tmp_path,
    )
    assert done.exit_code == 0, done.output
    config = yaml.safe_load((tmp_path / CONFIG).read_text())
    assert (config["apiVersion"], config["kind"]) == ("monitoring.coreos.com/v1alpha1", "AlertmanagerConfig")
    assert config["metadata"]["namespace"] == "chat"
    made = operator_makes(config, "chat")
    (tmp_path / "made.yaml").write_text(yaml.safe_dump(made))
    assert "1 inhibit rules" in amtool("check-config", tmp_path / "made.yaml")
    for labels, receiver in (
        ("alertname=StreamvitalsFailing severity=critical namespace=chat", "pager"),
        ("alertname=StreamvitalsResetStorm severity=warning namespace=chat", "tickets"),
        ("alertname=StreamvitalsPaged severity=none namespace=chat", "nobody"),
        ("alertname=StreamvitalsFailing severity=critical namespace=other", "null"),
        ("alertname=KubePodCrashLooping severity=critical namespace=chat", "tickets"),
    ):
        went = amtool("config", "routes", "test", f"--config.file={tmp_path}/made.yaml", *labels.split())
        assert went.split("Warning")[0].split() == [receiver], labels


@pytest.fixture(scope="module")
def grafana(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rules of Grafana's, and the groups of what Prometheus records for them."""
    folder = tmp_path_factory.mktemp("grafana")
    done = ask("--format", "grafana", "--datasource-uid", "mine", "--alert-label", "owner=$me", "--output", folder)
    assert done.exit_code == 0, done.output
    told = yaml.safe_load((folder / GRAFANA).read_text())
    assert told["apiVersion"] == 1
    (group,) = told["groups"]
    assert {"orgId", "name", "folder", "interval", "rules"} == group.keys()
    return group["rules"], yaml.safe_load((folder / FILE).read_text())["groups"]


def test_rules_of_grafanas_own_have_the_fields_of_its_page(grafana: Any) -> None:
    rules, groups = grafana
    assert {rule["title"] for rule in rules} == {alert.name for alert in ALERTS}
    assert len({rule["uid"] for rule in rules}) == len(rules)
    recorded = [rule["record"] for group in groups for rule in group["rules"]]
    assert not [rule for group in groups for rule in group["rules"] if "alert" in rule]
    assert len(recorded) == len(set(recorded))
    assert max(len(group["rules"]) for group in groups) <= MOST_RULES
    for rule in rules:
        assert rule.keys() <= RULE
        assert len(rule["uid"]) <= 40
        assert rule["labels"]["owner"] == "$$me", "a dollar sign stands for itself"
        asked = {query["refId"]: query for query in rule["data"]}
        assert rule["condition"] in asked
        assert all(query.keys() <= QUERY for query in rule["data"])
        assert {query["datasourceUid"] for query in rule["data"]} == {"mine", "__expr__"}
        for query in rule["data"][:-1]:
            assert set(re.findall(r"streamvitals:[\w:]+", query["model"]["expr"])) <= set(recorded)
        text = rule["annotations"]["summary"] + rule["annotations"]["description"]
        assert not re.search(r"\|\s*query|\$service|\bfirst \.|label \"|toTime|%\[1\]s", text), text
        assert set(re.findall(r"\$values\.(\w+)", text)) <= asked.keys()
        assert text.count("{{ end }}") == len(re.findall(r"\{\{ (?:if|with) ", text))


@needs("promtool")
def test_what_grafana_needs_is_recorded(grafana: Any, tmp_path: Path) -> None:
    """While streams are reset: the page's query has an answer, as has each that its text needs; a cause's has none."""
    rules, groups = grafana
    promtool_accepts(tmp_path, groups)
    by_title = {rule["title"]: {query["refId"]: query["model"].get("expr") for query in rule["data"]} for rule in rules}
    page, cause = by_title["StreamvitalsFailing"], by_title["StreamvitalsResetStorm"]
    asked = [expr for expr in (*page.values(), cause["A"]) if expr]
    wanted, needed = set().union(*map(recorded_in, asked)), []
    for rule in [rule for group in reversed(groups) for rule in reversed(group["rules"])]:
        if rule["record"] in wanted:
            needed.append(rule)
            wanted |= recorded_in(rule["expr"])
    promtool = Promtool(tmp_path, needed[::-1])
    checks = [(28, f"count({expr}) > bool 0", 1.0) for expr in page.values() if expr]
    checks.append((28, f"round(sum({page['T2']}))", 22.0))
    checks += [(28, f"count({cause['A']})", None), (28, f"count({PAGING})", 1.0), (15, f"count({page['A']})", None)]
    promtool.expect("grafana", Course({streams("reset"): 17.0}, ill=10, after=0), *checks)
    promtool.check()


def test_a_question_about_one_service_is_asked_of_each() -> None:
    assert of_each("topk(1, sum by (m) (x{%[1]s, a=\"b\"}) > 0)", ("ns", "job")) == (
        'topk by (ns, job) (1, sum by (ns, job, m) (x{a="b"}) > 0)'
    )
    assert of_each("count(y{%[1]s})", ("job",)) == "count by (job) (y)"


def test_a_text_is_converted_or_refused() -> None:
    texts = Texts(("job",))
    text = (
        "{{ $service := printf `job=%q` $labels.job }}{{ with printf `x{%[1]s}` $service | query }}{{ with first . }}"
        '{{ value . | printf "%.0f" }} of {{ or (label "m" .) "it" }}{{ end }}{{ else }}none{{ end }}, {{ $value }}'
    )
    assert texts.converted(text) == (
        '{{ if index $values.T1.Labels "told" }}{{ $values.T1.Value | printf "%.0f" }} of {{ or (index'
        ' $values.T1.Labels "m") "it" }}{{ else }}none{{ end }}, {{ $values.A.Value }}'
    )
    assert texts.asked == {"T1": "x"}
    assert without_questions(text) == ", {{ $value }}"
    for bad in ("{{ end }}", "{{ if eq 1 1 }}", "{{ with printf `x` $service | query }}y{{ end }}"):
        with pytest.raises(TextError):
            Texts(("job",)).converted(bad)


@pytest.mark.parametrize(("arguments", "said"), [
    (["--format", "grafana"], "--format grafana goes with --output DIR only"),
    (["--format", "grafana", "--by", "tenant", "--output", "x"], "--by goes with other formats only"),
    (["--format", "mimir", "--namespace", "x"], "--namespace goes with --format kubernetes, configmap or"),
])
def test_bad_input_is_named(arguments: list[str], said: str) -> None:
    done = ask(*arguments)
    assert done.exit_code == 2
    assert said in done.stderr
