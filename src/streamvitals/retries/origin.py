"""Identifies the current task, thread or greenlet, and what awaits it."""

from __future__ import annotations

import sys
import weakref
from _thread import get_ident
from typing import Any

from .failures import Origin, goes_on
from .waiting import Running, all_waiting_for, frames_of_all_threads, running_in_this_thread


def current_origin() -> Origin:
    """The flow that runs now, those that wait for it, and the current trace.

    Called when a stream has failed, and at requests while a failure is pending."""
    task = running_task()
    running = Running(task) if task is not None else running_in_this_thread()
    trace = sys.modules.get("opentelemetry.trace")
    trace_id = trace.get_current_span().get_span_context().trace_id if trace is not None else 0
    flow = weakref.ref(running.flow) if running.flow is not None else None
    return Origin(get_ident(), flow, trace_id, all_waiting_for(running))


def running_task() -> Any:
    """The current task of asyncio or trio, or the greenlet of gevent or eventlet; None if there is none."""
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
    """The current greenlet of gevent or eventlet, which servers run as threads, one per request."""
    for name in ("gevent", "eventlet"):
        current = getattr(sys.modules.get(name), "getcurrent", None)
        if current is not None:
            return current()
    return None


def alive(origin: Origin) -> bool:
    """Whether its flow, or one that waits for it, can still try again."""
    if origin.flow is None:
        return origin.thread in frames_of_all_threads()
    flow = origin.flow()
    if flow is not None and goes_on(flow) is not False:
        return True
    waiting = [waiting.flow() for waiting in origin.waiting]
    return any(goes_on(flow) is not False for flow in waiting if flow is not None)
