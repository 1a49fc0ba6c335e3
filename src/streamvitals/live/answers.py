"""Answers the requests of the page, of `streamvitals top` and of programs: for the agent's server and for an app's own.

All is GET, and nothing here changes anything. Answers that are asked for by many are made once a moment.
"""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from ..incidents.page import PATH as INCIDENTS
from ..incidents.page import IncidentsPage, Reply
from ..incidents.query import shortened
from ..store.snapshot import Opened, Snapshot
from ..stream.record import StallAfter
from . import files, streams, summary
from .headline import headline
from .history import History
from .streams import MOST_IN_EVENT, MOST_STREAMS, Pulse
from .summary import Counted

API = "/api/v1/"
JSON = "application/json; charset=utf-8"
# For how many seconds an answer is the same for all who ask.
STREAMS_FRESH, SUMMARY_FRESH = 0.4, 2.0
# How old the counts may be that the sentence on how it goes is made of, while streams are looked at twice a second.
COUNTS_FRESH = 5.0
_DEFAULT_STREAMS = 200
_MOST_PARAMETERS = 50


class BadRequestError(ValueError):
    """A parameter has a value that is not allowed; the text names it and says what is."""


class Live:
    """What is open, and what was counted lately. Call it from one thread at a time, but for ``history``.

    ``look`` returns what is open, ``take`` all counts. Without a ``history`` what is shown began with the process.
    """

    def __init__(
        self, look: Callable[[], Sequence[Opened]], take: Callable[[], Snapshot], stall_after: StallAfter,
        incidents: IncidentsPage, history: History | None = None, clock: Callable[[], float] = time.monotonic,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._take = take
        self._incidents = incidents
        self._clock = clock
        self._unix_time = unix_time
        self._history = history
        self._pulse = Pulse(look, stall_after, clock, unix_time, self._first_tokens)
        self._counted: Counted | None = None
        self._usual: dict[tuple[str, str], float | None] = {}
        self._kept: dict[str, tuple[float, bytes]] = {}

    def note(self) -> None:
        """Note the counts, if that is due."""
        now = self._clock()
        if self._history is not None and self._history.is_due(now):
            self._note(self._take(), now)

    def answer(self, path: str, query: str = "", if_none_match: str = "") -> Reply | None:
        """The reply to a GET, None for a path that is none of these."""
        try:
            if path == API + "streams":
                limit = _limit(query)
                return self._json(f"streams {limit}", STREAMS_FRESH, lambda: self.streams(limit), if_none_match)
            if path == API + "summary":
                parameters(query)
                return self._json("summary", SUMMARY_FRESH, self.summary, if_none_match)
            if path == INCIDENTS:
                return self._incidents.reply(query, if_none_match)
        except BadRequestError as error:
            return refusal(400, str(error))
        found = files.find(path)
        if found is None:
            return None
        return _unless_known(found.body, found.headers, if_none_match)

    def refuse(self, query: str) -> Reply | None:
        """The reply to a request for events, if its query cannot be answered."""
        try:
            parameters(query)
        except BadRequestError as error:
            return refusal(400, str(error))
        return None

    def streams(self, limit: int = MOST_IN_EVENT) -> dict[str, Any]:
        """What is open now, and a sentence on how it goes."""
        sample = self._pulse.sample()
        if self._counted is None or self._clock() - self._counted.at >= COUNTS_FRESH:
            self._count()
        assert self._counted is not None  # noqa: S101  it has just been made
        level, text = headline(sample.streams, self._counted.recent, self._counted.hour)
        return {**streams.answer(sample, limit), "headline": {"level": level, "text": text}}

    def summary(self) -> dict[str, Any]:
        """The last minutes and the last hour."""
        counted = self._count()
        return summary.summary(self._pulse.sample(), counted, self._history)

    def _count(self) -> Counted:
        snapshot, now = self._take(), self._clock()
        if self._history is not None and self._history.is_due(now):
            self._note(snapshot, now)
        self._counted = Counted.of(snapshot, self._history, now, self._unix_time())
        return self._counted

    def _note(self, snapshot: Snapshot, now: float) -> None:
        assert self._history is not None  # noqa: S101  whoever calls has looked
        self._history.note(snapshot, now, self._unix_time())
        self._usual = summary.usual_first_tokens(self._history)

    def _first_tokens(self, model: tuple[str, str]) -> float | None:
        return self._usual.get(model)

    def _json(self, name: str, fresh: float, make: Callable[[], Mapping[str, Any]], if_none_match: str) -> Reply:
        now = self._clock()
        made, body = self._kept.get(name, (0.0, b""))
        if not body or now - made >= fresh:
            body = encode(make())
            self._kept = {key: kept for key, kept in self._kept.items() if now - kept[0] < SUMMARY_FRESH}
            self._kept[name] = now, body
        headers = (("Content-Type", JSON), ("Cache-Control", f"private, max-age={max(1, int(fresh))}"))
        return _unless_known(body, headers, if_none_match)


def encode(answer: Mapping[str, Any]) -> bytes:
    """An answer as JSON, on one line."""
    return json.dumps(answer, separators=(",", ":"), allow_nan=False).encode()


def refusal(status: int, text: str, **headers: str) -> Reply:
    """An answer that says what is wrong."""
    named = ((name.replace("_", "-"), value) for name, value in headers.items())
    return Reply(status, (("Content-Type", JSON), ("Cache-Control", "no-store"), *named), encode({"error": text}))


def _unless_known(body: bytes, headers: Sequence[tuple[str, str]], if_none_match: str) -> Reply:
    tag = f'W/"{zlib.crc32(body):08x}{len(body):x}"'
    known = tag in (one.strip() for one in if_none_match.split(","))
    if known:
        return Reply(304, (*(header for header in headers if header[0] != "Content-Type"), ("ETag", tag)), b"")
    return Reply(200, (*headers, ("ETag", tag), *files.SAFE), body)


def parameters(query: str, *known: str) -> dict[str, list[str]]:
    """The parameters of a request. Raises BadRequestError for one that is not known."""
    try:
        given = parse_qs(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise BadRequestError(f"more than {_MOST_PARAMETERS} parameters") from None
    for name in given:
        if name not in known:
            there = f"there are: {', '.join(known)}" if known else "there are none here"
            raise BadRequestError(f"there is no parameter {shortened(name)}; {there}")
    return given


def _limit(query: str) -> int:
    given = parameters(query, "limit").get("limit", [str(_DEFAULT_STREAMS)])[-1]
    if not (given.isascii() and given.isdigit() and len(given) < 6 and 0 < int(given) <= MOST_STREAMS):
        raise BadRequestError(f"limit={given[:20]!r} is not allowed: a whole number from 1 to {MOST_STREAMS}")
    return int(given)
