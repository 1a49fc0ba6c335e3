"""The example for Alertmanager: amtool accepts it, and every alert of ours goes where it should."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alerts_support import amtool, needs
from streamvitals.alerts.language import duration
from streamvitals.alerts.objectives import SERVICE, TICKET_WAIT, Objectives
from streamvitals.alerts.rule import Alert
from streamvitals.alerts.ruleset import ALERTS, every_rule
from streamvitals.alerts.silence import LABEL, PAGED

pytestmark = needs("amtool")
EXAMPLES = Path(__file__).parents[2] / "alerts"
EXAMPLE = EXAMPLES / "alertmanager.example.yaml"
RECEIVERS = {"page": "pager", "ticket": "tickets", "none": "watchdog"}


def labels(alert: Alert) -> list[str]:
    found = {"alertname": alert.name, "severity": alert.severity, "kind": alert.kind, "job": "chat"}
    return [f"{name}={value}" for name, value in found.items()]


def test_amtool_finds_nothing_to_object_to() -> None:
    said = amtool("check-config", EXAMPLE)
    assert "1 templates" in said
    assert "1 inhibit rules" in said


def test_amtool_finds_nothing_to_object_to_in_the_receivers() -> None:
    assert "4 receivers" in amtool("check-config", EXAMPLES / "receivers.example.yaml")
    receivers = yaml.safe_load((EXAMPLES / "receivers.example.yaml").read_text())["receivers"]
    kinds = {key for one in receivers for key in one}
    assert kinds == {"name", "email_configs", "opsgenie_configs", "pagerduty_configs", "slack_configs"}


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_where_it_goes(alert: Alert) -> None:
    went = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *labels(alert))
    assert went.splitlines()[0].split("Warning")[0] == RECEIVERS[alert.severity]


def test_what_a_page_silences_are_causes_of_which_the_rules_say_so() -> None:
    """How Alertmanager reads the only inhibition, applied to all of our alerts."""
    (rule,) = yaml.safe_load(EXAMPLE.read_text())["inhibit_rules"]
    assert rule["source_matchers"] == [f"alertname = {PAGED.name}"]
    assert rule["target_matchers"] == ["kind = cause"]
    assert rule["equal"] == [*SERVICE, LABEL]
    rules = {r["alert"]: r for r in every_rule(Objectives()) if "alert" in r}
    for alert in ALERTS:
        assert rules[alert.name]["labels"].get(LABEL) == (alert.name if alert.kind == "cause" else None)


def test_what_silences_is_told_to_nobody() -> None:
    labels = [f"alertname={PAGED.name}", "severity=none", "kind=silence", "job=chat", "ticket=StreamvitalsResetStorm"]
    went = amtool("config", "routes", "test", f"--config.file={EXAMPLE}", *labels)
    assert went.splitlines()[0].split("Warning")[0] == "nobody"


def test_tickets_wait_for_a_page_to_silence_them() -> None:
    routes = yaml.safe_load(EXAMPLE.read_text())["route"]["routes"]
    waits = {route["receiver"]: route["group_wait"] for route in routes}
    assert (waits["pager"], waits["tickets"]) == ("5s", duration(TICKET_WAIT))


def test_a_cause_does_not_outlive_its_page() -> None:
    pages = [alert for alert in ALERTS if alert.severity == "page"]
    for cause in (alert for alert in ALERTS if alert.kind == "cause"):
        assert all(cause.keep_firing_for + 900 <= page.keep_firing_for for page in pages)
