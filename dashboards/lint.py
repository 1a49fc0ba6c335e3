"""Find faults of a dashboard: names that streamvitals does not have, panels that explain nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from streamvitals import names
from streamvitals.alerts.language import Language
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.promql import UnknownNameError

from .promql import VARIABLES

# Labels that Prometheus and Alertmanager add, and the histograms' own.
FOREIGN = {"job", "instance", "le", "alertname", "alertstate", "severity"}
LABELS = {*names.STREAM_LABELS, *names.OWN_LABELS, *names.BUILD_INFO.labels, *FOREIGN}
# Series that are not ours.
SERIES = ("ALERTS", "up")
_GROUPED = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_MATCHED = re.compile(r"([A-Za-z_]\w*)\s*(?:=~|!~|!=|=)\s*\"")
_LEGEND = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_SELECTOR = re.compile(r"\b([A-Za-z_]\w*)\{([^}]*)\}")
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
        for fault in (*_look_faults(panel), *_query_faults(panel)):
            yield f"{title}: {fault}"
        for name in _unknown_variables(panel, variables):
            yield f"{title}: ${name} is no variable"
    for annotation in model["annotations"]["list"]:
        for fault in expression_faults(annotation.get("expr", "")):
            yield f"annotation {annotation['name']}: {fault}"


def _look_faults(panel: dict[str, Any]) -> Iterator[str]:
    defaults = panel["fieldConfig"]["defaults"]
    if panel["datasource"]["uid"] != "${datasource}":
        yield "asks another data source than the variable's"
    if len(panel.get("description", "")) < 20:
        yield "has no description"
    if not defaults.get("unit"):
        yield "has no unit"
    if not defaults.get("noValue"):
        yield "says nothing where nothing streams"


def _query_faults(panel: dict[str, Any]) -> Iterator[str]:
    for target in panel["targets"]:
        yield from expression_faults(target["expr"])
        for label in _LEGEND.findall(target.get("legendFormat", "")):
            if label not in LABELS:
                yield f"its legend has the label {label}, which there is not"


def expression_faults(expr: str) -> Iterator[str]:
    """Find names and values that are not in names.py, and selectors that ignore a variable."""
    try:
        Language(Objectives()).check(re.sub(_VARIABLE, "", expr))
    except UnknownNameError as error:
        yield str(error.args[0])
    grouped = {label.strip() for group in _GROUPED.findall(expr) for label in group.split(",") if label.strip()}
    for label in sorted((grouped | set(_MATCHED.findall(expr))) - LABELS):
        yield f"{label} is no label"
    for name, matchers in _SELECTOR.findall(expr):
        if name not in SERIES:
            heeded = set(_VARIABLE.findall(matchers))
            needed = set(VARIABLES) if _metric(name).per_stream else {"job", "instance"}
            for variable in sorted(needed - {b for _, b in heeded}):
                yield f"{name} does not heed ${variable}"


def _metric(name: str) -> names.Metric:
    known = {metric.prometheus: metric for metric in names.ALL_METRICS}
    return known.get(re.sub(r"_(?:bucket|count|sum|total)$", "", name), names.STREAMS)


def _unknown_variables(panel: dict[str, Any], variables: set[str]) -> Iterator[str]:
    for target in panel["targets"]:
        for braced, bare in _VARIABLE.findall(target["expr"]):
            name = braced or bare
            if name not in variables and not _BUILT_IN.fullmatch(name):
                yield name
