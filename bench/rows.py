"""The rows of the comparison: what is asked of each side, how much of it, and the budget."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class Budget:
    """So many times what a side of the same run takes for this row, or for ``row``, and so much more. Without a side:
    ``plus`` alone. ``noise``: no worse than the worse quartile of that side, which is what nothing takes."""

    text: str
    side: str = ""
    times: float = 1.0
    plus: float = 0.0
    row: str = ""
    noise: bool = False


@dataclass(frozen=True)
class Row:
    """``measure`` and ``size`` go to the worker, or to start-up if ``startup``; ``part`` is which of its numbers.
    ``less`` is a row whose figure, 20 times, is taken off. ``kind``: the difference, or its percentage. Where
    ``all_sides`` is false only the bare SDK and streamvitals without spans are asked."""

    key: str
    title: str
    unit: str
    measure: str
    size: int
    pairs: int
    budget: Budget
    with_spans: Budget | None = None
    less: str = ""
    part: int = 0
    kind: Literal["difference", "percent"] = "difference"
    startup: bool = False
    timed: bool = True
    all_sides: bool = True


def _over_timed(row: str) -> Budget:
    return Budget("the timed generator's + 0.15", "timed", plus=0.15, row=row)


_STREAM = Budget("sentry's", "sentry")
_STREAM_SPANS = Budget("2.2 times sentry's, sync", "sentry", 2.2, row="stream")
_FIRST, _FIRST_SPANS = Budget("0.8 of sentry's", "sentry", 0.8), Budget("sentry's", "sentry")
_NOISE = Budget("as bare again", "bare", noise=True)
_NO_BUDGET = Budget("", plus=math.inf)

ROWS = (
    Row("chunk", "CPU per chunk, sync", "µs", "chunk", 5000, 12, _over_timed("chunk")),
    Row("chunk_async", "CPU per chunk, async", "µs", "chunk_async", 5000, 12, _over_timed("chunk_async")),
    Row(
        "chunk_responses", "CPU per event of Responses, sync", "µs", "chunk_responses", 5000, 12, _over_timed("chunk"),
        timed=False,
    ),
    Row(
        "chunk_bytes", "CPU per event read as bytes, sync", "µs", "chunk_bytes", 5000, 12, _over_timed("chunk"),
        timed=False,
    ),
    Row(
        "stream", "CPU per stream without its chunks, sync", "µs", "stream", 100, 12, _STREAM, _STREAM_SPANS,
        less="chunk",
    ),
    Row(
        "stream_async", "CPU per stream without its chunks, async", "µs", "stream_async", 100, 12, _STREAM,
        _STREAM_SPANS, less="chunk_async",
    ),
    Row("first", "CPU before the first chunk, sync", "µs", "first", 100, 12, _FIRST, _FIRST_SPANS),
    Row("first_async", "CPU before the first chunk, async", "µs", "first_async", 100, 12, _FIRST, _FIRST_SPANS),
    Row(
        "built", "share of the SDK's CPU for a chunk that it builds", "%", "chunk_built", 1000, 2, _NO_BUDGET,
        kind="percent", timed=False,
    ),
    Row(
        "built_stream", "share of the SDK's CPU for a stream of 20 such chunks", "%", "stream_built", 20, 2, _NO_BUDGET,
        kind="percent", timed=False,
    ),
    # Half a byte is the collector's.
    Row(
        "held_per_chunk", "memory held per chunk", "bytes", "held_per_chunk", 2000, 1, Budget("0", plus=0.5),
        timed=False,
    ),
    Row(
        "held_per_stream", "memory per open stream", "bytes", "held_per_stream", 500, 1, Budget("1150", plus=1150.0),
        timed=False,
    ),
    Row(
        "startup", "start-up CPU added to `import openai`", "s", "import", 1, 6,
        Budget("a third of sentry's", "sentry", 1 / 3), Budget("sentry's", "sentry"), startup=True,
    ),
    Row(
        "never", "start-up CPU of a Python that does not import it", "s", "never", 1, 4, Budget("0.02", plus=0.02),
        startup=True,
    ),
    Row("loopback", "500 concurrent async streams: chunks per second", "%", "loopback", 500, 1, _NOISE, kind="percent"),
    Row(
        "loopback_cpu", "500 concurrent async streams: CPU per chunk", "%", "loopback", 500, 1, _NOISE, part=1,
        kind="percent",
    ),
    Row(
        "many", "5,000 concurrent async streams: chunks per second", "%", "loopback_many", 5000, 1, _NOISE,
        kind="percent", all_sides=False,
    ),
    Row(
        "many_cpu", "5,000 concurrent async streams: CPU per chunk", "%", "loopback_many", 5000, 1, _NOISE, part=1,
        kind="percent", all_sides=False,
    ),
)


@dataclass(frozen=True)
class Figure:
    """What a row says of a side. ``bare`` is the median of the state without the observer."""

    bare: float
    least: float
    lower: float
    middle: float
    upper: float
    pairs: int


def figure(row: Row, pairs: Pairs, per_chunk: Figure | None = None) -> Figure:
    """The median and the spread of the paired differences."""
    taken_off = 20 * per_chunk.middle if per_chunk is not None else 0.0
    if row.kind == "percent":
        found = sorted(100 * (on / off - 1) for off, on in pairs)
    else:
        found = sorted(on - off - taken_off for off, on in pairs)
    lower, middle, upper = quantiles(found, n=4, method="inclusive") if len(found) > 1 else found * 3
    return Figure(median(off for off, _ in pairs), found[0], lower, middle, upper, len(found))
