"""The attributes of our series in OpenTelemetry, and of the conventions' own metrics that we make from them."""

from __future__ import annotations

from .. import names
from ..stream.record import StreamLabels

SCOPE = "streamvitals"  # the instrumentation scope of all our spans and metrics
Attributes = dict[str, str]
_ERRORS = ("failed", "rejected")


def stream_attributes(labels: StreamLabels) -> Attributes:
    """The attributes that every stream metric carries. A custom label's key is its name, as in Prometheus."""
    *values, custom = labels
    return dict(zip(names.STREAM_LABELS.values(), values, strict=True), **dict(custom))


def own_attributes(metric: names.Metric, values: tuple[str, ...]) -> Attributes:
    """The attributes that only this metric's series has."""
    return {names.OWN_LABELS.get(label, label): v for label, v in zip(metric.labels, values, strict=True)}


def semconv_attributes(metric: names.Metric, values: tuple[str, ...]) -> Attributes:
    """The attributes of one of ``names.SEMCONV_METRICS``; several series of ours may become one of its."""
    if metric is names.TOKEN_USAGE:
        return {"gen_ai.token.type": values[0]}
    if metric is names.DURATION:
        # Ends that are no errors have no type; the conventions' own fallback stands for all types of the others.
        return {"error.type": "_OTHER"} if values[0] in _ERRORS else {}
    return own_attributes(metric, values)
