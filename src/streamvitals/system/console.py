"""Writes a line on stderr if that works at once and cannot harm the app; otherwise drops the line.

Standard library only: this runs inside the app's processes too.
"""

from __future__ import annotations

import os
import select
import stat
import sys

STDERR = 2
# Most bytes that a pipe takes whole or not at all (PIPE_BUF on Linux); longer lines are cut.
MOST = 4096


def say(text: str, fd: int = STDERR, *, late: bool = False) -> bool:
    """Write one line that begins with our name; return whether it was written. Never blocks, never raises.

    ``late``: the app is running, and may have changed the terminal's settings.
    """
    try:
        ending = b"\n"
        if os.isatty(fd):
            mode = _terminal(fd)
            if mode is None or (late and mode.raw):
                return False
            ending = b"\r\n" if mode.staircase else ending
        elif not has_room(fd):
            return False
        line = f"streamvitals: {text}".replace("\n", " ").encode(errors="replace")[: MOST - 2] + ending
        return os.write(fd, line) == len(line)
    except (OSError, ValueError):
        return False


def may_write(fd: int) -> bool:
    """Whether a terminal accepts output now, and does not stop this process for it."""
    return _terminal(fd) is not None


class _Terminal:
    def __init__(self, raw: bool, staircase: bool) -> None:
        self.raw, self.staircase = raw, staircase


def _terminal(fd: int) -> _Terminal | None:
    """The settings of a terminal; None where it must not be written to.

    It must not if it is stopped (Ctrl-S), or if a write from the background would stop this process (tostop).
    """
    import termios

    if not has_room(fd):
        return None
    output, local = termios.tcgetattr(fd)[1], termios.tcgetattr(fd)[3]
    if local & termios.TOSTOP:
        try:
            if os.tcgetpgrp(fd) != os.getpgrp():
                return None
        except OSError:  # it is not this session's terminal: a write cannot stop this process
            pass
    return _Terminal(raw=not local & termios.ICANON, staircase=not output & termios.OPOST)


def has_room(fd: int) -> bool:
    """Whether a write would neither block nor fail for want of a reader (SIGPIPE may be deadly here)."""
    # gevent's replacement would switch to another greenlet.
    saved = getattr(sys.modules.get("gevent.monkey"), "saved", {})
    poll = saved.get("select", {}).get("poll") or getattr(select, "poll", None)
    if poll is None:  # eventlet removes it
        return stat.S_ISREG(os.fstat(fd).st_mode)
    waiting = poll()
    waiting.register(fd, select.POLLOUT)
    return [event for _, event in waiting.poll(0)] == [select.POLLOUT]
