"""All rules as the content of a rule file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import dedent
from typing import Any

from . import by_label, calls, links
from .groups import ALERTS as ALERTS
from .groups import groups
from .language import Language, recorded_in, restricted
from .objectives import Objectives
from .promql import UnknownNameError
from .rule import Alert, Record
from .silence import LABEL
from .texts import AT, service


def rule_groups(objectives: Objectives) -> dict[str, Any]:
    """Make the content of a rule file. Raises UnknownNameError for a name that there is not."""
    language = Language(objectives, by_label.words(objectives.by) | calls.words(objectives.by))
    made: list[dict[str, Any]] = [
        {"name": f"streamvitals-{name}", "interval": language.pace(objectives.interval),
         "rules": [_rule(rule, language) for rule in rules]}
        for name, rules in groups(objectives.by)
    ]
    _check_recorded([rule for group in made for rule in group["rules"]])
    return {"groups": made}


def every_rule(objectives: Objectives) -> list[dict[str, Any]]:
    """Make the rules of all groups, in an order in which none reads what is recorded after it."""
    return [rule for group in rule_groups(objectives)["groups"] for rule in group["rules"]]


def _rule(rule: Record | Alert, language: Language) -> dict[str, Any]:
    expr = restricted(language.fill(dedent(rule.expr)), language.objectives.only)
    if isinstance(rule, Record):
        return {"record": language.fill(rule.record), "expr": expr}
    objectives = language.objectives
    made: dict[str, Any] = {"alert": rule.name, "expr": expr}
    if rule.for_:
        made["for"] = language.pace(rule.for_)
    if rule.keep_firing_for:
        made["keep_firing_for"] = language.pace(rule.keep_firing_for)
    made["labels"] = {"severity": objectives.severity(rule.severity), "kind": rule.kind}
    if rule.cause:
        made["labels"]["cause"] = rule.cause
    if rule.kind == "cause":
        made["labels"][LABEL] = rule.name
    made["labels"] |= dict(objectives.alert_labels)
    matchers = service(objectives)
    # The text is that of the last time that it was true, for as long as it is kept.
    silent = rule.kind == "silence"
    texts = {
        "summary": rule.summary + (AT if rule.keep_firing_for else ""),
        "description": rule.description + ("" if silent else links.printed(rule.name, objectives)),
    }
    made["annotations"] = {
        name: language.fill((matchers if "$$service" in text else "") + text) for name, text in texts.items()
    }
    addresses = {
        "runbook_url": "" if silent else links.runbook(rule.name, objectives),
        "dashboard_url": links.dashboard(rule.dashboard, objectives) if rule.dashboard else "",
    }
    made["annotations"] |= {name: address for name, address in addresses.items() if address}
    return made


def _check_recorded(rules: Sequence[Mapping[str, Any]]) -> None:
    """Raise UnknownNameError if a rule reads what no earlier rule has recorded, or a text what none has."""
    recorded: set[str] = set()
    every = {rule["record"] for rule in rules if "record" in rule}
    for rule in rules:
        told = set().union(*map(recorded_in, rule.get("annotations", {}).values()))
        # What reads itself reads what it was before.
        read = recorded_in(rule["expr"]) - {rule.get("record")}
        if missing := (read - recorded) | (told - every):
            raise UnknownNameError(f"{sorted(missing)} is read by {rule.get('alert') or rule['record']}, not recorded")
        if "record" in rule:
            recorded.add(rule["record"])
