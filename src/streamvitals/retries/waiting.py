"""Finds the flows that wait for a task or a pool's work, since they may retry its requests.

It reads private state of asyncio, concurrent.futures and anyio, as it is up to Python 3.14; if that state looks
different no flow is found, and a retry is not recognised as one. Takes no lock.
"""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from _thread import get_ident
from collections.abc import Iterable, Iterator
from itertools import islice
from types import FrameType
from typing import Any, NamedTuple

from ..stream.tracebacks import is_foreign
from .failures import Waiting, nothing

_MAX_WAITING = 4  # tasks and threads; more than one or two frameworks put between a retry loop and its attempts
_MAX_FRAMES = 500  # most frames of a thread that are searched
_MAX_THREADS = 500
_NO_AWAIT = frozenset({"_wait.<locals>._on_completion"})  # does not wait for all: the first of several is enough
# The callbacks that asyncio and uvloop add to the task for which a thread runs a loop.
_RUNS_A_LOOP = frozenset({("asyncio.base_events", "_run_until_complete_cb"), ("uvloop.loop", "done_cb")})
# Functions that run a pool's work, by module, with the name of the local variable that holds its future.
_WORKS = {"run": {"concurrent.futures.thread": "self", "anyio._backends._asyncio": "future"}}
# Functions in which the thread of a server answers one request, with the name of the local variable that holds the
# request: the thread answers another one afterwards, maybe with the same content. A dictionary cannot be held weakly.
_SERVES = {
    "handle_request": {"gunicorn.workers.sync": "req"}, "service": {"waitress.task": "self"},
    "respond": {"cheroot.server": "self"},
}
_WORKS_OR_SERVES = frozenset((*_WORKS, *_SERVES))
_TAKES_WORK = {"_worker": {"concurrent.futures.thread": "work_queue"}}
# Functions in which a thread submits work or waits for it.
_HANDS_OVER = {
    "result": {"concurrent.futures._base": "self"}, "exception": {"concurrent.futures._base": "self"},
    "submit": {"concurrent.futures.thread": "f"}, "run_coroutine_threadsafe": {"asyncio.tasks": "future"},
}
_FRAMES_OF_WAITING = 6  # most frames between those functions and the lock that the thread sleeps on


class Running(NamedTuple):
    """What runs in a thread: its work for a pool, the request that it answers, or the thread itself.

    ``queued``: the same pool has more work. ``flow`` is None where `threading` does not know the thread."""

    flow: Any
    queued: bool = False


def running_in_this_thread() -> Running:
    """What runs in the thread that calls this."""
    return _running(get_ident(), sys._getframe())


def _running(thread: int, frame: FrameType | None) -> Running:
    # Thread numbers are reused, so the thread objects are compared. Threads that were not started by `threading` have
    # no object, and must not be given one.
    known = threading._active.get(thread)  # type: ignore[attr-defined]
    try:
        return _work(frame) or Running(known)
    except Exception as error:  # another library than ours knows
        if is_foreign(error):
            raise
        return Running(known)


def _work(frame: FrameType | None) -> Running | None:
    # Hundreds of frames have no such name, and this is done for each request that fails.
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return None
        if frame.f_code.co_name in _WORKS_OR_SERVES:
            found = _work_in(frame)
            if found is not None:
                return found
        frame = frame.f_back
    return None


def _work_in(frame: FrameType) -> Running | None:
    found = _of_one_of(_WORKS, frame)
    future = getattr(found, "future", found)
    if future is not None and _is_future(future):
        queue = _of_one_of(_TAKES_WORK, frame.f_back) if frame.f_back is not None else None
        return Running(future, queue is not None and not queue.empty())
    request = _of_one_of(_SERVES, frame)
    return Running(request) if request is not None else None


def _outwards(frame: FrameType | None, most: int) -> Iterator[FrameType]:
    while frame is not None and most:
        yield frame
        frame, most = frame.f_back, most - 1


def _of_one_of(functions: dict[str, dict[str, str]], frame: FrameType) -> Any:
    """The value of the listed local variable of a frame's function; None if the function is not listed."""
    modules = functions.get(frame.f_code.co_name)
    name = modules.get(frame.f_globals.get("__name__", "")) if modules is not None else None
    return _local(frame, name) if name is not None else None


