"""The last text that a failed stream had delivered; kept only if ``STREAMVITALS_CAPTURE_PARTIAL`` is set.

It is bounded by the number of bytes in that variable, passed through a redaction hook, and given only to the journal
and to the span of a failed stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from ..outcome import Verdict
from .chunks import Reader
from .fields import get
from .record import Usage

Redact = Callable[[str], str]
_MAX_LIMIT = 1 << 20  # bytes


class TailReader:
    """Reads as ``reader`` does, and keeps the last ``limit`` bytes of text."""

    def __init__(self, reader: Reader, limit: int, redact: Redact | None = None) -> None:
        self._reader = reader
        self._limit = min(limit, _MAX_LIMIT)
        self._redact = redact
        self._pieces: deque[str] = deque()
        self._size = 0
        self.ends_with_body = reader.ends_with_body
        self.named_events = reader.named_events
        self.reads_errors = reader.reads_errors

    @property
    def done(self) -> bool:
        return self._reader.done

    @done.setter
    def done(self, value: bool) -> None:
        self._reader.done = value

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        return self._reader.finish_reasons

    @property
    def response_model(self) -> str | None:
        return self._reader.response_model

    @property
    def response_id(self) -> str | None:
        return self._reader.response_id

    def is_common(self, item: Any) -> bool:
        return False  # any chunk may contain text

    def read(self, item: Any) -> None:
        self._reader.read(item)
        piece = text_of(item)
        if piece:
            self._pieces.append(piece[-self._limit :])
            self._size += len(self._pieces[-1])
            while self._size - len(self._pieces[0]) >= self._limit:
                self._size -= len(self._pieces.popleft())

    def has_token(self, item: Any) -> bool:
        return self._reader.has_token(item)

    def marker(self) -> Verdict | None:
        return self._reader.marker()

    def unfinished(self) -> str:
        return self._reader.unfinished()

    def usage(self) -> Usage | None:
        return self._reader.usage()

    def tail(self) -> str:
        """The redacted tail. Raises what the hook raises: then no text is shown."""
        whole = "".join(self._pieces).encode("utf-8", "replace")[-self._limit :].decode("utf-8", "ignore")
        return self._redact(whole) if self._redact is not None else whole


def text_of(item: Any) -> str:
    """The text in a chunk of any surface; "" where there is none."""
    choices = get(item, "choices")
    if isinstance(choices, (list, tuple)):
        found = [get(get(c, "delta"), "content") or get(c, "text") for c in choices]
        return "".join(piece for piece in found if isinstance(piece, str))
    delta = get(item, "delta")
    if not isinstance(delta, str):
        return ""
    kind = get(item, "type")
    # Base64 audio is not text: there is nothing to show or redact.
    return "" if isinstance(kind, str) and kind.endswith("audio.delta") else delta
