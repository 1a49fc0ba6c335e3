"""Dashboards in Grafana's second schema: a resource with elements and a layout, as Grafana 12 and later store them.

https://grafana.com/docs/grafana/latest/observability-as-code/schema-v2/
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

API_VERSION = "dashboard.grafana.app/v2beta1"
Json = dict[str, Any]

_CURSOR = ("Off", "Crosshair", "Tooltip")
_HIDE = ("dontHide", "hideLabel", "hideVariable")
_REFRESH = ("never", "onDashboardLoad", "onTimeRangeChanged")
_SORT = ("disabled", "alphabeticalAsc", "alphabeticalDesc", "numericalAsc", "numericalDesc")
# What a variable has besides what all have; the rest of the classic model says nothing about its kind.
_KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "query": ("QueryVariable", ("refresh", "sort", "regex", "options", "multi", "includeAll", "allValue",
                                "allowCustomValue")),
    "datasource": ("DatasourceVariable", ("refresh", "regex", "options", "multi", "includeAll", "allowCustomValue")),
    "custom": ("CustomVariable", ("query", "options", "multi", "includeAll", "allowCustomValue")),
    "constant": ("ConstantVariable", ("query",)),
}
_UNSAID: Json = {"regex": "", "options": [], "multi": False, "includeAll": False, "allowCustomValue": True}
# Of a query these stand beside what its data source reads.
_BESIDE = ("datasource", "refId", "hide")


def to_v2(dashboard: str) -> str:
    """Return a classic dashboard's JSON as that of a resource. Raises KeyError for what none of ours has."""
    model = json.loads(dashboard)
    of_rows = [panel for panel in model["panels"] if panel["type"] != "row"]
    spec = {
        "title": model["title"], "description": model["description"], "tags": model["tags"],
        "editable": model["editable"], "preload": False, "cursorSync": _CURSOR[model["graphTooltip"]],
        "timeSettings": {
            "timezone": model["timezone"], "from": model["time"]["from"], "to": model["time"]["to"],
            "autoRefresh": model["refresh"], "autoRefreshIntervals": ["5s", "10s", "30s", "1m", "5m", "15m", "1h"],
            "hideTimepicker": False, "fiscalYearStartMonth": model["fiscalYearStartMonth"],
        },
        "links": model["links"],
        "variables": [_variable(one) for one in model["templating"]["list"]],
        "annotations": [_annotation(one) for one in model["annotations"]["list"]],
        "elements": {_name(panel): _element(panel) for panel in of_rows},
        "layout": {"kind": "RowsLayout", "spec": {"rows": list(_rows(model["panels"]))}},
    }
    resource = {"apiVersion": API_VERSION, "kind": "Dashboard", "metadata": {"name": model["uid"]}, "spec": spec}
    return json.dumps(resource, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _name(panel: Mapping[str, Any]) -> str:
    return f"panel-{panel['id']}"


def _query(source: Mapping[str, str], spec: Mapping[str, Any]) -> Json:
    """A query; its data source is known by the uid, here in a variable."""
    return {
        "kind": "DataQuery", "group": source["type"], "version": "v0", "datasource": {"name": source["uid"]},
        "spec": dict(spec),
    }


def _variable(variable: Mapping[str, Any]) -> Json:
    kind, own = _KINDS[variable["type"]]
    of_query = variable["query"] if variable["type"] != "query" else ""
    spec: Json = {
        "name": variable["name"], "hide": _HIDE[variable.get("hide", 0)], "skipUrlSync": variable["skipUrlSync"],
        "current": variable.get("current", {"text": of_query, "value": of_query}
                                if variable["type"] == "constant" else {"text": "", "value": ""}),
    }
    if "label" in variable:
        spec["label"] = variable["label"]
    spec |= {key: variable.get(key, _UNSAID.get(key)) for key in own}
    if "refresh" in own:
        spec["refresh"] = _REFRESH[variable.get("refresh", 1)]
    if variable["type"] == "datasource":
        spec["pluginId"] = variable["query"]
    if variable["type"] == "query":
        spec["sort"] = _SORT[variable["sort"]]
        spec["query"] = _query(variable["datasource"], variable["query"])
        spec["definition"] = variable["query"]["query"]
    return {"kind": kind, "spec": spec}


def _annotation(annotation: Mapping[str, Any]) -> Json:
    asked = {key: annotation[key] for key in ("expr", "step", "titleFormat")}
    return {"kind": "AnnotationQuery", "spec": {
        "name": annotation["name"], "enable": annotation["enable"], "hide": annotation["hide"],
        "iconColor": annotation["iconColor"], "query": _query(annotation["datasource"], asked),
    }}


def _element(panel: Mapping[str, Any]) -> Json:
    queries = [
        {"kind": "PanelQuery", "spec": {
            "refId": target["refId"], "hidden": target.get("hide", False),
            "query": _query(target["datasource"], {k: v for k, v in target.items() if k not in _BESIDE}),
        }}
        for target in panel.get("targets", ())
    ]
    transformations = [
        {"kind": one["id"], "spec": {"id": one["id"], "options": one["options"]}}
        for one in panel.get("transformations", ())
    ]
    return {"kind": "Panel", "spec": {
        "id": panel["id"], "title": panel["title"], "description": panel["description"], "links": [],
        "data": {"kind": "QueryGroup", "spec": {
            "queries": queries, "transformations": transformations, "queryOptions": {},
        }},
        "vizConfig": {"kind": "VizConfig", "group": panel["type"], "version": "", "spec": {
            "options": panel.get("options", {}),
            "fieldConfig": {"defaults": {}, "overrides": []} | panel.get("fieldConfig", {}),
        }},
    }}


def _rows(panels: list[Json]) -> Iterator[Json]:
    """The rows with their panels; what stands before the first heading is a row without one."""
    items: list[Json] = []
    top, title = 0, ""
    for panel in sorted(panels, key=lambda one: (one["gridPos"]["y"], one["gridPos"]["x"])):
        at = panel["gridPos"]
        if panel["type"] == "row":
            if items:
                yield _row(title, items)
            top, title, items = at["y"] + at["h"], panel["title"], []
            continue
        items.append({"kind": "GridLayoutItem", "spec": {
            "x": at["x"], "y": at["y"] - top, "width": at["w"], "height": at["h"],
            "element": {"kind": "ElementReference", "name": _name(panel)},
        }})
    yield _row(title, items)


def _row(title: str, items: list[Json]) -> Json:
    layout = {"kind": "GridLayout", "spec": {"items": items}}
    return {"kind": "RowsLayoutRow", "spec": {
        "title": title, "collapse": False, "hideHeader": not title, "layout": layout,
    }}
