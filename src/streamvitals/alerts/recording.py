"""What is computed once: operations and failures as users count them, latencies, and whether a page is due.

Counts, not rates: `3 of 4 in 15 minutes` is what decides about a service that is asked once an hour. Sums over
hours are made of the five-minute counts, which survive restarts and cost next to nothing. Wherever a series may be
absent, a zero of the same labels stands in for it; where nothing was asked there is no ratio at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from .promql import RATE_WINDOWS
from .rule import Record

# Where this many have failed nothing is proven yet; beyond it, four standard deviations over what the budget allows
# (a Poisson count's deviation is the root of what is expected).
FEW, SIGMAS = 2, 4
# So many streams must hang at once, or first tokens be late.
HANGING, LATE = 3, 8
# So many operations in the shortest window show whether it goes on.
MANY = 20
# Streams to expect in five and in fifteen minutes, before none at all means anything.
EXPECTED_SOON, EXPECTED = 100, 15


def proven(failed: str, operations: str) -> str:
    """More failures than chance explains, for one request an hour as for a hundred a second."""
    return f"{failed} > {FEW} + {SIGMAS} * sqrt($expected * {operations})"


def lasts(scope: str, share: str) -> str:
    """Failures went on all of the time, not for one bad minute. Where little is asked nobody can tell."""
    ratio = f"streamvitals:{scope}failure_ratio:increase$short"
    asked = f"streamvitals:{scope}operations:increase$short"
    return f"unless (min_over_time({ratio}[$lasting]) <= {share} and {asked} >= {MANY})"


def over(scope: str, window: str, share: str) -> str:
    """But when enough was asked since, and little of it failed, it is over."""
    failed = f"streamvitals:{scope}failed:increase${{{window}}}"
    asked = f"streamvitals:{scope}operations:increase${{{window}}}"
    return f"unless ({failed} <= {share} * {asked} and {asked} >= {MANY})"


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
    for scope in ("", "model_") if window != "mid" else ():
        yield Record(
            f"streamvitals:{scope}failure_ratio:increase{w}",
            f"streamvitals:{scope}failed:increase{w} / (streamvitals:{scope}operations:increase{w} > 0)",
        )


def _long_counts() -> Iterator[Record]:
    for window in ("hour", "quarter_day", "three_days"):
        for what in ("operations", "failed"):
            yield Record(
                f"streamvitals:{what}:increase${{{window}}}",
                f"sum_over_time(streamvitals:{what}:increase${{fast}}[${{{window}}}:${{fast}}])",
            )


def _enough(times: int) -> dict[str, int]:
    """How many values a quantile needs, to be no accident of the largest few."""
    least = {"p95 fast": 40, "p90 short": 15, "p60 fast": LATE, "p60 mid": LATE, "p75 mid": LATE}
    return {name: times * count for name, count in least.items()}


def _latency(what: str, objective: str, enough: dict[str, int]) -> Iterator[Record]:
    """Quantiles where there are enough values to have any; ``enough`` is how many, by window."""
    for quantile, window in ((95, "fast"), (90, "short"), (60, "fast"), (60, "mid"), (75, "mid")):
        w, least = f"${{{window}}}", enough[f"p{quantile} {window}"]
        yield Record(
            f"streamvitals:{what}:p{quantile}_{w}",
            f"""
        histogram_quantile(0.{quantile}, sum by ($service, le) (rate(${{{what}}}_bucket[{w}])))
          and on ($service) sum by ($service) (increase(${{{what}}}_count[{w}])) >= {least}""",
        )
    day_before = f"avg_over_time(streamvitals:{what}:QUANTILE[$day] offset $half_hour)"
    unusual = f"unless on ($service) streamvitals:{what}:QUANTILE <= 2 * {day_before}"
    few = " or ".join(
        f"""(
          streamvitals:{what}:{quantile} > {times}{objective}
            {unusual.replace("QUANTILE", quantile)}
        )"""
        for quantile, times in (("p60_$fast", ""), ("p60_$mid", ""), ("p75_$mid", "2 * "))
    )
    yield Record(
        f"streamvitals:{what}:slow",
        f"""
        (
          streamvitals:{what}:p95_$fast > {objective}
            and on ($service) min_over_time(streamvitals:{what}:p90_$short[$lasting]) > {objective}
            {unusual.replace("QUANTILE", "p95_$fast")}
        ) or {few}""",
    )


def _open_streams() -> Iterator[Record]:
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


def _failing() -> Iterator[Record]:
    """Whether operations fail now, in the whole service or in one of its models; the value is the share."""
    failed, operations = "streamvitals:failed:increase", "streamvitals:operations:increase"
    yield Record(
        "streamvitals:failing:service",
        f"""
        (
          streamvitals:failure_ratio:increase$fast > $low
            and min_over_time(streamvitals:failure_ratio:increase$short[$lasting]) > $spike
            and {proven(failed + "$fast", operations + "$fast")}
        ) or (
          {failed}$mid / {operations}$mid > $spike
            and {proven(failed + "$mid", operations + "$mid")}
            {lasts("", "$low")}
            {over("", "fast", "$low")}
        ) or (
          {failed}$hour / {operations}$hour > $hour_burn
            and {proven(failed + "$hour", operations + "$hour")}
            {over("", "mid", "$hour_burn")}
            {over("", "fast", "$low")}
        ) or (
          {failed}$quarter_day / {operations}$quarter_day > $collapse
            and {proven(failed + "$quarter_day", operations + "$quarter_day")}
            and {failed}$hour / {operations}$hour > $collapse
            {over("", "mid", "$spike")}
            {over("", "fast", "$low")}
        )""",
    )
    failed, operations = "streamvitals:model_failed:increase", "streamvitals:model_operations:increase"
    yield Record(
        "streamvitals:failing:model",
        f"""
        (
          streamvitals:model_failure_ratio:increase$fast > $model_spike
            and min_over_time(streamvitals:model_failure_ratio:increase$short[$lasting]) > $model_spike
            and {proven(failed + "$fast", operations + "$fast")}
        ) or (
          {failed}$mid / {operations}$mid > $model_spike
            and {proven(failed + "$mid", operations + "$mid")}
            {lasts("model_", "$spike")}
            {over("model_", "fast", "$spike")}
        )""",
    )


def _hanging() -> Iterator[Record]:
    """Whether streams hang now, far more of them than is usual here; the value is how many."""
    for name, scope, by in (("service", "", "$service"), ("model", "model_", "$service, $model")):
        stalled, active = f"streamvitals:{scope}stalled", f"streamvitals:{scope}active"
        yield Record(
            f"streamvitals:hanging:{name}",
            f"""
        (
          min_over_time({stalled}[$short]) >= {HANGING}
            and {stalled} / {active} > 0.3
        ) unless on ({by}) (
          {stalled} / {active}
            <= 3 * avg_over_time({stalled}[$day] offset $mid) / (avg_over_time({active}[$day] offset $mid) > 0)
        )""",
        )


def _conditions() -> Iterator[Record]:
    """What outranks every other page, and what share of a model's streams each failure has."""
    conditions = " or ".join(f"streamvitals:{what}:{scope}" for what in ("failing", "hanging")
                             for scope in ("service", "model"))
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


