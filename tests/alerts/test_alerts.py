"""The generator of the rules, and what it gives by default, which is committed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import streamvitals.alerts
import streamvitals.export
from alerts.backtest import replay
from alerts_support import amtool, needs
from streamvitals import names
from streamvitals.alerts import language, links
from streamvitals.alerts.groups import MOST_RULES
from streamvitals.alerts.objectives import PROJECT_PAGES, ObjectiveError, Objectives, seconds
from streamvitals.alerts.promql import UnknownNameError, among, equals
from streamvitals.alerts.rule import Alert
from streamvitals.alerts.ruleset import ALERTS, every_rule, rule_groups
from streamvitals.alerts.silence import PAGED
from streamvitals.export.rules import FILE, render

ROOT = Path(__file__).resolve().parents[2]
COMMAND = str(Path(sys.executable).with_name("streamvitals"))
LINKED = Objectives(runbook_url="https://wiki.example.com/", dashboard_url="https://grafana.example.com")
DEFAULT = every_rule(Objectives())


def ask(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, "alerts", *arguments], capture_output=True, text=True, check=False)


def alerts_of(objectives: Objectives) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in every_rule(objectives) if "alert" in rule}


def test_the_committed_rules_are_the_default() -> None:
    assert (ROOT / "alerts" / FILE).read_text() == render(Objectives()), "streamvitals alerts --output alerts --force"


@needs("promtool")
@pytest.mark.parametrize("objectives", [
    Objectives(),
    Objectives(availability=99.95, ttft_p95=0.8, scrape_interval=60, service=("cluster", "job")),
    Objectives(availability=60, speed=20, scrape_interval=1),
])
def test_promtool_finds_nothing_to_object_to(tmp_path: Path, objectives: Objectives) -> None:
    (tmp_path / FILE).write_text(render(objectives))
    checked = subprocess.run(
        ["promtool", "check", "rules", "--lint=all", "--lint-fatal", tmp_path / FILE],
        capture_output=True, text=True, check=False,
    )
    assert checked.returncode == 0, checked.stderr + checked.stdout


@pytest.mark.parametrize("package", [streamvitals.alerts, streamvitals.export])
def test_a_folder_lists_its_modules(package: ModuleType) -> None:
    listed = re.findall(r"^    (\w+\.py)  +\S", package.__doc__ or "", re.MULTILINE)
    there = {path.name for path in Path(str(package.__file__)).parent.glob("*.py")} - {"__init__.py"}
    assert sorted(listed) == sorted(there)


def test_the_yaml_says_what_was_meant() -> None:
    assert yaml.safe_load(render(Objectives())) == rule_groups(Objectives())


def test_for_the_operator() -> None:
    resource = yaml.safe_load(render(Objectives(), "kubernetes"))
    assert (resource["apiVersion"], resource["kind"]) == ("monitoring.coreos.com/v1", "PrometheusRule")
    assert resource["spec"] == rule_groups(Objectives())


@pytest.mark.parametrize("bad", [
    "sum(streamvitals_strems_total)",
    "sum by (gen_ai_request_modell) (streamvitals_streams_total)",
    'sum(streamvitals_streams_total{outcome="resett"})',
    'sum(streamvitals_streams_total{outcome=~"reset|resett"})',
    'sum(streamvitals_retries_total{source="user"})',
    "sum($nothing)",
])
def test_a_name_that_is_unknown_is_refused(bad: str) -> None:
    with pytest.raises(UnknownNameError):
        language.Language(Objectives()).fill(bad)


def test_a_matcher_takes_only_values_that_its_label_has() -> None:
    assert str(among("outcome", ("reset", "timeout"))) == 'outcome=~"reset|timeout"'
    with pytest.raises(UnknownNameError, match="resett"):
        among("outcome", ("reset", "resett"))
    with pytest.raises(UnknownNameError, match="user"):
        equals("source", "user")


def test_every_recorded_series_is_read(tmp_path: Path) -> None:
    texts = [rule["expr"] for rule in DEFAULT] + [a for rule in DEFAULT for a in rule.get("annotations", {}).values()]
    read = set().union(*map(language.recorded_in, texts))
    assert read == {rule["record"] for rule in DEFAULT if "record" in rule}


def test_a_rename_in_names_reaches_the_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """names.py is the only place where a name is written."""
    for metric in names.ALL_METRICS:
        assert metric.prometheus not in "".join(
            path.read_text() for path in (ROOT / "src" / "streamvitals" / "alerts").glob("*.py")
        )
    renamed = {{"gen_ai_request_model": "llm_model"}.get(k, k): key for k, key in names.STREAM_LABELS.items()}
    monkeypatch.setattr(names, "STREAM_LABELS", renamed)
    assert "gen_ai_request_model" not in render(Objectives())
    assert "llm_model" in render(Objectives())


def test_no_le_is_matched_and_no_number_is_a_label() -> None:
    for rule in DEFAULT:
        assert not re.search(r"\ble\s*(=|!)", rule["expr"]), rule["expr"]
        for value in rule.get("labels", {}).values():
            assert "{{" not in value
    assert not any("instance" in rule.get("labels", {}) for rule in DEFAULT)


@pytest.mark.parametrize("given", [{}, {"interval": 15}, {"interval": 60}, {"speed": 24}])
def test_what_must_last_for_minutes_does_so_in_prometheus_2_and_3(given: dict[str, float]) -> None:
    """They do not agree on a sample at the very beginning of a window: none of what was recorded may lie there."""
    objectives = Objectives(**given)  # type: ignore[arg-type]
    windows = set()
    for rule in every_rule(objectives):
        windows |= {w for w in re.findall(r"\bmin_over_time\(streamvitals:\w[^\[]*\[(\w+)\]", rule["expr"])
                    if replay.seconds(w) * objectives.speed < 600}
    assert len(windows) == 3
    for window in windows:
        evaluations = replay.seconds(window) * objectives.speed / objectives.interval
        assert evaluations % 1 == pytest.approx(0.5, abs=0.1), window


@pytest.mark.parametrize("by", [(), ("tenant", "route", "feature")])
def test_a_hosted_ruler_takes_every_group(by: tuple[str, ...]) -> None:
    groups = rule_groups(Objectives(by=by))["groups"]
    assert len({group["name"] for group in groups}) == len(groups)
    assert max(len(group["rules"]) for group in groups) <= MOST_RULES


def test_what_counts_samples_stands_with_what_records_them() -> None:
    """Another group may be evaluated a beat sooner or later, and have one more or less in a window."""
    for group in rule_groups(Objectives(by=("tenant",)))["groups"]:
        recorded = {rule["record"] for rule in group["rules"] if "record" in rule}
        for rule in group["rules"]:
            counted = set(re.findall(r"\bcount_over_time\((streamvitals:[\w:]+)\[\w+\]\) >=", rule["expr"]))
            lasting = {series for series, window in re.findall(
                r"\bmin_over_time\((streamvitals:[\w:]+)\[(\w+)\]", rule["expr"]) if replay.seconds(window) < 600}
            assert counted | lasting <= recorded, rule


def test_no_page_hides_another() -> None:
    """Neither in the rules, nor in the example: somebody may have silenced it."""
    rules = {rule.get("alert") or rule["record"]: rule["expr"] for rule in DEFAULT}
    judged = {rule["expr"] for rule in DEFAULT if rule.get("labels", {}).get("kind") == "symptom"}
    for alert in (rule for rule in DEFAULT if rule.get("labels", {}).get("kind") == "symptom"):
        read, more = set(), language.recorded_in(alert["expr"])
        while more:
            read |= more
            more = set().union(*(language.recorded_in(rules[name]) for name in more)) - read
        others = set().union(*map(language.recorded_in, judged - {alert["expr"]}))
        assert not read & others, alert["alert"]
        assert "ALERTS" not in alert["expr"]


def test_no_alert_is_about_one_instance_or_one_value() -> None:
    """One incident is one alert: what an alert's expression keeps are the labels of the service."""
    for rule in DEFAULT:
        if "alert" in rule and rule["alert"] != "StreamvitalsWatchdog":
            outer = re.sub(r"\s+", " ", rule["expr"])
            assert "by (cluster, namespace, job)" in outer or outer.startswith(("streamvitals:", "(")), outer


