"""OTel names and units give our Prometheus names, by the published rule and by the translators that exist.

https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/#otlp-metric-points-to-prometheus
"""

from __future__ import annotations

import re

import pytest

from streamvitals import conventions, names
from streamvitals.names import Metric

UNITS = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "m": "meters", "1": "",
    "%": "percent",
}
PER = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}


def translated(name: str, unit: str, kind: str) -> str:
    """The rule: invalid characters become "_", once; the unit is a suffix unless it is there already; text in
    braces is no unit; a/b is a_per_b; a monotonic sum ends in _total, a gauge of unit 1 in _ratio."""
    tokens = [token for token in re.split(r"[^a-zA-Z0-9:]+", name) if token]
    main, _, per = unit.partition("/")
    main, per = (re.sub(r"\{.*?\}", "", part).strip() for part in (main, per))
    suffixes = [UNITS.get(main, main), f"per_{PER.get(per, per)}" if per else ""]
    tokens += [s for s in suffixes if s and s not in tokens]
    if kind == "counter":
        tokens = [t for t in tokens if t != "total"] + ["total"]
    if kind == "gauge" and unit == "1":
        tokens = [t for t in tokens if t != "ratio"] + ["ratio"]
    return "_".join(tokens)


OURS = names.ALL_METRICS


def family(metric: Metric) -> str:
    return metric.prometheus + ("_total" if metric.kind == "counter" else "")


@pytest.mark.parametrize("metric", OURS, ids=lambda m: m.otel)
def test_the_published_rule(metric: Metric) -> None:
    assert translated(metric.otel, metric.unit, metric.kind) == family(metric)


@pytest.mark.parametrize(
    ("name", "unit", "kind", "expected"),
    [
        ("system.filesystem.usage", "By", "gauge", "system_filesystem_usage_bytes"),
        ("system.network.dropped", "{packets}", "counter", "system_network_dropped_total"),
        ("system.network.dropped", "packets", "gauge", "system_network_dropped_packets"),
        ("system.memory.utilization", "1", "gauge", "system_memory_utilization_ratio"),
        ("http.server.duration", "s", "histogram", "http_server_duration_seconds"),
        ("astro.light.speed", "m/s", "gauge", "astro_light_speed_meters_per_second"),
        ("(lambda).function.executions(#)", "", "gauge", "lambda_function_executions"),
    ],
)
def test_the_rule_on_its_published_examples(name: str, unit: str, kind: str, expected: str) -> None:
    assert translated(name, unit, kind) == expected


@pytest.mark.parametrize("metric", OURS, ids=lambda m: m.otel)
def test_opentelemetrys_own_prometheus_exporter(metric: Metric) -> None:
    mapping = pytest.importorskip("opentelemetry.exporter.prometheus._mapping")
    name = mapping.sanitize_full_name(metric.otel)
    unit = mapping.map_unit(metric.unit)
    if unit and not name.endswith("_" + unit):
        name = f"{name}_{unit}"
    assert name == metric.prometheus


def test_label_names() -> None:
    for label, key in {**names.STREAM_LABELS, **names.OWN_LABELS}.items():
        assert re.sub(r"[^a-zA-Z0-9]", "_", key) == label
    used = {label for metric in OURS for label in metric.labels}
    assert used <= set(names.OWN_LABELS) | set(names.BUILD_INFO.labels)


def test_no_two_metrics_share_a_name() -> None:
    assert len({family(m) for m in OURS}) == len(OURS)
    assert not {m.otel for m in OURS} & {m.otel for m in conventions.METRICS}


def test_no_unit_is_1() -> None:
    # As a gauge's it would become the suffix _ratio.
    assert "1" not in {m.unit for m in OURS}
