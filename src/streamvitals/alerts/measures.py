"""Each measure, defined once, for recording rules and for panels of dashboards.

A rule records the parts of a measure and hands over the series' names; a panel, which must heed its variables and work
without rules, hands over the same parts written out.

    operations      streams that could have gone well, without those that tried something again
    failed          operations that failed for good: what users felt
    none_well       streams that failed where none ended well, whatever was tried again
    failure_ratio   failed / operations; 1 where none ended well
    failing_streams, failure_share   shares of streams, whether they were tried again or not
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
    """The counts that a measure is made of: over one window, summed by the same labels."""

    def streams(self, *where: Matcher) -> str:
        """Streams that ended."""
        ...

    def increase(self, metric: names.Metric, *where: Matcher) -> str:
        """The increase of any other counter."""
        ...

    def none(self) -> str:
        """Zero, wherever there was a stream: what stands in for a series that is absent."""
        ...


def fallbacks(counts: Counts) -> str:
    """Failed streams that were asked again without streaming."""
    return f"{counts.increase(names.FALLBACKS)} or {counts.none()}"


def retried(counts: Counts, fallbacks: str) -> str:
    """Attempts that the application made again; a fallback is always one, even if it was not counted so."""
    return f"{counts.increase(names.RETRIES, *TRIED_AGAIN)} > {fallbacks}\n  or {fallbacks}"


def operations(counts: Counts, retried: str, fallbacks: str) -> str:
    """Streams, without those that tried something again. A fallback is an attempt, but not a stream."""
    return f"""\
clamp_min(
  ({counts.streams(COUNTED)} or {counts.none()}) - {retried} + {fallbacks},
  0
)"""


def failed(counts: Counts, retried: str, fallbacks: str) -> str:
    """Failed streams, less those that were tried again: they are no failure yet, or none any more.

    Only operations_failed knows of fallbacks that failed too, but late: it must not bring up again what was counted
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
    """Streams that failed, where none ended well and nothing has recovered.

    ``otherwise`` is what counts as recovered, if not any recovery of the application's.
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
    """The share of streams that failed, whether they were tried again or not."""
    return ratio(counts.streams(FAILED), counts.streams(COUNTED))


def failure_share(by_outcome: str, counted: str, match: str) -> str:
    """The share of streams that ended in each failure; ``match`` joins them with those that count."""
    return f"({by_outcome} > 0)\n  / {match}\n    {counted}"


def rate_limited(counts: Counts, absent: str) -> str:
    """Requests that met a rate limit, each once: the SDK retried it, or the stream ended by it."""
    ended, again = counts.streams(RATE_LIMITED), counts.increase(names.RETRIES, *LIMITED_RETRIES)
    return f"({ended} or {absent}) + ({again} or {absent})"


def limit_left(by: str, remaining: str, limit: str, known_lately: str) -> str:
    """The share that is left of a rate limit, as the provider last said."""
    return f"min by ({by}) (\n  {ratio(remaining, limit)} {known_lately}\n)"


def known_lately(replica: str, streams: str) -> str:
    """Restrict a limit to replicas that have asked lately: what the others know is old."""
    return f"and on ({replica})\n    {streams} > 0"
