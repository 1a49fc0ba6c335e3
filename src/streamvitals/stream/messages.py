"""Messages of a WebSocket as bytes: of what kind one is and whose, mostly without parsing it.

The kind stands at the front, so that of most messages the rest is left alone; names are searched for in their
quotes, which inside a text would be escaped.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .fields import get, text
from .record import RateLimit

# Events that end a response; which of them ends it how is for the reader (events.py).
ENDS = frozenset({
    "response.done", "response.completed", "response.incomplete", "response.failed", "response.cancelled",
})
CREATED, STEERING = "response.created", "response.steer."
_MAX_KINDS = 256  # far more than there are
_FRONT = r'\s*\{\s*(?:"event_id"\s*:\s*"[^"\\]*"\s*,\s*)?"type"\s*:\s*"([\w.]+)"'
_BYTES_FRONT, _TEXT_FRONT = re.compile(_FRONT.encode()), re.compile(_FRONT)
_NAMES = {name: re.compile(rb'"%b"\s*:\s*"([^"\\]+)"' % name.encode()) for name in ("response_id", "stream_id")}


class Unreadable(Exception):
    """A message that is not JSON; its cause says how not."""


def kind_of(message: str | bytes) -> str | None:
    """The type of an event that has it at its front; None for one that must be parsed for it."""
    if isinstance(message, bytes):
        matched = _BYTES_FRONT.match(message)
        return matched.group(1).decode("ascii", "replace") if matched is not None else None
    found = _TEXT_FRONT.match(message)
    return found.group(1) if found is not None else None


def is_part(kind: str) -> bool:
    """Whether an event of this type is one of those that a response has between its first and its last."""
    return kind.startswith("response.") and kind != CREATED and kind not in ENDS and not kind.startswith(STEERING)


_parts: dict[bytes, dict[str, Any] | None] = {}


def part_of(message: bytes) -> dict[str, Any] | None:
    """Make an event of the common message: its type alone, since nothing else in it is of interest.
    None for one that must be looked at more closely."""
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
    """The event; empty for JSON that is none. Raises Unreadable."""
    try:
        event = json.loads(message)
    except (ValueError, RecursionError) as error:
        raise Unreadable from error
    return event if isinstance(event, dict) else {}


def name_in(raw: bytes, name: str) -> str | None:
    """The value of ``response_id`` or ``stream_id``."""
    found = _NAMES[name].search(raw)
    return text(found.group(1).decode("utf-8", "replace")) if found is not None else None


def limits_in(event: dict[str, Any]) -> tuple[RateLimit, ...]:
    """What ``rate_limits.updated`` says."""
    limits = event.get("rate_limits")
    return tuple(
        RateLimit(kind, _number(get(one, "remaining")), _number(get(one, "limit")), _number(get(one, "reset_seconds")))
        for one in (limits if isinstance(limits, list) else ())
        if (kind := get(one, "name")) in ("requests", "tokens")
    )


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0 else None
