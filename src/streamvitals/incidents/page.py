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
from .query import BadQueryError, parse

PATH = "/api/v1/incidents"
_JSON = ("Content-Type", "application/json; charset=utf-8")
_NO_SNIFFING = ("X-Content-Type-Options", "nosniff")
# For how many seconds an answer may be used again.
FRESH = 1.0
_MOST_PARAMETERS = 50


class Reply(NamedTuple):
    """An answer to a request, without what its server adds."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


class IncidentsPage:
    """``take`` returns the records, and how many are not kept any more. Call it from one thread at a time.

    However many ask, the records are read once in ``FRESH`` seconds."""

    def __init__(
        self, take: Callable[[], tuple[list[IncidentRecord], int]],
        clock: Callable[[], float] = time.monotonic, unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._take = take
        self._clock = clock
        self._unix_time = unix_time
        self._taken: tuple[float, list[IncidentRecord], int] | None = None

    def reply(self, query: str, if_none_match: str = "") -> Reply:
        """The reply to a GET with this query."""
        try:
            given = parse_qs(query, keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
            asked = parse(given)
        except ValueError as error:
            text = str(error) if isinstance(error, BadQueryError) else f"more than {_MOST_PARAMETERS} parameters"
            return Reply(400, (_JSON, _NO_SNIFFING, ("Cache-Control", "no-store")), encode({"error": text}))
        made = answer(*self._records(), asked, self._unix_time())
        # Of all but the time of the answer, by which every answer would differ.
        tag = f'W/"{zlib.crc32(encode({**made, "now": 0})):08x}"'
        headers = (_JSON, _NO_SNIFFING, ("Cache-Control", f"private, max-age={FRESH:.0f}"), ("ETag", tag))
        if tag in (one.strip() for one in if_none_match.split(",")):
            return Reply(304, headers, b"")
        return Reply(200, headers, encode(made))

    def _records(self) -> tuple[list[IncidentRecord], int]:
        now = self._clock()
        if self._taken is None or now - self._taken[0] >= FRESH:
            self._taken = now, *self._take()
        return self._taken[1:]


def encode(made: dict[str, Any]) -> bytes:
    """An answer as JSON, on one line."""
    return json.dumps(made, separators=(",", ":"), allow_nan=False).encode()
