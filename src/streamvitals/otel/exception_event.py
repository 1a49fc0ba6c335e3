"""The failure of a stream as the conventions' event, by the app's own LoggerProvider, else by a pipeline of ours.

It has the class of the exception, or the error type where nothing was raised: never a message or a stack trace, which
may quote what was asked or answered.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, set_span_in_context

from .. import conventions
from .._version import __version__
from ..stream.record import StreamRecord
from .keys import SCOPE

_API = "opentelemetry._logs"


class ExceptionEvents:
    """Emits the event of each failed stream; does nothing while the app has no LoggerProvider and there is no ``own``.
    """

    def __init__(self, generation: str, own: Callable[[Any], None] | None = None) -> None:
        self._own = own
        self._names = {
            conventions.LATEST: (conventions.EXCEPTION_EVENT,),
            conventions.OLD: (conventions.OLD_EXCEPTION_EVENT,),
            conventions.BOTH: (conventions.EXCEPTION_EVENT, conventions.OLD_EXCEPTION_EVENT),
        }[generation]

    def emit(self, record: StreamRecord, parent: Context, ended: int) -> None:
        """Emit it with the trace of the stream's span, else that of its parent; ``ended`` is in Unix nanoseconds."""
        # The variable itself: to ask for the global provider can make one, which only the app may do.
        provider = getattr(sys.modules.get(f"{_API}._internal"), "_LOGGER_PROVIDER", None)
        emit = self._own if provider is None else provider.get_logger(SCOPE, __version__).emit
        if emit is None or not _has_events():
            return
        api = sys.modules[_API]
        span = record.span
        context = parent if span is None else set_span_in_context(NonRecordingSpan(span), parent)
        kind = record.cause_chain[0] if record.cause_chain else conventions.error_type(True, record.error_type)
        for name in self._names:
            emit(api.LogRecord(
                timestamp=ended, context=context, severity_number=api.SeverityNumber.WARN, severity_text="WARN",
                event_name=name, attributes={"exception.type": kind},
            ))


@lru_cache(1)
def _has_events() -> bool:
    """Whether the API knows events: since 1.35."""
    record: Any = sys.modules[_API].LogRecord
    return "event_name" in inspect.signature(record.__init__).parameters
