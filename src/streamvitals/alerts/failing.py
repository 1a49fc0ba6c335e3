"""Recording rules for the conditions that page first: operations fail, or streams hang.

A service fails if its failure ratio is over `$page_share` in five minutes and over `$spike` in two, has been for some
minutes, and is more than usual and more than chance explains. Where little is asked longer windows decide.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .chance import beyond_chance, beyond_share
from .language import FAST, HALF_HOUR, HOUR, MID, PAST, QUARTER_DAY, SERVICE, SHORT
from .measures import HANGING
from .promql import block, either
from .rule import Record
from .series import EACH_MODEL, EACH_SERVER, WHOLE, Scope

# A slow burn, which is no page's business, brings the lowest share of a page itself now and then: in five minutes,
# which come often, nearly never, and in longer windows, which are fewer, seldom.
SIGMAS_SOON, SIGMAS_LATER = 4, 3
# What is usual is the share that failed before, weighed as if so many operations more had failed as expected.
PRIOR = 100
# So many operations in the shortest window show whether it goes on, and so many in a longer one that it is over.
MANY, ENOUGH = 20, 10
# Where fewer operations come in six hours, an hour may be too short to judge by.
LITTLE = 60
# Where much is asked: a blip of 140 s is half of a worst minute in five, and most of it is in two of them.
LASTED, GOING_ON, BEYOND_TWO_MINUTES = 0.57, 0.7, 1.25
# Where little is asked so many failures, nearly, must lie outside of the worst two minutes, and so large a part of all
# may lie in them.
OUTSIDE, INSIDE = 1.5, 0.75
# The most of what fails in half an hour or more that may have failed within two minutes.
NO_BLIP = 0.3
# What each part of an evening must have, of the share that pages.
EACH_PART = 0.7
# So large a part of the failures that page, at most, came within the shortest window: the rest is no blip.
AT_ONCE = 0.6


def _lasting(scope: Scope, share: str) -> Record:
    """Record whether so large a share fails for minutes on end, and is not going down.

    What fails for a part of five minutes is in them by that part of its worst two minutes: so long it has gone on,
    however often it is scraped. And it was not all within two.
    """
    ratio, failed = scope.failure_ratio, scope.failed
    worst = f"max_over_time({ratio[SHORT]}[{FAST}])"
    return Record(scope.lasting, f"""
        {ratio[FAST]} > {share}
          and {ratio[FAST]} >= {LASTED} * {worst}
          and {ratio[SHORT]} >= {GOING_ON} * {worst}
          and {failed[FAST]} >= {BEYOND_TWO_MINUTES} * max_over_time({failed[SHORT]}[{FAST}])""")


def failing(
    scope: Scope, share: str, spike: str, *longer: str, of_streams: bool = True, attempts: bool = False,
    hours: bool = False,
) -> Iterator[Record]:
    """Record whether operations fail now, with the share of them that does as the value.

    Where much is asked, failures must have gone on for some minutes, and not be going down: one bad minute stays in a
    window for longer than it lasts. Where little is asked nobody can tell, and ``longer`` windows decide alone: there
    must be more failures than this service usually has, and than a slow burn would bring, and not all of them at once.
    Where nothing ends well, streams are what counts, if it is ``of_streams``, and with ``attempts`` where most fail.
    With ``hours`` these are looked at, too.
    """
    failed, operations, ratio = scope.failed, scope.operations, scope.failure_ratio
    yield _lasting(scope, share)
    yield Record(scope.over, f"""
        ({operations[SHORT]} >= {MANY} unless {scope.lasting})
          or ({operations[FAST]} >= {ENOUGH} and {failed[FAST]} <= {share} * {operations[FAST]})
          or ({operations[MID]} >= {ENOUGH} and {failed[MID]} <= {share} * {operations[MID]})""")
    if hours:
        yield Record(scope.evening, either(
            _evening(scope, HALF_HOUR, MID, MID), _evening(scope, HOUR, MID, HALF_HOUR),
            _evening(scope, PAST, HOUR, HOUR),
        ))
    yield Record(scope.failing, either(
        block(
            f"{ratio[FAST]} > {share}",
            f"and {ratio[SHORT]} > {spike}",
            f"and {scope.lasting}",
            f"and {beyond_chance(failed[FAST], operations[FAST], scope.usual)}",
            f"and {beyond_share(failed[FAST], operations[FAST], '$page_share', SIGMAS_SOON)}",
        ),
        _few(scope, "$model_spike" if spike == "$model_spike" else "2 * $spike"),
        *([_none_well(scope, scope.usual)] if of_streams else []),
        *([_attempts(scope)] if attempts else []),
        *(
            block(
                f"{failed[window]} / {operations[window]} > {spike}",
                f"and {beyond_chance(failed[window], operations[window], scope.usual)}",
                f"and {beyond_share(failed[window], operations[window], '$page_share', SIGMAS_LATER)}",
                *_goes_on(scope, window),
                f"unless {scope.over}",
            )
            for window in longer
        ),
        *([_all_evening(scope), _collapsed(scope)] if hours else []),
    ))


def _few(scope: Scope, share: str) -> str:
    """Whether some of few have failed one after the other, which is as soon as anybody can tell."""
    failed, operations = scope.failed, scope.operations
    worst = f"max_over_time({failed[SHORT]}[{FAST}])"
    return block(
        f"{failed[FAST]} / {operations[FAST]} > {share}",
        f"and {beyond_chance(failed[FAST], operations[FAST], scope.usual)}",
        f"and {beyond_share(failed[FAST], operations[FAST], '$page_share', SIGMAS_SOON)}",
        f"and {failed[FAST]} - {worst} >= {OUTSIDE}",
        f"and {worst} <= {INSIDE} * {failed[FAST]}",
        f"unless {scope.over}",
    )


def _attempts(scope: Scope) -> str:
    """Whether most attempts fail, for longer than a blip: who tries again for ever never fails for good."""
    failed, attempts = scope.attempts_failed, scope.attempts
    return block(
        f"{failed[FAST]} / {attempts[FAST]} > $attempts",
        f"and {beyond_chance(failed[FAST], attempts[FAST])}",
        f"and max_over_time({failed[SHORT]}[{FAST}]) <= {AT_ONCE} * {failed[FAST]}",
    )


def _evening(scope: Scope, window: str, part: str, all_of: str) -> str:
    """Whether somewhat more than what pages has failed for a long time: less than a spike, but all evening.

    So that an outage that is over is none, every ``part`` of it has to be bad, at each time in ``all_of``.
    """
    failed, operations = scope.failed, scope.operations
    return block(
        f"{failed[window]} / {operations[window]} > $evening",
        f"and {beyond_chance(failed[window], operations[window])}",
        f"and {beyond_share(failed[window], operations[window], '$page_share', SIGMAS_LATER)}",
        f"and max_over_time({failed[SHORT]}[{window}]) <= {NO_BLIP} * {failed[window]}",
        f"and min_over_time(({failed[part]} / {operations[part]})[{all_of}:$five_minutes]) > {EACH_PART} * $page_share",
        f"unless {scope.over}",
    )


def _all_evening(scope: Scope) -> str:
    """The same for as long as it goes on: few failures are now and then fewer."""
    failed, operations = scope.failed[HOUR], scope.operations[HOUR]
    return block(
        f"{failed} / {operations} > $page_share",
        f"and max_over_time({scope.evening}[{HOUR}])",
        f"and {scope.failed[MID]} / {scope.operations[MID]} > {EACH_PART} * $page_share",
        f"unless {scope.over}",
    )


def usual(scope: Scope) -> Record:
    """Record the share that failed in the last hours, between what chance may bring and what pages."""
    failed, operations = (
        f"sum_over_time({count[FAST]}[$past:$fast] offset $mid)" for count in (scope.failed, scope.operations)
    )
    return Record(scope.usual, f"""
        clamp(
          ({PRIOR} * $expected + {failed}) / ({PRIOR} + {operations}),
          $expected, $page_share
        ) or $expected + 0 * {scope.operations[MID]}""")


def _goes_on(scope: Scope, window: str) -> Iterator[str]:
    """Conditions that it goes on: the failures did not all come at once, and are not going down."""
    failed, operations = scope.failed, scope.operations
    if window != HOUR:
        yield f"and max_over_time({failed[SHORT]}[$mid]) <= {AT_ONCE} * {failed[MID]}"
    if window != MID:
        much = "" if window == HOUR else "0.7 * "
        yield f"and {failed[MID]} / {operations[MID]} >= {much}{failed[window]} / {operations[window]}"


def _collapsed(scope: Scope) -> str:
    """Whether most of what is asked a few times an hour has failed for hours."""
    failed, operations = scope.failed, scope.operations
    return block(
        f"{failed[QUARTER_DAY]} / {operations[QUARTER_DAY]} > $collapse",
        f"and {beyond_chance(failed[QUARTER_DAY], operations[QUARTER_DAY])}",
        f"and {failed[HOUR]} / {operations[HOUR]} > $collapse",
        f"and {operations[QUARTER_DAY]} < {LITTLE}",
        f"unless {scope.over}",
    )


def _none_well(scope: Scope, usual: str) -> str:
    """Whether enough streams fail where none ends well, and not all of them at once; the value is 1."""
    failed = scope.none_well
    return block(
        f"{failed[FAST]} / {failed[FAST]}",
        f"and {beyond_chance(failed[FAST], failed[FAST], usual)}",
        f"and max_over_time({failed[SHORT]}[$fast]) <= {AT_ONCE} * {failed[FAST]}",
    )


def hanging(scope: Scope) -> Record:
    """Record how many streams hang, where far more do than is usual here."""
    stalled, active = scope.stalled, scope.active
    return Record(scope.hanging, f"""
        (
          min_over_time({stalled}[$lasting]) >= {HANGING}
            and {stalled} / {active} > 0.3
        ) unless on ({", ".join(scope.by)}) (
          {stalled} / {active}
            <= 3 * avg_over_time({stalled}[$day] offset $mid) / (avg_over_time({active}[$day] offset $mid) > 0)
        )""")


def usuals() -> Iterator[Record]:
    """Record what is usual in the service, and in each model."""
    yield usual(WHOLE)
    yield usual(EACH_MODEL)


def hangs() -> Iterator[Record]:
    """Record how many streams hang of the service, and of each model."""
    yield hanging(WHOLE)
    yield hanging(EACH_MODEL)


def conditions(by_label: Sequence[Scope] = ()) -> Iterator[Record]:
    """Record whether the service, one of its models, or a model at one server fails, or a value of ``by_label``."""
    yield from failing(WHOLE, "$page_share", "$spike", MID, HALF_HOUR, HOUR, attempts=True, hours=True)
    yield from failing(EACH_MODEL, "$spike", "$model_spike", MID, attempts=True)
    yield Record(EACH_SERVER.failing, _none_well(EACH_SERVER, "$page_share"))
    every = [WHOLE.failing, EACH_MODEL.failing, EACH_SERVER.failing, WHOLE.hanging, EACH_MODEL.hanging]
    every += [WHOLE.flapping, EACH_MODEL.flapping]
    for scope in by_label:
        every += [scope.failing, scope.hanging]
    yield Record("streamvitals:failing", f"group by ({SERVICE}) ({either(*every)})")
