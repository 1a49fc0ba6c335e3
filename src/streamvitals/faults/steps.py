"""The steps that the server can take with a connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from .ask import Ask

Framing = Literal["chunked", "length", "close"]
Ending = Literal["complete", "fin", "reset", "close"]


@dataclass(frozen=True)
class Head:
    """Send status line and headers."""

    status: int = 200
    content_type: str = "text/event-stream; charset=utf-8"
    framing: Framing = "chunked"
    length: int = 0  # with framing "length"
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Send:
    """One write. `what`: a chunk that carries a token, a chunk that carries none, or no chunk at all."""

    data: bytes
    what: Literal["token", "chunk", "other"] = "other"
    framed: bool = True  # False: exactly these bytes, whatever the framing of the body
    chunks: int = 1  # how many chunks they are, if they are any


@dataclass(frozen=True)
class Pause:
    seconds: float


@dataclass(frozen=True)
class End:
    """End as ``how`` says: `complete` as the framing demands, or a bare FIN or RST.

    The latter wherever the body is; on a WebSocket also a frame that closes it, with the code that was asked for.
    """

    how: Ending = "complete"
    code: int = 1000


Step = Head | Send | Pause | End
Steps = Iterator[Step]
Play = Callable[[Ask], Steps]
