"""The attributes of our series in OpenTelemetry."""

from __future__ import annotations

from collections.abc import Mapping

from .. import names
from ..stream.record import StreamLabels

SCOPE = "streamvitals"  # the instrumentation scope of all our spans and metrics
Attributes = Mapping[str, str | int]


def stream_attributes(labels: StreamLabels) -> dict[str, str]:
    """The attributes that every stream metric carries. A custom label's key is its name, as in Prometheus."""
    *values, custom = labels.shown
    return dict(zip(names.STREAM_LABELS.values(), values, strict=True), **dict(custom))


def own_attributes(metric: names.Metric, values: tuple[str, ...]) -> dict[str, str]:
    """The attributes that only this metric's series has."""
    return {names.OWN_LABELS.get(label, label): v for label, v in zip(metric.labels, values, strict=True)}
