"""Applications that try again for ever: after two minutes the operation has failed for its users, once."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest

from retry_support import KINDS, App, attempts, chains
from streamvitals import names
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.retries.failures import FAILED_AFTER
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.testing import RecordList


class Clock:
    """The runtime's, which the test moves on."""

    def __init__(self) -> None:
        self.ahead = 0.0
        current = lifecycle.current()
        assert current is not None
        current.clock = lambda: time.monotonic() + self.ahead


@pytest.fixture
def clock(records: RecordList) -> Clock:
    return Clock()


def counted(metric: names.Metric, *values: str) -> float:
    """Over all label sets."""
    current = lifecycle.current()
    assert current is not None
    at: Callable[..., int] = STREAM_LAYOUT.at
    return sum(row[at(metric, *values)] for row in current.snapshot().streams.values())


def loop(app: App, clock: Clock, *scenarios: str, every: float) -> None:
    """`while True: try … except: sleep`, at the speed of a test."""
    for scenario in scenarios:
        with contextlib.suppress(*KINDS):
            app.ask(scenario)
        clock.ahead += every


def test_what_is_tried_for_ever_has_failed_after_two_minutes_once(app: App, records: RecordList, clock: Clock) -> None:
    loop(app, clock, *["reset"] * 4, every=30)
    assert counted(names.OPERATIONS_FAILED) == 1
    loop(app, clock, *["reset"] * 8, every=30)
    assert chains(records) == [("failed", 4)]
    assert counted(names.RETRIES, "app", "reset") == 11
    assert [attempt for _, attempt in attempts(records)] == list(range(1, 13))


def test_until_then_it_has_not(app: App, records: RecordList, clock: Clock) -> None:
    loop(app, clock, *["reset"] * 3, every=FAILED_AFTER / 3 - 1)
    assert counted(names.OPERATIONS_FAILED) == 0
    loop(app, clock, "ok", every=0)
    assert counted(names.RECOVERIES, "app") == 1
    assert chains(records) == []


def test_a_success_that_comes_too_late_is_neither_a_recovery_nor_another_failure(
    app: App, records: RecordList, clock: Clock
) -> None:
    loop(app, clock, *["reset"] * 6, "ok", every=30)
    assert attempts(records)[-1] == ("completed", 7)
    assert counted(names.RECOVERIES, "app") == 0
    assert counted(names.RETRIES, "app", "reset") == 6
    clock.ahead += 3600
    assert counted(names.OPERATIONS_FAILED) == 1


def test_who_gives_up_later_is_counted_no_second_time(app: App, records: RecordList, clock: Clock) -> None:
    loop(app, clock, *["reset"] * 6, every=30)
    clock.ahead += 3600
    assert chains(records) == [("failed", 4)]
    current = lifecycle.current()
    assert current is not None
    assert not current.retries.failures


def test_what_is_asked_next_is_another_operation(app: App, records: RecordList, clock: Clock) -> None:
    loop(app, clock, *["reset"] * 6, "ok", "reset", "ok", every=30)
    assert counted(names.OPERATIONS_FAILED) == 1
    assert counted(names.RECOVERIES, "app") == 1


def test_an_attempt_that_lasts_beyond_the_bound_and_fails(app: App, records: RecordList, clock: Clock) -> None:
    """The failure is the event at which it is known."""

    def hang(chunks: Any) -> None:
        for _ in chunks:
            clock.ahead = 2 * FAILED_AFTER

    body = {"model": "reset-after-n?after=2", "messages": [{"role": "user", "content": "q"}]}
    with contextlib.suppress(*KINDS):
        list(app.client.chat.completions.create(**body, stream=True))  # type: ignore[call-overload]
    with contextlib.suppress(*KINDS):
        hang(app.client.chat.completions.create(**body, stream=True))  # type: ignore[call-overload]
    assert [(chain.event, chain.attempts) for chain in records.chains] == [("failed", 2)]


@pytest.mark.parametrize(("scenario", "more"), [("ok", []), ("500", [("fallback", 7)])])
def test_a_fallback_after_two_minutes(
    scenario: str, more: list[Any], app: App, records: RecordList, clock: Clock
) -> None:
    loop(app, clock, *["reset"] * 6, every=30)
    for _ in range(1 + len(more)):
        with contextlib.suppress(*KINDS):
            app.ask(scenario, stream=False)
    clock.ahead += 3600
    assert chains(records) == [("failed", 4), ("fallback", 6), *more]


def test_a_task_that_retries_for_ever_while_others_are_well(app: App, records: RecordList, clock: Clock) -> None:
    async def retries() -> None:
        for _ in range(6):
            with contextlib.suppress(*KINDS):
                await app.aask("reset", "mine")
            clock.ahead += 30
            await app.aask("ok", "another's")
        await app.aask("ok", "mine")

    asyncio.run(retries())
    assert counted(names.OPERATIONS_FAILED) == 1
    assert counted(names.RECOVERIES, "app") == 0


@pytest.mark.parametrize(("every", "failed", "recovered"), [(30, 1, 0), (10, 0, 1)])
def test_the_sdk_that_retries_for_ever(
    every: float, failed: int, recovered: int, server: ThreadedFaultServer, records: RecordList, clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`max_retries=100`: nothing ends that could be counted, and users wait all the same."""
    server.by_model["m"] = "500"
    slept = []

    def sleep(_: float) -> None:
        slept.append(1)
        clock.ahead += every
        if len(slept) == 6:
            server.by_model["m"] = "ok"

    monkeypatch.setattr("time.sleep", sleep)
    with openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=100) as client:
        body = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
        for _ in client.chat.completions.create(**body, stream=True):  # type: ignore[call-overload]
            pass
    assert attempts(records) == [("completed", 1)]
    assert counted(names.OPERATIONS_FAILED) == failed
    assert counted(names.RECOVERIES, "sdk") == recovered
    assert counted(names.RETRIES, "sdk", "500") == 6
