"""A dispatch that is interrupted: by Ctrl-C at any line of it, by a fork at its worst moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from dispatch_support import Home, Sink
from interrupts import interrupt_at
from streamvitals.stream import dispatch as dispatch_module
from streamvitals.stream.dispatch import LoopLag
from streamvitals.stream.record import StreamRecord
from streamvitals.stream.sink import Sink as BaseSink

CONTEXT = SimpleNamespace(trace_id=1, span_id=2)


class Once(Sink):
    """Knows what it has counted, as the store does: who was interrupted in an end is handed it again."""

    def on_end(self, record: StreamRecord) -> None:
        if not any(known is record for known in self):
            self.append(record)


class Spans(BaseSink):
    def make_span(self, record: StreamRecord) -> object:
        return CONTEXT


def test_interrupted_anywhere_everything_is_told_and_nothing_twice() -> None:
    """Ctrl-C raises wherever the main thread is: here at each place of the dispatch where one can be."""
    for number in range(1, 500):
        one, two = Once(), Once()
        home = Home(one, Spans(), two)
        struck = interrupt_at(
            number, lambda home=home: home.end(home.begin()), dispatch_module.__file__, KeyboardInterrupt()
        )
        line = struck.line.rpartition(": ")[2]
        home.dispatch.submit(LoopLag(1.0))
        assert one.lags == two.lags == [1.0], f"nobody has the turn any more, after {line!r}"
        if line.startswith(("def submit", "self._queue.append")) and not one:
            assert home.open, "the exit of the process ends it"
            continue
        assert len(home.recorded) == len(one) == len(two) == 1, line
        assert one[0].span is two[0].span is CONTEXT, line
        if not line:
            break
    else:
        pytest.fail("never came to the end")


@pytest.fixture
def forked() -> Iterator[Callable[[Callable[[], bool]], None]]:
    """Run a function in a forked child; it must return True there."""

    def run(check: Callable[[], bool]) -> None:
        pid = os.fork()
        if pid == 0:
            code = 1
            signal.alarm(20)  # a deadlock ends the child, not the suite
            try:
                code = 0 if check() else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

    return run


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_forked_while_another_thread_is_in_a_sink(forked: Callable[[Callable[[], bool]], None]) -> None:
    """The child has the lock as held by a thread that it does not have; and what was queued is the parent's."""
    entered, leave = threading.Event(), threading.Event()

    def slow() -> None:
        entered.set()
        leave.wait()

    sink = Sink(slow)
    home = Home(sink)
    thread = threading.Thread(target=home.dispatch.submit, args=(LoopLag(1.0),), daemon=True)
    thread.start()
    entered.wait()
    home.dispatch.submit(LoopLag(2.0))

    def child() -> bool:
        sink.upset = lambda: None
        home.dispatch.reset()
        home.dispatch.submit(LoopLag(3.0))
        return sink.lags == [3.0]

    forked(child)
    leave.set()
    thread.join()
    assert sink.lags == [1.0, 2.0]
