"""For all OTLP signals: runs OpenTelemetry's exporters so that the app does not notice them.

The exporters of opentelemetry-exporter-otlp-proto-http log every failed attempt, draw jitter from the
`random` module and can be traced by the app's own instrumentation. None of that may reach the app.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from opentelemetry import context as otel_context
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, Resource

logger = logging.getLogger("streamvitals")

# Called for every warning that an exporter tries to log while it works for us; None: it works for the app.
_on_trouble: ContextVar[Callable[[], None] | None] = ContextVar("streamvitals_on_trouble", default=None)

_NOISY = ("opentelemetry.", "urllib3", "requests", "charset_normalizer")
# Modules of the exporters that call `random.uniform` for the jitter of their retries.
_JITTERY = (
    "opentelemetry.exporter.otlp.common.http",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
)


Exporter = TypeVar("Exporter")


class GaveUpError(Exception):
    """For ``on_trouble`` to raise: ends an exporter's waiting for its next attempt, in any version of it."""


def reason_of(error: Exception) -> str:
    """Why an export failed, for the log, without any text of the exporter's."""
    return "refused or unreachable at the end" if isinstance(error, GaveUpError) else type(error).__name__


class _NotOurs(logging.Filter):
    """Lets records through unless they were made while an exporter worked for us."""

    def __init__(self) -> None:
        super().__init__()
        self._loggers_seen = 0

    def filter(self, record: logging.LogRecord) -> bool:
        trouble = _on_trouble.get()
        if trouble is None:
            return True
        if record.levelno >= logging.WARNING:
            trouble()
        return False

    def install(self) -> None:
        """Filter every logger that an exporter may use, including loggers made since the last call."""
        known = logging.root.manager.loggerDict
        if len(known) == self._loggers_seen:
            return
        for name in tuple(known):
            if name.startswith(_NOISY):
                logging.getLogger(name).addFilter(self)
        self._loggers_seen = len(known)


_filter = _NotOurs()


@contextmanager
def unnoticed(on_trouble: Callable[[], None]) -> Iterator[None]:
    """Run an exporter: not traced, and its log records go nowhere.

    ``on_trouble`` is called, in the exporter's thread, for every warning that it tries to log: an attempt has
    failed, and the exporter is about to wait before the next. The exporter raises what ``on_trouble`` raises.
    """
    _filter.install()
    _leave_random_alone()
    trouble = _on_trouble.set(on_trouble)
    # The key that every instrumentation checks; the API has no public name for it.
    suppressed = otel_context.set_value(otel_context._SUPPRESS_INSTRUMENTATION_KEY, True)
    token = otel_context.attach(suppressed)
    try:
        yield
    finally:
        otel_context.detach(token)
        _on_trouble.reset(trouble)


def _leave_random_alone() -> None:
    # A program that called random.seed() must draw the numbers that it draws without us.
    for name in _JITTERY:
        module = sys.modules.get(name)
        if getattr(module, "random", None) is random:
            vars(module)["random"] = random.SystemRandom()


class ProcessResource:
    """The resource that the settings describe, with a ``service.instance.id`` of this process.

    Without that id, the processes of one service would report the same series. Detected once, because a detector
    may use the network; a forked child only gets another id. An id that the user has set is kept.
    """

    def __init__(self, declared: Mapping[str, str] | None = None) -> None:
        given = os.environ if declared is None else declared
        self._fixed = SERVICE_INSTANCE_ID in given.get("OTEL_RESOURCE_ATTRIBUTES", "")
        self._resource = Resource.create() if declared is None else _declared(declared)
        self._pid = os.getpid()
        if SERVICE_INSTANCE_ID not in self._resource.attributes:
            self._identify()

    def get(self) -> Resource:
        """The resource of the calling process."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            if not self._fixed:
                self._identify()
        return self._resource

    def _identify(self) -> None:
        self._resource = self._resource.merge(Resource({SERVICE_INSTANCE_ID: str(uuid.uuid4())}))


def _declared(declared: Mapping[str, str]) -> Resource:
    from .declared import resource

    return resource(declared)


class Losses:
    """Counts exports that failed, reports each, and logs the first one; ``failing``: the last one failed."""

    def __init__(self, what: str, on_error: Callable[[str], None] | None) -> None:
        self.count = 0
        self.failing = False
        self._what = what
        self._on_error = on_error

    def add(self, reason: str) -> None:
        """Count a failed export; ``reason`` must contain no address and no text of the collector's."""
        self.count += 1
        self.failing = True
        if self.count == 1:
            logger.warning(
                "%s could not be delivered over OTLP (%s); said once, counted from now on", self._what, reason
            )
        if self._on_error is not None:
            self._on_error("otel")


_MAX_ANSWER = 1 << 16  # most bytes of an answer that is parsed
_REJECTED = ("rejectedSpans", "rejectedDataPoints", "rejectedLogRecords")


def count_rejected(exporter: Exporter, losses: Losses) -> Exporter:
    """Count as lost what a collector rejects in a request that it accepts (OTLP's partial success). Exporters see only
    the status: https://github.com/open-telemetry/opentelemetry-python/issues/4803. Returns the exporter."""
    transport = getattr(getattr(exporter, "_client", None), "_transport", None)  # in newer exporters
    session = getattr(exporter, "_session", None) or getattr(transport, "_session", None)
    endpoint = getattr(exporter, "_endpoint", None)

    def look(response: Any, *args: Any, **kwargs: Any) -> None:
        # A session may be shared, if the app's own credentials provider makes it.
        if response.ok and response.request.url == endpoint and _rejected(response):
            losses.add("rejected by the collector")

    hooks = getattr(session, "hooks", None)
    if isinstance(hooks, dict):
        hooks["response"] = [*hooks.get("response", ()), look]
    return exporter


def _rejected(response: Any) -> bool:
    body = response.content
    if not body or len(body) > _MAX_ANSWER:
        return False
    try:
        if "json" in response.headers.get("Content-Type", ""):
            partial = response.json().get("partialSuccess") or {}
            return any(int(partial.get(name) or 0) > 0 for name in _REJECTED)
        # The parts that are read are the same on the wire for all signals.
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

        return bool(ExportTraceServiceResponse.FromString(body).partial_success.rejected_spans > 0)
    except Exception:  # noqa: BLE001 - whatever it answers, what it was sent has arrived
        return False
