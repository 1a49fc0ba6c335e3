"""Panels and alerts measure the same: what a panel asks gives what the rules record, in promtool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts_cases import fallbacks
from alerts_support import needs
from alerts_world import HEALTHY, MODELS, REPLICAS, Course, Thing, retries, streams
from dashboard_queries import filled, queries
from promtool_support import Promtool, needed
from streamvitals import names

pytestmark = needs("promtool")
VARIABLES = {**dict.fromkeys(("job", "instance", "provider", "model", "operation", "server"), ".*"), "budget": "0.005"}
# Panels by title and query, and the series whose measure they show; what both have the labels of.
FAILING = {
    ("Failing now", "A"): ("streamvitals:failure_ratio:increase5m", ""),
    ("Models", "B"): ("streamvitals:model_failure_ratio:increase5m", "gen_ai_request_model"),
}
HEADROOM = {("Least headroom", "A"): ("streamvitals:limit_left", "")}
# Which attempts failed, and what became of them.
COURSES = {
    "all is well": Course({}),
    "streams fail": Course({streams("reset"): 17.0}),
    "some are tried again": Course({streams("reset"): 60.0, retries("app", "reset"): 30.0}),
    "fallbacks work": Course(fallbacks(60.0)),
    "fallbacks fail": Course(fallbacks(60.0) | {Thing(names.OPERATIONS_FAILED): 60.0}),
    "one model fails, and another is tried again": Course({
        streams("reset", model=MODELS[1]): 40.0, streams("timeout"): 10.0,
        Thing(names.RETRIES, (("source", "app"), ("reason", "timeout"))): 50.0,
    }),
    "nothing ends well, tried again for ever": Course(
        {streams("completed", model=model): 0.0 for model in MODELS}
        | {streams("reset"): 60.0, retries("app", "reset"): 60.0},
    ),
    "most series are not there": Course({streams("reset"): 17.0}, shape="outcomes absent"),
    "a replica is gone": Course({streams("reset"): 17.0}, shape="replica gone"),
}


def expect_the_same(
    tmp_path: Path, panels: Mapping[tuple[str, str], tuple[str, str]], course: Course, *minutes: float
) -> Promtool:
    """At these minutes every panel has the samples that its series has."""
    rules, checks = needed(*(series for series, _ in panels.values())), []
    for query in queries():
        if (query.panel, query.ref) in panels:
            series, by = panels[query.panel, query.ref]
            panel = f"panel:{len(rules)}"
            rules.append({"record": panel, "expr": filled(query.expr, VARIABLES)})
            differ = f"count(abs(min by ({by}) ({panel}) - min by ({by}) ({series})) >= 1e-9)"
            for minute in minutes:
                checks += [(minute, f"{differ} or count({panel}) != count({series})", None)]
                checks += [(minute, f"count({panel}) > bool 0", 1.0)]
    promtool = Promtool(tmp_path, rules)
    # Windows as they are written: those that stand in for Prometheus 3's are shortened in rules only.
    promtool.programs = [("promtool", "rules")]
    promtool.expect("the same", course, *checks)
    return promtool


@pytest.mark.parametrize("name", COURSES)
def test_the_operations_that_fail_are_those_that_page(name: str, tmp_path: Path) -> None:
    """Over all, and for each model: while it is well, while it is ill, and when it is over."""
    course = replace(COURSES[name], well=8.0, ill=7.0, after=6.0)
    expect_the_same(tmp_path, FAILING, course, 6.0, 9.0, 11.0, 15.0, 17.0, 21.0).check()


@pytest.mark.parametrize(("idle", "left"), [((), 0.5), (REPLICAS[:1], 0.5), (REPLICAS, None)])
def test_what_is_left_of_a_limit_is_what_the_ticket_goes_by(
    idle: tuple[str, ...], left: float | None, tmp_path: Path
) -> None:
    """What an idle replica was told last, 5 of 100, is no news."""
    remaining, limit = (
        Thing(metric, (("kind", "requests"),)) for metric in (names.RATELIMIT_REMAINING, names.RATELIMIT_LIMIT)
    )
    nothing: dict[Thing, Any] = {thing: 0.0 for thing in HEALTHY if thing.metric is names.STREAMS}
    course = Course(nothing | {remaining: 5.0}, healthy={remaining: 50.0, limit: 100.0}, where=idle, ill=20, after=0)
    promtool = expect_the_same(tmp_path, HEADROOM, course, *(() if left is None else (39.0,)))
    promtool.expect("left", course, (39.0, f"min(panel:{len(needed('streamvitals:limit_left'))})", left))
    promtool.check()
