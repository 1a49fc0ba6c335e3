"""What is computed once: operations and failures as users count them, latencies, and whether a page is due.

Counts, not rates: `3 of 4 in 15 minutes` is what decides about a service that is asked once an hour. Sums over
hours are made of the five-minute counts, which survive restarts and cost next to nothing. Wherever a series may be
absent, a zero of the same labels stands in for it; where nothing was asked there is no ratio at all.
"""

from __future__ import annotations

from collections.abc import Iterator

from .promql import RATE_WINDOWS
from .rule import Record

# So many failures prove nothing yet; more than these, what is expected, and four standard deviations of it do.
FEW, SIGMAS = 2, 4
# A slow burn, which is no page's business, brings the lowest share of a page itself now and then: in five minutes,
# which come often, nearly never, and in longer windows, which are fewer, seldom.
SIGMAS_SOON, SIGMAS_LATER = 4, 3
# Of the failures that page, so large a part at most comes within the shortest window: the rest is no blip.
AT_ONCE = 0.6
# What is usual is said by what was asked before, and so many operations more that fail as expected.
PRIOR = 100
# So many streams must hang at once.
HANGING = 3
# Of so many streams most must be late, or of so many a large part; so few are heard of, but prove nothing.
LATE, LATE_OF, HEARD = 10, 24, 3
# So many operations in the shortest window show whether it goes on, so many in a longer one that it is over, and so
# many in half an hour that hours of it are.
MANY, ENOUGH, SOME = 20, 10, 5
# So many streams must be expected in five minutes before none at all means anything, or in fifteen before none in half
# an hour does; and so many there must have been at this time of other days.
EXPECTED_SOON, EXPECTED = 100, 4
USUAL_SOON, USUAL = 33, 5


def proven(failed: str, operations: str, expected: str = "$expected") -> str:
    """More failures than chance explains where this share is expected, for one request an hour as for a hundred a
    second."""
    mean = f"{expected} * {operations}"
    return f"{failed} > {FEW} + {mean} + {SIGMAS} * sqrt({mean})"


def beyond(failed: str, operations: str, share: str, sigmas: int) -> str:
    """More failures than so many standard deviations above those that this share brings."""
    return f"{failed} > {share} * {operations} + {sigmas} * sqrt({share} * {operations})"


def lowest(of: str, window: str, asked: str) -> str:
    """The lowest value, of what there was at all times at which ``asked`` was there: one sample is not lasting."""
    return (
        f"(min_over_time({of}[{window}]) and count_over_time({of}[{window}]) >= count_over_time({asked}[{window}]))"
    )


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
    for window in ("half_hour", "hour", "quarter_day", "three_days"):
        for what in ("operations", "failed"):
            yield Record(
                f"streamvitals:{what}:increase${{{window}}}",
                f"sum_over_time(streamvitals:{what}:increase${{fast}}[${{{window}}}:${{fast}}])",
            )


# Quantiles by window, and how many streams each needs, to be no accident of the slowest few: of a service that keeps
# its promise a tenth may be late on some days. Chunks of one stream are slow together, so streams count there, too.
_OF_CHUNKS = (
    ("short", 60, 15), ("short", 80, 15), ("fast", 95, 40),
    ("mid", 50, HEARD), ("mid", 60, LATE_OF), ("hour", 50, LATE),
)
# One stream has many chunks: a long slow one of ten may well be a third of all.
QUANTILES = {"first_token": (*_OF_CHUNKS, ("mid", 70, LATE)), "chunk_gap": _OF_CHUNKS}


def _begun() -> Iterator[Record]:
    for window in ("short", "fast", "mid", "hour"):
        w = f"${{{window}}}"
        yield Record(
            f"streamvitals:begun:increase{w}", f"sum by ($service, $model) (increase(${{first_token}}_count[{w}]))"
        )


