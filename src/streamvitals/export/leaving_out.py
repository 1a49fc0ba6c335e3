"""Leaves out the rules and the panels that would read metrics which are not shown (STREAMVITALS_METRICS).

An alert over a metric that is not there is silent, as one is where all is well; so is a panel.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import groupby
from typing import Any

from .. import names
from ..alerts.language import recorded_in
from ..alerts.promql import SUFFIXES

WIDTH = 24
# The variable of dashboards for the data source that has traces.
_TRACES = "tempo"
_SERIES = {m.prometheus + suffix: m for m in names.ALL_METRICS for suffix in SUFFIXES[m.kind]}
_NAME = re.compile(r"\bstreamvitals_\w+")
_GROUP_OF = {metric.otel: group for group, metrics in names.GROUPS.items() for metric in metrics}

# Whoever leaves these out wants to hear nothing of what they are about, and loses no page on anything else.
_APART = {"calls"}


class PageLostError(ValueError):
    """Without these metrics an alert that pages cannot be; the text names both, and what to keep."""


def groups_read(texts: Iterable[str], left_out: frozenset[str]) -> set[str]:
    """The groups of left out metrics that these expressions read."""
    found = (_SERIES.get(name) for text in texts for name in _NAME.findall(text))
    return {_GROUP_OF[metric.otel] for metric in found if metric is not None and metric.otel in left_out}


def without(content: dict[str, Any], left_out: frozenset[str]) -> tuple[dict[str, Any], dict[str, set[str]]]:
    """The content of a rule file without what reads these metrics, and which alerts are lost by which groups.

    Raises PageLostError if one of those pages, unless it is about what is left out and nothing else.
    """
    lost: dict[str, set[str]] = {}
    groups = [group | {"rules": _kept(group["rules"], left_out, lost)} for group in content["groups"]]
    every = [rule for group in content["groups"] for rule in group["rules"]]
    alerts = {rule["alert"]: rule for rule in every if "alert" in rule and rule["alert"] in lost}
    pages = [name for name, rule in alerts.items() if rule["labels"]["kind"] == "symptom" and not lost[name] <= _APART]
    if pages:
        needed = sorted(set().union(*(lost[name] for name in pages)))
        raise PageLostError(f"{', '.join(pages)} cannot page without the metrics of: {', '.join(needed)}; keep these")
    return {"groups": [group for group in groups if group["rules"]]}, {name: lost[name] for name in alerts}


def _kept(
    rules: Iterable[dict[str, Any]], left_out: frozenset[str], lost: dict[str, set[str]]
) -> list[dict[str, Any]]:
    """The rules of a group that read nothing left out; ``lost`` gets the others."""
    kept = []
    for rule in rules:
        texts = (rule["expr"], *rule.get("annotations", {}).values())
        missing = groups_read(texts, left_out).union(
            *(lost[name] for text in texts for name in recorded_in(text) if name in lost)
        )
        if missing:
            lost[rule.get("alert") or rule["record"]] = missing
        else:
            kept.append(rule)
    return kept

def panels_without(dashboard: str, left_out: frozenset[str]) -> tuple[str, dict[str, set[str]]]:
    """The JSON of a dashboard without the queries of these metrics and the panels that have no other.

    Beside it the titles of these panels, and by which groups each is lost. Those beside one that is left out take its
    place.
    """
    model = json.loads(dashboard)
    lost: dict[str, set[str]] = {}

    def keeps(panel: dict[str, Any]) -> bool:
        if _keeps_queries(panel, left_out):
            return True
        lost[panel["title"]] = groups_read(map(_expr, panel["targets"]), left_out)
        return False

    _keep(model, keeps)
    return _text(model), lost


def without_traces(dashboard: str) -> str:
    """The JSON of a dashboard without what asks a trace store, or leads to it, for where there is none."""
    model = json.loads(dashboard)
    model["templating"]["list"] = [one for one in model["templating"]["list"] if one["name"] != _TRACES]
    _keep(model, lambda panel: panel.get("datasource", {}).get("uid") != f"${{{_TRACES}}}")
    for panel in model["panels"]:
        config = panel.get("fieldConfig", {"defaults": {}, "overrides": []})
        for part in (config["defaults"], *(one for rule in config["overrides"] for one in rule["properties"])):
            for key in ("links", "value"):
                if isinstance(part.get(key), list) and f"${{{_TRACES}}}" in json.dumps(part[key]):
                    part[key] = [link for link in part[key] if f"${{{_TRACES}}}" not in json.dumps(link)]
    return _text(model)


def _text(model: Mapping[str, Any]) -> str:
    return json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _keep(model: dict[str, Any], keeps: Callable[[dict[str, Any]], bool]) -> None:
    """Keep these panels only; those beside one that is not kept take its place."""
    by_height = groupby(sorted(model["panels"], key=_position), key=lambda panel: _position(panel)[0])
    shelves = [kept for _, shelf in by_height if (kept := list(filter(keeps, shelf)))]
    placed: list[dict[str, Any]] = []
    y = 0
    for number, kept in enumerate(shelves):
        is_row = kept[0]["type"] == "row"
        if is_row and (number + 1 == len(shelves) or shelves[number + 1][0]["type"] == "row"):
            continue  # a heading with nothing below it
        _place(kept, y)
        y += kept[0]["gridPos"]["h"]
        placed += kept
    model["panels"] = placed


def _position(panel: Mapping[str, Any]) -> tuple[int, int]:
    return panel["gridPos"]["y"], panel["gridPos"]["x"]


def _expr(target: Mapping[str, Any]) -> str:
    """The PromQL of a query; of one to another data source there is none."""
    return str(target.get("expr", ""))


def _keeps_queries(panel: dict[str, Any], left_out: frozenset[str]) -> bool:
    """Remove a panel's queries of left out metrics, and say whether there are others, or never were any."""
    targets = panel.get("targets", [])
    kept = [target for target in targets if not groups_read([_expr(target)], left_out)]
    # The columns of a table have other names where there is one query only.
    if targets and (not kept or (panel["type"] == "table" and len(kept) == 1 < len(targets))):
        return False
    if targets:
        panel["targets"] = kept
    return True


def _place(panels: list[dict[str, Any]], y: int) -> None:
    """Put panels side by side over the whole width, each as wide as it was beside the others."""
    total, x, so_far = sum(panel["gridPos"]["w"] for panel in panels), 0, 0
    for panel in panels:
        so_far += panel["gridPos"]["w"]
        end = round(WIDTH * so_far / total)
        panel["gridPos"] = {**panel["gridPos"], "x": x, "y": y, "w": end - x}
        x = end
