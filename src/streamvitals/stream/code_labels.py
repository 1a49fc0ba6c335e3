"""Labels from the application's code: ``with streamvitals.labels(feature="search"):``.

They belong to the context that the block runs in (contextvars), so tasks that are started in it have them, as do
``asyncio.to_thread`` and ``copy_context().run``; threads and executors have none. What counts is where a request is
made, not where its stream is read.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any

# From this depth on a block has no outer ones but their labels: in a thread that lives for long, blocks may have been
# entered that nobody ever leaves.
_DEEPEST = 50


class _Block:
    """The labels of one entered block, and the block that it was entered in. ``closed``: it has been left.

    ``given`` are the labels of the ``labels`` object that was entered, and nobody else's."""

    __slots__ = ("closed", "depth", "given", "outer", "values")

    def __init__(self, given: dict[str, Any], outer: _Block | None) -> None:
        self.given = self.values = given
        if outer is not None and outer.depth >= _DEEPEST:
            self.values = {**_all_of(outer), **given}
            outer = None
        self.outer = outer
        self.depth: int = 0 if outer is None else outer.depth + 1
        self.closed = False


_Entered = tuple[_Block, Token[_Block | None]]
_current: ContextVar[_Block | None] = ContextVar("streamvitals_labels", default=None)


class labels:  # lower case, as it is written like a call of a function
    """Label the requests for streams that are made in a ``with`` block; inner blocks add to outer ones.

    Only names that STREAMVITALS_LABELS declares as ``name=code`` are looked at; a value of None takes a label away.
    Never raises, and does nothing where streamvitals is not active.
    """

    __slots__ = ("_entered", "_values")

    def __init__(self, **values: Any) -> None:
        self._values = values
        # The same object may be entered again, or by several tasks and threads: no place in the list stays the same.
        self._entered: list[_Entered] = []

    def __enter__(self) -> None:
        block = _Block(self._values, _innermost())
        self._entered.append((block, _current.set(block)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        left = self._take()
        if left is None:
            return  # it was left more often than entered
        block, token = left
        if block is _current.get():
            try:
                _current.reset(token)
                return
            except ValueError:
                pass  # a generator that was left half-read is closed wherever the garbage collector runs
        # The block stays where it was entered, and where that was copied to, but has no labels any more.
        block.closed = True

    def _take(self) -> _Entered | None:
        """The entry that is left: the innermost of this context, else the last of any."""
        here = _current.get()
        while here is not None and (here.closed or here.given is not self._values):
            here = here.outer
        entered = self._entered
        try:
            for entry in tuple(entered):
                if entry[0] is here:
                    entered.remove(entry)
                    return entry
            return entered.pop()
        except (IndexError, ValueError):
            return None


def _innermost() -> _Block | None:
    block = _current.get()
    while block is not None and block.closed:
        block = block.outer
    return block


def _all_of(block: _Block | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    while block is not None:
        if not block.closed:
            values = {**block.values, **values}
        block = block.outer
    return values


def value_of(name: str) -> object:
    """The value of a label in the current context; None where there is none."""
    block = _current.get()
    while block is not None:
        if not block.closed and name in block.values:
            return block.values[name]
        block = block.outer
    return None
