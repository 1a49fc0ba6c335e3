"""The values that one stream adds to histograms.

This is the only source of them: for the store, and with it scrapes and OTLP; the app's own MeterProvider; exemplars.
"""

from __future__ import annotations

from collections.abc import Iterator

from .. import names
from ..names import Metric
from ..stream.record import StreamEnd, StreamRecord, Usage

# A metric, the values of its own labels, and a value for the histogram of that series.
Measured = tuple[Metric, tuple[str, ...], float]
MOST = float(1 << 32)
# Adding this to a number rounds it to a multiple of 2**-20, and subtracting it again keeps the rounded value.
SHIFT = 1.5 * (1 << 32)
_NO_VALUES = ()


def quantized(value: float) -> float:
    """The nearest number that can be added up without rounding: a multiple of 2**-20, or of 2**-19 from 2**31 on.

    So no counter falls or becomes infinite or NaN, whatever numbers a provider sends."""
    if 0.0 <= value <= MOST:
        return value + SHIFT - SHIFT
    return MOST if value > 0 else 0.0


def token_parts(usage: Usage) -> tuple[float, ...]:
    """The tokens of ``names.TOKEN_PARTS``; what was not reported is 0."""
    cached, written = quantized(usage.cached or 0), quantized(usage.cache_write or 0)
    reasoning = quantized(usage.reasoning or 0)
    return _without(usage.input, cached + written), cached, written, _without(usage.output, reasoning), reasoning


def _without(whole: int | None, within: float) -> float:
    """What is left of the whole. Parts that are larger cannot be within: that provider counts them beside."""
    count = quantized(whole or 0)
    return count - within if within <= count else count


def measured(record: StreamRecord) -> Iterator[Measured]:
    """All values of a stream that ended, each once."""
    yield from first_times(record.first_chunk, record.first_token)
    yield names.DURATION, (record.result,), record.duration
    yield from usage_measured(record)


def first_times(first_chunk: float | None, first_token: float | None) -> Iterator[Measured]:
    """The times that a long stream reports before its end."""
    if first_chunk is not None:
        yield names.TIME_TO_FIRST_CHUNK, _NO_VALUES, first_chunk
    if first_token is not None:
        yield names.TIME_TO_FIRST_TOKEN, _NO_VALUES, first_token


def usage_measured(record: StreamEnd | StreamRecord) -> Iterator[Measured]:
    """The values that follow from the reported usage."""
    usage = record.usage
    if usage is None:
        return
    rate = record.tokens_per_second
    if rate is not None:
        yield names.TOKEN_RATE, _NO_VALUES, rate
