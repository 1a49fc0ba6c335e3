"""Attempts and the time between them, and the slot that says who is waiting for whom."""

from __future__ import annotations

import asyncio

from observation_support import OK, Host, finish, token
from streamvitals.outcome import Outcome, Verdict


def test_cancelled_while_the_sdk_sleeps() -> None:
    """The sleep counts as far as it was slept, and an attempt that was not made is not counted."""
    host = Host()
    observation = host.begin()
    observation.attempting()
    host.now += 1.0
    observation.attempts.answered(503, ())
    observation.retrying(None, 8.0)
    host.now += 2.0
    observation.request_failed(asyncio.CancelledError())
    record = host.ended()
    assert (record.outcome, record.error_type) == (Outcome.CANCELLED, "cancelled")
    assert (record.wait, record.backoff, record.hold, record.duration) == (1.0, 2.0, 0.0, 3.0)
    assert [(a.number, a.status, a.backoff) for a in record.attempts] == [(1, 503, 2.0)]
    assert host.retries == []


def test_the_process_exits_while_the_sdk_sleeps() -> None:
    host = Host()
    observation = host.begin()
    observation.attempting()
    host.now += 1.0
    observation.retrying(None, 8.0)
    host.now += 2.0
    observation.left_open(Verdict(Outcome.ABANDONED, "never_iterated"))
    record = host.ended()
    assert (record.wait, record.backoff, record.hold, record.duration) == (1.0, 2.0, 0.0, 3.0)


def test_attempts_of_an_operation_that_recovered() -> None:
    host = Host()
    observation = host.begin()
    for status, backoff in ((429, 1.0), (500, 2.0)):
        observation.attempting()
        observation.attempts.answered(status, ())
        host.now += 0.5
        observation.retrying(None, backoff)
        host.now += backoff
    observation.attempting()
    observation.responded(OK)
    host.chunk(observation, item=finish())
    observation.exhausted()
    record = host.ended()
    assert [(a.number, a.status, a.error_type, a.backoff) for a in record.attempts] == [
        (1, 429, "429", 1.0), (2, 500, "500", 2.0), (3, 200, "", 0.0),
    ]
    assert [(r.reason, r.backoff) for r in host.retries] == [("429", 1.0), ("500", 2.0)]
    assert (record.outcome, record.backoff) == (Outcome.COMPLETED, 3.0)


def test_attempts_that_are_remembered_are_few_and_the_last_is_among_them() -> None:
    host = Host()
    observation = host.begin()
    for _ in range(50):
        observation.attempting()
        observation.retrying(None, 0.25)
        host.now += 0.25
    observation.attempting()
    observation.request_failed(ConnectionRefusedError())
    record = host.ended()
    assert len(record.attempts) == 16
    assert record.attempts[-1].number == 51
    assert (record.backoff, len(host.retries)) == (12.5, 50)


# -- the slot -----------------------------------------------------------------------------------------------


def test_the_slot_says_who_is_being_waited_for() -> None:
    host = Host()
    observation = host.begin()
    observation.attempting()
    assert host.slot.state == host.now  # blocked since now
    host.now += 1.0
    observation.responded(OK)
    assert host.slot.state == -host.now  # the app has it
    host.ask(observation)
    assert host.slot.state == host.now
    host.now += 1.0
    observation.arrived(token())
    assert host.slot.state == -host.now
    assert host.slot.view[host.slot.at + 3] == 1.0
    observation.retrying(None, 1.0)
    assert host.slot.state == -host.now  # the SDK sleeps: nobody is waiting for the provider


def test_a_stream_that_is_read_on_after_its_end_does_not_touch_its_slot() -> None:
    host = Host()
    observation = host.streaming()
    host.chunk(observation)
    observation.closed()
    host.slot.view[:] = [7.0] * 16  # it is another's now
    host.chunk(observation)
    observation.exhausted()
    assert host.slot.view == [7.0] * 16
    assert len(host.records) == 1


def test_a_forked_child_forgets_without_touching_the_parents_memory() -> None:
    host = Host()
    observation = host.streaming()
    memory = list(host.slot.view)
    observation.disown()
    host.now += 1.0
    observation.exhausted()
    observation.failed(asyncio.CancelledError())
    observation.closed()
    observation.dropped()
    observation.left_open(Verdict(Outcome.ABANDONED, "dropped"))
    host.chunk(observation)
    assert host.slot.view == memory
    assert host.records == host.deferred == []