def test_only_symptoms_page() -> None:
    assert {a.kind for a in ALERTS if a.severity == "page"} == {"symptom"}
    assert all(a.severity == "page" for a in ALERTS if a.kind == "symptom")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_every_alert_says_what_to_do(alert: Alert) -> None:
    rule = alerts_of(Objectives())[alert.name]
    annotations = rule["annotations"]
    assert annotations["summary"].strip()
    assert "Look next" in annotations["description"]
    assert "1. " in annotations["description"]
    assert "2. " in annotations["description"]
    assert f"Runbook: streamvitals runbook {alert.name}" in annotations["description"]
    assert not {"runbook_url", "dashboard_url"} & annotations.keys()
    linked = alerts_of(LINKED)[alert.name]["annotations"]
    assert linked["runbook_url"] == f"https://wiki.example.com/{alert.name}.md"
    assert "Runbook:" not in linked["description"]
    assert (ROOT / "alerts" / "runbooks" / f"{alert.name}.md").exists()
    if alert.dashboard:
        assert alert.dashboard in links.DASHBOARDS
        assert linked["dashboard_url"].startswith(f"https://grafana.example.com/d/{alert.dashboard}?var-cluster=")
    if alert.kind != "watchdog":
        assert "keep_firing_for" in rule


def test_the_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (ROOT / "alerts" / "README.md").read_text())
    assert len(targets) > 10
    for target in targets:
        assert (ROOT / "alerts" / target).exists(), target


