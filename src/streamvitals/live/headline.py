"""One sentence that says how it goes, for somebody who has ten seconds: the page's first line, and top's.

It is red where the shipped alerts would page, and amber where something is not as promised; by the objectives that
`streamvitals alerts` has unless others are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .. import names
from ..alerts.objectives import Objectives
from . import counts
from .history import Window

OK, WARN, BAD = LEVELS = ("ok", "warn", "bad")
# So many streams must hang at once to be a matter for the pager, and fewer operations than this for a share of them.
HANGING, FEW = 3, 5
# What became of streams, after "12 streams of gpt-4o were".
FATES = {
    "truncated": "cut short without an error", "reset": "reset mid-stream", "timeout": "timed out",
    "malformed": "unreadable", "api_error": "failed inside the stream", "rate_limited": "rate limited",
    "http_error": "answered with an error status", "connect_error": "not sent: no connection",
}
PROMISED = Objectives()


class Headline(NamedTuple):
    """A sentence, and how bad it is."""

    level: str
    text: str


def headline(streams: Sequence[Mapping[str, Any]], recent: Window, hour: Window) -> Headline:
    """``streams`` are those that are open (streams.py)."""
    found = [one for one in (_stalled(streams), _failing(recent), _late(recent)) if one is not None]
    if found:
        level = max((one.level for one in found), key=LEVELS.index)
        return Headline(level, " ".join(f"{one.text}." for one in sorted(found, key=lambda o: -LEVELS.index(o.level))))
    ended = round(counts.counted(recent.streams, names.STREAMS))
    if not streams and not ended:
        if counts.counted(hour.streams, names.STREAMS):
            return Headline(OK, f"No stream is open, and none has ended{_while(recent)}.")
        return Headline(OK, "No stream yet: the first one is shown here as soon as it is asked for.")
    failed = counts.by_label(recent.streams, names.STREAMS, "result").get("failed", 0)
    is_open = _many(len(streams), "stream is open and not stalled", "streams are open and none is stalled")
    ends = f"{_many(ended, 'has', 'have')} ended{_while(recent)}, {failed or 'none'} of them failed"
    return Headline(OK, f"{is_open}; {ends}.")


def _stalled(streams: Sequence[Mapping[str, Any]]) -> Headline | None:
    stalled = [one for one in streams if one["state"] == "stalled"]
    if not stalled:
        return None
    longest = max(one["silence"] for one in stalled)
    of = {(one["model"], one["server"]) for one in stalled}
    where = " of {} at {}".format(*of.pop()) if len(of) == 1 else f" of {len({model for model, _ in of})} models"
    hang = "hangs" if len(stalled) == 1 else "hang"
    text = f"{_many(len(stalled), 'stream', 'streams')}{where} {hang}: nothing came for up to {longest:.0f} s"
    return Headline(BAD if len(stalled) >= HANGING else WARN, text)


def _failing(recent: Window) -> Headline | None:
    failed, of = counts.operations(recent.streams)
    if not failed or failed / of <= PROMISED.budget:
        return _broken(recent)
    share = f"{100 * failed / of:.0f}% of operations failed" if of >= FEW else f"{failed} of {of} operations failed"
    worst, model = _worst(recent)
    bad = failed / of > PROMISED.page_share and of >= FEW
    return Headline(BAD if bad else WARN, f"{share}{_while(recent)}, most of them {worst} ({model})")


def _broken(recent: Window) -> Headline | None:
    """What broke and was tried again: no operation has failed by it."""
    ends = counts.by_label(recent.streams, names.STREAMS, "result")
    broken, of = ends.get("failed", 0), sum(ends.get(result, 0) for result in ("completed", "limit", "failed"))
    if not broken or broken / of <= PROMISED.budget:
        return None
    worst, model = _worst(recent)
    share = f"{100 * broken / of:.0f}%" if of >= FEW else f"{broken} of {of}"
    text = f"{share} of streams broke{_while(recent)}, most of them {worst} ({model}), and were tried again"
    return Headline(WARN, text)


def _worst(recent: Window) -> tuple[str, str]:
    """The fate that befell most streams, and the model that it befell most."""
    found = [
        (count, outcome, model)
        for (_, model), row in recent.models.items()
        for outcome, count in counts.by_label(row, names.STREAMS, "outcome").items() if outcome in FATES
    ]
    if not found:  # of models that are not kept apart
        return "one way or another", "several models"
    totals: dict[str, int] = {}
    for count, outcome, _ in found:
        totals[outcome] = totals.get(outcome, 0) + count
    worst = max(totals, key=totals.__getitem__)
    return FATES[worst], max((count, model) for count, outcome, model in found if outcome == worst)[1]


def _late(recent: Window) -> Headline | None:
    first = counts.times(recent.streams, names.TIME_TO_FIRST_TOKEN)
    if first["count"] < FEW or first["p95"] <= PROMISED.ttft_p95:
        return None
    return Headline(WARN, f"First tokens are late: one in twenty took longer than {first['p95']:.1f} s{_while(recent)}")


def _while(recent: Window) -> str:
    if recent.seconds is None:
        return " since the process began"
    minutes = max(1, round(recent.seconds / 60))
    return " in the last minute" if minutes == 1 else f" in the last {minutes} minutes"


def _many(count: int, one: str, more: str) -> str:
    return f"{count} {one if count == 1 else more}"
