"""The dashboards for the user's objectives: thresholds where the alerts of the same objectives are, and runbooks."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from .. import names
from ..alerts.language import duration
from ..alerts.objectives import ObjectiveError, Objectives
from .by_label import with_labels
from .by_service import with_service
from .find import read

# Where a table of ours names alerts: the column, and what it leaves out of their names.
ALERT_COLUMN, ALERT_PREFIX = "Alert", "Streamvitals"

# How far apart the points of graphs are at the least; Grafana takes rates over four times as much. Prometheus scrapes
# once a minute if nobody says otherwise, and no rate comes from fewer than two scrapes.
LEAST_STEP = "1m"
MOST_SECONDS = 3600.0
# The variable of dashboards that has the error budget.
BUDGET = "budget"


def budget_text(objectives: Objectives) -> str:
    """The error budget as it stands in queries."""
    return f"{objectives.budget:g}"


def _steps(objectives: Objectives) -> dict[str, tuple[float, ...]]:
    """Map each metric that a panel reads to the thresholds that follow from the objectives."""
    return {
        names.STREAMS.prometheus: (objectives.budget, objectives.page_share),
        names.CALLS.prometheus: (objectives.budget, objectives.page_share),
        names.TIME_TO_FIRST_TOKEN.prometheus: (objectives.ttft_p95,),
        names.TIME_TO_FIRST_CHUNK.prometheus: (objectives.ttft_p95,),
        names.CHUNK_GAP.prometheus: (objectives.chunk_gap_p95,),
    }


def dashboards_for(objectives: Objectives) -> dict[str, str]:
    """The JSON of every dashboard, by file name. Raises MissingFileError and ObjectiveError."""
    runbooks = objectives.runbook_url.rstrip("/")
    return {
        name: with_service(
            _with_runbooks(with_labels(adapt(text, objectives), objectives.by), runbooks), objectives.service
        )
        for name, text in read("dashboards/*.json").items()
    }


def _with_runbooks(dashboard: str, address: str) -> str:
    """Lead from each alert in a table to its runbook, if there is an address of runbooks."""
    if not address:
        return dashboard
    model = json.loads(dashboard)
    url = f"{address}/{ALERT_PREFIX}${{__data.fields.{ALERT_COLUMN}}}.md"
    for panel in model["panels"]:
        for override in panel.get("fieldConfig", {}).get("overrides", ()):
            if override["matcher"] == {"id": "byName", "options": ALERT_COLUMN}:
                link = {"title": "Runbook", "url": url, "targetBlank": True}
                override["properties"].append({"id": "links", "value": [link]})
                panel["description"] = f"{panel['description']}\n\nA click on an alert opens its runbook."
    return json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def with_least_step(dashboard: str, seconds: float) -> str:
    """Draw a point for each scrape, where Prometheus scrapes at another pace than once a minute.

    Raises ObjectiveError.
    """
    if not 1.0 <= seconds <= MOST_SECONDS:
        given, most = duration(seconds), duration(MOST_SECONDS)
        raise ObjectiveError(f"scrape-interval '{given}' is not allowed: from 1s to {most}")
    return dashboard.replace(f'"interval": "{LEAST_STEP}"', f'"interval": "{duration(seconds)}"')


def adapt(dashboard: str, objectives: Objectives) -> str:
    """Move the thresholds of a dashboard's JSON from the default objectives to these."""
    usual, wanted = _steps(Objectives()), _steps(objectives)
    if wanted == usual:
        return dashboard
    model = json.loads(dashboard)
    for variable in model["templating"]["list"]:
        if variable["name"] == BUDGET:
            variable["query"] = budget_text(objectives)
    for panel in model["panels"]:
        queries = " ".join(target.get("expr", "") for target in panel.get("targets", ()))
        for steps in _thresholds(panel.get("fieldConfig", {})):
            values = tuple(step["value"] for step in steps[1:])
            for metric, default in usual.items():
                if metric in queries and values == default:
                    for step, value in zip(steps[1:], wanted[metric], strict=True):
                        step["value"] = value
                    break
    return json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _thresholds(part: Any) -> Iterator[list[dict[str, Any]]]:
    """Find the steps of every threshold in it, of fields and of columns alike."""
    if isinstance(part, dict):
        if isinstance(part.get("steps"), list):
            yield part["steps"]
        for value in part.values():
            yield from _thresholds(value)
    elif isinstance(part, list):
        for value in part:
            yield from _thresholds(value)
