"""The GenAI conventions of OpenTelemetry, semantic-conventions-genai v0.1.0: what of them we send, and how it is named.

https://github.com/open-telemetry/semantic-conventions-genai. tests/conventions_table.py lists the same facts, written
from those pages and not from this file.
"""

from __future__ import annotations

from .names import OTHER, Metric

# Seconds, and tokens: the boundaries that the conventions give their histograms. No metric of ours has them.
SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS = tuple(float(4**power) for power in range(14))

OTHER_ERROR = "_OTHER"  # error.type where we have no name for an error; in Prometheus it is `other`
CUT = "error"  # the finish reason of a choice whose own never came
UNKNOWN = "unknown"
MODALITIES = ("text", "image", "audio", UNKNOWN)

# What the words of Responses, Assistants and agents for an end are among finish reasons. Why a response is incomplete
# is told by its outcome, and so it is for a word that means a limit.
FINISH_REASONS = {"completed": "stop", "failed": CUT, "cancelled": CUT, "error": CUT}
STATUSES = frozenset({"queued", "in_progress", "completed", "incomplete", "failed", "cancelled"})

FETCH = "fetch_response"
# Operations that are no inference: a fetch has its own name, and agents have a page of their own in the conventions.
NOT_INFERENCE = frozenset({FETCH, "invoke_agent"})



def error_type(failed: bool, kind: str) -> str:
    """The value of ``error.type`` on spans and metrics, from ours; "" where nothing failed."""
    if not failed:
        return ""
    return kind if kind and kind != OTHER else OTHER_ERROR


EXCEPTION_EVENT = "gen_ai.client.inference.exception"
OLD_EXCEPTION_EVENT = "gen_ai.client.operation.exception"


def _counter(name: str, help_: str, modalities: tuple[str, ...] = MODALITIES) -> Metric:
    values = tuple((modality,) for modality in modalities)
    return Metric(
        f"gen_ai.client.inference.usage.{name}", "counter", "{token}", help_, ("modality",), values,
        hidden_at_zero=True,
    )


def _seconds(name: str, help_: str) -> Metric:
    return Metric(f"gen_ai.client.{name}", "histogram", "s", help_, edges=SECONDS, hidden_at_zero=True)


def _tokens(name: str, help_: str) -> Metric:
    return Metric(
        f"gen_ai.client.inference.operation.{name}", "histogram", "{token}", help_, edges=TOKENS, hidden_at_zero=True
    )


DURATION = _seconds("inference.duration", "Duration of an inference, with all its retries.")
FIRST_CHUNK = _seconds("inference.time_to_first_chunk", "Request issued to first chunk.")
PER_CHUNK = _seconds("inference.time_per_output_chunk", "End of a chunk to the end of the next one.")
INPUT = _counter("input_tokens", "Input tokens, cached ones included.")
OUTPUT = _counter("output_tokens", "Output tokens, reasoning included.")
CACHE_READ = _counter("cache_read.input_tokens", "Input tokens that were read from a cache.")
CACHE_WRITE = _counter("cache_write.input_tokens", "Input tokens that were written to a cache.", (UNKNOWN,))
REASONING = _counter("reasoning.output_tokens", "Output tokens of reasoning.", (UNKNOWN,))
INPUT_PER_CALL = _tokens("input_tokens", "Input tokens per inference.")
OUTPUT_PER_CALL = _tokens("output_tokens", "Output tokens per inference.")

METRICS = (
    DURATION, FIRST_CHUNK, PER_CHUNK, INPUT, OUTPUT, CACHE_READ, CACHE_WRITE, REASONING, INPUT_PER_CALL,
    OUTPUT_PER_CALL,
)
# For operations that are no inference and have no metric of their own: fetches.
OPERATION_DURATION = DURATION._replace(otel="gen_ai.client.operation.duration", help="Duration of an operation.")

# The generation before, of the core conventions v1.41: the metric's name, and its gen_ai.token.type if it has one.
# https://github.com/open-telemetry/semantic-conventions/tree/v1.41.0/docs/gen-ai
OLD_METRICS: dict[Metric, tuple[str, str]] = {
    DURATION: ("gen_ai.client.operation.duration", ""),
    FIRST_CHUNK: ("gen_ai.client.operation.time_to_first_chunk", ""),
    PER_CHUNK: ("gen_ai.client.operation.time_per_output_chunk", ""),
    INPUT_PER_CALL: ("gen_ai.client.token.usage", "input"),
    OUTPUT_PER_CALL: ("gen_ai.client.token.usage", "output"),
}

OLD_CACHE_WRITE = "gen_ai.usage.cache_creation.input_tokens"  # a span's

# Whether spans are made: unless another instrumentation makes one of the same inference, in any case, or never.
AUTO, ALWAYS, NEVER = "auto", "always", "never"
SPANS = (AUTO, ALWAYS, NEVER)

LATEST, OLD, BOTH = "latest", "1.41", "both"
GENERATIONS = (LATEST, OLD, BOTH)
