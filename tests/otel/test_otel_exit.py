"""One bound for all that is waited for at the end of a process, whatever its collectors do."""

from __future__ import annotations

import threading

import pytest

from otel_support import run_script
from otlp_receiver import receiver
from streamvitals.config import Config
from streamvitals.otel.patience import MOST, Patience
from streamvitals.process.exporters import Exporters
from streamvitals.process.runtime import Runtime
from streamvitals.store.memory import HeapMemory
from streamvitals.store.store import Store


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_what_one_takes_the_others_do_not_have() -> None:
    clock = Clock()
    patience = Patience(2.0, clock)
    seen: list[object] = []

    def slow(left: float) -> None:
        seen.append(round(left, 3))
        clock.now += 1.5

    exporters = Exporters(begin_shutdown=(lambda: seen.append("begun"),), shutdown=(slow, slow, slow))
    exporters.shut_down_all(patience)
    assert seen == ["begun", 2.0, 0.5, 0.0]


def test_a_flush_has_one_bound_too() -> None:
    left: list[float] = []
    runtime = Runtime(Config(), Store(HeapMemory()), exporters=Exporters(flush=(left.append, left.append)))
    runtime.flush()
    assert MOST >= left[0] >= left[1] > 0


# As many spans as one request holds, and more; and numbers.
SCRIPT = """
import streamvitals
from otel_support import record
from streamvitals.process import lifecycle
streamvitals.instrument()
for _ in range(2000):
    lifecycle.current().submit(record())
"""
# Bytes of an answer that never ends: nothing, a status line, a header, a body.
NEVER = [b"", b"H", b"HTTP/1.1 200 OK\r\nX-Y: z", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\nx"]


@pytest.mark.parametrize(("last", "drip"), [
    *(("", drip) for drip in NEVER), ("streamvitals.flush()\n", NEVER[0]), ("streamvitals.uninstrument()\n", NEVER[-1]),
])
def test_spans_and_numbers_are_both_begun_and_neither_keeps_the_process(last: str, drip: bytes) -> None:
    """Each of the exporters would wait for longer than this test does."""
    with receiver() as collector:
        collector.hang, collector.drip = threading.Event(), drip
        run_script(
            SCRIPT + last, OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, OTEL_EXPORTER_OTLP_TIMEOUT="100000",
            warnings="error",
        )
        assert {received.path for received in collector.requests} == {"/v1/traces", "/v1/metrics"}
        assert not collector.hang.is_set()


def test_the_first_failed_attempt_of_each_is_the_last() -> None:
    with receiver() as collector:
        collector.status = 503
        run_script(SCRIPT.replace("2000", "1"), OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
        assert collector.attempts == 2


def test_what_ends_with_the_process_is_in_the_last_numbers() -> None:
    with receiver() as collector:
        run_script(
            """
            import atexit
            import streamvitals
            from otel_support import record
            from streamvitals.process import runtime
            streamvitals.instrument()
            close = runtime.Runtime.close
            def close_and_count(self):
                close(self)
                self.submit(record())
            runtime.Runtime.close = close_and_count
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        )
        assert "streamvitals.streams" in collector.metrics()
        assert collector.spans()
