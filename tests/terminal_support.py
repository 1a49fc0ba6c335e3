"""Programs in a terminal of their own, and what it shows."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
from collections.abc import Iterator, Mapping


@contextlib.contextmanager
def in_a_terminal(command: list[str], env: Mapping[str, str]) -> Iterator[tuple[int, int]]:
    """A program that leads the session of a new pseudo-terminal; its pid and the other end."""
    pid, fd = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, dict(env))
    try:
        yield pid, fd
    finally:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)
        os.close(fd)


class Screen:
    """What a terminal has shown so far."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.text = ""
        os.set_blocking(fd, False)

    def shows(self, text: str) -> bool:
        with contextlib.suppress(OSError):
            while part := os.read(self._fd, 4096):
                self.text += part.decode(errors="replace")
        return text in self.text
