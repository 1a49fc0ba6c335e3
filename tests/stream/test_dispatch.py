"""Records to sinks: by one thread at a time, without anybody waiting, whatever a sink does."""

from __future__ import annotations

import itertools
import logging
import signal
import sys
import threading
from collections.abc import Callable

import pytest

from app_support import until
from dispatch_support import Home, Sink
from observation_support import LABELS
from streamvitals.outcome import Outcome, Verdict
from streamvitals.stream.dispatch import Fault, Item, LoopLag
from streamvitals.stream.ending import Ending
from streamvitals.stream.observation import Observation
from streamvitals.stream.record import ChainRecord, Progress, RetryRecord, StreamEnd, StreamRecord

PROGRESS = Progress(LABELS, (), 0.0, 0.0, 0.0, 0)


def lags(count: int) -> list[Item]:
    return [LoopLag(float(number)) for number in range(count)]


def test_each_kind_goes_where_it_belongs() -> None:
    sink = Sink()
    home = Home(sink)
    retry, chain = RetryRecord(LABELS, "sdk", "429", 1.0), ChainRecord(LABELS, "failed", 2)
    for item in (PROGRESS, retry, chain, LoopLag(0.5), Fault("store")):
        home.dispatch.submit(item)
    home.end(home.begin())
    assert sink.progress == [PROGRESS]
    assert (sink.retries, sink.chains, sink.lags, sink.faults) == ([retry], [chain], [0.5], ["store"])
    assert home.recorded == sink
    assert len(sink) == 1


def test_an_end_that_was_recorded_is_not_recorded_again() -> None:
    sink = Sink()
    home = Home(sink)
    observation = home.begin()
    for _ in range(3):
        home.end(observation)
    assert len(sink) == len(home.recorded) == 1


def test_what_is_deferred_waits_for_the_next_ordinary_event() -> None:
    sink = Sink()
    home = Home(sink)
    for item in lags(3):
        home.dispatch.defer(item)
    assert sink.lags == []
    home.dispatch.submit(LoopLag(3.0))
    assert sink.lags == [0.0, 1.0, 2.0, 3.0]


def _raise(error: BaseException) -> Callable[[], None]:
    def upset() -> None:
        raise error

    return upset


def test_a_sink_that_raises_three_times_in_a_row_is_said_once_and_switched_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, broken, after = Sink(), Sink(_raise(RuntimeError("a secret that it was handed"))), Sink()
    home = Home(before, broken, after)
    with caplog.at_level(logging.DEBUG, "streamvitals"):
        for item in lags(5):
            home.dispatch.submit(item)
    assert before.lags == after.lags == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert before.faults == after.faults == ["sink"] * 3
    assert broken.lags == []
    (said,) = caplog.messages
    assert said == "Sink raised RuntimeError, 3 times in a row, and is switched off"


def test_a_sink_that_fails_now_and_then_stays_on() -> None:
    """No memory for a moment, a disk that is full for a while."""
    fails = itertools.cycle([True, True, False])

    def upset() -> None:
        if next(fails):
            raise MemoryError

    sink = Sink(upset)
    home = Home(sink)
    for item in lags(30):
        home.dispatch.submit(item)
    assert sink.lags == [float(n) for n in range(30) if n % 3 == 2]
    assert sink.faults == ["sink"] * 20


def test_sinks_that_raise_on_everything_leave_the_others_alone() -> None:
    class Hopeless(Sink):
        def on_internal_error(self, where: str) -> None:
            raise RuntimeError(where)

    well = Sink()
    home = Home(*(Hopeless(_raise(RuntimeError())) for _ in range(3)), well)
    home.end(home.begin())
    home.end(home.begin())
    assert len(well) == 2
    assert well.faults == ["sink"] * 3


@pytest.mark.parametrize("method", ["end", "record"])
def test_a_fault_in_making_the_record_is_counted(monkeypatch: pytest.MonkeyPatch, method: str) -> None:
    sink = Sink()
    home = Home(sink)
    monkeypatch.setattr(Observation, method, lambda *_: 1 / 0)
    home.end(home.begin())
    assert sink.faults == ["classify"]


class Counting(Sink):
    """Needs no record of streams that completed."""

    def needs_record(self, end: StreamEnd) -> bool:
        return False


def test_a_record_is_made_only_of_what_failed_or_where_a_sink_needs_it() -> None:
    counting, failed = Counting(), Ending(Verdict(Outcome.RESET, "other"), 1000.0)
    home = Home(counting)
    home.end(home.begin())
    home.dispatch.submit((home.begin(), failed))
    remove = home.dispatch.add(Sink())
    home.end(home.begin())
    remove()
    home.end(home.begin())
    assert [type(one) for one in counting] == [StreamEnd, StreamRecord, StreamRecord, StreamEnd]


def test_a_sink_that_cannot_say_what_it_needs_gets_the_record() -> None:
    class Unsure(Sink):
        def needs_record(self, end: StreamEnd) -> bool:
            raise ValueError

    unsure = Unsure()
    home = Home(unsure)
    home.end(home.begin())
    assert [type(one) for one in unsure] == [StreamRecord]
    assert unsure.faults == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), GeneratorExit()])
def test_what_is_no_exception_goes_on_to_the_app_and_no_sink_misses_anything(error: BaseException) -> None:
    """Who was interrupted in an end is handed it again, and the others get theirs with the next event."""
    interrupted = Sink()

    def upset() -> None:
        interrupted.upset = lambda: None
        raise error

    interrupted.upset = upset
    before, after = Sink(), Sink()
    home = Home(before, interrupted, after)
    with pytest.raises(type(error)):
        home.end(home.begin())
    home.end(home.begin())
    assert (len(before), len(interrupted), len(after)) == (2, 2, 2)
    assert before.faults == []


def test_threads_that_submit_at_once_are_served_by_one_at_a_time() -> None:
    class Exclusive(Sink):
        inside = 0
        most = 0

        def on_loop_lag(self, seconds: float) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.lags.append(seconds)
            self.inside -= 1

    sink = Exclusive()
    home = Home(sink)
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for item in lags(500):
            home.dispatch.submit(item)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    home.dispatch.drain()
    assert sink.most == 1
    assert sorted(sink.lags) == sorted([float(number) for number in range(500)] * 8)


def test_nobody_waits_for_a_sink_that_is_slow() -> None:
    entered, leave = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        assert leave.wait(20)

    sink = Sink(slow)
    home = Home(sink)
    thread = threading.Thread(target=home.dispatch.submit, args=(LoopLag(0.0),))
    thread.start()
    entered.wait()
    for item in lags(10):
        home.dispatch.submit(item)  # returns although the sink is at it
    assert sink.lags == []
    leave.set()
    thread.join()
    until(lambda: len(sink.lags) == 11)


def test_a_sink_that_submits_does_not_enter_itself() -> None:
    sink = Sink()
    home = Home(sink)

    def again() -> None:
        if len(sink.lags) < 3:
            home.dispatch.submit(LoopLag(9.0))

    sink.upset = again
    home.dispatch.submit(LoopLag(1.0))
    assert sink.lags == [1.0, 9.0, 9.0, 9.0]


def test_a_signal_handler_that_streams_while_a_sink_is_working() -> None:
    sink = Sink()
    home = Home(sink)
    before = signal.signal(signal.SIGUSR1, lambda *_: home.end(home.begin()))

    def upset() -> None:
        sink.upset = lambda: None
        signal.raise_signal(signal.SIGUSR1)

    sink.upset = upset
    try:
        home.end(home.begin())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(sink) == 2
