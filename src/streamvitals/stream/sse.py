"""Server-sent events out of raw bytes, for apps that read the body themselves.

It does only what an observation needs: it keeps the event that is being received and nothing else, and passes parsed
events to the observation. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ..outcome import Outcome, Verdict
from .chunks import NOT_YET, Common, is_common_dict
from .inflate import Damaged, Unreadable, inflater
from .observation import Observation
from .repetition import Frame, Parser, in_frame
from .tracebacks import is_foreign
from .vocabulary import classify_error_event

_LINE_END = re.compile(rb"\r\n|\n|\r")
_MAX_EVENT = 1024 * 1024  # most bytes of one line, and of one event
_LEAST = len(b"data: \n\n")  # such a line keeps the connection alive, and is no event
SHORT = 64  # characters; a longer line is neither [DONE] nor an event's id


class ByteWatch:
    """Takes the place of ``Observation.arrived`` for raw bytes, and counts the events in them.

    Where it cannot or must not read the bytes, the pieces are counted as they come. ``cpu`` is a clock of this thread's
    CPU time, which bounds how much is decompressed at once. ``begun``: another reader has read before, so these bytes
    may begin in the middle of an event."""

    def __init__(
        self, observation: Observation, encoding: str, cpu: Callable[[], float], begun: bool = False
    ) -> None:
        self._observation = observation
        self._pieces = inflater(encoding, cpu)
        self._lines = _Lines()
        self._parser = Parser()
        # What surrounds the text of a common chunk that is a piece of its own, where such a piece may come next.
        self._frame: Frame | None = None
        self._common = NOT_YET
        self._data: list[bytes] = []
        self._name = ""
        self._named = observation.reader.named_events
        self._begun = begun
        self._plain = not encoding and not begun
        self._size = 0
        self._carried = 0.0
        self._commented = False
        if self._pieces is None or (begun and encoding):
            self._stop("unread_encoding")

    def _stop(self, hint: str) -> None:
        self._pieces = self._frame = None
        self._lines, self._data = _Lines(), []
        self._observation.mute(hint)

    def arrived(self, raw: bytes) -> None:
        """Bytes have come. Never raises."""
        observation = self._observation
        try:
            now, pace, frame = observation.clock(), observation.pace, self._frame
            if frame is not None and now < pace.flush_at and in_frame(raw, frame) is not None:
                pace.arrived(now)
                return
            events = self._read(raw)
            if not events:
                self._frame = None
                commented, self._commented = self._commented, False
                if commented and not self._data and self._lines.between():
                    pace.lull(now)
                else:
                    self._carried += now - pace.waiting_since
                return
            if self._carried:
                pace.wait_from(pace.waiting_since - self._carried)
                self._carried = 0.0
            common = NOT_YET
            for event in events:
                common = observation.arrived(event, now)
                pace.wait_from(now)
            self._expect(raw, events[0], common if len(events) == 1 else NOT_YET)
        except Exception as error:
            if is_foreign(error):
                raise
            self._pieces = self._frame = None
            observation.broken()

    def _expect(self, raw: bytes, event: Any, common: Common) -> None:
        """Find the frame of the pieces that are to come, from one that has had no other event in it."""
        known = self._frame if common == self._common else None
        self._frame, self._common = None, common
        choices = common.choices if common.thinks is None else None
        if choices is not None and self._plain and raw.startswith(b"data:") and self._alone(raw):
            found = None
            if is_common_dict(event, choices):
                found = self._parser.frame(raw, raw[5:-2].removeprefix(b" "))
            self._frame = found or known  # this event may have had an escape in its text

    def _read(self, raw: bytes) -> list[Any]:
        events: list[Any] = []
        if self._pieces is not None:
            if self._plain and raw.startswith(b"data:") and self._alone(raw):
                return self._event(raw[5:-2].removeprefix(b" "))
            try:
                for piece in self._pieces(raw):
                    for line in self._lines.feed(piece):
                        self._line(line, events)
            except Damaged:
                # The app's own decoder will raise for it too, but above the bytes, where we do not see it.
                self._observation.in_band(Verdict(Outcome.MALFORMED, "content_decoding"))
                self._pieces = _nothing
            except Unreadable as error:
                self._stop(error.hint)
        return events if self._pieces is not None else [*events, {}]

    def _alone(self, raw: bytes) -> bool:
        """Whether these bytes are exactly one event of one line, as most pieces are."""
        return (
            raw.endswith(b"\n\n") and raw.find(b"\n") == len(raw) - 2 and raw.find(b"\r") < 0
            and _LEAST < len(raw) < _MAX_EVENT and not self._data and self._lines.between()
        )

    def _line(self, line: bytes, events: list[Any]) -> None:
        if not line:
            if self._data:
                data, self._data, self._size = b"\n".join(self._data), [], 0
                if data:
                    events.extend(self._event(data))
                else:
                    self._commented = True  # an empty one keeps the connection alive, and is no event
                self._begun = False
            return
        field, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
        if field == b"event" and self._named:
            self._name = value.strip().decode("utf-8", "replace")[:64]
        elif field == b"data":
            self._size += len(value)
            if self._size > _MAX_EVENT:
                raise Unreadable("inflate_limit")
            self._data.append(value.removeprefix(b" "))
        elif field == b"id" and len(line) < SHORT:
            self._observation.event_id(value.strip().decode("utf-8", "replace"))
        elif not field:
            self._commented = True

    def _event(self, data: bytes) -> list[Any]:
        """The event with these data, if it is one for the reader."""
        observation = self._observation
        if data.startswith(b"[DONE]"):
            observation.done()
            return []
        try:
            event = self._parser.parse(data)
        except (ValueError, RecursionError) as error:
            if self._begun:
                return []  # the end of an event whose beginning another reader has read
            kind = "unicode_decode" if isinstance(error, UnicodeDecodeError) else "json_decode"
            observation.in_band(Verdict(Outcome.MALFORMED, kind))
            return []
        if self._named:
            event, self._name = {"event": self._name, "data": event}, ""
        problem = event.get("error") if isinstance(event, dict) else None
        if problem and not (observation.reader.reads_errors and event.get("type") == "error"):
            observation.in_band(classify_error_event(problem))
            return []
        return [event]


class MarkWatch:
    """Notices ``[DONE]``, event ids and comments in bytes whose chunks are counted elsewhere.

    It is used where the SDK's lines are read by a decoder that is not the SDK's, which may drop them anywhere."""

    def __init__(self, observation: Observation, encoding: str, cpu: Callable[[], float]) -> None:
        self._observation = observation
        self._pieces = inflater(encoding, cpu)
        self._lines = _Lines()

    def look(self, raw: bytes) -> None:
        """Bytes have come. Never raises."""
        if self._pieces is None:
            return
        try:
            for piece in self._pieces(raw):
                for line in self._lines.feed(piece):
                    self._line(line)
        except (Damaged, Unreadable):
            self._pieces = None  # the end is found by the chunks instead
        except Exception as error:
            if is_foreign(error):
                raise
            self._pieces = None
            self._observation.host.fault("observe")

    def _line(self, line: bytes) -> None:
        if len(line) < SHORT:
            field, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
            if field == b"data" and value.lstrip().startswith(b"[DONE]"):
                self._observation.done()
            elif field == b"id":
                self._observation.event_id(value.strip().decode("utf-8", "replace"))
            elif line and not field:
                self._observation.kept_alive()


class _Lines:
    """Cuts bytes into lines, reading each byte once: an event with an image comes in dozens of pieces."""

    def __init__(self) -> None:
        self._begun: list[bytes] = []
        self._size = 0
        self._after_cr = False

    def between(self) -> bool:
        """Whether no line has begun."""
        return not self._size and not self._after_cr

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete now, without their line ends."""
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
        line = b"".join(self._begun)
        self._begun, self._size = [], 0
        return line

    def _begin(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > _MAX_EVENT:
            raise Unreadable("inflate_limit")
        self._begun.append(part)


def _nothing(raw: bytes) -> Iterator[bytes]:
    return iter(())
