"""A line of JSON per ended stream, in a file of the user's choice (``STREAMVITALS_JOURNAL``).

The file is opened for each line: an app that daemonises or rotates its logs is not disturbed, and processes
share it (appends of less than a page are not torn). A path that names a descriptor, as `/dev/stdout` does, is what
the app has open there (system/descriptors.py). What is in a line is what is in the log record, what is measured of
every stream, and the partial text where that was asked for: docs/journal.md. report/lines.py reads it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import stat
import time
from collections.abc import Callable

from ..stream.record import StreamRecord
from ..stream.sink import ReportedError, Sink
from ..system import descriptors
from .budget import Budget
from .log import point_of_failure

# Rate limit for failed streams: burst size, and seconds per further line. Without it an outage would rotate its own
# beginning away.
BURST, EVERY = 1000, 0.1
MAX_SIZE = 64 * 1024 * 1024  # bytes; then the file is renamed to <name>.1 and begun anew
# A pipe that nobody reads, or reads slowly, must not hold the app up: it is an error instead.
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY

# What passes: the lines are lost until then. Descriptors, memory or room are used up, or a reader is slow.
_PASSES = frozenset({
    errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.ENOSPC, errno.EDQUOT,
})

TOKENS = ("input", "output", "cached", "reasoning", "cache_write")  # as the first of stream.record.Usage

logger = logging.getLogger("streamvitals")


def _iso(seconds: float) -> str:
    """Unix time as ISO 8601 in UTC, to the millisecond."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{thousandths:03d}Z"


class JournalSink(Sink):
    """Appends to ``path``. Raises ReportedError where that cannot be written, which switches it off in the end.

    ``BURST`` and ``EVERY`` limit the lines of failed streams. The next line says how many were left out; at the end of
    the process a line of its own does.

    What passes, such as a full disk or a pipe that takes nothing for the moment, costs the line. What is wrong is
    logged once, and ``on_problem`` called, unless it has been ``reported`` before.
    """

    def __init__(
        self, path: str, on_problem: Callable[[], object] = lambda: None, *, reported: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = descriptors.absolute(path)  # the app may change its working directory
        self._on_problem = on_problem
        self._reported = reported
        self._torn = False
        self._budget = Budget(BURST, EVERY, clock)
        self._fd = descriptors.named_by(path)
        self._opened: tuple[int, int, int] | None = None
        if self._fd is not None:
            try:
                self._opened = descriptors.identity(self._fd)
            except OSError:  # it is closed; what comes there later is not meant
                self._opened = (-1, -1, -1)

    def on_end(self, record: StreamRecord) -> None:
        """Append one line."""
        if record.failed and not self._budget.spend():
            self._budget.suppress()
            return
        usage = record.usage
        line = {
            "time": _iso(record.started),
            "pid": os.getpid(),
            **point_of_failure(record),
            "time_to_first_chunk": record.first_chunk,
            "time_to_first_token": record.first_token,
            "max_gap": record.max_gap if record.chunks > 1 else None,
            "wait": record.wait,
            "hold": record.hold,
            "stalls": record.stalls,
            "tokens": None if usage is None else dict(zip(TOKENS, usage[: len(TOKENS)], strict=True)),
            "tokens_per_second": record.tokens_per_second,
        }
        if record.partial is not None:
            line["partial"] = record.partial
        line["suppressed"] = self._budget.take_suppressed()
        self._append_line(line)

    def report_suppressed(self) -> None:
        """Write how many failures have no line: the process ends."""
        suppressed = self._budget.take_suppressed()
        if suppressed:
            with contextlib.suppress(ReportedError):  # it has been logged
                self._append_line({"suppressed": suppressed})

    def _append_line(self, line: dict[str, object]) -> None:
        data = (json.dumps(line, default=str) + "\n").encode()
        try:
            self._write(b"\n" + data if self._torn else data)
        except OSError as error:
            self._report(error)
            if error.errno not in _PASSES:
                raise ReportedError(error.errno, error.strerror) from error

    def _report(self, error: OSError) -> None:
        if not self._reported:
            self._reported = True
            logger.warning(
                "the journal %s cannot be written: %s; lines are lost -> "
                "set STREAMVITALS_JOURNAL to a file that the app may write",
                self._path[:200], error.strerror or type(error).__name__,
            )
            self._on_problem()

    def _write(self, data: bytes) -> None:
        written = self._append(data) if self._fd is None else self._write_to_open(self._fd, data)
        # A pipe takes a part of a long line: the next one begins on a line of its own.
        self._torn = written < len(data)
        if self._torn:
            raise BlockingIOError(errno.EAGAIN, "there was room for a part of the line")

    def _write_to_open(self, fd: int, data: bytes) -> int:
        # A daemon closes all, and the next file or connection of the app's gets the number.
        if descriptors.identity(fd) != self._opened:
            raise OSError(errno.EBADF, "the app has opened something else there")
        return descriptors.write(fd, data)

    def _append(self, data: bytes) -> int:
        fd = os.open(self._path, _FLAGS, 0o600)
        try:
            if os.fstat(fd).st_size > MAX_SIZE and _put_aside(self._path, fd):
                os.close(fd)
                fd = -1
                fd = os.open(self._path, _FLAGS, 0o600)
            return os.write(fd, data)
        finally:
            if fd >= 0:
                os.close(fd)


def _put_aside(path: str, fd: int) -> bool:
    """Rename the file that ``fd`` is open on; return whether it was done.

    It is not done if another process is renaming it or has renamed it (our line is then the last of the old file), nor
    if the path is a link or a device. Raises OSError.
    """
    try:
        # One process at a time rotates this inode.
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = os.lstat(path)
        if not stat.S_ISREG(there.st_mode) or not os.path.samestat(there, os.fstat(fd)):
            return False
        os.replace(path, path + ".1")
    except (BlockingIOError, FileNotFoundError):
        return False
    return True
