"""Whether an exception that was caught around our code is the app's and only struck there.

A signal handler of the app may raise between any two of our instructions (an alarm, Celery's soft time limit), and
so may another thread (``PyThreadState_SetAsyncExc``). Such an exception has to go on to the app.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from types import CodeType, FrameType

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NOT_APPS = frozenset({"builtins", "streamvitals", *sys.stdlib_module_names})


def is_foreign(error: BaseException) -> bool:
    """Whether the app raised this while our code ran. Asked only where something was caught."""
    if not isinstance(error, Exception):
        return True
    link, caller = error.__traceback__, None
    while link is not None:
        frame = link.tb_frame
        if caller is not None and _handles_signal(frame, caller):
            return True
        link, caller = link.tb_next, frame
    # No code of ours raises what is not the standard library's: another thread has set it.
    return (
        caller is not None and _is_ours(caller) and type(error).__module__.partition(".")[0] not in _NOT_APPS
    )


def _handles_signal(frame: FrameType, interrupted: FrameType) -> bool:
    """Whether this is a signal handler that interrupted that frame: it is installed as one, or was called with
    that very frame, as handlers are (https://docs.python.org/3/library/signal.html#signal.signal)."""
    if _is_ours(frame):
        return False
    if frame.f_code in _handlers():
        return True
    for value in frame.f_locals.values():
        if value is interrupted or (type(value) is tuple and any(each is interrupted for each in value)):
            return True
    return False


def _handlers() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if callable(handler):
            function = getattr(handler, "func", handler)  # of a partial
            function = getattr(function, "__func__", function)  # of a bound method
            code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
            if isinstance(code, CodeType):
                yield code


def _is_ours(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_PACKAGE)