def _refused() -> Iterator[Record]:
    by = "sum by ($service)"
    for window in ("fast", "mid"):
        w = f"${{{window}}}"
        none = f"0 * {by} (streamvitals:streams:increase{w})"
        yield Record(
            f"streamvitals:refused:increase{w}",
            f'{by} (increase($errors{{$outcome="rejected", $type=~"$refused_types"}}[{w}])) or {none}',
        )
        yield Record(
            f"streamvitals:asked:increase{w}",
            f"""
        streamvitals:operations:increase{w}
          + ({by} (streamvitals:streams:increase{w}{{$outcome="rejected"}}) or {none})""",
        )
    rejected = f'{by} (streamvitals:streams:increase$mid{{$outcome="rejected"}})'
    yield Record(
        "streamvitals:refusing:service",
        f"""
        (
          streamvitals:refused:increase$mid / streamvitals:asked:increase$mid > 0.1
            and streamvitals:refused:increase$fast / streamvitals:asked:increase$fast > 0.25
            and {proven("streamvitals:refused:increase$mid", "streamvitals:asked:increase$mid")}
        ) or (
          {rejected} / streamvitals:asked:increase$mid > 0.9
            and {rejected} > 10
        )""",
    )


def _traffic() -> Iterator[Record]:
    """Whether agents report, and whether what streamed an hour, a day and a week ago streams no more."""
    yield Record(
        "streamvitals:agents", "group by ($service, instance) ($internal or $active)"
    )
    yield Record("streamvitals:reporting", "count by ($service) (streamvitals:agents)")
    yield Record("streamvitals:observed", "count by ($service) ($build)")
    for window in ("fast", "mid"):
        w = f"${{{window}}}"
        yield Record(f"streamvitals:ended:increase{w}", f"sum by ($service) (streamvitals:streams:increase{w})")
        yield Record(
            f"streamvitals:expected:increase{w}",
            f"avg_over_time(streamvitals:ended:increase{w}[$hour] offset {w})",
        )
    arms = []
    for window, least in (("fast", EXPECTED_SOON), ("mid", EXPECTED)):
        ended = f"streamvitals:ended:increase${{{window}}}"
        quiet = "".join(
            f"\n            unless on ($service) min_over_time({ended}[$hour] offset ${when}) < {least / 3:.0f}"
            for when in ("yesterday", "last_week")
        )
        arms.append(f"""
          streamvitals:expected:increase${{{window}}} >= {least}
            unless on ($service) {ended} >= 2{quiet}""")
    yield Record(
        "streamvitals:traffic:gone",
        f"""
        (({arms[0]}
        ) or ({arms[1]}
        )) and on ($service) streamvitals:reporting
          unless on ($service) streamvitals:stalled > 0""",
    )


def _replicas() -> Iterator[Record]:
    """Replicas of which far more fails than of the others; the value is the share."""
    for what, outcomes in (("failed", "$failed_outcomes"), ("operations", "$counted_outcomes")):
        yield Record(
            f"streamvitals:replica_{what}:increase$mid",
            f'sum by ($service, instance) (increase($streams{{$outcome=~"{outcomes}"}}[$mid]))',
        )
    failed, operations = "streamvitals:replica_failed:increase$mid", "streamvitals:replica_operations:increase$mid"
    rest_failed, rest = (
        f"(sum by ($service) ({of}) - on ($service) group_right () {of})" for of in (failed, operations)
    )
    yield Record(
        "streamvitals:replica:failing",
        f"""
        {failed} / {operations} > $spike
          and {proven(failed, operations)}
          and {failed} / {operations} > 4 * {rest_failed} / ({rest} > 0)""",
    )


def records() -> tuple[Record, ...]:
    """In the order in which they depend on each other."""
    rules: list[Record] = [record for window in RATE_WINDOWS for record in _counts(window)]
    rules += [*_long_counts(), *_open_streams(), *_failing(), *_hanging(), *_conditions(), *_refused()]
    rules += _latency("first_token", "$ttft", _enough(1))
    rules += _latency("chunk_gap", "$gap", _enough(10))
    rules += [*_traffic(), *_replicas()]
    return tuple(rules)
