"""Viewers of the live page: what happens is sent to each as server-sent events, for as long as somebody looks.

One sample is taken for all of them, and none while nobody looks. A viewer that does not read is dropped, and asks again
by itself: nothing waits for it.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from ..live.answers import encode

# Most viewers at a time. With this many, two thirds of the connections (http.py) are left for scrapes.
MOST = 10
# How often the streams are sent, and how many times before the summary is sent again. Seconds.
EVERY, SUMMARY_AT = 0.5, 10
# A viewer with more bytes than this that it has not read yet is dropped.
MOST_UNREAD = 256 * 1024
# The browser asks again after so many milliseconds.
_BEGIN = b"retry: 3000\n\n"

Make = Callable[[], Mapping[str, Any]]
# Takes bytes of a body and returns them as they go over the wire.
Frame = Callable[[bytes], bytes]


class Viewers:
    """All viewers of one server. ``streams`` and ``summary`` make what is sent."""

    def __init__(self, streams: Make, summary: Make, on_fault: Callable[[BaseException], None]) -> None:
        self._streams, self._summary = streams, summary
        self._on_fault = on_fault
        self._writers: dict[asyncio.StreamWriter, Frame] = {}
        self._sending: asyncio.Task[None] | None = None

    @property
    def full(self) -> bool:
        """Whether there is no room for another viewer."""
        return len(self._writers) >= MOST

    async def show(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frame: Frame) -> None:
        """Send to this viewer until it hangs up or is dropped."""
        if self.full:  # others have come since it was told that there was room
            return
        self._writers[writer] = frame
        try:
            self._send(writer, _BEGIN + self._all())
            if self._sending is None or self._sending.done():
                self._sending = asyncio.get_running_loop().create_task(self._send_on())
            with contextlib.suppress(OSError):
                while await reader.read(1024):
                    pass
        finally:
            del self._writers[writer]

    async def _send_on(self) -> None:
        turn = 0
        while self._writers:
            await asyncio.sleep(EVERY)
            turn = (turn + 1) % SUMMARY_AT
            try:
                text = self._all() if turn == 0 else _event("streams", self._streams())
            except Exception as error:  # noqa: BLE001  the agent goes on serving, and the next sample may be taken
                self._on_fault(error)
                continue
            for writer in list(self._writers):
                self._send(writer, text)

    def _all(self) -> bytes:
        return _event("streams", self._streams()) + _event("summary", self._summary())

    def _send(self, writer: asyncio.StreamWriter, text: bytes) -> None:
        if writer.transport.get_write_buffer_size() > MOST_UNREAD:
            writer.transport.abort()
        elif not writer.transport.is_closing():
            writer.write(self._writers[writer](text))


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (name.encode(), encode(data))
