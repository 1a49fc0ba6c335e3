"""Recording rules on since when it breaks, which is before an alert is sure of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .language import FAST, MID, QUARTER_DAY, SERVICE, SHORT
from .latency import CHUNK_GAP, FIRST_TOKEN
from .measures import HANGING
from .promql import either
from .refusing import REFUSING, rejected
from .rule import Record
from .series import (
    ASKED,
    CALLS,
    CALLS_SINCE,
    EACH_MODEL,
    EACH_MODELS_CALLS,
    FAILING_SINCE,
    REFUSED_RATIO,
    REFUSING_SINCE,
    SLOW_SINCE,
    WHOLE,
    Scope,
)


def failing_since(by_label: Sequence[Scope] = ()) -> Iterator[Record]:
    """Record since when streams fail or hang; ``by_label`` are the scopes of custom labels."""
    parts = (EACH_MODEL, *by_label)
    return _since(
        FAILING_SINCE, f"{WHOLE.failure_ratio[SHORT]} > $page_share",
        *(f"{scope.failure_ratio[SHORT]} > $spike" for scope in parts),
        *(f"({scope.stalled} >= {HANGING} and {scope.stalled} / {scope.active} > 0.3)" for scope in (WHOLE, *parts)),
    )


def refusing_since() -> Iterator[Record]:
    """Record since when requests are refused."""
    return _since(
        REFUSING_SINCE, f"{REFUSED_RATIO[SHORT]} > {REFUSING}", f"{rejected(SHORT)} / {ASKED[SHORT]} > 0.5"
    )


def slow_since() -> Iterator[Record]:
    """Record since when users wait."""
    return _since(SLOW_SINCE, *(
        _late(latency.p(percent, window), latency.promised)
        for latency in (FIRST_TOKEN, CHUNK_GAP) for percent, window in ((60, SHORT), (95, FAST))
    ))


def calls_since() -> Iterator[Record]:
    """Record since when calls without a stream fail."""
    return _since(
        CALLS_SINCE, f"{CALLS.failure_ratio[SHORT]} > $page_share",
        f"{EACH_MODELS_CALLS.failure_ratio[SHORT]} > $spike",
    )


def _since(name: str, *conditions: str) -> Iterator[Record]:
    """Record what is as a page would have it at this moment, and since when it is, without a quarter of an hour's rest.

    The time is that of the evaluation that saw it first: where it is a part of the requests, a minute after the first
    of them.
    """
    now = f"{name}:now"
    yield Record(now, f"group by ({SERVICE}) ({either(*conditions)})")
    # What it was before, or the time at which it begins.
    yield Record(name, f"({name} or {now} * time()) and max_over_time({now}[{MID}])")


def _late(quantile: str, promised: str) -> str:
    """Whether a model is later than promised that has not been near to it for hours: some always are."""
    return f"({quantile} > {promised} unless min_over_time({quantile}[{QUARTER_DAY}] offset {MID}) > 0.5 * {promised})"
