"""What is computed once: operations and failures as users count them, latencies, and whether a page is due.

Counts, not rates: `3 of 4 in 15 minutes` is what decides about a service that is asked once an hour. Sums over
hours are made of the five-minute counts, which survive restarts and cost next to nothing. Wherever a series may be
absent, a zero of the same labels stands in for it; where nothing was asked there is no ratio at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from .failing import failing, hanging, refusals, replicas
from .latency import begun_streams, latency
from .none_well import failing_servers, none_well
from .promql import RATE_WINDOWS
from .rule import Record
from .traffic import traffic


def _counts(window: str) -> Iterator[Record]:
    w, by = f"${{{window}}}", "sum by ($service, $model)"
    streams = f"streamvitals:streams:increase{w}"
    yield Record(
        streams, f"sum by ($service, $model, $server, $outcome) (increase($streams[{w}]))"
    )
    # What is absent counts as zero. A fallback is a retry as well, but not a stream.
    none = f"0 * {by} ({streams})"
    fallbacks, retried = f"streamvitals:model_fallbacks:increase{w}", f"streamvitals:model_retried:increase{w}"
    yield Record(fallbacks, f"{by} (increase($fallbacks[{w}])) or {none}")
    yield Record(
        retried,
        f"""
        {by} (increase($retries{{$source="app", $reason!="other"}}[{w}])) > {fallbacks}
          or {fallbacks}""",
    )
    yield Record(
        f"streamvitals:model_operations:increase{w}",
        f"""
        clamp_min(
          ({by} ({streams}{{$outcome=~"$counted_outcomes"}}) or {none}) - {retried} + {fallbacks},
          0
        )""",
    )
    # What the app tried again is no failure yet, or none any more. Of fallbacks that failed too only
    # operations_failed knows, but late: it must not bring up again what was counted when it happened.
    late = f"{by} (increase($operations_failed[{w}]))"
    yield Record(
        f"streamvitals:model_failed:increase{w}",
        f"""
        clamp_min(
          ({by} ({streams}{{$outcome=~"$failed_outcomes"}}) or {none}) - {retried}
            + ({fallbacks} < {late} or {late} or {none}),
          0
        )""",
    )
    for what in ("operations", "failed"):
        yield Record(
            f"streamvitals:{what}:increase{w}",
            f"sum by ($service) (streamvitals:model_{what}:increase{w})",
        )
    if window == "mid":
        return
    yield from none_well(window)
    for scope in ("", "model_"):
        none = f"streamvitals:{scope}none_well:increase{w}"
        # Where nothing ends well everything fails, though it may all be tried again, and nothing be left to divide by.
        yield Record(
            f"streamvitals:{scope}failure_ratio:increase{w}",
            f"""
        {none} / {none}
          or streamvitals:{scope}failed:increase{w} / (streamvitals:{scope}operations:increase{w} > 0)""",
        )


def _long_counts() -> Iterator[Record]:
    for window in ("half_hour", "hour", "quarter_day", "three_days"):
        for what in ("operations", "failed"):
            yield Record(
                f"streamvitals:{what}:increase${{{window}}}",
                f"sum_over_time(streamvitals:{what}:increase${{fast}}[${{{window}}}:${{fast}}])",
            )


def _gauges() -> Iterator[Record]:
    """What is open now, and what is left of rate limits."""
    for scope, by in (("", "$service"), ("model_", "$service, $model")):
        for what in ("stalled", "active"):
            yield Record(f"streamvitals:{scope}{what}", f"sum by ({by}) (${what})")
    # Neither waited for nor ended. More than a moment of it is somebody who has forgotten a stream.
    yield Record(
        "streamvitals:held", "streamvitals:active - (streamvitals:stalled or 0 * streamvitals:active)"
    )
    # Of replicas that ask: the others' last word is old.
    limit = "$remaining / ($limit > 0)"
    yield Record(
        "streamvitals:limit_left",
        f"""
        min by ($service, $model, $server, $kind) (
          {limit} and on ($service, instance, $model, $server)
            sum by ($service, instance, $model, $server) (increase($streams[$mid])) > 0
        )""",
    )


def _conditions() -> Iterator[Record]:
    """What outranks every other page, and what share of a model's streams each failure has."""
    conditions = " or ".join(
        f"streamvitals:{what}:{scope}"
        for what, scopes in (("failing", ("service", "model", "server")), ("hanging", ("service", "model")))
        for scope in scopes
    )
    yield Record("streamvitals:failing", f"group by ($service) ({conditions})")
    for window in ("fast", "mid"):
        streams = f"streamvitals:streams:increase${{{window}}}"
        yield Record(
            f"streamvitals:failure_share:increase${{{window}}}",
            f"""
        ({streams}{{$outcome=~"$failed_outcomes"}} > 0)
          / on ($service, $model, $server) group_left ()
            sum by ($service, $model, $server) ({streams}{{$outcome=~"$counted_outcomes"}})""",
        )


def records() -> tuple[Record, ...]:
    """In the order in which they depend on each other."""
    rules: list[Record] = [record for window in RATE_WINDOWS for record in _counts(window)]
    rules += [*_long_counts(), *_gauges(), *failing(), *failing_servers(), *hanging(), *_conditions(), *refusals()]
    rules += [*begun_streams(), *latency("first_token", "$ttft", "0.3"), *latency("chunk_gap", "$gap", "0.03")]
    rules += [*traffic(), *replicas()]
    return tuple(rules)
