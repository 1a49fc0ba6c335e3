"""Whether a busy service is not seen any more: what is recorded of it, and the page."""

from __future__ import annotations

from collections.abc import Iterator

from . import links
from .language import FAST, MID
from .rule import Alert, Record
from .series import ENDED
from .texts import of_service, query_text
from .traffic import EXPECTED_LATER, PATCHED_BUILDS, UNPATCHED_BUILDS, USUAL, then

# Why nothing is seen, one series each.
DOWN, SILENT, UNPATCHED = (f"streamvitals:blind:{why}" for why in ("down", "silent", "unpatched"))


def blind() -> Iterator[Record]:
    """Record why a busy service is not seen, once that is so for ten minutes.

    Busy it is where streams ended in each quarter of some half an hour of the last three, and at this time of other
    days, if it was there then. Targets that are still discovered are down; what was never scraped pushes, and has
    fallen silent. What has left discovery may have ended as it was to: that is a ticket, if any.
    """
    yield Record("streamvitals:busy", f"""
        min_over_time({ENDED[MID]}[$half_hour]) >= {EXPECTED_LATER}
          and {ENDED[MID]} offset $half_hour""")
    yield Record("streamvitals:usually_busy", f"""
        max_over_time(streamvitals:busy[$past])
          unless {then(MID, f"< {USUAL}")}""")
    yield Record("streamvitals:targets", """
        count by ($service) (up)
          and on ($service) max_over_time(streamvitals:reporting[$day])""")
    yield Record(DOWN, """
        streamvitals:usually_busy
          unless on ($service) max_over_time(streamvitals:reporting[$ten_minutes])
          and on ($service) streamvitals:targets""")
    # Prometheus goes by what was pushed last for five minutes more.
    yield Record(SILENT, """
        streamvitals:usually_busy
          unless on ($service) streamvitals:reporting
          unless on ($service) max_over_time(streamvitals:reporting[$fast])
          unless on ($service) max_over_time(streamvitals:targets[$day])""")
    yield Record("streamvitals:patched", PATCHED_BUILDS)
    yield Record(UNPATCHED, f"""
        streamvitals:usually_busy
          and on ($service) {UNPATCHED_BUILDS}
          unless on ($service) max_over_time(streamvitals:patched[$ten_minutes])
          unless on ($service) max_over_time({ENDED[FAST]}[$fast]) >= 1""")


_WHY = (
    (DOWN, "all of its targets are down or have nothing to say"),
    (SILENT, "nothing of it is pushed any more"),
    (UNPATCHED, "its openai SDK is a version that is not known, and not observed"),
)
_EVERY = " or ".join(series for series, _ in _WHY)


def _why(left: tuple[tuple[str, str], ...] = _WHY) -> str:
    if not left:
        return "no telemetry comes"
    (series, words), *rest = left
    return query_text(of_service(series), words, _why(tuple(rest)))


PAGE = Alert(
    "StreamvitalsBlind", "symptom", "page", f"group by ($service) ({_EVERY})",
    summary="nothing is seen of a service that is usually busy now: " + _why(),
    description=(
        "Whether users are served is unknown. Look next: 1. whether the service runs at all and answers its"
        " users; 2. the targets' errors on Prometheus' page of targets, or the Collector's log; 3. the last deployment:"
        " an SDK that was upgraded, or a start without streamvitals (streamvitals doctor says which)."
    ),
    dashboard=links.STREAMS, for_=60, keep_firing_for=1200,
)
