"""Dashboards with custom labels: a variable for each in all queries, and what is drawn by model drawn by it, too."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from .. import names

_PROVIDER, _MODEL, _SERVER = list(names.STREAM_LABELS)[1:]
# The last matcher that every selector of a stream's metric has (dashboards/promql.py), and what it is chosen by.
_LAST_MATCHER = f'{_SERVER}=~"$server"'
_LAST_VARIABLE, _LAST_IN_LINKS = "server", "&${server:queryparam}"
_BY = re.compile(r"\bby \(([^)]*)\)")
_OF_MODELS = re.compile(r"Models|.+, by model")
_ROW_HEIGHT = 1


def with_labels(dashboard: str, labels: Sequence[str]) -> str:
    """A dashboard's JSON with these custom labels; without any it is as it was."""
    if not labels:
        return dashboard
    model = json.loads(dashboard)
    of_models = [panel for panel in model["panels"] if _OF_MODELS.fullmatch(panel["title"])]
    variables = model["templating"]["list"]
    taken = {variable["name"] for variable in variables}
    chosen = {label: f"label_{label}" if label in taken else label for label in labels}
    for label, name in chosen.items():
        model["panels"] += _by_label(model["panels"], of_models, label, name)
    at = next(at for at, variable in enumerate(variables) if variable["name"] == _LAST_VARIABLE)
    variables[at + 1 : at + 1] = [_variable(variables[at], label, name) for label, name in chosen.items()]
    for part in (*_targets(model), *model["annotations"]["list"]):
        if "expr" in part:
            matchers = "".join(f', {label}=~"${name}"' for label, name in chosen.items())
            part["expr"] = part["expr"].replace(_LAST_MATCHER, _LAST_MATCHER + matchers)
    text = json.dumps(model, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    for name in chosen.values():
        # But for links that choose one value.
        other = f'({re.escape(_LAST_IN_LINKS)})(?![^"]*&var-{name}=)'
        text = re.sub(other, rf"\1&${{{name}:queryparam}}", text)
    return text


def _targets(model: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for panel in model["panels"]:
        yield from panel.get("targets", ())


def _variable(server: dict[str, Any], label: str, name: str) -> dict[str, Any]:
    """The variable of a label, as that of servers is made."""
    made = copy.deepcopy(server)
    made |= {"name": name, "label": label}
    made["query"] |= {"query": made["query"]["query"].replace(_SERVER, label), "refId": name}
    return made


def _by_label(
    panels: list[dict[str, Any]], of_models: list[dict[str, Any]], label: str, variable: str
) -> Iterator[dict[str, Any]]:
    """A row below all others, with what is drawn by model drawn by a label."""
    if not of_models:
        return
    y = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    identity = max(panel["id"] for panel in panels)
    row = {"collapsed": False, "gridPos": {"h": _ROW_HEIGHT, "w": 24, "x": 0, "y": y}, "panels": []}
    yield row | {"id": identity + 1, "title": f"By {label}", "type": "row"}
    width = 24 // len(of_models)
    for at, panel in enumerate(of_models):
        made = _made_by(panel, label, variable)
        made["id"] = identity + 2 + at
        made["gridPos"] |= {"x": at * width, "y": y + _ROW_HEIGHT, "w": width}
        yield made


def _made_by(panel: dict[str, Any], label: str, variable: str) -> dict[str, Any]:
    def grouped(found: re.Match[str]) -> str:
        by = found[1].split(", ")
        if "job" in by:
            return f"by ({', '.join((*by, label))})"  # each model by itself, whatever it is summed up by in the end
        return f"by ({', '.join((label, *(one for one in by if one not in (_MODEL, _PROVIDER))))})"

    made = copy.deepcopy(panel)
    for target in made["targets"]:
        target["expr"] = _BY.sub(grouped, target["expr"])
    text = json.dumps(made, ensure_ascii=False)
    for old, new in (
        (f"{{{{{_MODEL}}}}}", f"{{{{{label}}}}}"), ("&var-provider=${__data.fields.Provider}", ""),
        ("var-model=${__data.fields.Model}", f"var-{variable}=${{__data.fields.{label}}}"),
        (f'"{_MODEL}"', f'"{label}"'), ('"Model"', f'"{label}"'), ("by model", f"by {label}"),
        ('"Models"', json.dumps(f"Streams, by {label}")), ("of every model", f"of every {label}"),
        ("for each model", f"for each {label}"), ("A click on a model", f"A click on a {label}"),
    ):
        text = text.replace(old, new)
    found: dict[str, Any] = json.loads(text)
    return found
