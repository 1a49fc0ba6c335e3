"""The metrics and labels that dashboards and alerts of others rely on, typed by hand: no code of ours makes them."""

from __future__ import annotations

# Typed by hand: Prometheus name, type, own labels.
CONTRACT = {
    ("streamvitals_streams_total", "counter", ("outcome", "result")),
    ("streamvitals_stream_errors_total", "counter", ("outcome", "error_type", "result")),
    ("streamvitals_streams_active", "gauge", ()),
    ("streamvitals_streams_stalled", "gauge", ("phase",)),
    ("streamvitals_time_to_first_chunk_seconds", "histogram", ()),
    ("streamvitals_time_to_first_token_seconds", "histogram", ()),
    ("streamvitals_chunk_gap_seconds", "histogram", ()),
    ("streamvitals_stream_duration_seconds", "histogram", ("result",)),
    ("streamvitals_output_tokens_per_second", "histogram", ()),
    ("streamvitals_chunks_total", "counter", ("result",)),
    ("streamvitals_wait_seconds_total", "counter", ()),
    ("streamvitals_hold_seconds_total", "counter", ()),
    ("streamvitals_stalls_total", "counter", ()),
    ("streamvitals_event_loop_lag_seconds", "histogram", ()),
    ("streamvitals_retries_total", "counter", ("source", "reason")),
    ("streamvitals_retry_backoff_seconds_total", "counter", ("source",)),
    ("streamvitals_recoveries_total", "counter", ("source",)),
    ("streamvitals_operations_failed_total", "counter", ()),
    ("streamvitals_fallbacks_total", "counter", ()),
    ("streamvitals_tokens_total", "counter", ("type", "part")),
    ("streamvitals_streams_unmetered_total", "counter", ("result",)),
    ("streamvitals_ratelimit_remaining", "gauge", ("kind",)),
    ("streamvitals_ratelimit_limit", "gauge", ("kind",)),
    ("streamvitals_calls_total", "counter", ("result",)),
    ("streamvitals_call_errors_total", "counter", ("outcome", "error_type", "result")),
    ("streamvitals_call_duration_seconds", "histogram", ()),
    ("streamvitals_call_retries_total", "counter", ()),
    ("streamvitals_calls_active", "gauge", ()),
    ("streamvitals_calls_stalled", "gauge", ()),
    ("streamvitals_internal_errors_total", "counter", ("where",)),
    ("streamvitals_hints_total", "counter", ("hint",)),
    ("streamvitals_build_info", "gauge", ("version", "openai_version", "patched")),
    ("streamvitals_processes_unreported", "gauge", ()),
}
NOT_PER_STREAM = {
    "streamvitals_event_loop_lag_seconds", "streamvitals_internal_errors_total", "streamvitals_hints_total",
    "streamvitals_build_info",
    "streamvitals_processes_unreported",
}
STREAM_LABELS = {
    "gen_ai_operation_name": "gen_ai.operation.name",
    "gen_ai_provider_name": "gen_ai.provider.name",
    "gen_ai_request_model": "gen_ai.request.model",
    "server_address": "server.address",
}
