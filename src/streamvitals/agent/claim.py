"""The agent's claim on its directory: the lock, the sign that an agent reads it, and facts about that agent."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping

from ..startup.registration import READER, RESERVE, home
from . import private_directory


class Claim:
    """Holds a directory until the process ends.

    Raises BlockingIOError where another agent holds it, and OSError.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._facts: Mapping[str, object] | None = None
        self._places = private_directory.places(directory)
        self._held = [self._lock()]
        self._reader = -1
        self._size = -1
        with contextlib.suppress(OSError):
            self._show()

    def _lock(self) -> int:
        held = private_directory.lock(self._directory)
        if held is None:
            raise BlockingIOError(f"{self._directory} is served already")
        return held

    def write_facts(self, facts: Mapping[str, object]) -> None:
        """Write facts about this agent; `renew` writes them again if it must remake the directory. Raises OSError."""
        self._facts = facts
        private_directory.write_facts(self._directory, facts)

    def renew(self) -> bool:
        """Make the directory again if it has been removed; return whether it was. Raises OSError.

        Call it periodically: cleaners of /dev/shm remove directories, and so does systemd's RemoveIPC.
        """
        gone = not os.path.isdir(self._directory)
        if gone:
            private_directory.restore(self._directory)
            if len(self._places) == 2:
                with contextlib.suppress(OSError):
                    os.symlink(self._places[1], f"{home(self._directory)}/{RESERVE}")
            self._held.append(self._lock())
            os.close(self._held.pop(0))
            if self._facts is not None:
                private_directory.write_facts(self._directory, self._facts)
        if gone or self._reader < 0:
            self._show()
        size = os.stat(self._directory).st_size
        if size != self._size and self._reader >= 0:
            os.pwrite(self._reader, b"%-20d" % size, 0)
            self._size = size
        return gone

    def _show(self) -> None:
        """Lock the file that shows new processes of the app that an agent reads (startup/registration.py).

        It is locked before it has its name, and never closed: that would unlock it (fcntl_locking(2)).
        """
        path = f"{home(self._directory)}/{READER}"
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path + ".new", flags, 0o600)
        try:
            os.fchmod(fd, 0o644)
            os.lockf(fd, os.F_TLOCK, 0)
            os.rename(path + ".new", path)
        except BaseException:
            os.close(fd)
            raise
        if self._reader >= 0:
            os.close(self._reader)
        self._reader, self._size = fd, -1
