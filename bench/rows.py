"""The rows of the comparison: what is asked of each side, how much of it, and the budget."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import Literal

Pairs = list[tuple[float, float]]


@dataclass(frozen=True)
class Row:
    """``measure`` and ``size`` go to the worker, or to start-up if ``startup``; ``part`` is which of its numbers.
    ``less`` is a row whose figure, 20 times, is taken off. ``kind``: the difference, or its percentage."""

    key: str
    title: str
    unit: str
    measure: str
    size: int
    pairs: int
    budget: float | None = None
    with_spans: float | None = None
    less: str = ""
    part: int = 0
    kind: Literal["difference", "percent"] = "difference"
    startup: bool = False
    timed: bool = True


ROWS = (
    Row("chunk", "CPU per chunk, sync", "µs", "chunk", 10000, 4, 0.8),
    Row("chunk_async", "CPU per chunk, async", "µs", "chunk_async", 10000, 4, 0.9),
    Row("stream", "CPU per stream of 20 chunks beyond that, sync", "µs", "stream", 100, 4, 60, 120, less="chunk"),
    Row(
        "stream_async", "CPU per stream of 20 chunks beyond that, async", "µs",
        "stream_async", 100, 4, 60, 120, less="chunk_async",
    ),
    Row("first", "CPU before the first chunk, sync", "µs", "first", 100, 4, 40),
    Row("first_async", "CPU before the first chunk, async", "µs", "first_async", 100, 4, 40),
    Row("held_per_chunk", "memory held per chunk", "bytes", "held_per_chunk", 2000, 1, 0, timed=False),
    Row("held_per_stream", "memory per open stream", "bytes", "held_per_stream", 500, 1, 2048, timed=False),
    Row("startup", "start-up CPU added to `import openai`", "s", "import", 1, 2, 0.12, 0.45, startup=True),
    Row("never", "the same, of a Python that never imports it", "s", "never", 1, 4, 0.02, 0.02, startup=True),
    Row("loopback", "500 concurrent async streams: chunks per second", "%", "loopback", 500, 1, -2, kind="percent"),
    Row("loopback_cpu", "the same: CPU per chunk", "%", "loopback", 500, 1, 2, part=1, kind="percent"),
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
