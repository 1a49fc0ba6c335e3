"""Whether operations fail, streams hang, requests are refused, and whether one replica alone does it."""

from __future__ import annotations

from collections.abc import Iterator

from .chance import beyond, lowest, proven
from .none_well import AT_ONCE, condition
from .promql import RATE_WINDOWS
from .rule import Record

# A slow burn, which is no page's business, brings the lowest share of a page itself now and then: in five minutes,
# which come often, nearly never, and in longer windows, which are fewer, seldom.
SIGMAS_SOON, SIGMAS_LATER = 4, 3
# What is usual is said by what was asked before, and so many operations more that fail as expected.
PRIOR = 100
# So many streams must hang at once.
HANGING = 3
# So many operations in the shortest window show whether it goes on, and so many in a longer one that it is over.
MANY, ENOUGH = 20, 10
# Where fewer operations come in six hours, an hour may be too short to judge by.
LITTLE = 60
# Of so many operations expected in a quarter of an hour some must come, or they are all refused.
ASKED = 4

# That it goes on: not all of it came at once, and the last quarter of an hour is not what makes the window look well.
_SPREAD = f"and max_over_time({{failed}}$short[$mid]) <= {AT_ONCE} * {{failed}}$mid"
_STILL = {
    "mid": _SPREAD,
    "half_hour": f"""{_SPREAD}
            and {{failed}}$mid / {{asked}}$mid >= 0.7 * {{failed}}$half_hour / {{asked}}$half_hour""",
    "hour": "and {failed}$mid / {asked}$mid >= {failed}$hour / {asked}$hour",
}


def failing() -> Iterator[Record]:
    """Whether operations fail now, in the whole service or in one of its models; the value is the share.

    Where much is asked, failures must have gone on for some minutes, and not be going down: one bad minute stays in a
    window for longer than it lasts. Where little is asked nobody can tell, and longer windows decide alone: there must
    be more failures than this service usually has, and than a slow burn would bring, and not all of them at once.
    Where nothing ends well, streams are what counts.
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
            and {asked}$quarter_day < {LITTLE}
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
        ) or {condition(scope, usual)}{longer}""",
        )


def hanging() -> Iterator[Record]:
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


def refusals() -> Iterator[Record]:
    """Whether the key or the model is refused, or whatever is asked; the value is the share."""
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
            and {before} >= {ASKED}
        )""",
    )


def replicas() -> Iterator[Record]:
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
