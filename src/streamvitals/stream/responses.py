"""Tracks responses by id, so that usage is counted once and completed ones are known.

A background response goes on when its stream is cut, and ``GET /responses/{id}?stream=true`` takes it up again
(https://platform.openai.com/docs/guides/background). Usage is counted once per response: by the stream that
generates it, or, where that ended without any, by the first one that takes it up again and reports it. A plain
fetch, of a response that was streamed to its end or that nobody streamed, counts nothing.

The stream that generates a response always counts, whatever its id: there are gateways that give all of them the
same one. An id joins streams only if a request names it, of the same host and port, and only to what began before.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..outcome import GOOD_ENDS
from .record import StreamEnd
from .request import Key, RequestFacts

MOST = 2048  # responses; OpenAI takes one up again for five minutes
_COUNTED_BEFORE_US = float("-inf")  # in `counted_by`: not by a stream of this process


class _Known(NamedTuple):
    """One response: ``counted_by`` is the start of the stream that counted its usage, None while none has.

    ``fetch``: whether that stream fetched it. ``whole_since`` is the start of the last stream that brought it to its
    end."""

    counted_by: float | None
    fetch: bool
    whole_since: float | None


class Responses:
    """One per process; a forked child knows what was known at the fork. Bounded: the oldest entry is evicted."""

    def __init__(self) -> None:
        self._known: dict[Key, _Known] = {}

    def settle(self, request: RequestFacts, end: StreamEnd) -> StreamEnd:
        """Take the usage out of what is counted, where it is counted elsewhere. ``request.fetch``: the stream did not
        generate its response; ``request.resumes``: it continues after an event that somebody has seen. May be called
        again for the same stream."""
        key, fetch = request.key_of(end.response_id), request.fetch
        if key is None:
            return end
        began, known = end.clock_origin, self._known.pop(key, None)
        counted_by = None if known is None else known.counted_by
        by_fetch = known is not None and known.fetch
        if fetch and known is None and not request.resumes:
            counted_by = _COUNTED_BEFORE_US
        elif not fetch and not (by_fetch and counted_by is not None and counted_by > began):
            counted_by = None  # what has been counted was of another response with this id
        if end.usage is not None and counted_by in (None, began):
            counted_by, by_fetch = began, fetch
        elif end.usage is not None:
            end = end._replace(usage=None)
        whole_since = began if end.outcome in GOOD_ENDS else known and known.whole_since
        self._known[key] = _Known(counted_by, by_fetch, whole_since)
        while len(self._known) > MOST:
            self._known.pop(next(iter(self._known)), None)
        return end

    def came_whole(self, key: Key, after: float) -> bool:
        """Whether a stream that began later than that has brought this response to its end."""
        known = self._known.get(key)
        return known is not None and known.whole_since is not None and known.whole_since > after


# What the API says of a response or a run that is not streamed.
_UNDER_WAY = frozenset({"queued", "in_progress", "cancelling"})
_FAILED = frozenset({"failed", "cancelled", "expired"})


def progress_of(result: Any) -> bool | None:
    """Whether what was fetched without streaming has come to a good end; None while it is still under way."""
    status = result.get("status") if isinstance(result, Mapping) else getattr(result, "status", None)
    if not isinstance(status, str):
        return True
    return None if status in _UNDER_WAY else status not in _FAILED
