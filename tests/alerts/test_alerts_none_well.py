"""Nothing ends well, and everything is tried again: what no count of operations shows is a page all the same."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts_cases import LOOK_NEXT, ONE
from alerts_support import needs
from alerts_world import COMPLETED, HEALTHY, MODELS, Course, Rate, Thing, retries, streams
from dashboard_queries import filled, queries
from promtool_support import RULES, Promtool, ever, firing, needed, rendered
from streamvitals import names
from streamvitals.names import Metric

pytestmark = needs("promtool")
PAGES = 'ALERTS{severity="page",alertstate="firing"}'
RECOVERED = Thing(names.RECOVERIES, (("source", "app"),))


def retried(rate: Rate, model: str = MODELS[0], outcome: str = "reset") -> dict[Thing, Rate]:
    """So many streams a minute that fail, each of which tries again what failed before."""
    again = replace(retries("app", outcome), model=model)
    return {streams("completed", model=model): 0.0, streams(outcome, model=model): rate, again: rate}


ALL = retried(60.0) | retried(60.0, MODELS[1])


def little() -> dict[Thing, Any]:
    """A service of one program that is asked twice a minute; nothing measures how fast it is."""
    counts = {thing: None if isinstance(thing.metric, Metric) and thing.metric.kind == "histogram" else 0.0
              for thing in HEALTHY if not thing.gauge}
    return counts | {streams("completed"): 2.0}


def test_all_is_tried_again_for_ever(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, RULES)
    course = Course(ALL, ill=20, after=30)
    promtool.expect(
        "for ever", course, (19, f"count({PAGES})", None), (26, firing("StreamvitalsFailing"), 1.0),
        (70, f"count(count_over_time({PAGES}[70m]))", 1.0), (70, firing("StreamvitalsFailing"), None),
        (26, "streamvitals:failure_ratio:increase5m", None),
    )
    promtool.groups[-1]["promql_expr_test"][-1]["exp_samples"] = [
        {"labels": 'streamvitals:failure_ratio:increase5m{job="chat"}', "value": 1.0}
    ]
    promtool.check()


def test_the_dashboards_first_figure_is_everything(tmp_path: Path) -> None:
    """Not nothing, of nothing; and where what is tried again ends well, it is as it was."""
    (tile, *_) = (q for q in queries() if (q.board, q.panel) == ("streams.json", "Failing now"))
    expr = filled(tile.expr, dict.fromkeys(re.findall(r"\$(\w+)", tile.expr), ".*"))
    promtool = Promtool(tmp_path, needed("StreamvitalsWatchdog"))
    promtool.expect("for ever", Course(ALL, ill=10, after=0), (29, expr, 1.0))
    some = {streams("reset"): 60.0, retries("app", "reset"): 60.0}
    promtool.expect("with success", Course(some, ill=10, after=0), (29, expr, 0.0))
    fell_back = retried(25.0) | {Thing(names.FALLBACKS): 25.0, RECOVERED: 25.0}
    promtool.expect("without streaming", Course(fell_back, healthy=little(), ill=10, after=0), (29, expr, 0.0))
    promtool.check()


def test_the_page_says_that_nothing_ends_well_and_the_ticket_hides_nothing(tmp_path: Path) -> None:
    page, storm = "StreamvitalsFailing", "StreamvitalsRetryStorm"
    promtool = Promtool(tmp_path, needed(page, storm))
    course = Course(retried(0.8), healthy=little(), replicas=ONE, ill=20, after=0)
    told = (
        "Users get errors, cut answers or silence: none of 4 streams in 5m ended well (at 00:38 UTC). Affected: 1"
        f" of 1 models, 1 of 1 provider servers, 1 of 1 replicas. {LOOK_NEXT}"
    )
    promtool.expect("says", course, alert_rule_test=[
        rendered(page, 38, "100% of gpt-4o streams (4 of 4) reset by api.example mid-stream in 5m, since 00:21", told),
        rendered(
            storm, 38, "12 retries of gpt-4o at api.example for reset by the app in 15m",
            "Attempts are made again so often that the provider is the busier for it, and users are not helped. Look"
            " next: 1. the reason on the dashboard, and whether failures of whole operations rise as well; 2. the"
            " provider's status page: this is what an outage looks like before it is one.",
        ),
    ])
    promtool.check()


@pytest.mark.parametrize("rate", [0.8, 25.0, 2500.0])
def test_however_few_or_many_try_again(rate: float, tmp_path: Path) -> None:
    """From one program that waits longer and longer, to a hundred users that do not wait."""
    course = Course(retried(rate), healthy=little(), replicas=ONE, well=15, ill=15, after=0)
    promtool = Promtool(tmp_path, needed("StreamvitalsFailing"))
    promtool.expect("some", course, (30, firing("StreamvitalsFailing"), 1.0))
    promtool.check()


@pytest.mark.parametrize(("what", "sick"), [
    ("too few to prove anything", retried(0.4)),
    ("one operation, tried again for a minute and a half", retried(lambda minute: 10.0 if minute < 1.5 else 0.0)),
    ("answers reach their limit", retried(2.0) | {streams("length"): 2.0}),
    ("a filter speaks", retried(2.0) | {streams("content_filter"): 2.0}),
    ("asked again without streaming", retried(25.0) | {Thing(names.FALLBACKS): 25.0, RECOVERED: 25.0}),
    ("users leave", {streams("completed"): 0.0, streams("cancelled"): 25.0}),
])
def test_what_is_no_page(what: str, sick: dict[Thing, Rate], tmp_path: Path) -> None:
    course = Course(sick, healthy=little(), replicas=ONE, well=15, ill=15, after=0)
    promtool = Promtool(tmp_path, needed("StreamvitalsFailing"))
    promtool.expect(what, course, (30, ever("StreamvitalsFailing", 30), None))
    promtool.check()


def test_that_one_in_a_hundred_ends_well_hides_nothing(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed("StreamvitalsFailing"))
    course = Course(retried(25.0) | {streams("completed"): 0.25}, healthy=little(), replicas=ONE, ill=10, after=0)
    promtool.expect("one", course, (30, firing("StreamvitalsFailing"), 1.0))
    promtool.check()


@pytest.mark.parametrize("shape", ["reset", "gap", "replica gone"])
def test_counters_begin_anew_meanwhile(shape: Any, tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed("StreamvitalsFailing"))
    promtool.expect(shape, Course(ALL, ill=9, after=0, shape=shape), (28, firing("StreamvitalsFailing"), 1.0))
    promtool.check()


def test_one_model_fails_for_ever_and_the_other_is_well(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed("StreamvitalsFailing", "StreamvitalsOneModelFailing"))
    course = Course(retried(20.0, MODELS[1]), ill=20, after=0)
    told = (
        "Users get errors, cut answers or silence; none of 300 o-large streams ended well (at 00:30 UTC)."
        f" Affected: 1 of 2 models, 1 of 1 provider servers, 3 of 3 replicas. {LOOK_NEXT}"
    )
    promtool.expect(
        "one model", course, (27, firing("StreamvitalsFailing"), 1.0), (29, firing("StreamvitalsOneModelFailing"), 1.0),
        alert_rule_test=[
            rendered(
                "StreamvitalsFailing", 30,
                "100% of o-large streams (300 of 300) reset by api.example mid-stream in 5m, since 00:21", told,
            )
        ],
    )
    promtool.check()


def at_another_server(thing: Thing, rate: float) -> dict[str, str]:
    """A series of the same model at another provider, from half an hour before."""
    name = thing.name("a:9464").replace("api.example", "api.other").replace("openai", "other")
    return {"series": name, "values": f"0+{rate / 2:g}x120"}


@pytest.mark.parametrize(("taken_over", "value"), [(0.0, 1.0), (20.0, None)])
def test_one_provider_fails_for_ever_unless_another_takes_over(
    taken_over: float, value: float | None, tmp_path: Path
) -> None:
    """The same model is well at another one; where that is where it is asked again, no user is hurt."""
    promtool = Promtool(tmp_path, needed("StreamvitalsFailing"))
    course = Course(retried(20.0), healthy={streams("completed", model=MODELS[1]): 0.0}, replicas=ONE, ill=20, after=0)
    promtool.expect("one provider", course, (30, firing("StreamvitalsFailing"), value))
    promtool.groups[-1]["input_series"] += [
        at_another_server(streams("completed"), COMPLETED + taken_over), at_another_server(RECOVERED, taken_over),
    ]
    promtool.check()
