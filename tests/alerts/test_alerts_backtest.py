"""The backtest's own parts: what fires when, what is counted as what, and that a seed is a world."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from alerts_support import needs
from streamvitals import names

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from alerts.backtest import chance  # noqa: E402
from alerts.backtest.endless import EndlessWorld  # noqa: E402
from alerts.backtest.events import Event  # noqa: E402
from alerts.backtest.replay import Firing, firings, left_open, levels, prometheus, replay  # noqa: E402
from alerts.backtest.score import Score, notifications, score, summary  # noqa: E402
from alerts.backtest.world import SIZES, Manner, World, rough  # noqa: E402


def every(step: int, *spans: tuple[int, int]) -> list[float]:
    return [float(t) for begin, end in spans for t in range(begin, end + 1, step)]


@pytest.mark.parametrize(("times", "for_", "keep_firing_for", "found"), [
    (every(30, (60, 300)), 0, 0, [(60, 330)]),
    (every(30, (60, 300)), 120, 0, [(180, 330)]),
    (every(30, (60, 150)), 120, 0, []),
    # A gap forgets what is pending; what fires lasts for as long as it is kept.
    (every(30, (60, 150), (210, 300)), 120, 0, []),
    (every(30, (60, 150), (210, 300)), 60, 0, [(120, 180), (270, 330)]),
    (every(30, (60, 150), (210, 300)), 60, 300, [(120, 630)]),
    (every(30, (60, 150), (600, 660)), 60, 300, [(120, 480), (660, 990)]),
    ([], 60, 60, []),
])
def test_for_and_keep_firing_for(
    times: list[float], for_: float, keep_firing_for: float, found: list[tuple[float, float]]
) -> None:
    assert list(firings(times, 30.0, for_, keep_firing_for)) == found


def test_levels_follow_what_is_read() -> None:
    rules = [
        {"record": "streamvitals:c", "expr": "streamvitals:b + streamvitals:a"},
        {"record": "streamvitals:b", "expr": "streamvitals:a"}, {"record": "streamvitals:a", "expr": "up"},
    ]
    assert [[r["record"][-1] for r in level] for level in levels(rules)] == [["a"], ["b"], ["c"]]
    with pytest.raises(ValueError, match="read each other"):
        list(levels([{"record": "streamvitals:a", "expr": "streamvitals:b"},
                     {"record": "streamvitals:b", "expr": "streamvitals:a"}]))


def fired(alert: str, severity: str, start: float, end: float) -> Firing:
    return Firing(alert, severity, (("job", "chat"),), start, end)


def test_the_score() -> None:
    events = [
        Event("wave", "page", 1000, 2000, 0.5, ("Cause",)),
        Event("wave", "page", 10_000, 11_000, 0.5, ("Cause",)),
        Event("leak", "ticket", 20_000, 21_000, 0.5, ("Leak",)),
        Event("blip", "benign", 30_000, 30_060, 0.5),
    ]
    found = score(events, [
        fired("Page", "page", 1240, 2300), fired("Page", "page", 2500, 2600), fired("Cause", "ticket", 1100, 1300),
        fired("Page", "page", 20_100, 20_200), fired("Leak", "ticket", 20_500, 22_000),
        fired("Page", "page", 30_100, 30_200),
    ], 7 * 86_400)
    assert (found.incidents, found.caught, found.delays) == (2, 1, [240])
    # The second page about the first incident is one too many, but not false; those at the ticket and the blip are.
    assert (found.pages, found.true_pages, found.false_a_week) == (4, 2, 2.0)
    assert (found.named, found.tickets, found.ticketed) == (1, 1, 1)


def test_a_page_from_before_catches_nothing() -> None:
    found = score([Event("wave", "page", 1000, 2000, 0.5)], [fired("Page", "page", 500, 3000)], 7 * 86_400)
    assert (found.caught, found.pages, found.true_pages) == (0, 1, 0)


def test_worlds_are_summed_up_with_what_they_differ_in() -> None:
    one = Score(1.0, incidents=2, caught=2, pages=2, true_pages=2, named=2, tickets=1, delays=[60, 120])
    other = Score(3.0, incidents=8, caught=4, pages=8, true_pages=6, named=8, delays=[600])
    quiet = Score(1.0)
    assert summary([one, other, quiet]) == [
        "0.60 of 10 (0.50 to 1.00)", "0.80 (0.75 to 1.00)", "0.40 (0.00 to 0.67)", "2.0 (1.5 to 10.0)",
        "1.33 (1.00 to 1.50)", "0.00 of 1", "1.00",
    ]


def test_prometheus_3_reads_shorter_windows() -> None:
    rule = {"record": "streamvitals:a", "expr": 'rate(b{c=~"[1d]+"}[5m]) + d[1h:30s] offset 1d'}
    assert left_open([rule])[0]["expr"] == (
        'rate(b{c=~"[1d]+"}[4m59s999ms]) + d[59m59s999ms:30s] offset 1d'
    )


def test_a_seed_is_a_world() -> None:
    worlds = [World(SIZES["medium"], seed, 2.0) for seed in (7, 7, 8)]
    assert worlds[0].events == worlds[1].events != worlds[2].events
    assert {event.label for event in worlds[0].events} == {"page", "ticket", "benign"}
    for one, after in zip(worlds[0].events, worlds[0].events[1:], strict=False):
        assert one.end < after.start


@pytest.mark.parametrize("one_prompt", [False, True])
def test_users_who_ask_again_for_ever(one_prompt: bool) -> None:
    """Ten minutes of an outage in which nothing fails for good, and the end of it."""
    world = EndlessWorld(100, 1, 1.0, 30.0, one_prompt=one_prompt)
    cell = world.cells()[0]
    down = Event("all models down", "page", world.begin, world.begin + 600, 1.0, outcome="reset",
                 error_type="connection_reset")

    def counted(metric: names.Metric, *values: str) -> float:
        return cell.counts.values[cell.counts.at(metric, *values)]

    def ended(outcome: str, means: str) -> float:
        return counted(names.STREAMS, outcome, means)

    for step in range(1, 21):
        cell.step(world.begin + 30 * step, 2.0, [down])
    failed, retried = ended("reset", "failed"), counted(names.RETRIES, "app", "reset")
    assert failed > 500
    assert ended("completed", "completed") == 0
    assert retried == failed - (1 if one_prompt else world.waiting)
    late = counted(names.OPERATIONS_FAILED)
    assert late == (1 if one_prompt else world.waiting)
    cell.step(world.begin + 630, 0.0, [down])
    assert ended("completed", "completed") > 0
    assert world.waiting == 0
    assert counted(names.OPERATIONS_FAILED) == late


def test_draws_have_their_means() -> None:
    rng = Random(1)
    for mean in (0.5, 5, 500):
        assert sum(chance.poisson(rng, mean) for _ in range(2000)) / 2000 == pytest.approx(mean, rel=0.1)
    for count, share in ((10, 0.3), (1000, 0.3), (1000, 0.001)):
        drawn = sum(chance.binomial(rng, count, share) for _ in range(2000)) / 2000
        assert drawn == pytest.approx(count * share, rel=0.1)
    slow = chance.spread(rng, 20_000, 1.0, 0.5, (0.5, 1.0, 2.0))
    assert sum(slow[:2]) == pytest.approx(10_000, rel=0.1)


@needs("prometheus", "promtool")
def test_a_replay_in_a_real_prometheus(tmp_path: Path) -> None:
    """An hour of one counter that has a bad quarter, with a restart in it, and a while in which it is not there."""
    total, lines = 0, []
    for step in range(120):
        total = 0 if step == 50 else total + (30 if 40 <= step < 70 else 0)
        if not 90 <= step < 100:
            lines.append(f'errors_total{{job="a"}} {total} {1_699_833_600 + 30 * step}\n')
    (tmp_path / "samples").write_text("".join(lines) + "# EOF\n")
    rules = [
        {"record": "streamvitals:rate", "expr": "sum by (job) (rate(errors_total[2m]))"},
        {"alert": "Bad", "expr": "streamvitals:rate > 0.5", "for": "1m", "keep_firing_for": "5m",
         "labels": {"severity": "page"}},
        {"alert": "Gone", "expr": 'absent(errors_total{job="a"})', "for": "1m", "labels": {"severity": "ticket"}},
    ]
    begin = 1_699_833_600.0
    with prometheus(tmp_path / "prometheus", 30.0, tmp_path / "samples") as server:
        found = replay(server, rules, begin, begin + 3600)
        series, touched = server.cost("errors_total[10m]", begin + 600)
    assert [(f.alert, (f.start - begin) / 30) for f in found] == [("Bad", 44), ("Gone", 92)]
    assert 70 + 10 <= (found[0].end - begin) / 30 <= 75 + 10
    assert (series, touched) == (1, 21)
    assert not (tmp_path / "prometheus").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["--sizes", "huge"], "no such size: huge; there are small, modest, medium, large"),
    (["--seeds", "1,x"], "seeds are whole numbers"),
    (["--weeks", "100"], "weeks: from 0.6 to 8"),
])
def test_bad_input_is_named(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "alerts.backtest", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_requests_come_in_sessions_and_no_fewer() -> None:
    """As many as on their own, and more unevenly: by as much as the sessions are large."""
    for mean in (3.0, 400.0):
        spread = {}
        for size in (1.0, 4.0):
            world = World(SIZES["small"], 1, 1.0, manner=Manner(session=size))
            drawn = [world.arrivals(mean) for _ in range(4000)]
            assert sum(drawn) / len(drawn) == pytest.approx(mean, rel=0.1)
            spread[size] = sum((number - mean) ** 2 for number in drawn) / len(drawn) / mean
        assert spread[1.0] == pytest.approx(1.0, rel=0.15)
        assert spread[4.0] == pytest.approx((3 + 16) / 4, rel=0.15)


def test_rough_services_differ_from_each_other_and_not_from_themselves() -> None:
    manners = [rough(Random(seed)) for seed in range(20)]
    assert manners == [rough(Random(seed)) for seed in range(20)]
    assert len(set(manners)) == 20
    assert len({manner.thinking for manner in manners}) == 2
    quiet, busy = (World(SIZES["small"], 1, 1.0, manner=Manner(level=level)) for level in (0.5, 2.0))
    assert busy.expected(busy.begin, busy.end) == pytest.approx(4 * quiet.expected(quiet.begin, quiet.end))


def test_pages_of_one_service_that_overlap_are_told_as_one() -> None:
    found = notifications([
        fired("Other", "page", 1100, 1400), fired("Page", "page", 1000, 1200), fired("Cause", "ticket", 900, 2000),
        fired("Page", "page", 1500, 1600), Firing("Page", "page", (("job", "search"),), 1100, 1200),
    ])
    assert [(page.alert, page.labels[0][1], page.start, page.end) for page in found] == [
        ("Page", "chat", 1000, 1400), ("Page", "search", 1100, 1200), ("Page", "chat", 1500, 1600),
    ]


def test_a_world_with_calls() -> None:
    """Where an event hurts calls alone, no stream of it fails, and the reverse; without calls there are no series."""
    world = World(SIZES["medium"], 7, 2.0, manner=Manner(calls=0.5))
    assert {event.of for event in world.events} == {"streams", "calls", "both"}
    failed = {}
    for of in ("streams", "calls"):
        cell = world.cells()[0]
        down = Event("wave", "page", world.begin, world.begin + 600, 1.0, outcome="reset",
                     error_type="connection_reset", of=of)
        for step in range(1, 21):
            cell.step(world.begin + 30 * step, 2.0, [down])
        counts = cell.counts
        failed[of] = (
            counts.values[counts.at(names.STREAMS, "reset", "failed")], counts.values[counts.at(names.CALLS, "failed")]
        )
    assert failed["streams"][0] > 50 > failed["streams"][1]
    assert failed["calls"][1] > 50 > failed["calls"][0]
    assert "streamvitals_calls" not in "".join(World(SIZES["small"], 7, 1.0).cells()[0].counts.lines(0.0))