def _local(frame: FrameType, name: str) -> Any:
    """A local variable of a library's function.

    Before 3.13 reading it leaves a copy of all locals in the frame, which would keep alive objects that the function
    releases, and which an active debugger would write back."""
    if sys.version_info >= (3, 13):
        return frame.f_locals.get(name)
    if frame.f_trace is not None:
        return None
    copied = frame.f_locals
    found = copied.get(name)
    copied.clear()
    return found


def frames_of_all_threads() -> dict[int, FrameType]:
    """The innermost frame of each thread by its number. Before 3.12 a garbage collection may begin in that call, while
    the interpreter holds a lock that a thread needs to end (https://github.com/python/cpython/issues/106883)."""
    if sys.version_info >= (3, 12) or not gc.isenabled():
        return sys._current_frames()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        gc.enable()


def _is_future(thing: object) -> bool:
    asyncio, concurrent = sys.modules.get("asyncio"), sys.modules.get("concurrent.futures")
    return (asyncio is not None and isinstance(thing, asyncio.Future)) or (
        concurrent is not None and isinstance(thing, concurrent.Future)
    )


def all_waiting_for(running: Running) -> tuple[Waiting, ...]:
    """The flows that wait for a task or a pool's future, nearest first; none for anything else."""
    try:
        return tuple(islice(_waiting_for(running), _MAX_WAITING))
    except Exception as error:  # another library than ours knows
        if is_foreign(error):
            raise
        return ()


def _waiting_for(running: Running) -> Iterator[Waiting]:
    """Follow ``await``, ``wait_for``, ``shield``, ``gather``, ``asyncio.run``, ``run_in_executor``,
    ``run_coroutine_threadsafe`` and a future's ``result()``."""
    link, queued, seen = running.flow, running.queued, [running.flow]
    while _is_future(link) and len(seen) <= 2 * _MAX_WAITING:
        callbacks = list(_callbacks(link))
        woken = next((future for future in _woken_by(callbacks) if not any(future is s for s in seen)), None)
        if any(_name(callback) in _RUNS_A_LOOP for callback in callbacks):
            after = _running_of_loop(link)
        elif woken is not None:
            after = Running(woken)
        else:
            after = _running_that_awaits(link) if not hasattr(link, "get_loop") else Running(None)
        if after.flow is None:
            return
        if after.flow is not woken:  # a thread's
            yield Waiting(weakref.ref(after.flow), weakref.ref(link), queued)
        elif hasattr(woken, "get_coro"):
            awaits = woken._fut_waiter
            yield Waiting(weakref.ref(woken), weakref.ref(awaits) if awaits is not None else nothing, queued)
        link, queued = after.flow, queued or after.queued
        seen.append(link)


def _callbacks(future: Any) -> Iterable[Any]:
    """The callbacks of a future; asyncio stores each in a pair with a context."""
    if hasattr(future, "_done_callbacks"):
        return tuple(future._done_callbacks)
    return [callback for callback, *_ in getattr(future, "_callbacks", None) or ()]


def _name(function: Any) -> tuple[str | None, str | None]:
    return getattr(function, "__module__", None), getattr(function, "__name__", None)


def _woken_by(callbacks: Iterable[Any]) -> Iterator[Any]:
    """The futures that callbacks may be about to wake."""
    for callback in callbacks:
        function, woken = getattr(callback, "func", callback), [getattr(callback, "__self__", None)]  # of a partial
        module = getattr(function, "__module__", None)
        if module == "asyncio.tasks" and function.__qualname__ not in _NO_AWAIT:
            woken += [*getattr(callback, "args", ()), *_cells(function)]
        elif module == "asyncio.futures" and _name(function)[1] == "_call_set_state":
            woken += _cells(function)
        yield from (future for future in woken if _is_future(future))


def _cells(function: Any) -> list[Any]:
    return [cell.cell_contents for cell in function.__closure__ or ()]


def _running_of_loop(task: Any) -> Running:
    """What runs in the thread that runs an event loop until this task is done."""
    loop = task.get_loop()
    if sys.modules["asyncio"]._get_running_loop() is loop:
        return running_in_this_thread()
    thread = getattr(loop, "_thread_id", None)
    return _running(thread, frames_of_all_threads().get(thread)) if thread is not None else Running(None)


def _running_that_awaits(future: Any) -> Running:
    """What runs in the thread that waits for this future of concurrent.futures, or has just made it."""
    for thread, innermost in islice(frames_of_all_threads().items(), _MAX_THREADS):
        for frame in _outwards(innermost, _FRAMES_OF_WAITING):
            if _of_one_of(_HANDS_OVER, frame) is future:
                return _running(thread, frame)
    return Running(None)
