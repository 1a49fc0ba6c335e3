"""Takes ended spans into the queue from which they are exported."""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from .export_queue import ExportQueue
from .patience import MOST


class SpanQueue(ExportQueue[ReadableSpan], SpanProcessor):
    """The queue as a processor of a tracer provider. It has the variables and defaults of the SDK's own."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Do nothing: a span is queued when it has ended."""

    def on_end(self, span: ReadableSpan) -> None:
        """Queue a sampled span; never blocks on the exporter."""
        context = span.get_span_context()
        if context is not None and context.trace_flags.sampled:
            self.put(span)

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export what is queued now; False if that did not happen in time."""
        return self.flush(timeout_millis / 1000)

    def shutdown(self) -> None:
        """Close the queue, as the interface requires; see ``close``."""
        self.close(MOST)
