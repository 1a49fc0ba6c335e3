"""Rules for Grafana's own alerting: a provisioning file, and a rule file that records what its texts need.

https://grafana.com/docs/grafana/latest/alerting/set-up/provision-alerting-resources/file-provisioning/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..alerts.groups import MOST_RULES
from ..alerts.language import recorded_in
from ..alerts.objectives import Objectives
from ..alerts.silence import NAME as SILENCES
from .grafana_texts import TOLD, Texts, without_questions
from .yaml_text import to_yaml

FILE = "alerting/streamvitals.yaml"
FOLDER = "streamvitals"
PAGING = "streamvitals:paging"
# So long a page keeps its causes from being told.
_KEPT = "20m"
_MADE = "# Made by `streamvitals alerts --format grafana`: belongs below /etc/grafana/provisioning.\n"
# Grafana's own expressions.
_EXPRESSION = "__expr__"


def grafana_rules(content: Mapping[str, Any], objectives: Objectives, source: str) -> tuple[dict[str, Any], str]:
    """Divide the content of a rule file: what Prometheus records, and what Grafana alerts on, as text.

    ``source`` is the uid of the data source. What reads `ALERTS` is left out: Grafana writes no such series.
    """
    records: list[dict[str, Any]] = []
    groups: list[dict[str, Any]] = []
    alerts: list[dict[str, Any]] = []
    lost = {rule["record"] for group in content["groups"] for rule in group["rules"]
            if "record" in rule and "ALERTS" in rule["expr"]}
    for group in content["groups"]:
        kept = [rule for rule in group["rules"] if "record" in rule and rule["record"] not in lost
                and not recorded_in(rule["expr"]) & lost]
        if kept:
            groups.append({**group, "rules": kept})
        alerts += [rule for rule in group["rules"] if rule.get("alert") not in (None, SILENCES)]
    interval = content["groups"][0]["interval"]
    rules = []
    for alert in alerts:
        texts = Texts(objectives.service)
        summary = texts.converted(alert["annotations"]["summary"])
        records += _recorded(alert, texts.asked)
        rules.append(_rule(alert, summary, texts.asked, objectives.service, source))
    pages = [_name(alert) for alert in alerts if alert["labels"]["kind"] == "symptom"]
    service = ", ".join(objectives.service)
    while_paging = " or ".join(f"max_over_time({page}[{_KEPT}])" for page in pages)
    records.append({"record": PAGING, "expr": f"group by ({service}) ({while_paging})"})
    for number, start in enumerate(range(0, len(records), MOST_RULES)):
        part = records[start : start + MOST_RULES]
        groups.append({"name": f"streamvitals-told-{number}", "interval": interval, "rules": part})
    group = {"orgId": 1, "name": "streamvitals", "folder": FOLDER, "interval": interval, "rules": rules}
    return {"groups": groups}, _MADE + to_yaml({"apiVersion": 1, "groups": [group]})


def _name(alert: Mapping[str, Any]) -> str:
    """The series that is there while an alert would fire."""
    return f"streamvitals:alert:{_short(alert)}"


def _short(alert: Mapping[str, Any]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", alert["alert"].removeprefix("Streamvitals")).lower()


def _recorded(alert: Mapping[str, Any], asked: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    yield {"record": _name(alert), "expr": alert["expr"]}
    for name, query in asked.items():
        told = f'label_replace({query}, "{TOLD}", "yes", "", "")'
        yield {"record": f"streamvitals:text:{_short(alert)}:{name}", "expr": told}


def _rule(
    alert: Mapping[str, Any], summary: str, asked: Mapping[str, str], service: Sequence[str], source: str
) -> dict[str, Any]:
    on = f"on ({', '.join(service)})"
    # Without their names, as samples find each other by their labels.
    fires = f"1 * {_name(alert)}"
    if alert["labels"]["kind"] == "cause":
        fires += f" unless {on} {PAGING}"
    queries = {"A": fires}
    for name in asked:
        # A query without an answer is "no data" for the whole rule: there is one wherever it fires.
        series = f"streamvitals:text:{_short(alert)}:{name}"
        queries[name] = f"1 * {series} or {on} 0 * {_name(alert)}"
    annotations = alert["annotations"] | {
        "summary": summary, "description": without_questions(alert["annotations"]["description"])
    }
    made = {
        "uid": f"streamvitals-{_short(alert).replace('_', '-')}", "title": alert["alert"], "condition": "fires",
        "data": [*(_query(name, expr, source) for name, expr in queries.items()), _beyond("A")],
        "noDataState": "OK", "execErrState": "Error", "for": alert.get("for", "0s"),
    }
    if "keep_firing_for" in alert:
        made["keepFiringFor"] = alert["keep_firing_for"]
    # A dollar sign is the start of a variable's name there.
    labels = {name: value.replace("$", "$$") for name, value in alert["labels"].items()}
    return made | {"annotations": annotations, "labels": labels}


def _query(name: str, expr: str, source: str) -> dict[str, Any]:
    model = {"refId": name, "expr": expr, "instant": True, "range": False}
    return {"refId": name, "relativeTimeRange": {"from": 600, "to": 0}, "datasourceUid": source, "model": model}


def _beyond(name: str) -> dict[str, Any]:
    """The condition: there is a sample at all."""
    model = {
        "refId": "fires", "type": "threshold", "expression": name,
        "conditions": [{"evaluator": {"type": "gt", "params": [-1]}}],
    }
    return {"refId": "fires", "datasourceUid": _EXPRESSION, "model": model}
