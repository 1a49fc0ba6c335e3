"""Recording rules on whether anything streams, and whether it should."""

from __future__ import annotations

from collections.abc import Iterator

from .. import names
from .language import FAST, MID, SERVICE
from .promql import PATCHED, differs, equals, name_of, selector, total
from .rule import Record
from .series import ENDED, EXPECTED, STREAMS, WHOLE

# So many streams must be expected in five minutes before none at all means anything, or in fifteen before none in half
# an hour does; and so many there must have been at this time of other days.
EXPECTED_SOON, EXPECTED_LATER = 100, 4
USUAL_SOON, USUAL = 33, 5
# Where no quarter of an hour had fewer than so many, neither in the last hour nor on other days, none at all is news in
# one.
STEADY = 9
# Where so large a part of what is expected in five minutes is open and silent, requests do come.
HUNG = 0.1
PATCHED_BUILDS, UNPATCHED_BUILDS = (
    total(selector(names.BUILD_INFO, matcher), SERVICE)
    for matcher in (differs(PATCHED, "false"), equals(PATCHED, "false"))
)


def traffic() -> Iterator[Record]:
    """Record whether agents report, and whether what streamed an hour, a day and a week ago has stopped.

    There must be programs that could stream, and they must have been seen for all of the hour.
    """
    internal, active, build = map(name_of, (names.INTERNAL_ERRORS, names.ACTIVE, names.BUILD_INFO))
    yield Record("streamvitals:agents", f"group by ($service, instance) ({internal} or {active})")
    yield Record("streamvitals:reporting", "count by ($service) (streamvitals:agents)")
    yield Record("streamvitals:observed", f"count by ($service) ({build})")
    for window, quiet in ((FAST, "$fast"), (MID, "$half_hour")):
        yield Record(ENDED[window], total(STREAMS[window], SERVICE))
        yield Record(EXPECTED[window], f"avg_over_time({ENDED[window]}[$hour] offset {quiet})")

    # Where a night may come all at once, only who has seen one knows. And where little is asked a quarter of an hour is
    # often empty, as users come in groups: where one has been within the hour, another is no news.
    watched = f"""and on ($service) streamvitals:reporting
          unless on ($service) (max_over_time(streamvitals:observed[$day]) unless streamvitals:observed)
          unless on ($service) ({UNPATCHED_BUILDS} unless on ($service) {PATCHED_BUILDS})
          unless on ($service) count_over_time(streamvitals:observed[$hour:$five_minutes]) < 11
          and on ($service) count_over_time(streamvitals:reporting[$hour:$five_minutes]) >= 11
          unless on ($service) {WHOLE.stalled} > {HUNG} * {EXPECTED[FAST]}"""
    yield Record("streamvitals:traffic:stopped", f"""
        ((
          {EXPECTED[FAST]} >= {EXPECTED_SOON}
            unless on ($service) {ENDED[FAST]} >= 2
            unless {then(FAST, f"< {USUAL_SOON}")}
        ) or (
          {EXPECTED[MID]} >= {EXPECTED_LATER}
            unless on ($service) max_over_time({ENDED[MID]}[$mid]) >= 2
            and on ($service) min_over_time({ENDED[MID]}[$hour] offset $half_hour) >= 2
            and {then(MID, f">= {USUAL}")}
        ) or (
          min_over_time({ENDED[MID]}[$hour] offset $mid) >= {STEADY}
            unless on ($service) {ENDED[MID]} >= 1
            and {then(MID, f">= {STEADY}")}
        )) {watched}""")
    # What was usual is forgotten within the hour; that nothing comes is not.
    yield Record("streamvitals:traffic:gone", f"""
        (
          streamvitals:traffic:stopped
            or max_over_time(streamvitals:traffic:stopped[$past]) unless on ($service) {ENDED[MID]} >= 1
        ) {watched}""")


def then(window: str, compared: str) -> str:
    """Compare with this time last week, or yesterday where there was no last week.

    The day after a weekend has a yesterday unlike it.
    """
    week, day = (f"min_over_time({ENDED[window]}[$hour] offset {of})" for of in ("$last_week", "$yesterday"))
    return f"on ($service) ({week} {compared} or ({day} {compared} unless {week}))"
