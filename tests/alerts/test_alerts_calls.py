"""Calls without a stream: they page as streams do, and neither is counted with the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts_support import needs
from alerts_world import Course, Rate, Thing, calls, streams
from promtool_support import Promtool, ever, firing, needed
from streamvitals import names
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.ruleset import every_rule

pytestmark = needs("promtool")
CALLS, STREAMS, HANGING = (f"Streamvitals{name}" for name in ("CallsFailing", "Failing", "CallsHanging"))


def test_calls_fail_while_streams_are_well_and_the_reverse(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed(CALLS, STREAMS))
    for sick, paged, quiet, ratio in (
        ({calls("failed"): 20.0}, CALLS, STREAMS, "streamvitals:failure_ratio:increase5m"),
        ({streams("reset"): 60.0}, STREAMS, CALLS, "streamvitals:calls_failure_ratio:increase5m"),
    ):
        promtool.expect(
            f"{paged} alone", Course(dict(sick), ill=10, after=0), (30, firing(paged), 1.0),
            (30, ever(quiet, 30), None), (30, f"sum({ratio})", 0.0),
        )
    promtool.check()


def test_little_is_called(tmp_path: Path) -> None:
    """One call in two minutes: all of them fail, or a blip of them does."""
    promtool = Promtool(tmp_path, needed(CALLS), finely=True)
    little: dict[Thing, Rate] = {calls("completed"): 0.5}
    all_fail = Course({calls("completed"): 0.0, calls("failed"): 0.5}, healthy=little, replicas=("a:9464",), well=60,
                      ill=15, after=0)
    blip: dict[Thing, Rate] = {calls("failed"): lambda minute: 2.0 if minute < 2 else 0.0}
    promtool.expect("all fail", all_fail, (75, firing(CALLS), 1.0))
    promtool.expect("a blip", replace(all_fail, sick=blip, ill=30), (90, ever(CALLS, 90), None))
    promtool.check()


def test_calls_that_always_take_so_long_are_usual(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed(HANGING))
    slow: dict[Thing, Rate] = {Thing(names.CALLS_STALLED): 1.0}
    promtool.expect("slow", Course({}, healthy=slow, well=100, ill=0, after=0), (100, firing(HANGING), None))
    promtool.check()


@pytest.mark.parametrize(("by", "value"), [((), None), (("tenant",), 1.0)])
def test_one_tenants_calls(by: tuple[str, ...], value: float | None, tmp_path: Path) -> None:
    rules: list[dict[str, Any]] = every_rule(Objectives(by=by))
    promtool = Promtool(tmp_path, needed(CALLS, of=rules))

    def of(tenant: str, thing: Thing) -> Thing:
        return Thing(thing.metric, (*thing.labels, ("tenant", tenant)), thing.model)

    sick: dict[Thing, Rate] = {of("acme", calls("failed")): 1.0, of("acme", calls("completed")): 0.0}
    healthy: dict[Thing, Rate] = {
        calls("completed"): 100.0, of("acme", calls("completed")): 1.0, of("acme", calls("failed")): 0.0,
    }
    promtool.expect("acme's", Course(sick, healthy=healthy, ill=12, after=0), (32, firing(CALLS), value))
    promtool.check()
