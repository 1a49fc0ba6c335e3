"""Dashboards for services that other labels than `job` tell apart: a variable for each, in all queries and links."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from ..alerts.objectives import SERVICE, ObjectiveError

JOB = "job"
_MATCHER, _KEPT = f'{JOB}=~"${JOB}"', f"${{{JOB}:queryparam}}"
_LABELS = re.compile(r"\b(by|on|ignoring|without) \(([^)]*)\)")


def with_service(dashboard: str, service: Sequence[str]) -> str:
    """A dashboard's JSON for services with these labels. Raises ObjectiveError for a label whose variable is taken."""
    if tuple(service) == (JOB,):
        return dashboard
    model = json.loads(dashboard)
    variables: list[dict[str, Any]] = model["templating"]["list"] if "templating" in model else []
    at = next((at for at, variable in enumerate(variables) if variable["name"] == JOB), None)
    if at is None:
        return dashboard
    if taken := {variable["name"] for variable in variables} - {JOB} & set(service):
        raise ObjectiveError(f"service-label {min(taken)!r} is not allowed: the dashboards have a variable so called")
    own = variables.pop(at)
    model = _in_texts(model, lambda text: _of_service(text, service))
    made = [_variable(own, label, service[:place]) for place, label in enumerate(service)]
    model["templating"]["list"][at:at] = made
    return json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _in_texts(part: Any, change: Callable[[str], str]) -> Any:
    """The same with every text changed, but for keys."""
    if isinstance(part, dict):
        return {key: _in_texts(value, change) for key, value in part.items()}
    if isinstance(part, list):
        return [_in_texts(value, change) for value in part]
    return change(part) if isinstance(part, str) else part


def _of_service(text: str, service: Sequence[str]) -> str:
    """A query or a link with the labels of the service where it had the job."""
    def listed(found: re.Match[str]) -> str:
        labels = found[2].split(", ")
        if JOB not in labels:
            return found[0]
        at = next(at for at, label in enumerate(labels) if label in SERVICE)
        others = [label for label in labels if label not in (*SERVICE, *service)]
        return f"{found[1]} ({', '.join([*others[:at], *service, *others[at:]])})"

    text = text.replace(_MATCHER, _chosen(service))
    text = text.replace(_KEPT, "&".join(f"${{{label}:queryparam}}" for label in service))
    return _LABELS.sub(listed, text)


def _chosen(labels: Sequence[str]) -> str:
    return ", ".join(f'{label}=~"${label}"' for label in labels)


def _variable(job: dict[str, Any], label: str, before: Sequence[str]) -> dict[str, Any]:
    """The variable of a label, as that of the job is made, within what is chosen of those before it."""
    made = copy.deepcopy(job)
    metric = re.sub(r"label_values\((\w+), \w+\)", r"\1", job["query"]["query"])
    within = f"{{{_chosen(before)}}}" if before else ""
    made["query"] |= {"query": f"label_values({metric}{within}, {label})", "refId": label}
    return made | {"name": label, "label": label.capitalize()}
