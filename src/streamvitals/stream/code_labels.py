"""Labels from the application's code: ``with streamvitals.labels(feature="search"):``.

They belong to the context that the block runs in (contextvars), so tasks that are started in it have them, as do
``asyncio.to_thread`` and ``copy_context().run``; threads and executors have none. What counts is where a request is
made, not where its stream is read.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any


class _Block:
    """The labels of one entered block, and the block that it was entered in. ``closed``: it has been left."""

    __slots__ = ("closed", "outer", "values")

    def __init__(self, values: dict[str, Any], outer: _Block | None) -> None:
        self.values = values
        self.outer = outer
        self.closed = False


_current: ContextVar[_Block | None] = ContextVar("streamvitals_labels", default=None)


class labels:  # lower case, as it is written like a call of a function
    """Label the requests for streams that are made in a ``with`` block; inner blocks add to outer ones.

    Only names that STREAMVITALS_LABELS declares as ``name=code`` are looked at; a value of None takes a label away.
    Never raises, and does nothing where streamvitals is not active.
    """

    __slots__ = ("_entered", "_values")

    def __init__(self, **values: Any) -> None:
        self._values = values
        # The same object may be entered again, or by several tasks.
        self._entered: list[tuple[_Block, Token[_Block | None]]] = []

    def __enter__(self) -> None:
        block = _Block(self._values, _innermost())
        self._entered.append((block, _current.set(block)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        innermost, entered = _current.get(), self._entered
        block, token = entered[-1]
        at = len(entered) - 1
        if block is not innermost and at:  # several tasks have entered the same object
            at = next((at for at, (block, _) in enumerate(entered) if block is innermost), at)
        block, token = entered.pop(at)
        if block is innermost:
            try:
                _current.reset(token)
                return
            except ValueError:
                pass  # a generator that was left half-read is closed wherever the garbage collector runs
        # The block stays where it was entered, and where that was copied to, but has no labels any more.
        block.closed = True


def _innermost() -> _Block | None:
    block = _current.get()
    while block is not None and block.closed:
        block = block.outer
    return block


def value_of(name: str) -> object:
    """The value of a label in the current context; None where there is none."""
    block = _current.get()
    while block is not None:
        if not block.closed and name in block.values:
            return block.values[name]
        block = block.outer
    return None
