"""Every query of every panel, asked of a Prometheus that has watched an incident."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import pytest

from alerts_support import needs
from dashboard_queries import Asked, answer, filled, queries
from dashboards.scene import playing
from dashboards.scene.__main__ import faster

pytestmark = [needs("prometheus", "alertmanager"), pytest.mark.xdist_group("dashboards")]
LENGTH = 80.0
# What nothing in the scene causes, or chance alone: few calls are made without a stream, and fewer are tried again.
MAY_BE_SILENT = {"What broke in calls", "Retries of calls", "Faults of streamvitals", "Hints", "Not observed"}
VALUES = {
    "__rate_interval": "8s", "__interval": "2s", "__range": "80s", "compare": "20s", "budget": "0.005",
    **dict.fromkeys(("job", "instance", "provider", "model", "operation", "server"), ".*"),
}


@pytest.fixture(scope="module")
def watched() -> Iterator[tuple[str, float, float]]:
    """The address of Prometheus, and from when to when it has watched."""
    with playing(LENGTH) as scene:
        scene.run_through()
        yield scene.prometheus, scene.started, time.time()


def values(found: list[dict[str, Any]]) -> list[float]:
    return [float(value) for series in found for _, value in series["values"]]


@pytest.mark.parametrize("query", list(queries()), ids=str)
def test_a_query_is_answered(query: Asked, watched: tuple[str, float, float]) -> None:
    prometheus, start, end = watched
    numbers = values(answer(prometheus, faster(filled(query.expr, VALUES)), start, end, 2))
    assert all(math.isfinite(number) for number in numbers)
    assert numbers or query.panel in MAY_BE_SILENT


@pytest.mark.parametrize("query", list(queries()), ids=str)
def test_a_query_is_silent_where_nothing_is_chosen(query: Asked, watched: tuple[str, float, float]) -> None:
    """Every variable reaches every query: a replica that there is not has no numbers."""
    prometheus, start, end = watched
    # Alerts, and what rules record, are of a service.
    label = "job" if "ALERTS{" in query.expr or "streamvitals:" in query.expr else "instance"
    numbers = values(answer(prometheus, faster(filled(query.expr, VALUES | {label: "nobody"})), start, end, 2))
    # Until the rules are evaluated it says that they are not loaded, and a count of none is 0.
    assert "absent(" in query.expr or not any(numbers)
