"""What is computed once: operations and failures as users count them, latencies, and whether a page is due.

Counts, not rates: `3 of 4 in 15 minutes` is what decides about a service that is asked once an hour. Sums over
hours are made of the five-minute counts, which survive restarts and cost next to nothing. Wherever a series may be
absent, a zero of the same labels stands in for it; where nothing was asked there is no ratio at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from .promql import RATE_WINDOWS
from .rule import Record

# So many failures prove nothing yet; more than these and four standard deviations of what comes by chance do. (What
# is expected itself, the square, is small where little is asked; where much is asked the share decides.)
FEW, SIGMAS = 2, 4
# So many streams must hang at once, or first tokens be late.
HANGING, LATE = 3, 8
# So many operations in the shortest window show whether it goes on, and so many in a longer one that it is over.
MANY, ENOUGH = 20, 10
# So many streams must be expected in five minutes before none at all means anything, or in fifteen before none in half
# an hour does; and so many there must have been at this time of other days.
EXPECTED_SOON, EXPECTED = 100, 4
USUAL_SOON, USUAL = 33, 5


def proven(failed: str, operations: str, expected: str = "$expected") -> str:
    """More failures than chance explains where this share is expected, for one request an hour as for a hundred a
    second."""
    return f"{failed} > {FEW} + {SIGMAS} * sqrt({expected} * {operations})"


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


# Quantiles by window, and how many values each needs, to be no accident of the largest few.
QUANTILES = (
    ("short", 60, 15), ("short", 80, 15), ("fast", 95, 40), ("mid", 60, LATE), ("mid", 75, LATE), ("hour", 60, LATE),
)


def _latency(what: str, objective: str, values: int) -> Iterator[Record]:
    """Quantiles where there are enough values to have any (``values`` come with each stream), and whether users wait.

    Where much is asked: most wait for minutes on end, or a fifth for longer. Where little is asked: most of the last
    few do, or a part of them twice as long as promised.
    """
    for window, quantile, least in QUANTILES:
        w = f"${{{window}}}"
        yield Record(
            f"streamvitals:{what}:p{quantile}_{w}",
            f"""
        histogram_quantile(0.{quantile}, sum by ($service, le) (rate(${{{what}}}_bucket[{w}])))
          and on ($service) sum by ($service) (increase(${{{what}}}_count[{w}])) >= {least * values}""",
        )

    def unusual(quantile: str) -> str:
        # The day's median: the last incident is not what is usual.
        now = f"streamvitals:{what}:{quantile}"
        return f"unless on ($service) {now} <= 2 * quantile_over_time(0.5, {now}[$day] offset $half_hour)"

    few = " or ".join(
        f"""(
          streamvitals:{what}:{quantile} > {times}{objective}
            unless on ($service) streamvitals:{what}:{enough}
            {unusual(quantile)}
        )"""
        for quantile, times, enough in (
            ("p60_$mid", "", "p95_$fast"), ("p75_$mid", "2 * ", "p95_$fast"), ("p60_$hour", "", "p60_$mid")
        )
    )
    yield Record(
        f"streamvitals:{what}:slow",
        f"""
        (
          streamvitals:{what}:p95_$fast > {objective}
            and on ($service) (
              min_over_time(streamvitals:{what}:p60_$short[$lasting]) > {objective}
                or min_over_time(streamvitals:{what}:p80_$short[$steady]) > {objective}
            )
            {unusual("p95_$fast")}
        ) or {few}""",
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


def _failing() -> Iterator[Record]:
    """Whether operations fail now, in the whole service or in one of its models; the value is the share.

    Where much is asked, failures must have gone on for some minutes, and not be going down: one bad minute stays in a
    window for longer than it lasts. Where little is asked nobody can tell, and longer windows decide alone.
    """
    for scope, low, spike, arms in (
        (
            "", "$low", "$spike",
            (
                ("mid", "$model_spike", "", "$expected"),
                # In an hour a slow burn may well look like more than it is, less so where the share is large.
                ("hour", "$hour_burn", "mid", "$low"),
                ("hour", "$spike", "mid", "$lingering"),
                ("quarter_day", "$collapse", "hour", "$expected"),
            ),
        ),
        ("model_", "$spike", "$model_spike", (("mid", "$model_spike", "", "$expected"),)),
    ):
        ratio = f"streamvitals:{scope}failure_ratio:increase"
        failed, asked = f"streamvitals:{scope}failed:increase", f"streamvitals:{scope}operations:increase"
        lasting, over = f"streamvitals:{scope}failures:lasting", f"streamvitals:{scope}failures:over"
        yield Record(
            lasting,
            f"""
        min_over_time({ratio}$short[$lasting]) > {low}
          and {ratio}$short > 0.5 * max_over_time({ratio}$short[$lasting])""",
        )
        yield Record(
            over,
            f"""
        ({asked}$short >= {MANY} unless {lasting})
          or ({asked}$fast >= {ENOUGH} and {failed}$fast <= {low} * {asked}$fast)
          or ({asked}$mid >= {ENOUGH} and {failed}$mid <= {low} * {asked}$mid)""",
        )
        longer = "".join(
            f""" or (
          {failed}${window} / {asked}${window} > {share}
            and {proven(f"{failed}${window}", f"{asked}${window}", expected)}
            {f"and {failed}${still} / {asked}${still} > {share}" if still else ""}
            unless {over}
        )"""
            for window, share, still, expected in arms
        )
        yield Record(
            f"streamvitals:failing:{'model' if scope else 'service'}",
            f"""
        (
          {ratio}$fast > {low}
            and {ratio}$short > {spike}
            and {lasting}
            and {proven(f"{failed}$fast", f"{asked}$fast", "$low")}
        ){longer}""",
        )


def _hanging() -> Iterator[Record]:
    """Whether streams hang now, far more of them than is usual here; the value is how many."""
    for name, scope, by in (("service", "", "$service"), ("model", "model_", "$service, $model")):
        stalled, active = f"streamvitals:{scope}stalled", f"streamvitals:{scope}active"
        yield Record(
            f"streamvitals:hanging:{name}",
            f"""
        (
          min_over_time({stalled}[$lasting]) >= {HANGING}
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
    refused, asked = "streamvitals:refused:increase", "streamvitals:asked:increase"
    for window in RATE_WINDOWS:
        w = f"${{{window}}}"
        none = f"0 * {by} (streamvitals:streams:increase{w})"
        yield Record(
            refused + w,
            f'{by} (increase($errors{{$outcome="rejected", $type=~"$refused_types"}}[{w}])) or {none}',
        )
        yield Record(
            asked + w,
            f"""
        streamvitals:operations:increase{w}
          + ({by} (streamvitals:streams:increase{w}{{$outcome="rejected"}}) or {none})""",
        )
    yield Record("streamvitals:refused_ratio:increase$short", f"{refused}$short / ({asked}$short > 0)")
    rejected = f'{by} (streamvitals:streams:increase$mid{{$outcome="rejected"}})'
    yield Record(
        "streamvitals:refusing:service",
        f"""
        (
          {refused}$fast / {asked}$fast > 0.25
            and {proven(f"{refused}$mid", f"{asked}$mid")}
            unless (
              {asked}$short >= {MANY}
                unless min_over_time(streamvitals:refused_ratio:increase$short[$lasting]) > 0.25
            )
        ) or (
          {rejected} / {asked}$mid > 0.9
            and {rejected} > 10
        )""",
    )


def _traffic() -> Iterator[Record]:
    """Whether agents report, and whether what streamed an hour, a day and a week ago streams no more, though there are
    programs that could, and have been seen for all of the hour."""
    yield Record(
        "streamvitals:agents", "group by ($service, instance) ($internal or $active)"
    )
    yield Record("streamvitals:reporting", "count by ($service) (streamvitals:agents)")
    yield Record("streamvitals:observed", "count by ($service) ($build)")
    ended, expected = "streamvitals:ended:increase", "streamvitals:expected:increase"
    for window, quiet in (("fast", "fast"), ("mid", "half_hour")):
        w = f"${{{window}}}"
        yield Record(ended + w, f"sum by ($service) (streamvitals:streams:increase{w})")
        yield Record(expected + w, f"avg_over_time({ended}{w}[$hour] offset ${quiet})")

    def other(day: str, window: str) -> str:
        return f"on ($service) min_over_time({ended}{window}[$hour] offset {day})"

    # Where a night may come all at once, only who has seen one knows. And where little is asked a quarter of an hour is
    # often empty: users come in groups.
    yield Record(
        "streamvitals:traffic:gone",
        f"""
        ((
          {expected}$fast >= {EXPECTED_SOON}
            unless on ($service) {ended}$fast >= 2
            unless {other("$yesterday", "$fast")} < {USUAL_SOON}
            unless {other("$last_week", "$fast")} < {USUAL_SOON}
        ) or (
          {expected}$mid >= {EXPECTED}
            unless on ($service) max_over_time({ended}$mid[$mid]) >= 2
            and {other("$yesterday", "$mid")} >= {USUAL}
            unless {other("$last_week", "$mid")} < {USUAL}
        )) and on ($service) streamvitals:reporting
          unless on ($service) (max_over_time(streamvitals:observed[$day]) unless streamvitals:observed)
          unless on ($service) count_over_time(streamvitals:observed[$hour:$fast]) < 11
          and on ($service) count_over_time(streamvitals:reporting[$hour:$fast]) >= 11
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
    rules += [*_long_counts(), *_gauges(), *_failing(), *_hanging(), *_conditions(), *_refused()]
    rules += _latency("first_token", "$ttft", 1)
    rules += _latency("chunk_gap", "$gap", 10)
    rules += [*_traffic(), *_replicas()]
    return tuple(rules)
