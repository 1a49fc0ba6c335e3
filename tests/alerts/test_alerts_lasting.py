"""What hurts for hours and is no outage of minutes: it comes and goes, is a little all evening, or is tried again."""

from __future__ import annotations

from pathlib import Path

from alerts_support import needs
from alerts_world import Course, Rate, Thing, retries, streams
from promtool_support import Promtool, ever, firing, needed

pytestmark = needs("promtool")
FAILING = "StreamvitalsFailing"


def share(of: float, rate: float = 60.0) -> dict[Thing, Rate]:
    return {streams("completed"): rate * (1 - of), streams("reset"): rate * of}


def test_what_comes_and_goes_is_one_page_until_an_hour_is_quiet(tmp_path: Path) -> None:
    """Two minutes of every fifteen; twice is no pattern."""
    def often(times: int) -> dict[Thing, Rate]:
        def ill(minute: float) -> bool:
            return minute % 15 < 2 and minute < 15 * times

        return {
            streams("completed"): lambda minute: 30.0 if ill(minute) else 60.0,
            streams("reset"): lambda minute: 30.0 if ill(minute) else 0.0,
        }

    promtool = Promtool(tmp_path, needed(FAILING))
    evening = Course(often(8), ill=120, after=90)
    fired = f'sum(count_over_time(ALERTS{{alertname="{FAILING}",alertstate="firing"}}[120m])) >= bool 120'
    promtool.expect(
        "eight times", evening, (20 + 29, firing(FAILING), None), (20 + 34, firing(FAILING), 1.0),
        # From then on it never stops, until an hour and twenty minutes after the last.
        (180, fired, 1.0), (195, firing(FAILING), 1.0), (229, firing(FAILING), None),
    )
    promtool.expect("twice", Course(often(2), ill=120, after=0), (140, ever(FAILING, 140), None))
    promtool.check()


def test_a_little_all_evening(tmp_path: Path) -> None:
    """Eight percent is more than the budget allows in a night, and a slow burn of half as much is a ticket."""
    promtool = Promtool(tmp_path, needed(FAILING))
    eight, less = ({**share(of), streams("completed", model="o-large"): 0.0} for of in (0.08, 0.045))
    promtool.expect("eight", Course(eight, well=60, ill=60, after=0), (119, firing(FAILING), 1.0))
    promtool.expect("four", Course(less, well=60, ill=60, after=0), (119, ever(FAILING, 119), None))
    promtool.check()


def test_most_attempts_fail_and_are_all_tried_again(tmp_path: Path) -> None:
    """A third of the users asks again for ever, each every ten seconds; the others are well."""
    def waiting(minute: float) -> float:
        return min(600.0, 20 * minute * 6)

    caught: dict[Thing, Rate] = {
        streams("completed"): 40.0, streams("reset"): lambda minute: 20 + waiting(minute),
        retries("app", "reset"): waiting,
    }
    half: dict[Thing, Rate] = {streams("reset"): 60.0, retries("app", "reset"): 60.0}
    promtool = Promtool(tmp_path, needed(FAILING))
    promtool.expect("for ever", Course(caught, ill=12, after=0), (32, firing(FAILING), 1.0))
    promtool.expect("once each, with success", Course(half, ill=20, after=0), (40, ever(FAILING, 40), None))
    promtool.check()


def test_an_outage_of_few_is_over_when_it_is(tmp_path: Path) -> None:
    """Of a request in two minutes a third failed for forty: nobody is paged for them an hour later."""
    promtool = Promtool(tmp_path, needed(FAILING))
    little: dict[Thing, Rate] = {streams("completed"): 0.5, streams("completed", model="o-large"): 0.0}
    course = Course(share(0.4, 0.5), healthy=little, replicas=("a:9464",), well=60, ill=40, after=60)
    promtool.expect(
        "over", course, (98, firing(FAILING), 1.0), (135, firing(FAILING), None), (160, firing(FAILING), None)
    )
    promtool.check()
