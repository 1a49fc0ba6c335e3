"""Spans: one CLIENT span per stream, and a child for each of its HTTP attempts, made when the stream has ended.

Made from the record with explicit times, so nothing is attached to any context while the stream lives, and a
stream costs nothing until it ends. Attributes: https://github.com/open-telemetry/semantic-conventions-genai
(docs/gen-ai/client-inference.md) and https://opentelemetry.io/docs/specs/semconv/http/http-spans/

Can be imported without OpenTelemetry; then nothing is captured, and ``start_tracing`` raises ImportError.
"""

from __future__ import annotations

import atexit
import os
import random
import sys
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from .._version import __version__
from ..stream.outcome import Outcome
from ..stream.record import Attempt, Progress, RetryRecord, StreamRecord

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, Span, SpanContext, Tracer, TracerProvider

    from .span_queue import SpanQueue

SCOPE = "streamvitals"
_MAX_EVENTS = 16  # of each kind, on one span

Value = str | bool | int | float | tuple[str, ...]
TracerSource = Callable[[], "Tracer | None"]


def capture_parent() -> object | None:
    """The OpenTelemetry context that is current now, for ``StreamRecord.trace_parent``; None if there is none.

    The whole context and not only its span, so that the app's samplers and span processors see its baggage,
    and so that instrumentation that was suppressed stays so. About 0.3 µs; imports nothing.
    """
    api = sys.modules.get("opentelemetry.context")
    return (api.get_current() or None) if api is not None else None


class TraceIds(NamedTuple):
    """Lower-case hex, as in an exemplar's labels."""

    trace_id: str
    span_id: str


class TraceSink:
    """Makes the spans of each record. ``get_tracer`` is asked at every end; None: no spans are wanted.

    ``attempt_spans=False`` leaves the attempts out, for when the HTTP client itself is traced. ``last`` holds
    the ids of the span that was made for the newest record, None if it has none or was not sampled: a sink
    that stands behind this one can make exemplars of it.
    """

    def __init__(self, get_tracer: TracerSource, *, attempt_spans: bool = True) -> None:
        from . import _otel_trace_api as api

        self._api = api
        self._get_tracer = get_tracer
        self._attempt_spans = attempt_spans
        self.last: TraceIds | None = None

    def on_end(self, record: StreamRecord) -> None:
        """Make the span of a stream that ended, and those of its attempts."""
