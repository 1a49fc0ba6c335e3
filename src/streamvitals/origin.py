"""Which flow of the program is running: its task or thread, and who waits for that."""

from __future__ import annotations

import sys
import threading
import weakref
from _thread import get_ident
from collections.abc import Iterator
from typing import Any

from .stream.app_retries import Origin, Waiting, nothing

_MAX_WAITING = 4  # tasks; more than a framework or two put between a retry loop and its attempts
_NO_AWAIT = frozenset({"_wait.<locals>._on_completion"})  # who waits for the first of several goes on before the rest
# What asyncio and uvloop put onto the task that a thread runs a loop for.
_RUNS_A_LOOP = frozenset({("asyncio.base_events", "_run_until_complete_cb"), ("uvloop.loop", "done_cb")})


def current_origin() -> Origin:
    """The running task or greenlet where there is one, else the thread; who waits for it; and the current trace.
    Called when a stream has failed, and at requests while a failure is pending."""
    running = _running_task()
    trace = sys.modules.get("opentelemetry.trace")
    trace_id = trace.get_current_span().get_span_context().trace_id if trace is not None else 0
    who = running if running is not None else _this_thread()
    return Origin(get_ident(), weakref.ref(who) if who is not None else None, trace_id, _all_waiting_for(running))


def _running_task() -> Any:
    asyncio, trio = sys.modules.get("asyncio"), sys.modules.get("trio")
    try:
        task = asyncio.current_task() if asyncio is not None else None
    except RuntimeError:
        task = None
    if task is not None:
        return task
    try:
        return trio.lowlevel.current_task() if trio is not None else _greenlet()
    except (RuntimeError, AttributeError):  # not in a loop of trio's, or it is still being imported
        return _greenlet()


def _greenlet() -> Any:
    """Of programs that have made threads of theirs out of them, one for each request of a server."""
    for name in ("gevent", "eventlet"):
        current = getattr(sys.modules.get(name), "getcurrent", None)
        if current is not None:
            return current()
    return None


def _this_thread() -> threading.Thread | None:
    """Numbers of threads are used again, so that the thread itself is what is compared. Those that were not
    started by `threading` have no object, and must not be given one."""
    return threading._active.get(get_ident())  # type: ignore[attr-defined, no-any-return]


def _all_waiting_for(task: Any) -> tuple[Waiting, ...]:
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or not isinstance(task, asyncio.Task):
        return ()
    try:
        return tuple(_waiting_for(task, asyncio))
    except Exception:  # noqa: BLE001 - another asyncio than ours knows
        return ()


def _waiting_for(task: Any, asyncio: Any) -> Iterator[Waiting]:
    """Who waits for ``task``, nearest first: many frameworks make a task of each attempt. Follows ``await task``,
    ``wait_for``, ``shield``, ``gather`` and ``asyncio.run`` through what asyncio keeps for itself; where that looks
    otherwise than it does up to 3.13 nobody is found."""
    link, seen = task, [task]
    while len(seen) <= 2 * _MAX_WAITING:
        if any(_is_run(callback) for callback, *_ in link._callbacks or ()):
            thread = _this_thread()
            if thread is not None:
                yield Waiting(weakref.ref(thread), weakref.ref(link))
            return
        woken = (future for future in _woken_by(link) if isinstance(future, asyncio.Future))
        link = next((future for future in woken if future not in seen), None)
        if link is None:
            return
        seen.append(link)
        if isinstance(link, asyncio.Task):
            awaits = getattr(link, "_fut_waiter", None)
            yield Waiting(weakref.ref(link), weakref.ref(awaits) if awaits is not None else nothing)


def _is_run(callback: Any) -> bool:
    return (getattr(callback, "__module__", None), getattr(callback, "__name__", None)) in _RUNS_A_LOOP


def _woken_by(future: Any) -> Iterator[object]:
    """What the callbacks of a future may be about to wake."""
    for callback, *_ in getattr(future, "_callbacks", None) or ():
        function = getattr(callback, "func", callback)  # of a partial
        if getattr(function, "__module__", None) == "asyncio.tasks" and function.__qualname__ not in _NO_AWAIT:
            yield from getattr(callback, "args", ())
            yield from (cell.cell_contents for cell in function.__closure__ or ())
        yield getattr(callback, "__self__", None)


def alive(origin: Origin) -> bool:
    """Whether anybody who asked or waits can still ask again."""
    if origin.task is None:
        return origin.thread in sys._current_frames()
    flow: list[Any] = [origin.task(), *(waiting.who() for waiting in origin.waiting)]
    return any(_going_on(who) for who in flow if who is not None)


def _going_on(who: Any) -> bool:
    if isinstance(who, threading.Thread):
        return who.is_alive()
    if hasattr(who, "done"):
        return not who.done()
    if hasattr(who, "dead"):
        return not who.dead  # a greenlet
    return getattr(getattr(who, "coro", None), "cr_frame", None) is not None  # trio's task
