"""Messages of a WebSocket as bytes: finds a message's type and response, mostly without parsing it.

The type is at the front, so the rest of most messages is not read. Names are searched for with their quotes, which
would be escaped inside a text.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .fields import get, text
from .record import RateLimit

# Events that end a response; the reader (events.py) decides how it ended.
ENDS = frozenset({
    "response.done", "response.completed", "response.incomplete", "response.failed", "response.cancelled",
})
CREATED, STEERING = "response.created", "response.steer."
_MAX_KINDS = 256  # far more than there are event types
_FRONT = r'\s*\{\s*(?:"event_id"\s*:\s*"[^"\\]*"\s*,\s*)?"type"\s*:\s*"([\w.]+)"'
_BYTES_FRONT, _TEXT_FRONT = re.compile(_FRONT.encode()), re.compile(_FRONT)
_NAMES = {name: re.compile(rb'"%b"\s*:\s*"([^"\\]+)"' % name.encode()) for name in ("response_id", "stream_id")}


class Unreadable(Exception):
    """A message that is not JSON; its cause is the parser's error."""


def kind_of(message: str | bytes) -> str | None:
    """The type of an event that begins with it; None where the event must be parsed for it."""
    if isinstance(message, bytes):
        matched = _BYTES_FRONT.match(message)
        return matched.group(1).decode("ascii", "replace") if matched is not None else None
    found = _TEXT_FRONT.match(message)
    return found.group(1) if found is not None else None


def is_part(kind: str) -> bool:
    """Whether events of this type come between the first and the last event of a response."""
    return kind.startswith("response.") and kind != CREATED and kind not in ENDS and not kind.startswith(STEERING)


_parts: dict[bytes, dict[str, Any] | None] = {}


def part_of(message: bytes) -> dict[str, Any] | None:
    """An event with the type only, for a common message of which nothing else is needed.
    None for a message that must be parsed."""
    matched = _BYTES_FRONT.match(message)
    if matched is None:
        return None
    kind = matched.group(1)
    try:
        return _parts[kind]
    except KeyError:
        name = kind.decode("ascii", "replace")
        part = {"type": name} if is_part(name) else None
        if len(_parts) < _MAX_KINDS:
            _parts[kind] = part
        return part


def parse(message: str | bytes) -> dict[str, Any]:
    """Parse an event; empty for JSON that is not an object. Raises Unreadable."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    return event if isinstance(event, dict) else {}


def name_in(raw: bytes, name: str) -> str | None:
    """The value of ``response_id`` or ``stream_id`` in an unparsed message."""
    found = _NAMES[name].search(raw)
    return text(found.group(1).decode("utf-8", "replace")) if found is not None else None


def limits_in(event: dict[str, Any]) -> tuple[RateLimit, ...]:
    """The limits that an event ``rate_limits.updated`` reports."""
    limits = event.get("rate_limits")
    return tuple(
        RateLimit(kind, _number(get(one, "remaining")), _number(get(one, "limit")), _number(get(one, "reset_seconds")))
        for one in (limits if isinstance(limits, list) else ())
        if (kind := get(one, "name")) in ("requests", "tokens")
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None
