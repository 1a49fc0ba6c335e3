"""The example for Alertmanager: amtool accepts it, and every alert of ours goes where it should."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from alerts_support import amtool, needs
from streamvitals.alerts.render import ALERTS
from streamvitals.alerts.rule import Alert

pytestmark = needs("amtool")
EXAMPLES = Path(__file__).parents[1] / "alerts"
EXAMPLE = EXAMPLES / "alertmanager.example.yaml"
RECEIVERS = {"page": "pager", "ticket": "tickets", "none": "watchdog"}


def labels(alert: Alert) -> list[str]:
    found = {"alertname": alert.name, "severity": alert.severity, "kind": alert.kind, "job": "chat"}
    return [f"{name}={value}" for name, value in found.items()]


def test_amtool_finds_nothing_to_object_to() -> None:
    said = amtool("check-config", EXAMPLE)
    assert "1 templates" in said
    assert "3 inhibit rules" in said


def test_what_is_commented_out_is_well_too(tmp_path: Path) -> None:
    """PagerDuty and Slack in place of the webhooks."""
    text = re.sub(r"^( +)# (?!PagerDuty|Slack)", r"\1", EXAMPLE.read_text(), flags=re.MULTILINE)
    lines = [line for line in text.splitlines() if not re.match(r" +(?:[A-Z]|#)", line)]
    for before, after in (("pagerduty_configs", "pager"), ("slack_configs", "tickets")):
        assert any(before in line for line in lines), after
    (tmp_path / "alertmanager.yaml").write_text("\n".join(lines))
    (tmp_path / "streamvitals.tmpl").write_text((EXAMPLES / "streamvitals.tmpl").read_text())
    assert "SUCCESS" in amtool("check-config", tmp_path / "alertmanager.yaml")
    receivers = {r["name"]: r for r in yaml.safe_load("\n".join(lines))["receivers"]}
    assert "pagerduty_configs" in receivers["pager"]
    assert "slack_configs" in receivers["tickets"]


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_where_it_goes(alert: Alert) -> None:
    went = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *labels(alert))
    assert went.splitlines()[0].split("Warning")[0] == RECEIVERS[alert.severity]


def test_a_page_silences_its_causes_and_nothing_else() -> None:
    """How Alertmanager reads the inhibitions, applied to all of our alerts."""
    rules = yaml.safe_load(EXAMPLE.read_text())["inhibit_rules"]
    failing = next(alert for alert in ALERTS if alert.name == "StreamvitalsFailing")

    def matches(alert: Alert, matchers: list[str]) -> bool:
        known = dict(pair.split("=") for pair in labels(alert))
        for matcher in matchers:
            name, how, value = re.fullmatch(r"(\w+) (=~?) \"?(.+?)\"?", matcher).groups()  # type: ignore[union-attr]
            if not (re.fullmatch(value, known[name]) if how == "=~" else known[name] == value):
                return False
        return True

    silenced = {
        alert.name
        for rule in rules if matches(failing, rule["source_matchers"])
        for alert in ALERTS if matches(alert, rule["target_matchers"])
    }
    assert silenced == {a.name for a in ALERTS if a.kind == "cause"} | {"StreamvitalsSlow", "StreamvitalsTrafficGone"}
    assert all(rule["equal"] == ["job"] for rule in rules)


def test_tickets_wait_for_a_page_to_silence_them() -> None:
    routes = yaml.safe_load(EXAMPLE.read_text())["route"]["routes"]
    waits = {route["receiver"]: route["group_wait"] for route in routes}
    assert (waits["pager"], waits["tickets"]) == ("5s", "5m")


def test_a_cause_does_not_outlive_its_page() -> None:
    pages = [alert for alert in ALERTS if alert.severity == "page"]
    for cause in (alert for alert in ALERTS if alert.kind == "cause"):
        assert all(cause.keep + 900 <= page.keep for page in pages)
