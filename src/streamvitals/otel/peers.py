"""Recognises the inference of another instrumentation that a request is made inside of.

Then that one makes the span of the inference, and perhaps its metrics: what of ours would say the same is left out.

    OpenTelemetry's own (util-genai)   a key in the context, which is meant for this
    suppressed                         the key by which an app, or logfire around its own span, asks for silence
    Traceloop                          a key by which frameworks silence what is below; attributes of its span
    openinference, others              attributes of the current span: its kind, or the conventions' operation
    Sentry, Datadog                    their own current span, where these packages have been imported

https://github.com/open-telemetry/semantic-conventions-genai/pull/475
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from typing import Any

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context
from opentelemetry.trace import get_current_span

from ..stream.record import Inside
from ..stream.tracebacks import is_foreign

logger = logging.getLogger("streamvitals")

# opentelemetry-util-genai 1.3 and later, one for each kind of operation that we see.
_INFERENCE_KEYS = (
    "opentelemetry.genai.client.inference.context", "opentelemetry.genai.client.fetch_response.context",
)
_SUPPRESSED_BY_TRACELOOP = "suppress_language_model_instrumentation"
_INFERENCES = frozenset({"chat", "text_completion", "generate_content", "fetch_response", "responses"})
# The beginnings of scopes that record the conventions' metrics: OpenTelemetry's own, and Traceloop's with their names.
_WITH_METRICS = ("opentelemetry.",)
_SENTRY_OPERATIONS = ("gen_ai.chat", "gen_ai.responses", "gen_ai.text_completion", "gen_ai.generate_content")


def inference_around(context: object | None) -> Inside | None:
    """What the current code is inside of; ``context`` is the current one, None where it is empty.

    None, too, where that cannot be read: another package's fault is none of ours, and the stream is observed."""
    try:
        return _found(context)
    except Exception as error:
        if is_foreign(error):
            raise
        logger.debug("the current span of another instrumentation cannot be read", exc_info=True)
        return None


def put_on(span: Any, attributes: Mapping[str, Any]) -> bool:
    """Put what only we know onto the span of another instrumentation; whether it still took it."""
    try:
        if span is None or not span.is_recording():
            return False
        span.set_attributes(attributes)
    except Exception as error:
        if is_foreign(error):
            raise
        logger.debug("the span of another instrumentation takes no attributes", exc_info=True)
        return False
    return True


def _found(context: object | None) -> Inside | None:
    if isinstance(context, Context):
        found = _in_context(context)
        if found is not None:
            return found
    if "sentry_sdk" in sys.modules:
        return _in_sentry(sys.modules["sentry_sdk"])
    return _in_datadog(sys.modules["ddtrace"]) if "ddtrace" in sys.modules else None


def _in_context(context: Context) -> Inside | None:
    span = get_current_span(context)
    if any(context.get(key) is not None for key in _INFERENCE_KEYS):
        return Inside("opentelemetry-util-genai", span, has_metrics=True)
    if context.get(_SUPPRESS_INSTRUMENTATION_KEY):
        return Inside("suppressed", None, has_metrics=True)
    if context.get(_SUPPRESSED_BY_TRACELOOP):
        return Inside("traceloop", None, has_metrics=True)
    attributes = getattr(span, "attributes", None)  # only a span of the SDK can be looked into
    if not isinstance(attributes, Mapping):
        return None
    if attributes.get("openinference.span.kind") == "LLM":
        return Inside("openinference", span)
    operation = attributes.get("gen_ai.operation.name")
    if operation in _INFERENCES or attributes.get("llm.request.type") in ("chat", "completion"):
        scope = str(getattr(getattr(span, "instrumentation_scope", None), "name", ""))
        return Inside(scope or "unknown", span, has_metrics=scope.startswith(_WITH_METRICS))
    return None


def _in_sentry(sentry: Any) -> Inside | None:
    span = sentry.get_current_span()
    operation = getattr(span, "op", None)
    if isinstance(operation, str) and operation.startswith(_SENTRY_OPERATIONS):
        return Inside("sentry", _Foreign(span, "set_data"))
    return None


def _in_datadog(ddtrace: Any) -> Inside | None:
    span = ddtrace.tracer.current_span()
    return Inside("ddtrace", _Foreign(span, "set_tag")) if getattr(span, "name", None) == "openai.request" else None


class _Foreign:
    """A span that is not OpenTelemetry's, with as much of the interface of one as we need."""

    def __init__(self, span: Any, method: str) -> None:
        self._set = getattr(span, method)

    def is_recording(self) -> bool:
        return True

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        for key, value in attributes.items():
            self._set(key, value)
