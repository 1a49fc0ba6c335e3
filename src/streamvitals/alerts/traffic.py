"""Whether there is anything to observe, and whether there should be."""

from __future__ import annotations

from collections.abc import Iterator

from .rule import Record

# So many streams must be expected in five minutes before none at all means anything, or in fifteen before none in half
# an hour does; and so many there must have been at this time of other days.
EXPECTED_SOON, EXPECTED = 100, 4
USUAL_SOON, USUAL = 33, 5
# Where no quarter of an hour had fewer than so many, neither in the last hour nor on other days, none at all is news in
# one.
STEADY = 9


def traffic() -> Iterator[Record]:
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

    def then(window: str, compared: str) -> str:
        """How it was at this time: last week, or yesterday where there was no last week. The day after a weekend has a
        yesterday unlike it."""
        week, day = (f"min_over_time({ended}{window}[$hour] offset {of})" for of in ("$last_week", "$yesterday"))
        return f"on ($service) ({week} {compared} or ({day} {compared} unless {week}))"

    # Where a night may come all at once, only who has seen one knows. And where little is asked a quarter of an hour is
    # often empty, as users come in groups: where one has been within the hour, another is no news.
    watched = """and on ($service) streamvitals:reporting
          unless on ($service) (max_over_time(streamvitals:observed[$day]) unless streamvitals:observed)
          unless on ($service) count_over_time(streamvitals:observed[$hour:$fast]) < 11
          and on ($service) count_over_time(streamvitals:reporting[$hour:$fast]) >= 11
          unless on ($service) streamvitals:stalled > 0"""
    yield Record(
        "streamvitals:traffic:stopped",
        f"""
        ((
          {expected}$fast >= {EXPECTED_SOON}
            unless on ($service) {ended}$fast >= 2
            unless {then("$fast", f"< {USUAL_SOON}")}
        ) or (
          {expected}$mid >= {EXPECTED}
            unless on ($service) max_over_time({ended}$mid[$mid]) >= 2
            and on ($service) min_over_time({ended}$mid[$hour] offset $half_hour) >= 2
            and {then("$mid", f">= {USUAL}")}
        ) or (
          min_over_time({ended}$mid[$hour] offset $mid) >= {STEADY}
            unless on ($service) {ended}$mid >= 1
            and {then("$mid", f">= {STEADY}")}
        )) {watched}""",
    )
    # What was usual is forgotten within the hour; that nothing comes is not.
    yield Record(
        "streamvitals:traffic:gone",
        f"""
        (
          streamvitals:traffic:stopped
            or max_over_time(streamvitals:traffic:stopped[$past]) unless on ($service) {ended}$mid >= 1
        ) {watched}""",
    )
