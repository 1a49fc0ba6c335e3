"""What is not seen: blind is a page where it is usually busy, and what ended as it was to is nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from alerts_cases import BUILD, NOTHING, UNPATCHED, UP
from alerts_support import needs
from alerts_world import HEALTHY, Course, Rate, Thing
from promtool_support import Promtool, ever, firing, needed

pytestmark = needs("promtool")
BLIND, GONE, MISSING = (f"Streamvitals{name}" for name in ("Blind", "TrafficGone", "TargetMissing"))
AWAY: dict[Thing, Rate] = dict.fromkeys(HEALTHY)


def test_what_is_pushed_and_falls_silent_is_a_page(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed(BLIND))
    course = Course({**AWAY, UP: None}, healthy={UP: None}, well=60, ill=30, after=0)
    promtool.expect("silent", course, (59, firing(BLIND), None), (75, firing(BLIND), 1.0))
    promtool.check()


def test_a_job_that_ended_as_planned_is_nothing(tmp_path: Path) -> None:
    """Its targets have left discovery, and it was not there on other days."""
    promtool = Promtool(tmp_path, needed(BLIND, MISSING))
    course = Course({**AWAY, UP: None}, well=60, ill=90, after=0)
    promtool.expect("ended", course, (150, ever(BLIND, 150), None), (150, ever(MISSING, 150), None))
    promtool.check()


def test_an_sdk_that_is_not_patched_any_more_is_no_lack_of_traffic(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed(BLIND, GONE))
    gone: dict[Thing, Rate] = {**NOTHING, BUILD: None, UNPATCHED: 1.0}
    course = Course(gone, well=90, ill=30, after=0)
    promtool.expect("not patched", course, (105, firing(BLIND), 1.0), (120, ever(GONE, 120), None))
    promtool.expect(
        "patched", replace(course, sick=dict(NOTHING)), (105, firing(GONE), 1.0), (120, ever(BLIND, 120), None)
    )
    promtool.check()


def test_a_standby_replica_is_not_silent(tmp_path: Path) -> None:
    """It never did anything, and its sibling does it all."""
    silent = "StreamvitalsAgentSilent"
    promtool = Promtool(tmp_path, needed(silent))
    standby = Course({}, well=0, ill=0, after=80, replicas=("s:9464",), healthy={
        thing: 0.0 for thing in HEALTHY if not thing.gauge
    })
    busy = Course({}, well=0, ill=0, after=80, replicas=("a:9464",))
    promtool.expect("standby", busy, (80, ever(silent, 80), None))
    promtool.groups[0]["input_series"] += list(standby.series())
    promtool.check()
