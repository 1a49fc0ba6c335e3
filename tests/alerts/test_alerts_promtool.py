"""Every alert in promtool: it fires, does not fire just under, and outlives what happens to counters."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from alerts_cases import ACTIVE, BUILD, CASES, FIRST, GAP, ONE, UP, Case, fallbacks
from alerts_support import needs
from alerts_world import COMPLETED, HEALTHY, MODELS, REPLICAS, SHAPES, Course, Thing, errors, latency, retries, streams
from promtool_support import RULES, Promtool, ever, firing, needed, rendered
from streamvitals import names
from streamvitals.alerts.ruleset import ALERTS
from streamvitals.names import Metric
from thorough import share

pytestmark = needs("promtool")
ANY = 'ALERTS{alertname!="StreamvitalsWatchdog",alertstate="firing"}'
CAUSES = 'ALERTS{severity="ticket",kind="cause",alertstate="firing"}'
PAGES = 'ALERTS{severity="page",alertstate="firing"}'


def said(case: Case) -> dict[str, Any]:
    """The alert as it must be rendered."""
    return rendered(case.alert, case.over.well + case.soon, case.summary, case.description)


def test_a_page_about_streams_that_hang_says_so(tmp_path: Path) -> None:
    failing, stalled = (next(c for c in CASES if c.alert == f"Streamvitals{name}") for name in ("Failing", "Stalled"))
    told = failing.description.replace(": 255 of 2055 operations failed in 5m, 12%", "; 18 streams silent")
    told = told.replace("00:26", "00:25").replace("1 of 2 models", "1 of 1 models")
    page = replace(stalled, alert=failing.alert, summary=f"{stalled.summary}, since 00:20", description=told)
    promtool = Promtool(tmp_path, needed(failing.alert))
    promtool.expect("hanging", replace(stalled.over, after=0.0), alert_rule_test=[said(page)])
    promtool.check()


def test_every_alert_has_a_case() -> None:
    assert {case.alert for case in CASES} == {alert.name for alert in ALERTS} - {"StreamvitalsWatchdog"}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_it_fires_and_says_why_and_recovers(case: Case, tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed(case.alert), finely=case.alert == "StreamvitalsFailing")
    course = case.over
    before = (course.well - 1, firing(case.alert), None)
    fires = (course.well + case.soon, firing(case.alert), 1.0)
    recovers = (course.well + course.ill + course.after, firing(case.alert), None)
    promtool.expect("fires and recovers", course, before, fires, recovers, alert_rule_test=[said(case)])
    for shape in share(SHAPES[1:], each=2):
        # No further than needed: promtool evaluates to the last sample.
        promtool.expect(shape, replace(course, shape=shape, ill=case.soon + 0.5, after=0.0), before, fires)
    length = case.under.well + case.under.ill + 10
    promtool.expect(
        "just under", replace(case.under, after=10.0), (length, ever(case.alert, length), None)
    )
    promtool.check()


@pytest.mark.parametrize("shape", SHAPES)
def test_a_service_that_is_well_raises_nothing(shape: Any, tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, RULES)
    course = Course({}, well=40, ill=0, after=30, shape=shape)
    promtool.expect(shape, course, (70, f"count(count_over_time({ANY}[70m]))", None))
    promtool.check()


@pytest.mark.parametrize(("share", "value"), [(0.15, None), (0.3, 1.0)])
def test_that_a_few_more_wait_than_was_promised_is_a_ticket(share: float, value: float | None, tmp_path: Path) -> None:
    """A twentieth may."""
    promtool = Promtool(tmp_path, needed("StreamvitalsSlow", "StreamvitalsFirstTokenRegression"))
    course = Course(latency(FIRST, 4.0, share, 2 * COMPLETED), well=80, ill=20, after=0)
    promtool.expect(
        "slower", course, (100, ever("StreamvitalsSlow", 100), value),
        (100, ever("StreamvitalsFirstTokenRegression", 100), 1.0),
    )
    promtool.check()


INCIDENTS = ("StreamvitalsFailing", "StreamvitalsRefused", "StreamvitalsSlow", "StreamvitalsStalled")


@pytest.mark.parametrize("case", [case for case in CASES if case.alert in INCIDENTS], ids=lambda case: case.alert)
def test_one_incident_is_one_page(case: Case, tmp_path: Path) -> None:
    """And with it the tickets that name the cause."""
    promtool = Promtool(tmp_path, RULES)
    end = case.over.well + case.over.ill + 20
    promtool.expect(
        "one page", replace(case.over, after=20.0),
        (end, f"count(count_over_time({PAGES}[{end:.0f}m]))", 1.0),
        (end, f"count(count_over_time({CAUSES}[{end:.0f}m])) > bool 0", 1.0),
    )
    promtool.check()


def test_the_watchdog_always_fires(tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed("StreamvitalsWatchdog"))
    promtool.expect("fires", Course({}, well=5, ill=0, after=0), (5, firing("StreamvitalsWatchdog"), 1.0))
    promtool.check()


def paged(course: Course, tmp_path: Path, value: float | None, finely: bool = False) -> None:
    promtool = Promtool(tmp_path, needed("StreamvitalsFailing"), finely)
    end = course.well + course.ill
    promtool.expect("paged", course, (end, ever("StreamvitalsFailing", end), value))
    promtool.check()


FALLBACKS = fallbacks(60.0)


@pytest.mark.parametrize(("what", "sick", "value"), [
    ("users leave, by cancelling or closing", {streams("cancelled"): 200.0, streams("abandoned"): 200.0}, None),
    ("answers reach their limit", {streams("length"): 60.0, streams("content_filter"): 60.0}, None),
    ("the app tried again with success", {streams("reset"): 60.0, retries("app", "reset"): 60.0}, None),
    ("the app tried again in vain", {streams("reset"): 60.0, retries("app", "reset"): 30.0}, 1.0),
    ("fallbacks work", FALLBACKS, None),
    ("fallbacks fail", FALLBACKS | {Thing(names.OPERATIONS_FAILED): 60.0}, 1.0),
    ("rejected requests are the caller's", {streams("rejected"): 60.0}, None),
])
def test_what_is_a_failure_to_users(what: str, sick: Any, value: float | None, tmp_path: Path) -> None:
    paged(Course(sick, ill=12, after=0), tmp_path, value)


@pytest.mark.parametrize(("minutes", "value"), [(1.0, None), (2.5, None), (6.0, 1.0)])
def test_a_bad_minute_wakes_nobody(minutes: float, value: float | None, tmp_path: Path) -> None:
    """Nor when the program only later says that nobody tried again."""
    sick = {
        streams("completed"): lambda minute: 0.0 if minute < minutes else 60.0,
        streams("reset"): lambda minute: 60.0 if minute < minutes else 0.0,
        Thing(names.OPERATIONS_FAILED): lambda minute: 60.0 if 1 <= minute < 1 + minutes else 0.0,
    }
    paged(Course(sick, ill=15, after=0), tmp_path, value)


def little(rate: float) -> dict[Thing, Any]:
    """What is asked of a small service, a minute; nothing measures how fast it is."""
    counts = {thing: None if isinstance(thing.metric, Metric) and thing.metric.kind == "histogram" else 0.0
              for thing in HEALTHY if not thing.gauge}
    return counts | {streams("completed"): rate}


@pytest.mark.parametrize(("every", "soon"), [(60.0, 241.0), (2.0, 11.0), (0.0, 6.0)])
def test_an_outage_pages_whatever_the_traffic(every: float, soon: float, tmp_path: Path) -> None:
    """From a request every so many minutes to a hundred in each; ``soon`` in minutes is enough, and less is not for
    the seldom ones."""
    def asked(minute: float) -> float:
        return 100.0 if not every else 2.0 if minute % every < 0.5 else 0.0

    course = Course(
        {streams("completed"): 0.0, streams("reset"): asked}, healthy=little(0.0) | {streams("completed"): asked},
        replicas=ONE, well=360.0 if every > 30 else 60.0, ill=soon, after=0,
    )
    paged(course, tmp_path, 1.0)
    if every > 30:
        paged(replace(course, ill=119.0), tmp_path, None)


@pytest.mark.parametrize(("share", "value"), [(0.2, 1.0), (0.05, None)])
def test_a_part_of_a_request_a_minute_fails_for_an_hour(share: float, value: float | None, tmp_path: Path) -> None:
    sick = {streams("completed"): 1 - share, streams("reset"): share}
    paged(Course(sick, healthy=little(1.0), replicas=ONE, well=80, ill=70, after=0), tmp_path, value)


@pytest.mark.parametrize(("minutes", "value"), [(2.0, None), (8.0, 1.0)])
def test_of_little_traffic_a_blip_is_no_page(minutes: float, value: float | None, tmp_path: Path) -> None:
    """Eight failures at once, and eight one after the other."""
    sick: dict[Thing, Any] = {streams("reset"): lambda minute: 8 / minutes if minute < minutes else 0.0}
    paged(Course(sick, healthy=little(2.0), replicas=ONE, well=60, ill=20, after=0), tmp_path, value, finely=True)


@pytest.mark.parametrize(("before", "value"), [(0.0, 1.0), (0.05, None)])
def test_what_a_service_is_used_to_needs_more_to_page(before: float, value: float | None, tmp_path: Path) -> None:
    """More than a fifth of thirty, after three hours without failures or with a few."""
    def usual(minute: float) -> float:
        return 2 * before if minute >= -180 else 0.0

    sick: dict[Thing, Any] = {streams("completed"): 2 * (1 - 0.22), streams("reset"): 2 * 0.22}
    healthy = little(2.0) | {streams("reset"): usual}
    paged(Course(sick, healthy=healthy, replicas=ONE, well=200, ill=16, after=0), tmp_path, value)


def test_hours_of_failing_are_over_when_it_is_well(tmp_path: Path) -> None:
    """A request every five minutes, which failed for two hours: half an hour later nobody is paged for them."""
    sick = {streams("completed"): 0.0, streams("reset"): 0.2}
    course = Course(sick, healthy=little(0.2), replicas=ONE, well=300, ill=120, after=56)
    promtool = Promtool(tmp_path, needed("StreamvitalsFailing"))
    promtool.expect(
        "over", course, (419, firing("StreamvitalsFailing"), 1.0), (476, firing("StreamvitalsFailing"), None)
    )
    promtool.check()


@pytest.mark.parametrize(("completed", "value"), [(0.0, 1.0), (1.0, None)])
def test_requests_that_are_bad_are_everybodys_or_somebodys(
    completed: float, value: float | None, tmp_path: Path
) -> None:
    """Instead of the usual requests they are a deployment's; beside them they are one caller's, be they ten times as
    many."""
    sick: dict[Thing, Any] = {
        streams("completed"): completed, streams("rejected"): 10.0 if completed else 1.0,
        errors("rejected", "400"): 10.0 if completed else 1.0,
    }
    course = Course(sick, healthy=little(1.0), replicas=ONE, well=110, ill=30, after=0)
    promtool = Promtool(tmp_path, needed("StreamvitalsRefused"))
    promtool.expect("bad", course, (140, ever("StreamvitalsRefused", 140), value))
    promtool.check()


@pytest.mark.parametrize(("streams_a_minute", "value"), [(0.4, None), (2.0, 1.0)])
def test_chunks_are_slow_where_those_of_many_streams_are(
    streams_a_minute: float, value: float | None, tmp_path: Path
) -> None:
    """Six streams have hundreds of chunks, all slow together."""
    sick = latency(GAP, 0.5, 1.0, 200.0) | latency(FIRST, 0.5, 1.0, streams_a_minute)
    healthy = little(2.0) | sick | latency(GAP, 0.02, 1.0, 200.0)
    course = Course(sick, healthy=healthy, replicas=ONE, well=80, ill=20, after=0)
    promtool = Promtool(tmp_path, needed("StreamvitalsSlow"))
    promtool.expect("slow", course, (100, ever("StreamvitalsSlow", 100), value))
    promtool.check()


@pytest.mark.parametrize(("model", "value"), [(MODELS[0], 1.0), (MODELS[1], None)])
def test_a_model_is_slow_beside_its_own_past(model: str, value: float | None, tmp_path: Path) -> None:
    """One answers at once and one after half a minute, and either takes longer by four seconds."""
    usual = latency(FIRST, 0.5, 1.0, COMPLETED) | latency(FIRST, 30.0, 1.0, COMPLETED, MODELS[1])
    sick = usual | latency(FIRST, 5.0 if model == MODELS[0] else 35.0, 1.0, COMPLETED, model)
    promtool = Promtool(tmp_path, needed("StreamvitalsSlow"))
    course = Course(sick, healthy=usual, well=120, ill=20, after=0)
    promtool.expect(
        "slow", course, (119, firing("StreamvitalsSlow"), None), (140, firing("StreamvitalsSlow"), value)
    )
    promtool.check()


@pytest.mark.parametrize("rate", [0.3, 1.0, 2.0])
def test_where_little_is_asked_a_model_that_reasons_is_as_slow_as_ever(rate: float, tmp_path: Path) -> None:
    course = Course({}, healthy=little(rate) | latency(FIRST, 30.0, 1.0, rate), replicas=ONE, well=150, ill=0, after=0)
    promtool = Promtool(tmp_path, needed("StreamvitalsSlow"))
    promtool.expect("as ever", course, (150, ever("StreamvitalsSlow", 150), None))
    promtool.check()


def test_a_model_that_is_new_is_as_slow_as_it_is(tmp_path: Path) -> None:
    """One that reasons for half a minute, and half an hour later as well."""
    sick = latency(FIRST, 30.0, 1.0, COMPLETED, MODELS[1])
    course = Course(sick, healthy=dict.fromkeys(sick), well=80, ill=100, after=0)
    promtool = Promtool(tmp_path, needed("StreamvitalsSlow"))
    promtool.expect("new", course, (180, ever("StreamvitalsSlow", 180), None))
    promtool.check()


@pytest.mark.parametrize(("past", "left", "value"), [(1500.0, 0.0, 1.0), (1500.0, 0.15, None), (120.0, 0.0, None)])
def test_a_small_service_falls_silent(past: float, left: float, value: float | None, tmp_path: Path) -> None:
    """Of nine requests in a quarter of an hour, as a day before; one that was not there a day before may have ended.
    Half as long an emptiness is no news."""
    sick: dict[Thing, Any] = {streams("completed"): left, ACTIVE: 0.0}
    promtool = Promtool(tmp_path, needed("StreamvitalsTrafficGone"))
    course = Course(sick, healthy=little(0.6), replicas=ONE, well=past, ill=50, after=0)
    end = course.well + course.ill
    promtool.expect(
        "silent", course, (past + 25, firing("StreamvitalsTrafficGone"), None),
        (end, ever("StreamvitalsTrafficGone", end), value),
    )
    promtool.check()


@pytest.mark.parametrize(("rate", "value"), [(1.0, 1.0), (0.5, None)])
def test_steady_traffic_is_missed_sooner(rate: float, value: float | None, tmp_path: Path) -> None:
    """Fifteen in each quarter of an hour, and less than nine."""
    course = Course(
        {streams("completed"): 0.0, ACTIVE: 0.0}, healthy=little(rate), replicas=ONE, well=1500, ill=20, after=0
    )
    promtool = Promtool(tmp_path, needed("StreamvitalsTrafficGone"))
    promtool.expect("gone", course, (1520, firing("StreamvitalsTrafficGone"), value))
    promtool.check()


def test_it_lasts_for_as_long_as_nothing_comes(tmp_path: Path) -> None:
    """Two hours, in which an hour ago is no past any more; and then it is over."""
    promtool = Promtool(tmp_path, needed("StreamvitalsTrafficGone"))
    course = Course(
        {streams("completed"): 0.0, ACTIVE: 0.0}, healthy=little(1.0), replicas=ONE, well=1500, ill=120, after=40
    )
    promtool.expect(
        "lasts", course, (1530, firing("StreamvitalsTrafficGone"), 1.0), (1615, firing("StreamvitalsTrafficGone"), 1.0),
        (1660, firing("StreamvitalsTrafficGone"), None),
    )
    promtool.check()


@pytest.mark.parametrize(("week", "value"), [(True, 1.0), (False, None)])
def test_a_monday_is_like_a_monday(week: bool, value: float | None, tmp_path: Path) -> None:
    """Nobody came on Sunday, and everybody a week ago, or there was no week ago."""
    gone = [rule for rule in RULES if rule.get("record", "").startswith("streamvitals:traffic:")]
    promtool = Promtool(tmp_path, gone)
    # By five minutes: six days with traffic, a day without, two hours with, and nothing.
    past = "30x1727" if week else "_x1727"
    ended = f"{past} 0x263 30x23 20 10 0x20"
    one = '{job="chat"}'
    given = {
        "ended:increase15m": ended, "expected:increase15m": "30x2100", "ended:increase5m": "0x2100",
        "expected:increase5m": "0x2100", "reporting": "1x2100", "observed": "1x2100", "stalled": "0x2100",
    }
    promtool.longest = 10_000
    promtool.groups.append({
        "name": "monday", "interval": "5m",
        "input_series": [{"series": f"streamvitals:{name}{one}", "values": values} for name, values in given.items()],
        "promql_expr_test": [{
            "expr": "count(streamvitals:traffic:gone)", "eval_time": f"{(2016 + 7) * 5}m",
            "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
        }],
    })
    promtool.check()


def test_where_users_come_in_groups_an_empty_half_hour_is_no_news(tmp_path: Path) -> None:
    """Thirty at once, every twenty minutes, and then not: as seldom as that they may come."""
    def asked(minute: float) -> float:
        return 60.0 if minute % 20 < 0.5 else 0.0

    course = Course(
        {streams("completed"): 0.0, ACTIVE: 0.0}, replicas=ONE, well=1500, ill=40, after=0,
        healthy=little(0.0) | {streams("completed"): lambda minute: 2.0 if minute < -180 else asked(minute)},
    )
    promtool = Promtool(tmp_path, needed("StreamvitalsTrafficGone"))
    promtool.expect("groups", course, (1540, ever("StreamvitalsTrafficGone", 100), None))
    promtool.check()


def test_an_agent_that_observes_nothing_is_no_lack_of_traffic(tmp_path: Path) -> None:
    gone = next(case for case in CASES if case.alert == "StreamvitalsTrafficGone")
    promtool = Promtool(tmp_path, needed("StreamvitalsTrafficGone"))
    course = replace(gone.over, sick=gone.over.sick | {BUILD: None})
    end = course.well + course.ill
    promtool.expect("silent", course, (end, ever("StreamvitalsTrafficGone", end), None))
    promtool.check()


@pytest.mark.parametrize(("alert", "sick", "where"), [
    ("StreamvitalsAgentSilent", {BUILD: None}, ONE),
    ("StreamvitalsTargetMissing", dict.fromkeys(HEALTHY), REPLICAS),
])
def test_what_is_pushed_over_otlp_has_no_up(alert: str, sick: Any, where: tuple[str, ...], tmp_path: Path) -> None:
    promtool = Promtool(tmp_path, needed(alert))
    course = Course(sick, healthy={UP: None}, well=50, ill=50, after=0, where=where)
    promtool.expect("pushed", course, (course.well - 1, firing(alert), None), (course.well + 45, firing(alert), 1.0))
    promtool.check()


def test_a_replica_that_counts_nothing_is_silent(tmp_path: Path) -> None:
    """Its agent and its program are there, and its siblings are busy."""
    nothing = {thing: 0.0 for thing in HEALTHY if thing.metric is names.STREAMS}
    promtool = Promtool(tmp_path, needed("StreamvitalsAgentSilent"))
    one = Course(nothing, ill=55, after=0, where=ONE)
    promtool.expect("one of three", one, (75, firing("StreamvitalsAgentSilent"), 1.0))
    promtool.expect("all", replace(one, where=REPLICAS), (75, firing("StreamvitalsAgentSilent"), None))
    promtool.check()
