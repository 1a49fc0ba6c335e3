"""Processes whose mapped files this agent cannot read: another version's, or bytes that are no segment.

During a rolling upgrade new workers may run another version of streamvitals than the agent that was started before
them. Their counts are not read, since two layouts must not be mixed, but the processes are named.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import NamedTuple

from .._version import __version__
from ..store import segment
from ..store.segment import BadSegmentError, Identity

FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
MEND = "start the application and `streamvitals run` anew together, with one version of streamvitals"
_VERSION = re.compile(r"[0-9][0-9A-Za-z.+!-]{0,39}")

# A file's path, and its inode: a name is used again after an exec.
Key = tuple[str, int]


class ForeignFileError(BadSegmentError):
    """A file of the process ``identity`` that cannot be read; what is not known of the identity is 0."""

    def __init__(self, why: str, identity: Identity) -> None:
        super().__init__(why)
        self.identity = identity


class NotCounted(NamedTuple):
    """A process whose counts are missing, why, and how to fix that."""

    pid: int
    error: str
    mend: str


class ForeignFiles:
    """The files of one directory that are named like a process's and that this agent cannot read.

    ``processes`` is how many different ones have had such a file so far."""

    def __init__(self, alive: Callable[[Identity], bool]) -> None:
        self._alive = alive
        self._files: dict[Key, Identity] = {}
        self.processes = 0

    def add(self, key: Key, identity: Identity) -> None:
        """Remember a file."""
        self.processes += _process(identity) not in map(_process, self._files.values())
        self._files[key] = identity

    def look(self, there: set[Key], *, remove: bool) -> None:
        """Forget files that are gone; with ``remove``, also remove those of processes that are gone."""
        for key, identity in list(self._files.items()):
            if key not in there:
                del self._files[key]
            elif remove and not self._alive(identity):
                with contextlib.suppress(OSError):
                    os.unlink(key[0])

    def living(self) -> set[Identity]:
        """The processes with such a file that still run."""
        return {identity for identity in self._files.values() if self._alive(identity)}

    def not_counted(self) -> list[NotCounted]:
        """The processes with such a file that still run, with what is known of the file, by pid."""
        found: dict[int, str] = {}
        for (path, _), identity in sorted(self._files.items()):
            if self._alive(identity):
                version = _version(path)
                if version or identity.pid not in found:
                    found[identity.pid] = version
        return [NotCounted(pid, _why(version), MEND) for pid, version in sorted(found.items())]


def _why(version: str) -> str:
    whose = f"streamvitals {version}" if version else "another version of streamvitals, or of something else"
    return f"its file is of {whose}, and the agent is of {__version__}, which has another layout"


def _version(path: str) -> str:
    """The version that wrote a file, if it says so: all versions say it in the same place."""
    try:
        fd = os.open(path, FLAGS)
        try:
            raw = os.pread(fd, segment.PAGE, 0)
        finally:
            os.close(fd)
    except OSError:
        return ""
    build = segment.read_build(memoryview(raw).cast("d")) if len(raw) == segment.PAGE else None
    return build[0] if build is not None and _VERSION.fullmatch(build[0]) else ""


def _process(identity: Identity) -> tuple[int, int, int]:
    return identity.pid, identity.start, identity.namespace
