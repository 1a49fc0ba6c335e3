"""The base of all sinks, which take the records: one class per place that telemetry goes to."""

from __future__ import annotations

from .record import CallRecord, ChainRecord, Progress, RetryRecord, StreamEnd, StreamLabels, StreamRecord


class ReportedError(OSError):
    """Raised by a sink that has already logged what is wrong."""


class Sink:
    """Override the methods you need: only those are called, by one thread at a time. They must not block.

    Sinks know nothing of each other; the store's is called first, and no other order is promised. When a sink raises,
    that is counted; the third time in a row it is logged and the sink is removed (stream/dispatch.py).
    """

    def on_start(self, labels: StreamLabels) -> None:
        """A stream was requested."""

    def on_progress(self, progress: Progress) -> None:
        """A long stream is still going: add what it has gathered."""

    def on_retry(self, retry: RetryRecord) -> None:
        """An attempt failed and is made again."""

    def on_chain(self, chain: ChainRecord) -> None:
        """A chain of the application's own attempts ended, or went on without streaming."""

    def make_span(self, record: StreamRecord) -> object | None:
        """Make the span of a stream that ended, and return its context if it is sampled. Called before any ``on_end``,
        whose record has that context."""

    def on_end(self, record: StreamRecord) -> None:
        """A stream ended; ``record.progress`` is what ``on_progress`` has not yet been given."""

    def needs_record(self, end: StreamEnd) -> bool:
        """Whether ``on_end`` needs the record of this stream. If no sink does, it is given what is counted instead."""
        return True

    def on_call_start(self, labels: StreamLabels) -> None:
        """A call without a stream has begun; its labels are marked as such (``StreamLabels.of_calls``)."""

    def on_call_retry(self, labels: StreamLabels) -> None:
        """An attempt at a call without a stream failed, and the SDK makes another."""

    def on_call(self, record: CallRecord) -> None:
        """A call without a stream ended."""

    def on_loop_lag(self, seconds: float) -> None:
        """While streams were open, the app's event loop called us so many seconds later than scheduled."""

    def on_internal_error(self, where: str) -> None:
        """A fault of our own; ``where`` is one of ``names.INTERNAL_PLACES``."""


METHODS = tuple(name for name in vars(Sink) if not name.startswith("_") and name != "needs_record")


def overrides(sink: object, method: str) -> bool:
    """Whether a sink, a ``Sink`` or an object with the same methods, has a ``method`` of its own."""
    found = getattr(sink, method, None)
    return found is not None and getattr(found, "__func__", found) is not getattr(Sink, method)
