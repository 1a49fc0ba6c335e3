"""Which of the streams of one response counts its usage, by the rule and without sockets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from otel_support import record
from streamvitals.outcome import Outcome
from streamvitals.stream.record import Usage
from streamvitals.stream.request import Place, RequestFacts
from streamvitals.stream.responses import MOST, Responses, progress_of

PLACE = Place("127.0.0.1", 80)


@pytest.mark.parametrize(("result", "progress"), [
    ({"status": "queued"}, None),
    (SimpleNamespace(status="in_progress"), None),
    (SimpleNamespace(status="completed"), True),
    (SimpleNamespace(status="incomplete"), True),
    (SimpleNamespace(status="requires_action"), True),
    (SimpleNamespace(status="failed"), False),
    (SimpleNamespace(status="cancelled"), False),
    (SimpleNamespace(status=None), True),
    (SimpleNamespace(status_code=200), True),
    ("text", True),
])
def test_what_a_poll_says_of_it(result: Any, progress: bool | None) -> None:
    assert progress_of(result) is progress


def test_what_is_remembered_is_bounded() -> None:
    known = Responses()
    told = RequestFacts(record().labels, place=PLACE)
    for number in range(2 * MOST):
        ended = record(response_id=f"resp_{number}", usage=Usage(1, 1), clock_origin=float(number))
        assert known.settle(told, ended) is ended
    assert len(known._known) == MOST


def test_ids_are_of_a_host_and_port() -> None:
    known = Responses()
    elsewhere = [Place("127.0.0.1", 81), Place("localhost", 80)]
    known.settle(RequestFacts(record().labels, place=PLACE), record(response_id="r", usage=None, clock_origin=1.0))
    for place in elsewhere:
        fetch = RequestFacts(record().labels, place=place, named=place.key("r"), fetch=True)
        assert known.settle(fetch, record(usage=Usage(1, 1), clock_origin=2.0)).usage is None
    fetch = RequestFacts(record().labels, place=PLACE, named=PLACE.key("r"), fetch=True)
    assert known.settle(fetch, record(usage=Usage(1, 1), clock_origin=2.0)).usage == Usage(1, 1)


def test_settled_again_after_an_interrupt_it_says_the_same() -> None:
    known = Responses()
    post = RequestFacts(record().labels, place=PLACE)
    fetch = post._replace(named=PLACE.key("r"), fetch=True)
    steps = [(post, None, 1.0, Outcome.RESET), (fetch, Usage(1, 1), 2.0, Outcome.COMPLETED),
             (fetch, None, 3.0, Outcome.COMPLETED), (post, Usage(2, 2), 4.0, Outcome.COMPLETED)]
    for told, usage, began, outcome in steps:
        ended = record(response_id="r", usage=Usage(1, 1) if began == 3.0 else usage, clock_origin=began,
                       outcome=outcome)
        assert [known.settle(told, ended).usage for _ in range(3)] == [usage] * 3
