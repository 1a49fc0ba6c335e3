"""Recording rules: operations and failures as users count them, and gauges.

Counts, not rates: `3 of 4 in 15 minutes` is what decides about a service that is asked once an hour. Sums over
hours are made of the five-minute counts, which survive restarts and cost next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import names
from . import measures
from .language import (
    FAST,
    HALF_HOUR,
    HOUR,
    MID,
    MODEL,
    PAST,
    QUARTER_DAY,
    SERVER,
    SERVICE,
    THREE_DAYS,
)
from .promql import BY_APP, COUNTED, FAILED, KIND, OUTCOME, RESULT, Matcher, increase, matching, selector, total
from .rule import Record
from .series import EACH_MODEL, EACH_SERVER, FAILURE_SHARE, FALLBACKS, RETRIED, STREAMS, WHOLE

# So many recoveries for each failed stream of a model at one server show that another one has taken over.
TAKEN_OVER = 0.2


@dataclass(frozen=True)
class Counts(measures.Counts):
    """The counts of rules: streams as they are recorded, other counters as they are scraped."""

    window: str
    by: tuple[str, ...]

    def streams(self, *where: Matcher) -> str:
        return total(matching(STREAMS[self.window], *where), *self.by)

    def increase(self, metric: names.Metric, *where: Matcher) -> str:
        return increase(metric, *self.by, over=self.window, where=where)

    def none(self) -> str:
        return f"0 * {self.streams()}"


def counts(window: str) -> Iterator[Record]:
    """Record operations and failures of each model, and their sums for the service."""
    yield Record(STREAMS[window], increase(names.STREAMS, SERVICE, MODEL, SERVER, OUTCOME, RESULT, over=window))
    counts = Counts(window, EACH_MODEL.by)
    fallbacks, retried = FALLBACKS[window], RETRIED[window]
    yield Record(fallbacks, measures.fallbacks(counts))
    yield Record(retried, measures.retried(counts, fallbacks))
    yield Record(EACH_MODEL.operations[window], measures.operations(counts, retried, fallbacks))
    yield Record(EACH_MODEL.failed[window], measures.failed(counts, retried, fallbacks))
    yield Record(WHOLE.operations[window], total(EACH_MODEL.operations[window], SERVICE))
    yield Record(WHOLE.failed[window], total(EACH_MODEL.failed[window], SERVICE))


def ratios(window: str) -> Iterator[Record]:
    """Record where nothing ends well, and which share of the operations fails."""
    for scope in (WHOLE, EACH_MODEL):
        yield Record(scope.none_well[window], measures.none_well(Counts(window, scope.by)))
    # At one server nothing may end well that another one has taken over.
    counts, models = Counts(window, EACH_SERVER.by), Counts(window, EACH_MODEL.by)
    yield Record(EACH_SERVER.none_well[window], measures.none_well(counts, f"""\
{counts.streams(FAILED)} * {TAKEN_OVER}
    < on ({", ".join(EACH_MODEL.by)}) group_left () {models.increase(names.RECOVERIES, BY_APP)}"""))
    fallbacks = FALLBACKS[window]
    for scope in (WHOLE, EACH_MODEL):
        ratio = measures.failure_ratio(scope.none_well[window], scope.failed[window], scope.operations[window])
        yield Record(scope.failure_ratio[window], ratio)
        streams = Counts(window, scope.by)
        if window == FAST:
            yield Record(scope.attempts[window], streams.streams(COUNTED))
        again = fallbacks if scope is EACH_MODEL else total(fallbacks, SERVICE)
        yield Record(scope.attempts_failed[window], f"{streams.streams(FAILED)} - {again}")


def long_counts() -> Iterator[Record]:
    """Record sums over hours and days, of the five-minute counts."""
    for window in (HALF_HOUR, HOUR, PAST, QUARTER_DAY, THREE_DAYS):
        for count in (WHOLE.operations, WHOLE.failed):
            yield Record(count[window], f"sum_over_time({count[FAST]}[{window}:$fast])")


def gauges() -> Iterator[Record]:
    """Record what is open now, and what is left of rate limits."""
    for scope in (WHOLE, EACH_MODEL):
        yield Record(scope.stalled, total(selector(names.STALLED), *scope.by))
        yield Record(scope.active, total(selector(names.ACTIVE), *scope.by))
    # Neither waited for nor ended. More than a moment of it is somebody who has forgotten a stream.
    yield Record("streamvitals:held", f"{WHOLE.active} - ({WHOLE.stalled} or 0 * {WHOLE.active})")
    replica = (SERVICE, "instance", MODEL, SERVER)
    yield Record("streamvitals:limit_left", measures.limit_left(
        ", ".join((SERVICE, MODEL, SERVER, KIND)),
        selector(names.RATELIMIT_REMAINING), selector(names.RATELIMIT_LIMIT),
        measures.known_lately(", ".join(replica), increase(names.STREAMS, *replica, over=MID)),
    ))


def failure_share(window: str) -> Record:
    """Record which share of a model's streams each failure has, for the texts of alerts."""
    by = (SERVICE, MODEL, SERVER)
    failed, counted = matching(STREAMS[window], FAILED), total(matching(STREAMS[window], COUNTED), *by)
    share = measures.failure_share(failed, counted, f"on ({', '.join(by)}) group_left ()")
    return Record(FAILURE_SHARE[window], share)

