"""Labels from the application's code: ``with streamvitals.labels(feature="search"):``, or ``@streamvitals.labels(…)``.

They belong to the context that the block runs in (contextvars), so tasks that are started in it have them, as do
``asyncio.to_thread`` and ``copy_context().run``; threads and executors have none. What counts is where a request is
made, not where its stream is read.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextvars import ContextVar, Token
from types import AsyncGeneratorType, CoroutineType, GeneratorType, TracebackType
from typing import Any, TypeVar

F = TypeVar("F")

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

    As a decorator of a function, coroutine function or generator, label those that are made while its own lines run.

    Only names that STREAMVITALS_LABELS declares as ``name=code`` are looked at; a value of None takes a label away.
    Does nothing where streamvitals is not active. Raises TypeError for a label without a name, and for something to
    decorate that is no function.
    """

    __slots__ = ("_entered", "_values")

    def __init__(self, /, *nameless: Any, **values: Any) -> None:
        if nameless:
            raise TypeError(
                'labels are given by name: `with streamvitals.labels(feature="search"):`, '
                'or `@streamvitals.labels(feature="search")` above a function'
            )
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

    def __call__(self, function: F, /) -> F:
        """The same function with these labels."""
        same: F = _labelled(function, self._values)
        return same

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


def _labelled(function: Any, values: dict[str, Any]) -> Any:
    """The function with these labels, which each call of it enters for itself."""
    if isinstance(function, (staticmethod, classmethod)):
        return type(function)(_labelled(function.__func__, values))
    if isinstance(function, type) or not callable(function):
        what = f"the class {function.__name__}" if isinstance(function, type) else f"a {type(function).__name__}"
        raise TypeError(f"labels(…) decorates functions and methods, not {what}")
    flags = getattr(getattr(_innermost_function(function), "__code__", None), "co_flags", 0)
    call = next((twin for flag, twin in _TWINS.items() if flags & flag), _plain)(function, values)
    return functools.wraps(function)(call)


def _innermost_function(function: Any) -> Any:
    """What is called in the end: a bound method's function, a partial's, a callable object's method."""
    while isinstance(function, functools.partial):
        function = function.func
    called = function if hasattr(function, "__code__") else type(function).__call__
    return getattr(function, "__func__", called)


def _plain(function: Callable[..., Any], values: dict[str, Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with labels(**values):
            result = function(*args, **kwargs)
        # Another decorator may stand between this one and a coroutine function or a generator.
        twin = _BY_RESULT.get(type(result))
        return result if twin is None else twin(lambda: result, values)()

    return call


def _of_coroutine(function: Callable[..., Awaitable[Any]], values: dict[str, Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> Any:
        with labels(**values):
            return await function(*args, **kwargs)

    return call


def _of_generator(function: Callable[..., Any], values: dict[str, Any]) -> Callable[..., Any]:
    # Entered for each step, since a generator shares the context of whoever takes the next item.
    def call(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        inner = function(*args, **kwargs)
        step, sent = inner.send, None
        while True:
            try:
                with labels(**values):
                    item = step(sent)
            except StopIteration as end:
                return end.value
            try:
                step, sent = inner.send, (yield item)
            except GeneratorExit:
                with labels(**values):
                    inner.close()
                raise
            except BaseException as error:  # noqa: BLE001  the generator's to handle
                step, sent = inner.throw, error

    return call


def _of_async_generator(function: Callable[..., Any], values: dict[str, Any]) -> Callable[..., Any]:
    async def call(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        inner = function(*args, **kwargs)
        step, sent = inner.asend, None
        while True:
            try:
                with labels(**values):
                    item = await step(sent)
            except StopAsyncIteration:
                return
            try:
                step, sent = inner.asend, (yield item)
            except GeneratorExit:
                with labels(**values):
                    await inner.aclose()
                raise
            except BaseException as error:  # noqa: BLE001  the generator's to handle
                step, sent = inner.athrow, error

    return call


_Twin = Callable[[Callable[..., Any], dict[str, Any]], Callable[..., Any]]
# The flags of a code object (inspect.CO_ITERABLE_COROUTINE, which may be a generator's besides, and so on): importing
# inspect costs more than all other imports here.
_TWINS: dict[int, _Twin] = {
    0x100: _of_coroutine, 0x20: _of_generator, 0x80: _of_coroutine, 0x200: _of_async_generator,
}
_BY_RESULT: dict[type, _Twin] = {
    GeneratorType: _of_generator, CoroutineType: _of_coroutine, AsyncGeneratorType: _of_async_generator,
}
