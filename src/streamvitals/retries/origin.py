"""Which flow of the program is running: its task, or what its thread does, and who waits for that."""

from __future__ import annotations

import sys
import weakref
from _thread import get_ident
from typing import Any

from .failures import Origin, goes_on
from .waiting import Flow, all_waiting_for, flow_of_this_thread, frames_of_all_threads


def current_origin() -> Origin:
    """The running task or greenlet where there is one, else what the thread does for a pool, else the thread; who
    waits for it; and the current trace. Called when a stream has failed, and at requests while a failure is pending."""
    running = running_task()
    flow = Flow(running) if running is not None else flow_of_this_thread()
    trace = sys.modules.get("opentelemetry.trace")
    trace_id = trace.get_current_span().get_span_context().trace_id if trace is not None else 0
    who = weakref.ref(flow.work) if flow.work is not None else None
    return Origin(get_ident(), who, trace_id, all_waiting_for(flow))


def running_task() -> Any:
    """That of asyncio or trio, or the greenlet of gevent or eventlet; None where there is none."""
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


def alive(origin: Origin) -> bool:
    """Whether anybody who asked or waits can still ask again."""
    if origin.task is None:
        return origin.thread in frames_of_all_threads()
    flow: list[Any] = [origin.task(), *(waiting.who() for waiting in origin.waiting)]
    return any(goes_on(who) is not False for who in flow if who is not None)
