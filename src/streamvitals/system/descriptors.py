"""Resolves paths that name a descriptor (`/dev/stdout`), and writes to the app's descriptors without blocking.

Such a path is never opened as a file. That fails for a socket, which systemd passes, and it gives a file a second
position, so that each of the two writers overwrites the output of the other.

Standard library only.
"""

from __future__ import annotations

import errno
import os
import re
import select
import stat

from . import console

_NAMED = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
# A link may lead to such a path, as in containers whose log files are links to /dev/stdout.
_MOST_LINKS = 8


def named_by(path: str) -> int | None:
    """The descriptor that the path names, itself or by links; None where it names a file."""
    path = absolute(path)
    for _ in range(_MOST_LINKS):
        if path in _NAMED:
            return _NAMED[path]
        found = re.fullmatch(rf"/dev/fd/(\d{{1,9}})|/proc/(?:self|thread-self|{os.getpid()})/fd/(\d{{1,9}})", path)
        if found:
            return int(found[1] or found[2])
        try:
            path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
        except (OSError, ValueError):
            return None
    return None


def absolute(path: str) -> str:
    """The path from the root; as it is where there is no working directory any more."""
    try:
        return os.path.abspath(path) if path else ""
    except OSError:
        return path


def identity(fd: int) -> tuple[int, int, int]:
    """Identify the open file, so that a later file with the same number is not confused with it. Raises OSError."""
    state = os.fstat(fd)
    return state.st_dev, state.st_ino, state.st_rdev


def write(fd: int, data: bytes) -> int:
    """Write to a descriptor of the app's; return how many bytes were written. Never blocks.

    Raises OSError, including BlockingIOError, and changes no setting of the descriptor.
    """
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return os.write(fd, data)
    if stat.S_ISSOCK(mode):
        return _send(fd, data)
    if os.isatty(fd) and not console.may_write(fd):
        raise BlockingIOError(errno.EAGAIN, "the terminal takes nothing now")
    try:
        # Opened again for ourselves, because O_NONBLOCK on the app's descriptor would affect the app.
        again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:  # such as a file of another user
        return _write_little(fd, data)
    try:
        return os.write(again, data)
    finally:
        os.close(again)


def _send(fd: int, data: bytes) -> int:
    import _socket

    # Made non-blocking by its type: fcntl(2) would make the app's socket non-blocking too.
    kind = _socket.SOCK_STREAM | _socket.SOCK_NONBLOCK
    sock = _socket.socket(_socket.AF_UNIX, kind, 0, os.dup(fd))
    try:
        return sock.send(data, _socket.MSG_DONTWAIT | _socket.MSG_NOSIGNAL)
    finally:
        sock.close()


def _write_little(fd: int, data: bytes) -> int:
    if len(data) > select.PIPE_BUF or not console.has_room(fd):
        raise BlockingIOError(errno.EAGAIN, "there is no room")
    return os.write(fd, data)
