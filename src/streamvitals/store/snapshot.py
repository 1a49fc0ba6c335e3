"""All numbers of a process at one moment, and how several snapshots add up.

Adding is associative and commutative: counters and buckets are summed, of a gauge the newest value wins.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .. import names
from ..stream.record import StallAfter, StreamLabels
from .inferences import Inference
from .layout import PROCESS_LAYOUT, STREAM_LAYOUT, Layout
from .segment import OpenSlot

# Of a layout's gauges: where each one's value is; the Unix time it was set at follows.
_GAUGES = tuple(s.start for s in STREAM_LAYOUT.series if s.metric.kind == "gauge")


class Exemplar(NamedTuple):
    """One observation and its trace. ``time`` is Unix time; ids are lower-case hex."""

    time: float
    value: float
    trace_id: str
    span_id: str


class ExemplarKey(NamedTuple):
    """The bucket that an exemplar belongs to; the overflow bucket is the one after the last edge."""

    metric: str
    labels: StreamLabels
    values: tuple[str, ...]
    bucket: int


Build = tuple[str, str, str]


class Opened(NamedTuple):
    """A stream, or a call without one, that is open in the process with this pid."""

    pid: int
    labels: StreamLabels
    slot: OpenSlot


def _zeros(layout: Layout) -> list[float]:
    return [0.0] * layout.size


_CALL_STALLED_AFTER = StallAfter(names.CALL_STALLED_AFTER, names.CALL_STALLED_AFTER)


def stall_time(labels: StreamLabels, stall_after: StallAfter) -> StallAfter:
    """How long something with these labels may be without an answer before it is stalled."""
    return _CALL_STALLED_AFTER if labels.of_calls else stall_after


@dataclass
class Snapshot:
    """All numbers of a process or of a tree of them; store/calls.py has what is shown of calls without a stream.

    ``streams`` holds a row of ``STREAM_LAYOUT`` per label set and ``process`` one of ``PROCESS_LAYOUT``.
    ``stalled`` counts by label set and phase. ``oldest`` is the age in seconds of the oldest open stream. ``builds``
    counts the processes that run (version, openai_version, patched). ``inferences`` holds a row of ``INFERENCE_LAYOUT``
    per set of attributes. ``unreported`` counts Pythons that are not observed; only an agent knows. ``left_out`` are
    the metrics that are not to be shown, by their OTel names. ``began`` is the Unix time at which all of it was 0,
    where that is known.
    """

    streams: dict[StreamLabels, list[float]] = field(default_factory=dict)
    process: list[float] = field(default_factory=lambda: _zeros(PROCESS_LAYOUT))
    active: dict[StreamLabels, int] = field(default_factory=dict)
    stalled: dict[tuple[StreamLabels, str], int] = field(default_factory=dict)
    oldest: dict[StreamLabels, float] = field(default_factory=dict)
    builds: dict[Build, int] = field(default_factory=dict)
    unreported: int | None = None
    left_out: frozenset[str] = frozenset()
    began: float | None = None
    exemplars: dict[ExemplarKey, Exemplar] = field(default_factory=dict)
    inferences: dict[Inference, list[float]] = field(default_factory=dict)

    def add_streams(self, labels: StreamLabels, row: Sequence[float]) -> None:
        """Add a row of ``STREAM_LAYOUT``; it is copied."""
        mine = self.streams.get(labels)
        self.streams[labels] = list(row) if mine is None else merge_rows(mine, row)

    def add_inference(self, inference: Inference, row: Sequence[float]) -> None:
        """Add a row of ``INFERENCE_LAYOUT``; it is copied."""
        mine = self.inferences.get(inference)
        self.inferences[inference] = list(row) if mine is None else list(map(operator.add, mine, row))

    def add_process(self, row: Iterable[float]) -> None:
        """Add a row of ``PROCESS_LAYOUT``."""
        self.process = list(map(operator.add, self.process, row))

    def add_open(self, labels: StreamLabels, age: float, stalled: str | None) -> None:
        """Add a stream that is open; ``age`` in seconds, ``stalled`` the phase that it is stalled in."""
        self.active[labels] = self.active.get(labels, 0) + 1
        if stalled is not None:
            self.stalled[labels, stalled] = self.stalled.get((labels, stalled), 0) + 1
        self.oldest[labels] = max(age, self.oldest.get(labels, 0.0))

    def add_exemplars(self, exemplars: Iterable[tuple[ExemplarKey, Exemplar]]) -> None:
        """Add exemplars; of two of the same bucket the newer one stays."""
        for key, exemplar in exemplars:
            known = self.exemplars.get(key)
            self.exemplars[key] = exemplar if known is None else max(known, exemplar)

    def merge(self, other: Snapshot) -> None:
        """Add all of another snapshot to this one."""
        for labels, row in other.streams.items():
            self.add_streams(labels, row)
        self.add_process(other.process)
        for inference, row in other.inferences.items():
            self.add_inference(inference, row)
        for labels, count in other.active.items():
            self.active[labels] = self.active.get(labels, 0) + count
        for key, count in other.stalled.items():
            self.stalled[key] = self.stalled.get(key, 0) + count
        for labels, age in other.oldest.items():
            self.oldest[labels] = max(age, self.oldest.get(labels, 0.0))
        for build, count in other.builds.items():
            self.builds[build] = self.builds.get(build, 0) + count
        if other.unreported is not None:
            self.unreported = (self.unreported or 0) + other.unreported
        self.add_exemplars(other.exemplars.items())


Take = Callable[[], Snapshot]


def merge_rows(one: Sequence[float], two: Sequence[float]) -> list[float]:
    """The sum of two rows of ``STREAM_LAYOUT``; of a gauge the one that was set last, or the larger."""
    total = list(map(operator.add, one, two))
    for at in _GAUGES:
        newest = max((one[at + 1], one[at]), (two[at + 1], two[at]))
        total[at + 1], total[at] = newest
    return total


def merged_rows(rows: Sequence[Sequence[float]]) -> list[float]:
    """Sum of one or more rows; column by column is faster for many."""
    if len(rows) == 1:
        return list(rows[0])
    total: list[float] = list(map(sum, zip(*rows, strict=True)))
    for at in _GAUGES:
        total[at + 1], total[at] = max((row[at + 1], row[at]) for row in rows)
    return total


def merged(snapshots: Iterable[Snapshot]) -> Snapshot:
    """The sum of any number of snapshots."""
    total = Snapshot()
    for snapshot in snapshots:
        total.merge(snapshot)
    return total
