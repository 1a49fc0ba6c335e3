"""The attributes of our series in OpenTelemetry, and of the conventions' own metrics that we make from them."""

from __future__ import annotations

from .. import names
from ..stream.record import NOT_FAILURES, StreamLabels

SCOPE = "streamvitals"  # the instrumentation scope of all our spans and metrics
Attributes = dict[str, str]

_NO_ERRORS = frozenset(outcome.value for outcome in NOT_FAILURES)


def stream_attributes(labels: StreamLabels) -> Attributes:
    """The attributes that every stream metric carries."""
    return dict(zip(names.STREAM_LABELS.values(), labels, strict=True))


def own_attributes(metric: names.Metric, values: tuple[str, ...]) -> Attributes:
    """The attributes that only this metric's series has."""
    return {names.OWN_LABELS.get(label, label): v for label, v in zip(metric.labels, values, strict=True)}


def semconv_attributes(metric: names.Metric, values: tuple[str, ...]) -> Attributes:
    """The attributes of one of ``names.SEMCONV_METRICS``; several series of ours may become one of its."""
    if metric is names.TOKEN_USAGE:
        return {"gen_ai.token.type": values[0]}
    if metric is names.DURATION:
        # The outcome is the low-cardinality class of error; ends that are no errors have none.
        return {} if values[0] in _NO_ERRORS else {"error.type": values[0]}
    return own_attributes(metric, values)
