"""Answers /api/v1/incidents: for the agent's server, and for the server of a program that shows its own."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from ..store.incident_record import IncidentRecord
from .answer import answer
from .query import BadQueryError, Query, parse

PATH = "/api/v1/incidents"
_JSON = ("Content-Type", "application/json; charset=utf-8")
_NO_SNIFFING = ("X-Content-Type-Options", "nosniff")
# For how many seconds an answer may be used again. If hundreds of processes keep records it is longer: reading them
# takes about this share of a processor, however many look.
FRESH = 1.0
_SHARE, _OLDEST = 0.05, 15.0
_MOST_ANSWERS = 16  # to different questions
_MOST_PARAMETERS = 50


class Reply(NamedTuple):
    """An answer to a request, without what its server adds."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class IncidentsPage:
    """``take`` returns the records, and how many are not kept any more. Call it from one thread at a time.

    However many ask, the records are read once in ``FRESH`` seconds, and each question is answered once then."""

    def __init__(
        self, take: Callable[[], tuple[list[IncidentRecord], int]],
        clock: Callable[[], float] = time.monotonic, unix_time: Callable[[], float] = time.time,
        cpu_time: Callable[[], float] = time.thread_time,
    ) -> None:
        self._take = take
        self._clock = clock
        self._unix_time = unix_time
        self._cpu_time = cpu_time
        self._taken: tuple[list[IncidentRecord], int] = [], 0
        self._taken_at = self._until = float("-inf")
        self._answers: dict[Query, tuple[str, bytes]] = {}

    def reply(self, query: str, if_none_match: str = "") -> Reply:
        """The reply to a GET with this query."""
        try:
            given = parse_qs(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
            asked = parse(given)
        except ValueError as error:
            text = str(error) if isinstance(error, BadQueryError) else f"more than {_MOST_PARAMETERS} parameters"
            return Reply(400, (_JSON, _NO_SNIFFING, ("Cache-Control", "no-store")), encode({"error": text}))
        tag, body = self._answer(asked)
        headers = (_JSON, _NO_SNIFFING, ("Cache-Control", f"private, max-age={FRESH:.0f}"), ("ETag", tag))
        if tag in (one.strip() for one in if_none_match.split(",")):
            return Reply(304, headers, b"")
        return Reply(200, headers, body)

    def _answer(self, asked: Query) -> tuple[str, bytes]:
        now, began = self._clock(), self._cpu_time()
        if now >= self._until:
            self._taken = self._take()
            self._answers.clear()
            self._taken_at, self._until = now, now + FRESH
        found = self._answers.get(asked)
        if found is None:
            made = answer(*self._taken, asked, self._unix_time())
            # Of all but the time of the answer, by which every answer would differ.
            found = f'W/"{zlib.crc32(encode({**made, "now": 0})):08x}"', encode(made)
            if len(self._answers) >= _MOST_ANSWERS:
                self._answers.clear()
            self._answers[asked] = found
            until = max(self._until, now + (self._cpu_time() - began) / _SHARE)
            self._until = min(until, self._taken_at + _OLDEST)
        return found


def encode(made: dict[str, Any]) -> bytes:
    """An answer as JSON, on one line."""
    return json.dumps(made, separators=(",", ":"), allow_nan=False).encode()
