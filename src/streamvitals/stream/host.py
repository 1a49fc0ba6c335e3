"""The interfaces that an observation needs: its process, and the hooks on its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .ending import Ending, Reference
from .record import Progress, RetryRecord, StallAfter
from .request import ResponseFacts
from .retry import Chain


class Hooks(Protocol):
    """The hooks on the stream's response (sdk/closing.py).

    ``hooked``: reads of the response are seen. ``sees_lines``: so are the lines of its body, comments among them."""

    hooked: bool
    sees_lines: bool

    def answer(self, unix: float) -> ResponseFacts:
        """Read the headers of the response, which came at ``unix``."""

    def bytes_received(self) -> int | None:
        """How many bytes the transport has delivered so far; None where that is not known."""

    def read_by_another(self) -> bool:
        """Whether a reader has begun to read the response as bytes, has not finished, and is not reading right now."""

    def remove(self) -> None:
        """Release what would keep the stream alive, since it has been recorded."""


class Host(Protocol):
    """What an observation needs from its process; process/runtime.py implements it."""

    clock: Callable[[], float]
    stall_after: StallAfter
    flush_every: float

    def submit(self, item: Progress | RetryRecord | tuple[Any, Ending]) -> None:
        """Queue an item, and run the sinks unless another thread is running them."""

    def defer(self, item: tuple[Any, Ending]) -> None:
        """Queue an item only: a finalizer may do no more."""

    @property
    def append(self) -> Callable[[Reference], None]:
        """The queue's own ``append``, which runs no line of Python: a callback for weak references."""

    def drain(self) -> None:
        """Run the sinks unless another thread is running them."""

    def origin(self) -> Any:
        """What identifies the code that is running now, to recognise its retries."""

    def begin_chain(self, now: float) -> Chain:
        """Begin a chain of attempts: the first attempt of an operation has failed now."""

    def discard(self, observation: Any) -> None:
        """Free what an observation holds and count nothing: it was no stream after all."""

    def fault(self, where: str) -> None:
        """Count a fault of ours."""
