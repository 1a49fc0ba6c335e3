"""What an observation asks of its process and of the hooks on its response."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from .ending import Ending, Reference
from .record import Progress, RetryRecord
from .retry import Chain


class Hooks(Protocol):
    """What the SDK side has hooked into the stream's response (sdk/closing.py). ``hooked``: its readers are seen."""

    hooked: bool

    def bytes_received(self) -> int | None:
        """How many bytes the transport has handed over so far, where that is known."""

    def read_by_another(self) -> bool:
        """Whether somebody is half-way through reading it as bytes, and not reading now."""

    def remove(self) -> None:
        """The stream has been recorded: let go of what would keep it alive."""


class Host(Protocol):
    """What an observation asks of the process it lives in; process/runtime.py fulfils it."""

    clock: Callable[[], float]
    stall_after: float
    flush_every: float

    def submit(self, item: Progress | RetryRecord | tuple[Any, Ending]) -> None:
        """Hand over, and let the sinks run if nobody else is running them."""

    def defer(self, item: tuple[Any, Ending]) -> None:
        """Hand over only: all that a finalizer may do."""

    @property
    def append(self) -> Callable[[Reference], None]:
        """The same without a line of Python, for references to what was dropped."""

    def drain(self) -> None:
        """Let the sinks run if nobody else is running them."""

    def origin(self) -> Any:
        """Who is running now."""

    def begin_chain(self, now: float) -> Chain:
        """The first attempt of an operation has failed now."""

    def discard(self, observation: Any) -> None:
        """This one was no stream after all: free what it holds, count nothing."""

    def fault(self, where: str) -> None:
        """Count a fault of ours."""
