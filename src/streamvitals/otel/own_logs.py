"""The pipeline for records of the log, for apps without a LoggerProvider: failures go out over OTLP, http/protobuf."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import ReadableLogRecord  # since 1.39
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from .._version import __version__
from .declared import Declared, arguments, without_environment
from .export_queue import ExportQueue, MakeExporter
from .keys import SCOPE
from .otlp import ProcessResource
from .own_pipeline import OwnPipeline


class LogQueue(ExportQueue[ReadableLogRecord]):
    """The queue with the variables and defaults of the SDK's processor of log records."""

    prefix, thread_name, delay = "OTEL_BLRP_", "streamvitals-logs", 1000


def make_exporter(timeout: float | None, declared: Declared = None) -> Any:
    """The exporter that the settings describe; ``timeout``: seconds per request, None: as they say."""
    told = {"timeout": timeout} if timeout is not None else {}
    return without_environment(OTLPLogExporter(**{**arguments(declared, "LOGS"), **told}), declared, "LOGS")


class OwnLogs(OwnPipeline[LogQueue]):
    """Sends records. Raises ValueError if a setting is wrong."""

    def __init__(
        self, on_error: Callable[[str], None] | None, make: MakeExporter | None = None, declared: Declared = None,
        resource: ProcessResource | None = None,
    ) -> None:
        super().__init__("failures", on_error, make or partial(make_exporter, declared=declared), declared, resource)

    def emit(self, record: LogRecord) -> None:
        """Queue a record, of which the ids of its trace have been taken."""
        if self._queue is None:
            self._queue = LogQueue(self._make, self._losses)
            self._end_with_worker()
        record.observed_timestamp = time.time_ns()
        record.context = Context()  # not the app's, with whatever it holds, while it waits here
        self._queue.put(ReadableLogRecord(record, self.resource.get(), InstrumentationScope(SCOPE, __version__)))
