"""Parses JSON events, most of which repeat the one before but for a text.

To parse an event takes longer than all else that is done for it. A stream's chunks of chat differ in one string of the
delta and, with OpenAI, in the padding that hides how long this is. An event whose other bytes are those of an event
before is made of that one: it cannot contain anything that the other did not contain.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

_TEXTS = ("content", "reasoning_content", "reasoning")
_PADDING = "obfuscation"
_MOST_IN_VAIN = 4  # patterns that are made and not repeated, before no more are made for the stream


class Frame(NamedTuple):
    """The bytes of an event before and after its text, which do not change.

    If there is padding, ``to_padding`` and the padding stand behind the text; ``to_padding`` has so many quotes."""

    before: bytes
    after: bytes
    to_padding: str
    quotes: int


class _Pattern(NamedTuple):
    """An event whose delta has a text, by the name of that field."""

    event: Any
    name: str
    frame: Frame


class Parser:
    """Parses the events of one stream."""

    __slots__ = ("_in_vain", "_pattern")

    def __init__(self) -> None:
        self._pattern: _Pattern | None = None
        self._in_vain = 0

    def frame(self, raw: bytes, data: bytes) -> Frame | None:
        """The frame of these bytes, one event with nothing around it, if its ``data`` repeats the pattern."""
        if self._pattern is None:
            return None
        inner = self._pattern.frame
        begin, _, end = raw.partition(data)
        frame = inner._replace(before=begin + inner.before, after=inner.after + end)
        return frame if in_frame(raw, frame) is not None else None

    def parse(self, data: bytes) -> Any:
        """What ``json.loads`` returns; raises what it raises."""
        pattern = self._pattern
        if pattern is not None and (event := _repeated(data, pattern)) is not None:
            self._in_vain = 0
            return event
        event = json.loads(data)
        if self._in_vain < _MOST_IN_VAIN and (found := _pattern_of(data, event)) is not None:
            self._pattern = found
            self._in_vain += 1
        return event


def in_frame(data: bytes, frame: Frame) -> str | None:
    """What stands between the bytes that do not change; None if there is more than the strings in other bytes."""
    before, after, to_padding, quotes = frame
    start, end = len(before), len(data) - len(after)
    if start > end or not (data.startswith(before) and data.endswith(after)):
        return None
    try:
        text = data[start:end].decode()
    except UnicodeDecodeError:
        return None
    # Without other quotes, and without escapes, the strings end where those of the pattern do. What is printable has
    # no control character, which JSON forbids.
    if text.count('"') != quotes or "\\" in text or not text.isprintable() or to_padding not in text:
        return None
    return text


def _repeated(data: bytes, pattern: _Pattern) -> Any:
    """The event, if these bytes repeat the pattern; else None."""
    event, name, to_padding = pattern.event, pattern.name, pattern.frame.to_padding
    text = in_frame(data, pattern.frame)
    if text is None:
        return None
    more = {}
    if to_padding:
        text, _, padding = text.partition(to_padding)
        more = {_PADDING: padding}
    (choice,) = event["choices"]
    return {**event, "choices": [{**choice, "delta": {**choice["delta"], name: text}}], **more}


def _pattern_of(data: bytes, event: Any) -> _Pattern | None:
    """The pattern of this event; None if it has no text, or it is not certain where the text stands."""
    try:
        (choice,) = event["choices"]
        delta = choice["delta"]
        name = next(name for name in _TEXTS if type(delta.get(name)) is str and delta[name])
    except (AttributeError, LookupError, StopIteration, TypeError, ValueError):
        return None
    # Without escapes each quote begins or ends a string, and a name that is there once is that of the text. With NULs
    # it is UTF-16 or UTF-32.
    if data.find(b"\\") >= 0 or data.find(b"\0") >= 0:
        return None
    before, after = _around(data, name)
    if _PADDING not in event:
        return _Pattern(event, name, Frame(before, after, "", 0)) if after else None
    found, end = _around(after, _PADDING)
    to_padding = found.decode("utf-8", "surrogatepass")  # as json.loads does it
    return _Pattern(event, name, Frame(before, end, to_padding, to_padding.count('"'))) if end else None


def _around(data: bytes, name: str) -> tuple[bytes, bytes]:
    """The bytes before the string of this name, and those after it; none after if it is not there exactly once."""
    if data.count(f'"{name}"'.encode()) != 1:
        return b"", b""
    before, begin, rest = data.partition(f'"{name}":"'.encode())
    _, quote, after = rest.partition(b'"')
    return before + begin, quote + after
