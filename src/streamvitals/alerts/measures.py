"""What is measured: each measure is defined here once, and used by recording rules and by panels alike.

A rule records the parts of a measure and hands over the series' names; a panel, which must heed its variables and work
without rules, hands over the same parts written out.

    operations      streams that could have gone well, without those that the application asked again
    failed          operations that failed for good: what users felt
    none_well       streams that failed where none ended well, whatever was tried again
    failure_ratio   failed / operations; 1 where none ended well
    failing_streams, failure_share   shares of streams, whatever became of them afterwards
    limit_left      what is left of a rate limit
    first token, chunk gap, loop lag   promql.quantile of their histogram
    stalled         promql.total of the gauge

Wherever a series may be absent a zero of the same labels stands in for it; where nothing was asked there is no ratio.
"""

from __future__ import annotations

from typing import Protocol

from .. import names
from .promql import (
    BY_APP,
    BY_SDK,
    COUNTED,
    FAILED,
    RATE_LIMITED,
    REASON,
    WELL,
    Matcher,
    differs,
    equals,
    ratio,
)

# What the application tried again. Reasons that are no failure of a stream are "other".
TRIED_AGAIN = (BY_APP, differs(REASON, "other"))
# The 429s that the SDK has tried again: no stream of the application's has ended by them.
LIMITED_RETRIES = (BY_SDK, equals(REASON, "429"))
# So little of a limit left is a ticket.
LIMIT_LOW = 0.15
# An event loop that is so late, in seconds, is one.
LOOP_LATE = 0.25
# So many streams must hang at once to mean anything.
HANGING = 3


class Counts(Protocol):
    """Where a measure takes its counts from: over one window, summed by the same labels."""

    def streams(self, *where: Matcher) -> str:
        """Streams that ended."""
        ...

    def increase(self, metric: names.Metric, *where: Matcher) -> str:
        """The increase of any other counter."""
        ...

    def none(self) -> str:
        """Zero, for all labels that any stream had."""
        ...


def fallbacks(counts: Counts) -> str:
    """Failed streams that were asked again without streaming."""
    return f"{counts.increase(names.FALLBACKS)} or {counts.none()}"


def retried(counts: Counts, fallbacks: str) -> str:
    """Attempts that the application made again. A fallback is one as well, be it counted as one or not."""
    return f"{counts.increase(names.RETRIES, *TRIED_AGAIN)} > {fallbacks}\n  or {fallbacks}"


def operations(counts: Counts, retried: str, fallbacks: str) -> str:
    """Streams less what was tried again; a fallback is an attempt, too, but not a stream."""
    return f"""\
clamp_min(
  ({counts.streams(COUNTED)} or {counts.none()}) - {retried} + {fallbacks},
  0
)"""


def failed(counts: Counts, retried: str, fallbacks: str) -> str:
    """Failed streams less what was tried again: that is no failure yet, or none any more.

    Of fallbacks that failed too only operations_failed knows, but late: it must not bring up again what was counted
    when it happened.
    """
    late = counts.increase(names.OPERATIONS_FAILED)
    return f"""\
clamp_min(
  ({counts.streams(FAILED)} or {counts.none()}) - {retried}
    + ({fallbacks} < {late} or {late} or {counts.none()}),
  0
)"""


def none_well(counts: Counts, otherwise: str = "") -> str:
    """Streams that failed where none ended well, nor what was asked instead of one: ``otherwise``, if not recoveries.

    What the application tries again without end never fails for good, so that no count of operations shows it.
    """
    return f"""\
{counts.streams(FAILED)} > 0
  unless {counts.streams(WELL)} > 0
  unless {otherwise or f"{counts.increase(names.RECOVERIES, BY_APP)} > 0"}"""


def failure_ratio(none_well: str, failed: str, operations: str) -> str:
    """The share of operations that failed for good.

    Where nothing ends well everything fails, though it may all be tried again, and nothing be left to divide by.
    """
    return f"""\
{none_well} / {none_well}
  or {ratio(failed, operations)}"""


def failing_streams(counts: Counts) -> str:
    """The share of streams that failed, of those that could have gone well, whatever became of them afterwards."""
    return ratio(counts.streams(FAILED), counts.streams(COUNTED))


def failure_share(by_outcome: str, counted: str, match: str) -> str:
    """The share of streams that ended in each failure; ``match`` is how they find those that could have gone well."""
    return f"({by_outcome} > 0)\n  / {match}\n    {counted}"


def rate_limited(counts: Counts, absent: str) -> str:
    """Requests that met a rate limit or a quota: each once, as a retry of the SDK's or as the end of a stream."""
    ended, again = counts.streams(RATE_LIMITED), counts.increase(names.RETRIES, *LIMITED_RETRIES)
    return f"({ended} or {absent}) + ({again} or {absent})"


def limit_left(by: str, remaining: str, limit: str, told_lately: str) -> str:
    """The share that is left of a rate limit, by what the replicas were told last."""
    return f"min by ({by}) (\n  {ratio(remaining, limit)} {told_lately}\n)"


def told_lately(replica: str, streams: str) -> str:
    """Restricts a limit to replicas that have asked lately: what the others were told last is old."""
    return f"and on ({replica})\n    {streams} > 0"
