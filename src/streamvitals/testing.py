"""For tests of programs that stream: collect the records of every stream, in this process.

    with streamvitals.testing.recorded() as records:
        run_my_code()
    assert records[0].outcome is Outcome.TRUNCATED
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .config import Config
from .process import lifecycle
from .stream.record import CallRecord, ChainRecord, RetryRecord, StreamRecord
from .stream.sink import Sink


class RecordList(list[StreamRecord], Sink):
    """The records so far, oldest first; also a sink. ``calls`` are those without a stream, ``faults`` streamvitals'
    own."""

    def __init__(self) -> None:
        super().__init__()
        self.retries: list[RetryRecord] = []
        self.chains: list[ChainRecord] = []
        self.calls: list[CallRecord] = []
        self.lags: list[float] = []
        self.faults: list[str] = []

    def on_retry(self, retry: RetryRecord) -> None:
        self.retries.append(retry)

    def on_end(self, record: StreamRecord) -> None:
        self.append(record)

    def on_chain(self, chain: ChainRecord) -> None:
        self.chains.append(chain)

    def on_call(self, record: CallRecord) -> None:
        self.calls.append(record._replace(labels=record.labels.shown))

    def on_loop_lag(self, seconds: float) -> None:
        self.lags.append(seconds)

    def on_internal_error(self, where: str) -> None:
        self.faults.append(where)


@contextmanager
def recorded(config: Config | None = None) -> Iterator[RecordList]:
    """Collect the records of this process's streams for the length of a ``with`` block.

    Where streamvitals is active already, it goes on as it is, and the records are collected beside. Raises
    RuntimeError if a configuration is given then.
    """
    records = RecordList()
    active = lifecycle.current()
    if active is not None:
        if config is not None:
            raise RuntimeError("streamvitals is active in this process already, with a configuration of its own")
        end = active.add_sink(records)
        try:
            yield records
        finally:
            end()
        return
    started = lifecycle.start(config or Config(), sinks=[records])
    started.patch_on_import()
    try:
        yield records
        started.flush()
    finally:
        lifecycle.stop()