def _latency(what: str, objective: str, least: str) -> Iterator[Record]:
    """Quantiles of each model, where there are enough streams to have any, and whether users wait; ``least`` is what
    nobody notices.

    Of each model, as a model that reasons and one that does not make no quantile together. Where much is asked: most
    wait for minutes on end, or a fifth for longer. Where little is asked: most of the last few do, or a part of them
    twice as long as promised.
    """
    now = f"streamvitals:{what}"
    each, begun = "on ($service, $model)", "streamvitals:begun:increase"
    for window, quantile, streams in QUANTILES[what]:
        w = f"${{{window}}}"
        yield Record(
            f"{now}:p{quantile}_{w}",
            f"""
        histogram_quantile(0.{quantile}, sum by ($service, $model, le) (rate(${{{what}}}_bucket[{w}])))
          and {each} {begun}{w} >= {streams}""",
        )

    def usual(quantile: str, offset: str) -> str:
        # The day's median: the last incident is not what is usual.
        return f"quantile_over_time(0.5, {now}:{quantile}[$day] offset {offset})"

    soon, some = f"unless {now}:p95_$fast", f"{begun}$mid >= {LATE}"
    few = " or ".join(
        f"""(
          {now}:{quantile} > {times}{objective}
            {of}
            unless {now}:{quantile} <= 2 * {usual(quantile, "$half_hour")}
        )"""
        for quantile, times, of in (
            ("p60_$mid", "", f"{soon} and {each} {begun}$fast > 0"),
            ("p50_$mid", "", f"and {each} {some} unless {now}:p60_$mid and {each} {begun}$fast > 0"),
            ("p70_$mid", "2 * ", f"{soon} and {each} {begun}$fast > 0"),
            # What the last quarter of an hour heard of must be late as well.
            ("p50_$hour", "", f"and {each} {begun}$mid > 0 unless {each} {some} unless {now}:p50_$mid <= {objective}"),
        )
        if quantile != "p70_$mid" or what == "first_token"
    )
    yield Record(
        f"{now}:slow",
        f"""
        (
          {now}:p95_$fast > {objective}
            and (
              {lowest(f"{now}:p60_$short", "$lasting", f"{begun}$short")} > {objective}
                or {lowest(f"{now}:p80_$short", "$steady", f"{begun}$short")} > {objective}
            )
            unless {now}:p95_$fast <= 2 * {usual("p95_$fast", "$half_hour")}
        ) or {few}""",
    )
    yield Record(
        f"{now}:slower",
        " or ".join(
            f"""(
          (
            {now}:{quantile} > {objective} unless {now}:{quantile} <= 1.25 * {usual(quantile, "$hour")}
              or {now}:{quantile} > 1.75 * {usual(quantile, "$hour")} > {least}
          ){enough}
        )"""
            for quantile, enough in (("p95_$fast", ""), ("p50_$mid", f" and {each} {some}"))
        ) + f" or {now}:slow",
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
    window for longer than it lasts. Where little is asked nobody can tell, and longer windows decide alone: there must
    be more failures than this service usually has, and than a slow burn would bring, and not all of them at once.
    """
    for scope, low, spike, windows in (
        ("", "$low", "$spike", ("mid", "half_hour", "hour")),
        ("model_", "$spike", "$model_spike", ("mid",)),
    ):
        ratio = f"streamvitals:{scope}failure_ratio:increase"
        failed, asked = f"streamvitals:{scope}failed:increase", f"streamvitals:{scope}operations:increase"
        lasting, over = f"streamvitals:{scope}failures:lasting", f"streamvitals:{scope}failures:over"
        usual = f"streamvitals:{scope}failure_ratio:usual"
        before = "$fast[$past:$fast] offset $mid)"
        yield Record(
            usual,
            f"""
        clamp(
          ({PRIOR} * $expected + sum_over_time({failed}{before}) / ({PRIOR} + sum_over_time({asked}{before}),
          $expected, $low
        ) or $expected + 0 * {asked}$mid""",
        )
        yield Record(
            lasting,
            f"""
        {lowest(f"{ratio}$short", "$lasting", f"{asked}$short")} > {low}
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
          {failed}${window} / {asked}${window} > {spike}
            and {proven(f"{failed}${window}", f"{asked}${window}", usual)}
            and {beyond(f"{failed}${window}", f"{asked}${window}", "$low", SIGMAS_LATER)}
            {_STILL[window].format(failed=failed, asked=asked)}
            unless {over}
        )"""
            for window in windows
        )
        if not scope:
            longer += f""" or (
          {failed}$quarter_day / {asked}$quarter_day > $collapse
            and {proven(f"{failed}$quarter_day", f"{asked}$quarter_day")}
            and {failed}$hour / {asked}$hour > $collapse
            unless ({asked}$half_hour >= {SOME} and {failed}$half_hour <= {low} * {asked}$half_hour)
            unless {over}
        )"""
        yield Record(
            f"streamvitals:failing:{'model' if scope else 'service'}",
            f"""
        (
          {ratio}$fast > {low}
            and {ratio}$short > {spike}
            and {lasting}
            and {proven(f"{failed}$fast", f"{asked}$fast", usual)}
            and {beyond(f"{failed}$fast", f"{asked}$fast", "$low", SIGMAS_SOON)}
        ){longer}""",
        )


# That it goes on: not all of it came at once, and the last quarter of an hour is not what makes the window look well.
_SPREAD = f"and max_over_time({{failed}}$short[$mid]) <= {AT_ONCE} * {{failed}}$mid"
_STILL = {
    "mid": _SPREAD,
    "half_hour": f"""{_SPREAD}
            and {{failed}}$mid / {{asked}}$mid >= 0.7 * {{failed}}$half_hour / {{asked}}$half_hour""",
    "hour": "and {failed}$mid / {asked}$mid >= {failed}$hour / {asked}$hour",
}


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
    # Bad requests that come on top of what is asked are somebody's; those that come instead of it are everybody's.
    before = "avg_over_time(streamvitals:operations:increase$mid[$hour] offset $half_hour)"
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
            and streamvitals:operations:increase$mid < 0.2 * {before}
            and {before} >= {EXPECTED}
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
    rules += [*_begun(), *_latency("first_token", "$ttft", "0.3")]
    rules += _latency("chunk_gap", "$gap", "0.03")
    rules += [*_traffic(), *_replicas()]
    return tuple(rules)
