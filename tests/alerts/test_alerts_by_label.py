"""`alerts --by tenant`: one tenant's failing pages as one model's does, and the page says whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alerts_support import needs
from alerts_world import Course, Rate, Thing, streams
from promtool_support import RULES, Promtool, at, ever, firing
from streamvitals import names
from streamvitals.alerts.objectives import ObjectiveError, Objectives
from streamvitals.alerts.ruleset import rule_groups

FAILING = "StreamvitalsFailing"
BY_TENANT: list[dict[str, Any]] = rule_groups(Objectives(by=("tenant",)))["groups"][0]["rules"]


def of(tenant: str, thing: Thing) -> Thing:
    return Thing(thing.metric, (*thing.labels, ("tenant", tenant)), thing.model)


def tenants(reset: float) -> dict[Thing, Rate]:
    """Two small tenants, of which one may fail; most streams have none."""
    return {
        of("acme", streams("completed")): 4.0 - reset, of("acme", streams("reset")): reset,
        of("globex", streams("completed")): 4.0, of("globex", streams("reset")): 0.0,
        of("acme", Thing(names.STALLED)): 0.0, of("acme", Thing(names.ACTIVE)): 1.0,
    }


def course(sick: dict[Thing, Rate]) -> Course:
    return Course(sick, well=20, ill=30, after=60, healthy=tenants(0.0))


@needs("promtool")
def test_one_tenant_that_fails_pages_by_its_label_alone(tmp_path: Path) -> None:
    rule = next(rule for rule in BY_TENANT if rule.get("alert") == FAILING)
    summary = {"annotations": {"summary": rule["annotations"]["summary"]}}
    by_tenant = [one | summary if one is rule else one for one in BY_TENANT]
    for rules, value in ((RULES, None), (by_tenant, 1.0)):
        promtool = Promtool(tmp_path, rules)
        more: dict[str, Any] = {}
        if value:
            told = "operations of tenant acme fail; 6% of gpt-4o streams reset by api.example mid-stream, 5m" + at(34)
            more["alert_rule_test"] = [{
                "eval_time": "34m", "alertname": FAILING,
                "exp_alerts": [{"exp_labels": {"job": "chat", **rule["labels"]}, "exp_annotations": {"summary": told}}],
            }]
        promtool.expect(
            "one fails", course(tenants(4.0)), (19, firing(FAILING), None), (34, firing(FAILING), value),
            (110, firing(FAILING), None), **more,
        )
        promtool.expect("a little", course(tenants(0.2)), (110, ever(FAILING, 110), None))
        promtool.expect("well", course({}), (110, ever(FAILING, 110), None))
        promtool.check()


@needs("promtool")
def test_streams_of_one_tenant_that_hang_page(tmp_path: Path) -> None:
    hanging: dict[Thing, Rate] = {of("acme", Thing(names.STALLED)): 3.0, of("acme", Thing(names.ACTIVE)): 4.0}
    for rules, value in ((RULES, None), (BY_TENANT, 1.0)):
        promtool = Promtool(tmp_path, rules)
        promtool.expect("hang", course(hanging), (19, firing(FAILING), None), (30, firing(FAILING), value))
        promtool.check()


@needs("promtool")
def test_a_whole_service_that_fails_is_no_tenants(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, BY_TENANT)
    promtool.expect("all fail", course({streams("reset"): 30.0} | tenants(4.0)), (30, firing(FAILING), 1.0))
    promtool.check()


def test_without_it_the_rules_are_as_ever() -> None:
    assert rule_groups(Objectives(by=()))["groups"][0]["rules"] == RULES
    assert len(BY_TENANT) > len(RULES)


def test_several_labels_are_judged_each_by_itself() -> None:
    rules = rule_groups(Objectives(by=("tenant", "model")))["groups"][0]["rules"]
    recorded = [rule["record"] for rule in rules if "record" in rule]
    assert len(recorded) == len(set(recorded))
    assert {"streamvitals:failing:by_tenant", "streamvitals:failing:by_model"} <= set(recorded)


@pytest.mark.parametrize("by", [("outcome",), ("Tenant",), ("a b",), ("job",), ("le",), ("t", "t"), tuple("abcd")])
def test_what_can_be_no_custom_label_is_refused(by: tuple[str, ...]) -> None:
    with pytest.raises(ObjectiveError, match=r"by .* is not allowed"):
        Objectives(by=by)
