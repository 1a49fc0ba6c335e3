"""`alerts --by tenant`: one tenant's failing pages as one model's does, and the page says whose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from alerts_support import needs
from alerts_world import Course, Rate, Thing, streams
from promtool_support import RULES, Promtool, at, ever, firing, needed
from streamvitals import names
from streamvitals.alerts.objectives import ObjectiveError, Objectives
from streamvitals.alerts.ruleset import every_rule

FAILING = "StreamvitalsFailing"
BY_TENANT: list[dict[str, Any]] = every_rule(Objectives(by=("tenant",)))


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


RULE = next(rule for rule in BY_TENANT if rule.get("alert") == FAILING)
OF_TENANTS = [rule["record"] for rule in BY_TENANT if "by_tenant" in rule.get("record", "")]
# With no text but the summary, so that a test tells that one only.
SUMMARY_ONLY = needed(FAILING, *OF_TENANTS, of=[
    rule | {"annotations": {"summary": rule["annotations"]["summary"]}} if rule is RULE else rule for rule in BY_TENANT
])


def told(minute: int, summary: str) -> dict[str, Any]:
    """One page then, for the service, that says this."""
    page = {"exp_labels": {"job": "chat", **RULE["labels"]}, "exp_annotations": {"summary": summary + at(minute)}}
    return {"alert_rule_test": [{"eval_time": f"{minute}m", "alertname": FAILING, "exp_alerts": [page]}]}


def reset(share: float, rate: float, tenant: str = "") -> dict[Thing, Rate]:
    """Streams of a tenant, or of none, of which this share is reset."""
    rates: dict[Thing, Rate] = {streams("completed"): rate * (1 - share), streams("reset"): rate * share}
    return {of(tenant, thing): value for thing, value in rates.items()} if tenant else rates


@needs("promtool")
def test_one_tenant_that_fails_pages_by_its_label_alone(tmp_path: Path) -> None:
    whose = "100% of tenant acme's operations fail, 0% of the others'"
    text = f"{whose}; 6% of gpt-4o streams (60 of 1020) reset by api.example mid-stream in 5m, since 00:20"
    for rules, value, more in ((needed(FAILING), None, {}), (SUMMARY_ONLY, 1.0, told(34, text))):
        promtool = Promtool(tmp_path, rules)
        promtool.expect(
            "one fails", course(tenants(4.0)), (19, firing(FAILING), None), (34, firing(FAILING), value),
            (110, firing(FAILING), None), **more,
        )
        promtool.expect("a little", course(tenants(0.2)), (110, ever(FAILING, 110), None))
        promtool.expect("well", course({}), (110, ever(FAILING, 110), None))
        promtool.check()


@needs("promtool")
def test_the_tenant_by_whom_the_service_fails_is_named(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, SUMMARY_ONLY, finely=True)
    for share, rate, whose, of_model, many in (
        (0.9, 20.0, "90% of tenant globex's operations fail, 0% of the others'", "21%", "270 of 1260"),
        # Too little for a tenant to page by itself.
        (0.17, 200.0, "17% of tenant globex's operations fail, 0% of the others'", "13%", "510 of 3960"),
    ):
        text = f"{whose}; {of_model} of gpt-4o streams ({many}) reset by api.example mid-stream in 5m, since 00:20"
        big = Course(
            reset(share, rate, "globex"), ill=30, after=60, healthy=reset(0, rate, "globex") | reset(0, 4, "acme")
        )
        promtool.expect(
            whose, big, (34, firing(FAILING), 1.0), (34, "count(streamvitals:failing:service)", 1.0), **told(34, text)
        )
    promtool.check()


@needs("promtool")
def test_no_tenant_is_named_where_a_model_fails_for_all_alike(tmp_path: Path) -> None:
    """Others use a second model, which is well: as a share of all that the others ask, less of theirs fails."""
    promtool = Promtool(tmp_path, SUMMARY_ONLY, finely=True)
    healthy = reset(0, 20, "globex") | reset(0, 4, "acme")
    for share, unlike, said, many in ((0.3, 0.0, "30%", 378), (0.3, 0.05, "31%", 390), (0.9, 0.05, "91%", 1146)):
        alike = reset(share, 60) | reset(share + unlike, 20, "globex") | reset(share - unlike, 4, "acme")
        text = f"{said} of gpt-4o streams ({many} of 1260) reset by api.example mid-stream in 5m, since 00:20"
        promtool.expect(text, Course(alike, healthy=healthy), (34, firing(FAILING), 1.0), **told(34, text))
    promtool.check()


@needs("promtool")
def test_a_tenant_whose_streams_hang_is_named_unless_all_do(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, SUMMARY_ONLY, finely=True)
    one: dict[Thing, Rate] = {of("acme", Thing(names.STALLED)): 6.0, of("acme", Thing(names.ACTIVE)): 8.0}
    every = one | {Thing(names.STALLED): 12.0, Thing(names.ACTIVE): 16.0}
    for name, sick, text in (
        ("one", one, "streams of tenant acme hang; 18 open gpt-4o streams hang, no chunk comes from api.example"),
        ("all", every, "54 open gpt-4o streams hang, no chunk comes from api.example"),
    ):
        promtool.expect(name, course(sick), (30, firing(FAILING), 1.0), **told(30, f"{text}, since 00:20"))
    promtool.check()


@needs("promtool")
def test_streams_of_one_tenant_that_hang_page(tmp_path: Path) -> None:
    hanging: dict[Thing, Rate] = {of("acme", Thing(names.STALLED)): 3.0, of("acme", Thing(names.ACTIVE)): 4.0}
    for rules, value in ((needed(FAILING), None), (needed(FAILING, of=BY_TENANT), 1.0)):
        promtool = Promtool(tmp_path, rules)
        promtool.expect("hang", course(hanging), (19, firing(FAILING), None), (30, firing(FAILING), value))
        promtool.check()


@needs("promtool")
def test_a_whole_service_that_fails_is_no_tenants(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed(FAILING, of=BY_TENANT))
    promtool.expect("all fail", course({streams("reset"): 30.0} | tenants(4.0)), (30, firing(FAILING), 1.0))
    promtool.check()


def test_without_it_the_rules_are_as_ever() -> None:
    assert every_rule(Objectives(by=())) == RULES
    assert len(BY_TENANT) > len(RULES)


def test_several_labels_are_judged_each_by_itself() -> None:
    rules = every_rule(Objectives(by=("tenant", "model")))
    recorded = [rule["record"] for rule in rules if "record" in rule]
    assert len(recorded) == len(set(recorded))
    assert {"streamvitals:failing:by_tenant", "streamvitals:failing:by_model"} <= set(recorded)


@pytest.mark.parametrize("by", [("outcome",), ("Tenant",), ("a b",), ("job",), ("le",), ("t", "t"), tuple("abcd")])
def test_what_can_be_no_custom_label_is_refused(by: tuple[str, ...]) -> None:
    with pytest.raises(ObjectiveError, match=r"by .* is not allowed"):
        Objectives(by=by)


@pytest.mark.parametrize("by", ["outcome", "gen_ai_request_model", "job"])
def test_a_name_that_another_label_has_is_said_to_be_taken(by: str) -> None:
    with pytest.raises(ObjectiveError, match=f"by '{by}' is not allowed: it is taken by another label"):
        Objectives(by=(by,))
    with pytest.raises(ObjectiveError, match="not allowed: the name"):
        Objectives(by=("Tenant",))
