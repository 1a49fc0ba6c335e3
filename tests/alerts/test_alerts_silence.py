"""What has been told is told to be over; what a page comes before is not told. And a text says when it was so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from alerts_cases import CASES
from alerts_support import alertmanager, needs, newer
from alerts_world import Course, streams
from paging_support import Alertmanager, Receiver
from promtool_support import RULES, Promtool, firing, needed, rendered
from run_support import eventually

FAILING, SLOW = "StreamvitalsFailing", "StreamvitalsSlow"
RESETS, ONE_MODEL, PAGED = "StreamvitalsResetStorm", "StreamvitalsOneModelFailing", "StreamvitalsPaged"
# Five minutes are a second and a quarter.
SPEED = 240.0


@dataclass
class Desk:
    """A real Alertmanager with the example's configuration, and what it has sent."""

    manager: Alertmanager
    receiver: Receiver

    def told(self, path: str, status: str) -> set[str]:
        return {alert["labels"]["alertname"] for body in self.receiver.at(path) for alert in body["alerts"]
                if alert["status"] == status}

    def until(self, path: str, status: str, *names: str) -> None:
        eventually(lambda: set(names) <= self.told(path, status), f"{names} {status}", 60)


@pytest.fixture(params=["as Debian has it", pytest.param("the newer one", marks=pytest.mark.skipif(
    not newer("prometheus-alertmanager"), reason="newer_prometheus.sh says why"
))])
def desk(request: Any, tmp_path: Path) -> Iterator[Desk]:
    program = alertmanager() if request.param == "as Debian has it" else newer("prometheus-alertmanager")
    with ExitStack() as stack:
        receiver = stack.enter_context(Receiver())
        manager = Alertmanager(tmp_path, receiver, str(program), SPEED)
        yield Desk(stack.enter_context(manager.running()), receiver)


@needs("alertmanager")
def test_a_ticket_that_was_sent_is_over_while_it_pages(desk: Desk) -> None:
    desk.manager.tell(RESETS)
    desk.until("/ticket", "firing", RESETS)
    desk.manager.tell(FAILING, ONE_MODEL, f"{PAGED}/{ONE_MODEL}")
    desk.until("/page", "firing", FAILING)
    desk.manager.tell(RESETS, over=True)
    desk.until("/ticket", "resolved", RESETS)
    assert not desk.told("/page", "resolved")
    desk.manager.tell(ONE_MODEL, over=True)
    desk.manager.tell(FAILING, f"{PAGED}/{ONE_MODEL}", over=True)
    desk.until("/page", "resolved", FAILING)
    # Whatever was to come of it would have come before this.
    desk.manager.tell("StreamvitalsQuotaLow")
    desk.until("/ticket", "firing", "StreamvitalsQuotaLow")
    assert ONE_MODEL not in desk.told("/ticket", "firing") | desk.told("/ticket", "resolved")


@needs("alertmanager")
def test_a_cause_that_outlives_its_page_is_told_then(desk: Desk) -> None:
    desk.manager.tell(FAILING, RESETS, f"{PAGED}/{RESETS}")
    desk.until("/page", "firing", FAILING)
    desk.manager.tell("StreamvitalsQuotaLow")
    desk.until("/ticket", "firing", "StreamvitalsQuotaLow")
    assert RESETS not in desk.told("/ticket", "firing")
    desk.manager.tell(FAILING, f"{PAGED}/{RESETS}", over=True)
    desk.until("/ticket", "firing", RESETS)


@needs("alertmanager")
def test_a_page_that_was_sent_is_over_while_another_one_pages(desk: Desk) -> None:
    desk.manager.tell(SLOW)
    desk.until("/page", "firing", SLOW)
    desk.manager.tell(FAILING)
    desk.until("/page", "firing", FAILING)
    desk.manager.tell(SLOW, over=True)
    desk.until("/page", "resolved", SLOW)


def silenced(ticket: str) -> str:
    return f'count(ALERTS{{alertname="{PAGED}",ticket="{ticket}",alertstate="firing"}})'


@needs("promtool")
def test_a_page_silences_the_causes_that_are_still_to_be_told(tmp_path: Path) -> None:
    """The page comes before any ticket is five minutes old; and when all is over it silences none."""
    promtool = Promtool(tmp_path, RULES)
    course = Course({streams("reset"): 30.0}, ill=15, after=30)
    promtool.expect(
        "page", course, (21.5, silenced(RESETS), None), (22, firing(RESETS), 1.0), (27, firing(FAILING), 1.0),
        (27, silenced(RESETS), 1.0), (29, silenced(ONE_MODEL), 1.0), (39, silenced(RESETS), 1.0),
        (63, firing(FAILING), None), (63, f'count(ALERTS{{alertname="{PAGED}"}})', None),
    )
    promtool.check()


@needs("promtool")
def test_a_page_silences_nothing_that_has_been_told(tmp_path: Path) -> None:
    """For a quarter of an hour it is a ticket, and then a page, which silences what comes with it alone."""
    promtool = Promtool(tmp_path, RULES)
    course = Course({streams("reset"): lambda minute: 6.0 if minute < 15 else 60.0}, ill=35, after=0)
    promtool.expect(
        "ticket, then page", course, (34, firing(RESETS), 1.0), (34, firing(FAILING), None),
        (42, firing(FAILING), 1.0), (42, firing(RESETS), 1.0), (42, silenced(RESETS), None),
        (50, silenced(RESETS), None), (50, silenced(ONE_MODEL), 1.0),
    )
    promtool.check()


@needs("promtool")
def test_a_text_that_is_kept_says_when_it_was_so(tmp_path: Path) -> None:
    """Ten minutes after the last silent stream it still fires, with what was true then and the time of that."""
    case = next(case for case in CASES if case.alert == "StreamvitalsStalled")
    told = next(case for case in CASES if case.alert == FAILING).description.replace("00:26", "00:29")
    told = told.replace(": 255 of 2055 operations failed in 5m, 12%", "; 18 streams silent")
    told = told.replace("of 2 models", "of 1 models")
    promtool = Promtool(tmp_path, needed(FAILING))
    kept = rendered(FAILING, 29, f"{case.summary}, since 00:20", told)
    kept["eval_time"] = "40m"
    course = replace(case.over, ill=10.0, after=20.0)
    promtool.expect("kept", course, (40, "streamvitals:failing", None), alert_rule_test=[kept])
    promtool.check()
