"""The rules as YAML: a file for Prometheus, or a PrometheusRule for its operator.

YAML is written here because it is few lines for what rules are made of: mappings, lists and strings. Reading it is
left to those who can.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import links
from .causes import CAUSES
from .objectives import Objectives
from .pages import PAGES
from .promql import Language, UnknownNameError, recorded_in
from .recording import records
from .rule import Alert, Record
from .telemetry import TELEMETRY
from .tickets import TICKETS
from .words import service

FILE = "streamvitals.rules.yaml"
FORMATS = ("prometheus", "kubernetes")
ALERTS = (*PAGES, *CAUSES, *TICKETS, *TELEMETRY)
_HEADER = (
    "# Made by `streamvitals alerts`: change the objectives there, not this file.\n"
    "# Every alert has a page in the runbooks; what pages is what users feel.\n"
)


def rule_groups(objectives: Objectives) -> dict[str, Any]:
    """What a rule file holds: one group, so that no alert is a beat behind what it reads.

    Raises UnknownNameError for a name that there is not.
    """
    language = Language(objectives)
    every: tuple[Record | Alert, ...] = (*records(), *ALERTS)
    rules = [_rule(rule, language) for rule in every]
    _check_recorded(rules)
    return {"groups": [{"name": "streamvitals", "interval": language.pace(objectives.interval), "rules": rules}]}


def render(objectives: Objectives, form: str = "prometheus") -> str:
    """The file, as text. ``form`` is one of FORMATS."""
    content = rule_groups(objectives)
    if form == "kubernetes":
        content = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "streamvitals", "labels": {"app.kubernetes.io/name": "streamvitals"}},
            "spec": content,
        }
    return _HEADER + "\n".join(_yaml(content)) + "\n"


def _rule(rule: Record | Alert, language: Language) -> dict[str, Any]:
    expr = "\n".join(line[8:] if line.startswith("        ") else line for line in language.fill(rule.expr).split("\n"))
    if isinstance(rule, Record):
        return {"record": language.fill(rule.record), "expr": expr}
    objectives = language.objectives
    made: dict[str, Any] = {"alert": rule.name, "expr": expr}
    if rule.hold:
        made["for"] = language.pace(rule.hold)
    if rule.keep:
        made["keep_firing_for"] = language.pace(rule.keep)
    made["labels"] = {"severity": rule.severity, "kind": rule.kind} | ({"cause": rule.cause} if rule.cause else {})
    asks = service(objectives)
    texts = {"summary": rule.summary, "description": rule.description}
    made["annotations"] = {
        name: language.fill((asks if "$$service" in text else "") + text) for name, text in texts.items()
    }
    made["annotations"]["runbook_url"] = links.runbook(rule.name, objectives)
    if rule.dashboard:
        made["annotations"]["dashboard_url"] = links.dashboard(rule.dashboard, objectives)
    return made


def _check_recorded(rules: Sequence[Mapping[str, Any]]) -> None:
    """What is read must have been recorded before, by an earlier rule."""
    recorded: set[str] = set()
    for rule in rules:
        texts = [rule["expr"], *rule.get("annotations", {}).values()]
        if missing := set().union(*map(recorded_in, texts)) - recorded:
            raise UnknownNameError(f"{sorted(missing)} is read by {rule.get('alert') or rule['record']}, not recorded")
        if "record" in rule:
            recorded.add(rule["record"])


def _yaml(value: Any, indent: str = "") -> Iterator[str]:
    """Block style; strings in double quotes (JSON's are YAML's), or as blocks where they have several lines."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{indent}{key}:", inner, indent + "  ")
    else:
        for inner in value:
            first, *more = _yaml(inner, indent + "  ")
            yield f"{indent}- {first.lstrip()}"
            yield from more


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, str) and "\n" in value:
        yield f"{head} |-"
        yield from (f"{indent}{line}".rstrip() for line in value.split("\n"))
    elif isinstance(value, str):
        yield f"{head} {json.dumps(value, ensure_ascii=False)}"
    else:
        yield head
        yield from _yaml(value, indent)
