"""A store in which every metric has something to say."""

from __future__ import annotations

from store_support import LABELS, progress, record
from streamvitals import names
from streamvitals.outcome import Outcome
from streamvitals.store.memory import HeapMemory
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import CallRecord, RateLimit, RetryRecord, StreamLabels, Usage

NASTY = StreamLabels("chat", "openai", 'a"b\\c', "höst")


def busy() -> Store:
    """A store in which every metric has something to say."""
    store = Store(HeapMemory())
    store.set_build("0.1", "3.52.0", "true")
    sink = StoreSink(store)
    for labels in (LABELS, NASTY):
        for outcome, error, _ in [("completed", "", ""), *names.OUTCOME_ERRORS]:
            one = record(
                store.open_slot(labels, 990.0), labels=labels, outcome=Outcome(outcome), error_type=error,
                usage=Usage(1, 2, 3, 4), rate_limits=(RateLimit("tokens", 1.0, 2.0), RateLimit("requests", 0.0, 2.0)),
                progress=progress(labels, wait=1.5, hold=0.5, stalls=1, first_chunk=0.1, first_token=0.2),
            )
            sink.on_end(one)
        for source in names.RETRY_SOURCES:
            sink.on_retry(RetryRecord(labels, source, "429", 0.5))
        calls = labels._replace(operation=names.OF_CALLS + labels.operation)
        for outcome, error, _ in [("completed", "", ""), *names.OUTCOME_ERRORS]:
            slot = store.take_call_slot(calls)
            sink.on_call(CallRecord(calls, Outcome(outcome), error, 0.5, (RateLimit("tokens", 9.0, 9.0),), slot=slot))
        sink.on_call_retry(calls)
    sink.on_loop_lag(0.2)
    sink.on_internal_error("observe")
    store.open_slot(LABELS, 990.0)
    return store
