"""Find faults of a dashboard: names that streamvitals does not have, panels that explain nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from streamvitals import names
from streamvitals.alerts.language import Language
from streamvitals.alerts.objectives import SERVICE, Objectives
from streamvitals.alerts.promql import UnknownNameError

from .promql import JOB, VARIABLES
from .unseen import WHAT

# Labels that Prometheus and Alertmanager add, and the histograms' own.
FOREIGN = {*SERVICE, "instance", "le", "alertname", "alertstate", "severity"}
LABELS = {*names.STREAM_LABELS, *names.OWN_LABELS, *names.BUILD_INFO.labels, *FOREIGN, WHAT}
# Series that are not ours.
SERIES = ("ALERTS", "ALERTS_FOR_STATE", "up")
# The width that a column has at the least if nobody says otherwise, and a 24th of a window of 1600 pixels.
COLUMN, UNIT = 150, 65
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHED = re.compile(r"([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*\"")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_SELECTOR = re.compile(r"(?<![\w:])([A-Za-z_][\w:]*)\{([^}]*)\}")
# A series that the rules record knows the service alone.
_RECORDED = "streamvitals:"
# A native histogram has the metric's own name.
_NATIVE = re.compile(rf"\b({'|'.join(m.prometheus for m in names.ALL_METRICS if m.kind == 'histogram')})\{{")
# Not the groups of a regular expression, which are numbers.
_VARIABLE = re.compile(r"\$(?:\{(\w+)[^}]*\}|([A-Za-z_]\w*))")
_BUILT_IN = re.compile(r"__\w+")


def faults(model: dict[str, Any]) -> Iterator[str]:
    """Say everything that is wrong with a dashboard, each as a sentence with the panel's title."""
    variables = {variable["name"] for variable in model["templating"]["list"]}
    titles: set[str] = set()
    for panel in model["panels"]:
        title = panel["title"]
        if title in titles:
            yield f"two panels are called {title!r}"
        titles.add(title)
        if panel["type"] == "row":
            continue
        for fault in (*_look_faults(panel), *_column_faults(panel), *_query_faults(panel)):
            yield f"{title}: {fault}"
        for name in _unknown_variables(panel, variables):
            yield f"{title}: ${name} is no variable"
    for annotation in model["annotations"]["list"]:
        for fault in expression_faults(annotation.get("expr", "")):
            yield f"annotation {annotation['name']}: {fault}"


def _look_faults(panel: dict[str, Any]) -> Iterator[str]:
    if len(panel.get("description", "")) < 20:
        yield "has no description"
    if panel["type"] == "text":
        return
    defaults = panel["fieldConfig"]["defaults"]
    if panel["datasource"]["uid"] not in ("${datasource}", "${tempo}"):
        yield "asks another data source than the variable's"
    if not defaults.get("unit"):
        yield "has no unit"
    if not defaults.get("noValue"):
        yield "says nothing where nothing streams"


def _column_faults(panel: dict[str, Any]) -> Iterator[str]:
    """Find a table whose columns do not fit beside each other, but for those that hardly any has."""
    shown = [one["options"] for one in panel.get("transformations", ()) if one["id"] == "organize"]
    if panel["type"] != "table" or not shown:
        return
    widths = {
        override["matcher"]["options"]: {one["id"]: one["value"] for one in override["properties"]}.get("custom.width")
        for override in panel["fieldConfig"]["overrides"]
    }
    columns = set(shown[0]["renameByName"].values()) - {"Cluster"}
    needed = sum(widths.get(column) or COLUMN for column in columns)
    if needed > panel["gridPos"]["w"] * UNIT:
        yield f"its columns need {needed} pixels, and it has {panel['gridPos']['w'] * UNIT}"


def _query_faults(panel: dict[str, Any]) -> Iterator[str]:
    for target in panel.get("targets", ()):
        yield from expression_faults(target.get("expr", ""))
        if "expr" in target and not target.get("interval"):
            yield "has no least step: it would be empty where Prometheus scrapes seldom"
        for label in _LEGEND.findall(target.get("legendFormat", "")):
            if label not in LABELS:
                yield f"its legend has the label {label}, which there is not"


def expression_faults(expr: str) -> Iterator[str]:
    """Find names and values that are not in names.py, and selectors that ignore a variable."""
    try:
        Language(Objectives()).check(_NATIVE.sub(r"\1_bucket{", _VARIABLE.sub("", expr)))
    except UnknownNameError as error:
        yield str(error.args[0])
    grouped = {label.strip() for group in _GROUPED.findall(expr) for label in group.split(",") if label.strip()}
    if "NaN" in expr:
        yield "says NaN"
    for label in sorted((grouped | set(_MATCHED.findall(expr))) - LABELS):
        yield f"{label} is no label"
    for name, matchers in _SELECTOR.findall(expr):
        if name not in SERIES:
            heeded = {bare for _, bare in _VARIABLE.findall(matchers)}
            for variable in sorted(_needed(name) - heeded):
                yield f"{name} does not heed ${variable}"


def _needed(name: str) -> set[str]:
    """The variables that a selector of this name must heed."""
    if name.startswith(_RECORDED):
        return {JOB}
    known = {metric.prometheus: metric for metric in names.ALL_METRICS}
    metric = known.get(re.sub(r"_(?:bucket|count|sum|total)$", "", name), names.STREAMS)
    return set(VARIABLES) if metric.per_stream else {"job", "instance"}


def _unknown_variables(panel: dict[str, Any], variables: set[str]) -> Iterator[str]:
    """Find variables that the dashboard does not have, in queries and links."""
    texts = [target.get("expr") or target.get("query", "") for target in panel.get("targets", ())]
    links = re.findall(r'"url": "([^"]*)"', json.dumps(panel))
    for braced, bare in (found for text in (*texts, *links) for found in _VARIABLE.findall(text)):
        name = braced or bare
        if name not in variables and not _BUILT_IN.fullmatch(name):
            yield name
