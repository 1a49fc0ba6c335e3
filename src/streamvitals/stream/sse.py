"""Server-sent events out of raw bytes, for apps that read the body themselves.

Only what an observation needs: it keeps the event that is being received and nothing else, and hands parsed
events to the observation. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from .observation import Blind, Observation
from .outcome import Outcome, Verdict
from .vocabulary import classify_error_event

_LINE_END = re.compile(rb"\r\n|\n|\r")
_MAX_EVENT = 16 * 1024 * 1024  # bytes; past it an event is passed over unread
_COMMENT = b":"
SHORT = 64  # characters; a longer line is neither [DONE] nor an event's id


class ByteWatch:
    """Stands where ``Observation.arrived`` stands for SDK chunks: fed raw bytes, it counts the events in them."""

    def __init__(self, observation: Observation, encoding: str) -> None:
        self._observation = observation
        self._decode = _decoder(encoding)
        self._lines = _Lines()
        self._data: list[bytes] = []
        self._name = ""
        self._named = observation.reader.named_events
        self._size = 0
        self._carried = 0.0
        if self._decode is None:
            # An encoding that the standard library cannot read: the transport's view is all there is.
            observation.reader = Blind(observation.reader)

    def arrived(self, raw: bytes) -> bytes:
        """Bytes have come; gives them back. Never raises."""
        self._arrived(raw)
        return raw

    def _arrived(self, raw: bytes) -> None:
        observation = self._observation
        try:
            now = observation.clock()
            events = list(self._events(raw))
            if not events:
                self._carried += now - observation.asked
                return
            observation.asked -= self._carried
            self._carried = 0.0
            for event in events:
                observation.arrived(event)
                observation.asked = now
        except Exception:  # noqa: BLE001 - ours, whatever it is
            observation.broken()

    def _events(self, raw: bytes) -> Iterator[Any]:
        if self._decode is None:
            yield {}
            return
        try:
            text = self._decode(raw)
        except zlib.error:
            # The app's own decoder will tell it so too, but above the bytes, where nobody watches.
            self._observation.in_band = Verdict(Outcome.MALFORMED, "content_decoding")
            self._decode = _nothing
            return
        for line in self._lines.feed(text):
            if line:
                self._line(line)
            elif self._data:
                data, self._data, self._size = b"\n".join(self._data), [], 0
                yield from self._event(data)

    def _line(self, line: bytes) -> None:
        field, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        if field == b"event" and self._named:
            self._name = value.strip().decode("utf-8", "replace")[:64]
        elif field == b"data" and self._size <= _MAX_EVENT:
            self._size += len(value)
            self._data.append(value.removeprefix(b" "))
        elif field == b"id" and len(line) < SHORT:
            self._observation.last_event_id = value.strip().decode("utf-8", "replace")

    def _event(self, data: bytes) -> Iterator[Any]:
        observation = self._observation
        if data.startswith(b"[DONE]"):
            observation.reader.done = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError) as error:
            kind = "unicode_decode" if isinstance(error, UnicodeDecodeError) else "json_decode"
            observation.in_band = Verdict(Outcome.MALFORMED, kind)
            return
        if self._named:
            event, self._name = {"event": self._name, "data": event}, ""
        problem = event.get("error") if isinstance(event, dict) else None
        if problem and not (observation.reader.reads_errors and event.get("type") == "error"):
            observation.in_band = classify_error_event(problem)
        else:
            yield event


class _Lines:
    """Cuts bytes into lines, looking at each byte once: an event with a picture in it comes in dozens of pieces."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete now, without their ends."""
        if self._after_cr and data:
            data, self._after_cr = data.removeprefix(b"\n"), False
        if data:
            self._after_cr = data.endswith(b"\r")
            *lines, rest = _LINE_END.split(data)
            for line in lines:
                yield self._whole(line)
            self._begin(rest)

    def _whole(self, end: bytes) -> bytes:
        if not self._size:
            return end
        self._begin(end)
        line = b"".join(self._begun) if self._size <= _MAX_EVENT else _COMMENT
        self._begun, self._size = [], 0
        return line

    def _begin(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= _MAX_EVENT:
            self._begun.append(part)
        else:
            self._begun.clear()


def _decoder(encoding: str) -> Callable[[bytes], bytes] | None:
    if encoding in ("", "identity"):
        return bytes
    if encoding == "gzip":
        return zlib.decompressobj(zlib.MAX_WBITS | 16).decompress
    if encoding == "deflate":
        return _Inflate()
    return None


class _Inflate:
    """Either of the two formats that servers mean by "deflate": with zlib's header, or without it."""

    def __init__(self) -> None:
        self._decompress: Callable[[bytes], bytes] | None = None
        self._begun = b""

    def __call__(self, raw: bytes) -> bytes:
        if self._decompress is None:
            self._begun += raw
            if len(self._begun) < 2:  # the header's length
                return b""
            raw = self._begun
            try:
                zlib.decompressobj().decompress(raw[:2])
                self._decompress = zlib.decompressobj().decompress
            except zlib.error:
                self._decompress = zlib.decompressobj(-zlib.MAX_WBITS).decompress
        return self._decompress(raw)


def _nothing(raw: bytes) -> bytes:
    return b""
