"""The last text that a failed stream had delivered; kept only if ``STREAMVITALS_CAPTURE_PARTIAL`` is set.

It is bounded by the number of bytes in that variable, passed through a redaction hook, and given only to the journal
and to the span of a failed stream.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from .chunks import NOT_YET, Reader
from .fields import get
from .wrapped import WrappedReader

Redact = Callable[[str], str]
_MAX_LIMIT = 1 << 20  # bytes


class TailReader(WrappedReader):
    """Reads as ``reader`` does, and keeps the last ``limit`` bytes of text."""

    def __init__(self, reader: Reader, limit: int, redact: Redact | None = None) -> None:
        super().__init__(reader)
        self._limit = min(limit, _MAX_LIMIT)
        self._redact = redact
        self._pieces: deque[str] = deque()
        self._size = 0

    common = thinking = NOT_YET  # any chunk may contain text

    def read(self, item: Any) -> bool:
        only_alive = self._reader.read(item)
        piece = text_of(item)
        if piece:
            self._pieces.append(piece[-self._limit :])
            self._size += len(self._pieces[-1])
            while self._size - len(self._pieces[0]) >= self._limit:
                self._size -= len(self._pieces.popleft())
        return only_alive

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
