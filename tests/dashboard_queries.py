"""The dashboards' queries as Grafana would send them, and what a Prometheus answers."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "dashboards"
BOARDS = ("streams.json", "incident.json", "latency.json", "limits.json")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|([A-Za-z_]\w*))")


@dataclass(frozen=True)
class Asked:
    """One query of a panel."""

    board: str
    panel: str
    ref: str
    expr: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.board}: {self.panel} ({self.ref})"


def model(board: str) -> dict[str, Any]:
    return dict(json.loads((FOLDER / board).read_text(encoding="utf-8")))


def queries() -> Iterator[Asked]:
    """Every query of every panel and annotation."""
    for board in BOARDS:
        said = model(board)
        for panel in said["panels"]:
            for target in panel.get("targets", ()):
                if "expr" not in target:
                    continue  # asked of the trace store
                yield Asked(board, panel["title"], target["refId"], target["expr"], bool(target.get("instant")))
        for annotation in said["annotations"]["list"]:
            yield Asked(board, f"annotation {annotation['name']}", "A", annotation["expr"], False)


def filled(expr: str, values: Mapping[str, str]) -> str:
    """The expression with its variables; KeyError for one that ``values`` does not have."""
    return _VARIABLE.sub(lambda found: values[found[1] or found[2]], expr)


def answer(prometheus: str, expr: str, start: float, end: float, step: float) -> list[dict[str, Any]]:
    """The series of a range query. Raises AssertionError with Prometheus' own words where it does not parse."""
    form = urllib.parse.urlencode({"query": expr, "start": start, "end": end, "step": step}).encode()
    try:
        with urllib.request.urlopen(f"{prometheus}/api/v1/query_range", form, timeout=30) as response:
            return list(json.load(response)["data"]["result"])
    except urllib.error.HTTPError as error:
        with error:
            raise AssertionError(f"{json.load(error)['error']}: {expr}") from error
