"""How late an event loop runs, on a loop whose time only the test moves."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextvars import Context, ContextVar
from typing import Any

import pytest

from streamvitals.process import looplag
from streamvitals.process.looplag import LoopLagMeter


class Stream:
    ended = False
    loop: Any = None

    def asked_on(self, loop: Any) -> None:
        self.loop = loop


class Loop:
    """What the meter asks of a loop. A timer runs when the test says so, as late as the test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[..., None], tuple[Any, ...], Context]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., None], *args: Any, context: Context) -> None:
        self.timers.append((self.now + delay, callback, args, context))

    def beat(self, late: float = 0.0) -> None:
        due, callback, args, context = self.timers.pop()
        self.now = due + late
        context.run(callback, *args)


def meter_of(report: Callable[[float], None], *streams: Stream) -> LoopLagMeter:
    """One that watches these."""
    meter = LoopLagMeter(report, lambda: streams)
    for stream in streams:
        meter.watch(stream)
    return meter


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    asyncio._set_running_loop(loop)  # type: ignore[arg-type]
    yield loop
    asyncio._set_running_loop(None)


def test_each_beat_reports_how_late_it_came(loop: Loop) -> None:
    lags: list[float] = []
    stream = Stream()
    meter_of(lags.append, stream)
    for late in (0.0, 0.5, 2.0, 0.25):
        loop.beat(late)
    assert lags == [0.0, 0.5, 2.0, 0.25]


def test_a_clock_that_goes_back_is_no_negative_lag(loop: Loop) -> None:
    lags: list[float] = []
    stream = Stream()
    meter_of(lags.append, stream)
    loop.beat(-0.125)
    assert lags == [0.0]


def test_one_timer_per_loop_however_many_streams(loop: Loop) -> None:
    streams = [Stream() for _ in range(50)]
    meter_of(lambda _: None, *streams)
    assert len(loop.timers) == 1
    loop.beat()
    assert len(loop.timers) == 1


def test_the_timer_stops_with_the_last_stream_and_starts_again_with_the_next(loop: Loop) -> None:
    lags: list[float] = []
    one, two, three = Stream(), Stream(), Stream()
    streams = [one, two]
    meter = LoopLagMeter(lags.append, lambda: streams)
    meter.watch(one)
    meter.watch(two)
    one.ended = True
    loop.beat()
    assert len(loop.timers) == 1
    two.ended = True
    loop.beat()
    assert loop.timers == []
    streams.append(three)
    meter.watch(three)
    assert len(loop.timers) == 1
    loop.beat(1.0)
    assert lags == [0.0, 0.0, 1.0]


def test_a_loop_beats_for_its_own_streams_only(loop: Loop) -> None:
    mine, other = Stream(), Stream()
    streams = [mine, other]
    meter = LoopLagMeter(lambda _: None, lambda: streams)
    meter.watch(mine)
    another = Loop()
    asyncio._set_running_loop(another)  # type: ignore[arg-type]
    meter.watch(other)
    mine.ended = True
    loop.beat()
    another.beat()
    assert loop.timers == []
    assert len(another.timers) == 1


def test_loops_that_have_gone_leave_nothing_behind() -> None:
    streams = [Stream() for _ in range(9)]
    meter = LoopLagMeter(lambda _: None, lambda: streams)
    try:
        for stream in streams:
            asyncio._set_running_loop(Loop())  # type: ignore[arg-type]
            meter.watch(stream)
            asyncio._set_running_loop(None)
            gc.collect()
    finally:
        asyncio._set_running_loop(None)
    assert len(meter._beating) == 1


def test_the_context_of_the_app_is_not_kept_alive(loop: Loop) -> None:
    """A timer gets a copy of the context it is made in, with all that a request has put there."""
    variable: ContextVar[str] = ContextVar("variable")
    token = variable.set("the app's")
    stream = Stream()
    meter_of(lambda _: None, stream)
    variable.reset(token)
    assert list(loop.timers[0][3]) == []


def test_without_a_loop_there_is_nothing_to_measure() -> None:
    stream = Stream()
    meter_of(lambda _: pytest.fail("no loop, no lag"), stream)
    assert stream.loop is None


def test_a_forked_child_forgets_the_parents_loop(loop: Loop) -> None:
    kept = Stream()
    meter = meter_of(lambda _: None, kept)
    meter.reset()
    loop.timers.clear()
    meter.watch(kept)
    assert len(loop.timers) == 1


def test_on_a_real_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that is busy for two beats is reported as late by no less than one."""
    monkeypatch.setattr(looplag, "INTERVAL", 0.02)
    lags: list[float] = []
    stream = Stream()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        meter_of(lags.append, stream)
        busy_until = loop.time() + 0.04
        while loop.time() < busy_until:
            pass
        while not lags:  # noqa: ASYNC110 - what is waited for is a timer of the loop
            await asyncio.sleep(0)
        stream.ended = True

    asyncio.run(main())
    assert lags[0] >= 0.0199
