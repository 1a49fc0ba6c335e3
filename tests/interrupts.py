"""An exception of the app's that strikes at any place of some code where the interpreter looks for signals."""

from __future__ import annotations

import dis
import linecache
from collections.abc import Callable
from types import FrameType
from typing import Any

from store_support import call_traced


class Struck:
    """Where it was: ``line`` is "" if there were fewer places. ``error`` is what reached whoever acted."""

    line = ""
    error: BaseException | None = None


def interrupt_at(number: int, act: Callable[[], None], files: str, error: BaseException) -> Struck:
    """Raise ``error`` at the ``number``-th such place of the files whose names begin with ``files``: where a
    function begins, where a loop goes back, after each call."""
    left, struck = number, Struck()
    previous: dict[int, str] = {}

    def trace(frame: FrameType, event: str, arg: Any) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(files):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            before = previous.get(id(frame), "CALL")  # a function has been called
            previous[id(frame)] = name = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            looked = before.startswith("CALL") or "BACKWARD" in name or name == "JUMP_ABSOLUTE"
            # What has no line is what the compiler adds to leave an ``except``; nothing can be raised there.
            if looked and frame.f_lineno is not None:
                left -= 1
                if left == 0:
                    code = frame.f_code
                    line = linecache.getline(code.co_filename, frame.f_lineno).strip()
                    struck.line = f"{code.co_filename.removeprefix(files)}:{frame.f_lineno}: {line}"
                    raise error
        elif event == "return":
            previous.pop(id(frame), None)
        return trace

    try:
        call_traced(trace, act)
    except BaseException as caught:  # noqa: BLE001 - whoever asked looks at it
        struck.error = caught
        _forget_frames(caught)
    return struck


def _forget_frames(error: BaseException | None) -> None:
    """What a tracer interrupted is kept alive by the tracer, which no signal handler does."""
    while error is not None:
        link, error.__traceback__ = error.__traceback__, None
        while link is not None:
            link.tb_frame.f_trace = None
            link = link.tb_next
        error = error.__cause__ or error.__context__
