"""Calls a function of the program's own with the record of each stream that ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..stream.record import StreamRecord
from ..stream.sink import Sink
from ..stream.tracebacks import interrupted

StreamEndFunction = Callable[[StreamRecord], object]
OPTION = "on_stream_end"
_HUBS = frozenset({"gevent", "greenlet", "eventlet"})
_WHY_NOT_ASYNC = (
    "it is called in whichever thread a stream ends, where no event loop may run; give a plain function that puts the "
    "record where your coroutine takes it from, as queue.SimpleQueue().put does"
)


class ReturnedAwaitableError(TypeError):
    """The function returned a coroutine, which nobody would await."""


class CallbackSink(Sink):
    """Hands each record to ``function``. Raises TypeError for something that cannot be called with one.

    What it raises is counted like a fault of any sink, which switches it off in the end (stream/dispatch.py).
    """

    def __init__(self, function: StreamEndFunction) -> None:
        _check(function)
        self._function = function
        self.name = f"{OPTION}={_name_of(function)}"

    def on_end(self, record: StreamRecord) -> None:
        try:
            result = self._function(record)
        except BaseException as error:  # SystemExit, say: it is the function's as well
            if isinstance(error, KeyboardInterrupt) or interrupted(error) or _from_a_hub(error):
                raise
            # Of our own module: an exception of the app's class from within a library would pass for one thrown in.
            raise type(type(error).__name__, (RuntimeError,), {"__module__": __name__}) from None
        if result is not None and hasattr(result, "__await__"):
            close = getattr(result, "close", None)  # else Python warns that it was never awaited
            if close is not None:
                close()
            raise ReturnedAwaitableError(_WHY_NOT_ASYNC)


def _from_a_hub(error: BaseException) -> bool:
    """Whether it is what gevent and its like throw into a greenlet: a time limit, or its end."""
    return any(kind.__module__.partition(".")[0] in _HUBS for kind in type(error).__mro__)


def _check(function: object) -> None:
    import inspect
    from functools import partial

    if not callable(function):
        raise TypeError(f"{OPTION} must be a function that takes a StreamRecord, not {type(function).__name__}")
    name = _name_of(function)
    innermost: Any = function
    while isinstance(innermost, partial):
        innermost = innermost.func
    ways = (innermost, getattr(innermost, "__call__", None))  # noqa: B004  the method itself, of a callable object
    if any(inspect.iscoroutinefunction(way) or inspect.isasyncgenfunction(way) for way in ways):
        raise TypeError(f"{OPTION} cannot be the async function {name}: {_WHY_NOT_ASYNC}")
    if any(inspect.isgeneratorfunction(way) for way in ways):
        raise TypeError(f"{OPTION} cannot be the generator {name}: a call of it runs none of its lines")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one that is written in C has none
        return
    try:
        signature.bind(None)
    except TypeError as error:
        raise TypeError(f"{OPTION} is called with one argument, the StreamRecord: {name}: {error}") from None


def _name_of(function: object) -> str:
    """A name for messages; never the ``repr``, which may hold values."""
    name = getattr(function, "__qualname__", None)
    return f"{getattr(function, '__module__', None) or '?'}.{name}" if name else type(function).__qualname__