def test_the_objectives_move_the_thresholds() -> None:
    strict, loose = (json.dumps(alerts_of(Objectives(availability=a))) for a in (99.9, 99.0))
    assert strict != loose
    records = {r["record"]: r["expr"] for r in every_rule(Objectives(availability=99.0))[:80]
               if "record" in r}
    assert "> 0.2" in records["streamvitals:failing:service"]
    assert "> 4" in render(Objectives(ttft_p95=4.0))
    assert "[2m30s]" in render(Objectives(scrape_interval=60))
    assert "sum by (cluster, job)" in render(Objectives(service=("cluster", "job")))


def test_the_command_prints_and_writes(tmp_path: Path) -> None:
    printed = ask("--availability", "99.9", "--ttft-p95", "800ms")
    assert printed.stdout == render(Objectives(availability=99.9, ttft_p95=0.8))
    written = ask("--output", str(tmp_path / "new"), "--format", "kubernetes")
    assert written.returncode == 0
    assert (tmp_path / "new" / FILE).read_text() == render(Objectives(), "kubernetes")


@pytest.mark.parametrize(("arguments", "said"), [
    (["--availability", "101"], "availability '101' is not allowed: a percentage from 50 to 99.99"),
    (["--availability", "many"], "'many' is not a valid float"),
    (["--ttft-p95", "2.5"], "ttft-p95 '2.5' is not allowed: a number with a unit"),
    (["--ttft-p95", "0s"], "ttft-p95 '0s' is not allowed"),
    (["--chunk-gap-p95", "1d"], "chunk-gap-p95 '1d' is not allowed"),
    (["--scrape-interval", "5m"], "scrape-interval '300s' is not allowed: from 1s to 120s"),
    (["--service-label", "instance"], "service-label 'instance' is not allowed"),
    (["--service-label", "job", "--service-label", "job"], "each label once"),
    (["--runbook-url", "javascript:alert(1)"], "runbook-url 'javascript:alert(1)' is not allowed"),
    (["--dashboard-url", 'http://x/"}'], "dashboard-url"),
    (["--severity", "critical"], "--severity 'critical' is not allowed: OURS=YOURS, such as page=critical"),
    (["--severity", "critical=page"], "severity 'critical=page' is not allowed: page, ticket or none, each once"),
    (["--severity", 'page=a"b'], "severity 'page=a\"b' is not allowed"),
    (["--severity", "page=a", "--severity", "page=b"], "severity 'page=a' is not allowed"),
    (["--severity", "page=ticket"], "severity 'page=ticket' is not allowed: ticket is called so too"),
    (["--alert-label", "team"], "--alert-label 'team' is not allowed: NAME=VALUE, such as team=llm"),
    (["--alert-label", "the team=llm"], "alert-label 'the team=llm' is not allowed: NAME=VALUE"),
    (["--alert-label", "team="], "alert-label 'team=' is not allowed: a value of 1 to 256 characters"),
    (["--alert-label", "team={{ .Labels }}"], "without {{ and }}"),
    (["--alert-label", "team=a\nb"], "alert-label 'team=a\\nb' is not allowed"),
    (["--alert-label", "team=\udcff"], "alert-label 'team=\\udcff' is not allowed"),
    (["--alert-label", "severity=critical"], "'severity=critical' is not allowed: severity is on the alerts already"),
    (["--alert-label", "job=chat"], "job is on the alerts already"),
    (["--alert-label", "team=a", "--alert-label", "team=b"], "16 labels at most, each once"),
    (["--format", "xml"], "'xml' is not one of 'prometheus', 'kubernetes'"),
])
def test_bad_input_is_named(arguments: list[str], said: str) -> None:
    done = ask(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert not done.stdout


def test_severities_and_labels_are_those_of_the_company(tmp_path: Path) -> None:
    objectives = Objectives(
        severities=(("page", "critical"), ("ticket", "warning")), alert_labels=(("team", 'the "llm"\\ people'),)
    )
    rules = alerts_of(objectives)
    called = {"page": "critical", "ticket": "warning", "none": "none"}
    for alert in (*ALERTS, PAGED):
        labels = rules[alert.name]["labels"]
        assert (labels["severity"], labels["team"]) == (called[alert.severity], 'the "llm"\\ people')
    assert "severity" not in "".join(rule["expr"] for rule in rules.values()), "what silences knows pages by their kind"
    assert yaml.safe_load(render(objectives)) == rule_groups(objectives)
    done = ask(
        "--severity", "page=critical", "--severity", "ticket=warning", "--alert-label", "team=llm", "--with-examples",
        "--output", str(tmp_path),
    )
    assert done.returncode == 0
    assert amtool("check-config", tmp_path / "alertmanager.example.yaml")
    for severity, receiver in (("critical", "pager"), ("warning", "tickets")):
        went = amtool("config", "routes", "test", f"--config.file={tmp_path}/alertmanager.example.yaml",
                      f"severity={severity}", "job=chat")
        assert went.split("Warning")[0].split() == [receiver]


def test_links_that_nobody_knows_are_not_written_and_said_once(tmp_path: Path) -> None:
    bare = ask()
    assert bare.stderr == (
        "without --runbook-url and --dashboard-url no link there is written; `streamvitals runbook ALERT` prints a"
        " runbook\n"
    )
    assert not re.search(r"https?://", bare.stdout)
    half = ask("--runbook-url", "https://wiki.example.com/llm")
    assert half.stderr.startswith("without --dashboard-url no link")
    assert set(re.findall(r"https?://[^/\"]+", half.stdout)) == {"https://wiki.example.com"}
    known = ask("--runbook-url", "https://wiki.example.com/llm", "--dashboard-url", "https://grafana.example.com")
    assert not known.stderr


def test_the_pages_of_the_project_are_the_default_once_there_are_any() -> None:
    assert Objectives.runbook_url == (PROJECT_PAGES and f"{PROJECT_PAGES}/alerts/runbooks")


def test_a_runbook_is_printed() -> None:
    printed = subprocess.run([COMMAND, "runbook", "StreamvitalsFailing"], capture_output=True, text=True, check=True)
    assert printed.stdout == (ROOT / "alerts" / "runbooks" / "StreamvitalsFailing.md").read_text()
    listed = subprocess.run([COMMAND, "runbook"], capture_output=True, text=True, check=True)
    assert listed.stdout.split() == sorted(alert.name for alert in ALERTS)
    for name, said in (
        ("Failing", "did you mean StreamvitalsFailing?"), ("reset_strom", "did you mean StreamvitalsResetStorm?"),
        ("weather", "there are StreamvitalsAgentSilent"),
    ):
        wrong = subprocess.run([COMMAND, "runbook", name], capture_output=True, text=True, check=False)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert f"{name!r} is no alert of ours; {said}" in wrong.stderr


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = ask("--output", str(tmp_path / "file" / "inner"))
    assert done.returncode == 1
    assert "Not a directory" in done.stderr


def test_durations() -> None:
    assert [seconds(text, "x") for text in ("250ms", "2.5s", "1m", "1h")] == [0.25, 2.5, 60.0, 3600.0]
    assert [language.duration(s) for s in (0.25, 90, 3600, 86_400, 84_600)] == ["250ms", "1m30s", "1h", "1d", "23h30m"]
    with pytest.raises(ObjectiveError, match="'soon' is not allowed"):
        seconds("soon", "ttft-p95")
