"""The names, against a list typed from the contract: changing one of them takes a change here too."""

from __future__ import annotations

import re

import pytest

from contract import CONTRACT, NOT_PER_STREAM, STREAM_LABELS
from streamvitals import names
from streamvitals.names import Metric
from streamvitals.outcome import ERROR_TYPES, RESULTS, Outcome
from streamvitals.store.calls import CALL_LAYOUT
from streamvitals.store.layout import PROCESS_LAYOUT, STREAM_LAYOUT, Layout

OUTCOMES = (
    "completed", "length", "content_filter", "truncated", "reset", "timeout", "malformed", "api_error",
    "rate_limited", "http_error", "rejected", "connect_error", "cancelled", "abandoned",
)

SHOWN = names.ALL_METRICS


def sample_name(metric: Metric) -> str:
    return metric.prometheus + ("_total" if metric.kind == "counter" else "")


def test_the_metrics_are_those_of_the_contract() -> None:
    assert {(sample_name(m), m.kind, m.labels) for m in SHOWN} == CONTRACT
    assert len(SHOWN) == len(CONTRACT)
    assert {sample_name(m) for m in SHOWN if not m.per_stream} == NOT_PER_STREAM


def test_the_labels_are_those_of_the_contract() -> None:
    assert names.STREAM_LABELS == STREAM_LABELS
    assert names.OUTCOMES == OUTCOMES
    assert RESULTS == ("completed", "limit", "failed", "rejected", "left")
    assert names.RETRY_SOURCES == ("sdk", "app")
    assert names.RATELIMIT_KINDS == ("requests", "tokens")


@pytest.mark.parametrize("metric", names.ALL_METRICS, ids=lambda m: m.otel)
def test_prometheus_names_are_what_the_translation_of_the_otel_names_gives(metric: Metric) -> None:
    """https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/ : dots become
    underscores, a unit is spelt out and appended, one in braces is dropped, `/s` becomes `_per_second`."""
    base = metric.otel.replace(".", "_")
    unit = {"s": "_seconds"}.get(metric.unit)
    if unit is None:
        assert re.fullmatch(r"\{[a-z]+\}(/s)?", metric.unit), "a unit of 1 would become _ratio"
        unit = "_per_second" if metric.unit.endswith("/s") else ""
    assert metric.prometheus == base + unit
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.prometheus)


@pytest.mark.parametrize("metric", names.ALL_METRICS, ids=lambda m: m.otel)
def test_a_metric_is_whole(metric: Metric) -> None:
    assert metric.help.endswith(".") or metric is names.BUILD_INFO or ":" in metric.help
    assert all(len(values) == len(metric.labels) for values in metric.values)
    assert len(set(metric.values)) == len(metric.values)
    assert (metric.kind == "histogram") == bool(metric.edges)
    assert list(metric.edges) == sorted(set(metric.edges))
    assert {*metric.labels} <= {*names.OWN_LABELS, *names.BUILD_INFO.labels}
    assert not {*metric.labels} & {"le", "quantile", *names.STREAM_LABELS}


def test_no_two_metrics_share_a_name() -> None:
    for path in ([m.otel for m in names.ALL_METRICS], [sample_name(m) for m in names.ALL_METRICS]):
        assert len(path) == len(set(path))


def test_every_error_type_of_every_outcome_is_a_series() -> None:
    pairs = {(o.value, e) for o, errors in ERROR_TYPES.items() for e in errors}
    assert {ends[:2] for ends in names.OUTCOME_ERRORS} == pairs
    good = {Outcome.COMPLETED, Outcome.LENGTH, Outcome.CONTENT_FILTER}
    assert set(ERROR_TYPES) == set(Outcome) - good


def test_what_must_be_absent_until_reported_is_hidden_and_nothing_else() -> None:
    hidden = {sample_name(m) for m in SHOWN if m.hidden_at_zero}
    assert hidden == {
        "streamvitals_ratelimit_remaining", "streamvitals_ratelimit_limit", "streamvitals_call_errors_total",
        "streamvitals_stream_errors_total", "streamvitals_output_tokens_per_second",
    }
    assert {m.otel for m in names.ALL_METRICS if m.standing} == {"streamvitals.stream_errors"}


def test_gaps_can_be_told_apart_where_providers_live() -> None:
    assert names.GAP_EDGES[0] <= 0.001
    assert len([edge for edge in names.GAP_EDGES if 0.001 <= edge <= 0.04]) >= 8


@pytest.mark.parametrize("layout", [STREAM_LAYOUT, CALL_LAYOUT, PROCESS_LAYOUT])
def test_series_lie_side_by_side_without_gap_or_overlap(layout: Layout) -> None:
    at = 0
    for series in layout.series:
        assert series.start == at == layout.at(series.metric, *series.values)
        at += series.width
    assert at == layout.size


def test_every_metric_is_in_one_layout_or_computed() -> None:
    laid_out = {s.metric for layout in (STREAM_LAYOUT, CALL_LAYOUT, PROCESS_LAYOUT) for s in layout.series}
    assert laid_out | {*names.SLOT_METRICS, names.BUILD_INFO, names.UNREPORTED} == set(names.ALL_METRICS)
    assert all(s.metric.per_stream for layout in (STREAM_LAYOUT, CALL_LAYOUT) for s in layout.series)
    assert not any(s.metric.per_stream for s in PROCESS_LAYOUT.series)


def test_an_unlisted_last_value_is_other_and_any_other_an_error() -> None:
    assert STREAM_LAYOUT.at(names.RETRIES, "sdk", "no such") == STREAM_LAYOUT.at(names.RETRIES, "sdk", "other")
    with pytest.raises(KeyError):
        STREAM_LAYOUT.at(names.RETRIES, "no such", "429")
    with pytest.raises(KeyError):
        STREAM_LAYOUT.at(names.STREAMS, "no such")


def test_another_layout_has_another_fingerprint() -> None:
    ours = names.STREAM_METRICS
    prints = {Layout(metrics).fingerprint for metrics in (ours, ours[:-1], ours[::-1], names.PROCESS_METRICS)}
    assert len(prints) == 4
    assert Layout(names.STREAM_METRICS).fingerprint == STREAM_LAYOUT.fingerprint
