"""Every metric, label, attribute, unit and bucket edge, on both paths.

Prometheus names are what the OpenTelemetry to Prometheus translation makes of the OTel name and unit (dots
become underscores, the unit becomes a suffix, a unit in braces is dropped, counters end in ``_total``), so
that dashboards and alerts work whether the data was scraped or came over OTLP through a Collector.
https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from .outcome import ERROR_TYPES, RESULTS, Outcome, may_be_charged, result

# The labels that every stream metric carries: Prometheus label -> OTel attribute key.
STREAM_LABELS: dict[str, str] = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "server_address": "server.address",
}
# The labels that only some metrics carry; `error_type` alone has a dotted key in the conventions.
OWN_LABELS: dict[str, str] = {
    "outcome": "outcome",
    "result": "result",
    "error_type": "error.type",
    "source": "source",
    "reason": "reason",
    "type": "type",
    "part": "part",
    "kind": "kind",
    "where": "where",
    "hint": "hint",
    "phase": "phase",
}

OTHER = "other"
# Before the operation, in the files, where a label set is of calls without a stream. It is never shown.
OF_CALLS = "call:"
UNKNOWN_MODEL = "unknown"

# https://opentelemetry.io/docs/specs/semconv/registry/attributes/gen-ai/ (gen_ai.operation.name)
OPERATIONS = (
    "chat", "text_completion", "generate_content", "invoke_agent", "transcription", "speech", "fetch_response",
    "embeddings", "moderation", "translation", OTHER,
)

# The same page (gen_ai.provider.name); those that it has not are what the providers call themselves.
PROVIDERS = (
    "openai", "azure.ai.openai", "azure.ai.inference", "aws.bedrock", "gcp.vertex_ai", "gcp.gemini", "anthropic",
    "cohere", "deepseek", "groq", "ibm.watsonx.ai", "mistral_ai", "perplexity", "x_ai", "openrouter", "together_ai",
    "fireworks_ai", "litellm", "ollama", "vllm", OTHER,
)

OUTCOMES = tuple(o.value for o in Outcome)
OUTCOME_ERRORS = tuple((o.value, e, result(o, e)) for o, errors in ERROR_TYPES.items() for e in errors)
# Each outcome has one result; `timeout` alone has two, as waiting for the application's own pool is its own doing.
OUTCOME_RESULTS = tuple(
    dict.fromkeys((o.value, result(o, error)) for o in Outcome for error in ("", *ERROR_TYPES.get(o, ())))
)
CHARGED_RESULTS = tuple(
    dict.fromkeys(result(o, e) for o in Outcome for e in ERROR_TYPES.get(o, ("",)) if may_be_charged(o, e))
)
RETRY_SOURCES = ("sdk", "app")
RETRY_REASONS = (
    "408", "409", "429", "500", "502", "503", "504", "529",
    "connect_error", "reset", "timeout", "truncated", "malformed", "api_error", "rate_limited", OTHER,
)
# Words for what happens within a stream that has begun: the SDK tries only requests again.
_APP_ALONE = {"truncated", "api_error", "rate_limited"}
SOURCE_REASONS = tuple(
    (source, reason) for source in RETRY_SOURCES for reason in RETRY_REASONS
    if source == "app" or reason not in _APP_ALONE
)
# Where an open stream is stalled. `keep_alive`: in either phase, but keep-alives come instead of chunks.
FIRST_TOKEN, BETWEEN_CHUNKS, KEEP_ALIVE = PHASES = ("first_token", "between_chunks", "keep_alive")
# The longest time, in seconds, between two keep-alives: the usual time after which proxies cut what is idle.
KEEP_ALIVE_WITHIN = 60.0
# The parts of each type, which add up: providers report cached tokens within the input, reasoning within the output.
TOKEN_PARTS = (
    *(("input", part) for part in ("uncached", "cached", "cache_write")),
    *(("output", part) for part in ("visible", "reasoning")),
)
RATELIMIT_KINDS = ("requests", "tokens")
# Where in our own code a fault was met; `internal_errors_total` must not depend on what an exception says. `layout`
# counts processes whose files are of another version than the agent.
INTERNAL_PLACES = (
    "patch", "observe", "classify", "store", "sink", "otel", "journal", "agent", "layout", "config", OTHER,
)
# What about a stream could not be known, or was not understood; each is counted once per stream, at its end.
#   unknown_finish_reason   the provider ended it with a word that no table has: it counts as completed
#   unread_body             nobody could look into its body: its outcome is the transport's
#   unread_encoding         the same, as its content-encoding cannot be decoded here
#   inflate_limit           the same, as it was more to unpack, or a longer line, than a look may cost
#   label_withheld          the value of a custom label looked like a secret or a person's, was no text, or too long
#   label_limit             the value of a custom label was one too many: it counts as `other`, as the one before does
HINTS = (
    "unknown_finish_reason", "unread_body", "unread_encoding", "inflate_limit", "label_withheld", "label_limit", OTHER,
)

# Seconds. The gap's edges are fine where providers live (1-40 ms a chunk); the last ones show a stall.
GAP_EDGES = (0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.04, 0.08, 0.2, 0.5, 1.0, 5.0, 15.0, 60.0)
FIRST_EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0, 1.5, 2.5, 4.0, 6.0, 10.0, 20.0, 40.0, 80.0)
DURATION_EDGES = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LAG_EDGES = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
RATE_EDGES = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 75.0, 100.0, 150.0, 200.0, 300.0, 500.0, 1000.0)

Kind = Literal["counter", "histogram", "gauge"]
Values = tuple[str, ...]


class Metric(NamedTuple):
    """One metric on both paths.

    ``labels`` are its own labels and ``values`` every combination of them that exists (a closed list: each
    is a series that stands at 0 from the start). ``per_stream`` metrics carry STREAM_LABELS besides.
    ``hidden_at_zero`` is for what appears with its first count, or is absent until a provider reports it; those of
    its ``values`` that are ``standing`` stand at 0 nevertheless.
    """

    otel: str
    kind: Kind
    unit: str
    help: str
    labels: Values = ()
    values: tuple[Values, ...] = ((),)
    edges: tuple[float, ...] = ()
    per_stream: bool = True
    hidden_at_zero: bool = False
    standing: tuple[Values, ...] = ()

    @property
    def prometheus(self) -> str:
        """The family's Prometheus name, without the ``_total`` that a counter's sample gets."""
        name = self.otel.replace(".", "_")
        if self.unit == "s":
            return name + "_seconds"
        if self.unit.endswith("}/s"):
            return name + "_per_second"
        return name


def _each(*values: str) -> tuple[Values, ...]:
    return tuple((v,) for v in values)


STREAMS = Metric(
    "streamvitals.streams", "counter", "{stream}",
    "Streams that ended, by how they ended.", ("outcome", "result"), OUTCOME_RESULTS,
)
STREAM_ERRORS = Metric(
    "streamvitals.stream_errors", "counter", "{stream}",
    "Streams that did not complete, by error type.", ("outcome", "error_type", "result"), OUTCOME_ERRORS,
    hidden_at_zero=True,
    # Rules tell the caller's mistakes apart by their type. Of the others no rule asks more than the outcome.
    standing=tuple(values for values in OUTCOME_ERRORS if values[-1] == "rejected"),
)
ACTIVE = Metric("streamvitals.streams_active", "gauge", "{stream}", "Streams that are open now.")
STALLED = Metric(
    "streamvitals.streams_stalled", "gauge", "{stream}",
    "Open streams that have waited for longer than the stall threshold of their phase.", ("phase",),
    _each(*PHASES),
)
TIME_TO_FIRST_CHUNK = Metric(
    "streamvitals.time_to_first_chunk", "histogram", "s", "Request issued to first chunk.", edges=FIRST_EDGES
)
TIME_TO_FIRST_TOKEN = Metric(
    "streamvitals.time_to_first_token", "histogram", "s",
    "Request issued to the first chunk that carries content, reasoning, refusal or tool-call data.", edges=FIRST_EDGES,
)
CHUNK_GAP = Metric(
    "streamvitals.chunk_gap", "histogram", "s",
    "For every chunk after the first, how long the app was blocked waiting for it.", edges=GAP_EDGES,
)
DURATION = Metric(
    "streamvitals.stream_duration", "histogram", "s", "Request issued to end, by result.",
    ("result",), _each(*RESULTS), DURATION_EDGES,
)
TOKEN_RATE = Metric(
    "streamvitals.output_tokens", "histogram", "{token}/s",
    "Output tokens per second of a completed stream, first token to end, when usage is reported.", edges=RATE_EDGES,
    hidden_at_zero=True,
)
CHUNKS = Metric(
    "streamvitals.chunks", "counter", "{chunk}",
    "Chunks received, by the result of their stream.", ("result",), _each(*RESULTS),
)
WAIT = Metric("streamvitals.wait", "counter", "s", "Time the app was blocked waiting for the provider.")
HOLD = Metric("streamvitals.hold", "counter", "s", "Time the app held streams between chunks.")
STALLS = Metric("streamvitals.stalls", "counter", "{stall}", "Waits for a chunk that exceeded the stall threshold.")
RETRIES = Metric(
    "streamvitals.retries", "counter", "{retry}", "Attempts made again, by who retried and why.",
    ("source", "reason"), SOURCE_REASONS,
)
BACKOFF = Metric(
    "streamvitals.retry_backoff", "counter", "s", "Time slept between attempts.", ("source",), _each(*RETRY_SOURCES)
)
RECOVERIES = Metric(
    "streamvitals.recoveries", "counter", "{operation}",
    "Operations that succeeded after at least one failed attempt.", ("source",), _each(*RETRY_SOURCES),
)
OPERATIONS_FAILED = Metric(
    "streamvitals.operations_failed", "counter", "{operation}",
    "Chains of attempts that ended in failure, or had failed for two minutes: what users felt.",
)
FALLBACKS = Metric("streamvitals.fallbacks", "counter", "{stream}", "Failed streams asked again without streaming.")
TOKENS = Metric(
    "streamvitals.tokens", "counter", "{token}", "Tokens that the provider reported, in parts that add up.",
    ("type", "part"), TOKEN_PARTS,
)
UNMETERED = Metric(
    "streamvitals.streams_unmetered", "counter", "{stream}",
    "Streams that the provider may charge for and whose tokens it did not report, by result.",
    ("result",), _each(*CHARGED_RESULTS),
)
RATELIMIT_REMAINING = Metric(
    "streamvitals.ratelimit_remaining", "gauge", "{limit}", "What the provider said is left of a rate limit.",
    ("kind",), _each(*RATELIMIT_KINDS), hidden_at_zero=True,
)
RATELIMIT_LIMIT = Metric(
    "streamvitals.ratelimit_limit", "gauge", "{limit}", "The rate limit that the provider said applies.",
    ("kind",), _each(*RATELIMIT_KINDS), hidden_at_zero=True,
)

CALLS = Metric(
    "streamvitals.calls", "counter", "{call}", "Calls without a stream that ended, by what their end means.",
    ("result",), _each(*RESULTS),
)
CALL_ERRORS = Metric(
    "streamvitals.call_errors", "counter", "{call}", "Calls without a stream that did not complete, by error type.",
    ("outcome", "error_type", "result"), OUTCOME_ERRORS, hidden_at_zero=True,
)
CALL_DURATION = Metric(
    "streamvitals.call_duration", "histogram", "s", "Call issued to its answer or its failure, retries included.",
    edges=DURATION_EDGES,
)
CALL_RETRIES = Metric(
    "streamvitals.call_retries", "counter", "{retry}", "Attempts that the SDK made again, of calls without a stream.",
)
CALLS_ACTIVE = Metric(
    "streamvitals.calls_active", "gauge", "{call}", "Calls without a stream that are open now."
)
CALLS_STALLED = Metric(
    "streamvitals.calls_stalled", "gauge", "{call}",
    "Open calls without a stream whose attempt has been without an answer for longer than two minutes.",
)

LOOP_LAG = Metric(
    "streamvitals.event_loop_lag", "histogram", "s",
    "How late the app's event loop runs while streams are open.", edges=LAG_EDGES, per_stream=False,
)
INTERNAL_ERRORS = Metric(
    "streamvitals.internal_errors", "counter", "{error}", "Faults of streamvitals itself.",
    ("where",), _each(*INTERNAL_PLACES), per_stream=False,
)
HINTS_SEEN = Metric(
    "streamvitals.hints", "counter", "{hint}", "Streams of which something could not be known, by what it was.",
    ("hint",), _each(*HINTS), per_stream=False,
)
BUILD_INFO = Metric(
    "streamvitals.build_info", "gauge", "{info}", "What runs: always 1.",
    ("version", "openai_version", "patched"), (), per_stream=False,
)
UNREPORTED = Metric(
    "streamvitals.processes_unreported", "gauge", "{process}",
    "Pythons under streamvitals run that did not report in (python -I, frozen programs): not observed.",
    per_stream=False,
)

# Kept in a block of doubles per label set, in this order (store/layout.py). SLOT_METRICS are computed from
# the slots of what is open at scrape, BUILD_INFO and UNREPORTED from what the processes say, or do not.
STREAM_METRICS = (
    STREAMS, STREAM_ERRORS, TIME_TO_FIRST_CHUNK, TIME_TO_FIRST_TOKEN, CHUNK_GAP, DURATION, TOKEN_RATE, CHUNKS,
    WAIT, HOLD, STALLS, RETRIES, BACKOFF, RECOVERIES, OPERATIONS_FAILED, FALLBACKS, TOKENS, UNMETERED,
    RATELIMIT_REMAINING, RATELIMIT_LIMIT,
)
# Of calls without a stream; made of the same blocks (store/calls.py).
CALL_METRICS = (CALLS, CALL_ERRORS, CALL_DURATION, CALL_RETRIES)
PROCESS_METRICS = (LOOP_LAG, INTERNAL_ERRORS, HINTS_SEEN)
SLOT_METRICS = (ACTIVE, STALLED, CALLS_ACTIVE, CALLS_STALLED)
ALL_METRICS = (*STREAM_METRICS, *CALL_METRICS, *PROCESS_METRICS, *SLOT_METRICS, BUILD_INFO, UNREPORTED)

# What can be left out (STREAMVITALS_METRICS). All else is always there: without it no ratio is right, and no loss seen.
GROUPS: dict[str, tuple[Metric, ...]] = {
    "errors": (STREAM_ERRORS,),
    "first_chunk": (TIME_TO_FIRST_CHUNK,),
    "first_token": (TIME_TO_FIRST_TOKEN,),
    "gaps": (CHUNK_GAP,),
    "durations": (DURATION,),
    "token_rate": (TOKEN_RATE,),
    "chunks": (CHUNKS,),
    "waits": (WAIT, HOLD, STALLS),
    "retries": (RETRIES, BACKOFF, RECOVERIES, OPERATIONS_FAILED, FALLBACKS),
    "tokens": (TOKENS, UNMETERED),
    "limits": (RATELIMIT_REMAINING, RATELIMIT_LIMIT),
    "open": (ACTIVE, STALLED),
    "lag": (LOOP_LAG,),
    # Without them calls without a stream are not observed at all.
    "calls": (*CALL_METRICS, CALLS_ACTIVE, CALLS_STALLED),
}

# Seconds. The answer to a call without a stream comes when it is whole, and models that think take a minute and more.
CALL_STALLED_AFTER = 120.0

# Bounds on what an app can make us keep: label sets past these are reported under `other`.
MAX_MODELS = 50
MAX_SERVERS = 20
MAX_LABEL_LENGTH = 128
# Half of the label sets are for operations, providers, models and servers alone, so that custom labels take none of
# theirs. Both numbers are defaults of settings.
MAX_LABEL_SETS = 200
MAX_LABEL_VALUES = 50
# Custom labels: how many at a time, characters of a name, bytes of UTF-8 of a value.
MAX_CUSTOM_LABELS = 3
MAX_CUSTOM_NAME = 32
MAX_CUSTOM_VALUE = 64
# Names that no custom label may have: our own, and what Prometheus, its rules, exemplars or Collectors set.
_TAKEN = {
    *STREAM_LABELS, *OWN_LABELS, *BUILD_INFO.labels, "result", "phase",
    "le", "quantile", "job", "instance", "replica", "alertname", "severity", "trace_id", "span_id",
}
_TAKEN_STARTS = ("gen_ai_", "streamvitals_", "otel_", "exported_")


def may_be_custom(name: str) -> bool:
    """Whether a custom label may have this name, which consists of lower-case letters, digits and underscores."""
    return name not in _TAKEN and not name.startswith(_TAKEN_STARTS) and bool(re.fullmatch("[a-z][a-z0-9_]*", name))
