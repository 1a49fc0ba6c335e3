"""Reads /proc: which processes exist, whose they are, and what they were started with.

Fields are numbered as in proc(5). Only the error "no such process" means that a process is gone. Where that cannot be
found out (no descriptor or memory left, a process that hidepid hides from this user) it is taken for alive.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from ..startup import registration


class Identity(NamedTuple):
    """A process, distinguished from a later one with the same pid.

    ``start`` is in clock ticks since the boot of the machine, not of a time namespace.
    """

    pid: int
    start: int


class Entry(NamedTuple):
    """One row of the process table.

    ``image`` distinguishes programs that follow each other by exec; 0 where it may not be read.
    """

    identity: Identity
    parent: int
    image: int


def parse_identity(text: str) -> Identity | None:
    """Parse `<pid>-<starttime>`; None if the text is something else."""
    pid, dash, start = text.partition("-")
    if dash and pid.isdecimal() and start.isdecimal() and 0 < int(pid[:12]) < 1 << 31 and len(text) < 40:
        return Identity(int(pid), int(start))
    return None


def entry_of(pid: int) -> Entry | None:
    """The process with this pid; None if there is none, or only its zombie. Raises OSError in doubt."""
    try:
        stat = _line(f"/proc/{pid}/stat")
        fields = stat[stat.rindex(b")") + 2 :].split()
        # A main thread that has ended is a zombie for as long as other threads run.
        if fields[0] == b"X" or (fields[0] == b"Z" and len(os.listdir(f"/proc/{pid}/task")) < 2):
            return None
        return Entry(Identity(pid, int(fields[19]) - _boot_offset()), int(fields[1]), int(fields[25]))
    except (FileNotFoundError, ProcessLookupError):
        if exists(pid):
            raise PermissionError(errno.EPERM, "it is there, and not for this user to see") from None
        return None
    except (ValueError, IndexError):
        return None


def _line(path: str) -> bytes:
    """Read a short file of /proc.

    A scan reads one for each process of the app, and `open` takes twice as long.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def named(pid: int) -> str:
    """The process with this pid as `<pid>-<starttime>`; "" if none can be seen."""
    try:
        entry = entry_of(pid)
    except OSError:
        return ""
    return f"{entry.identity.pid}-{entry.identity.start}" if entry is not None else ""


def exists(pid: int) -> bool:
    """Whether the process exists, even if /proc does not show it (hidepid in proc(5)). In doubt: yes."""
    if pid <= 0:  # a process group for kill(2)
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


@cache
def _boot_offset() -> int:
    return registration.boot_offset()


def alive(identity: Identity) -> bool:
    """Whether this very process still runs, or may."""
    try:
        entry = entry_of(identity.pid)
    except OSError:
        return True
    return entry is not None and entry.identity == identity


def table() -> dict[int, Entry]:
    """Every process that can be seen, by pid. Raises OSError where none can."""
    found = {}
    for pid in pids():
        with contextlib.suppress(OSError):
            entry = entry_of(pid)
            if entry is not None:
                found[pid] = entry
    return found


def pids() -> list[int]:
    """The pids that /proc lists. Raises OSError if it cannot be listed."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]


def pid_namespace(pid: int | str) -> int:
    """The pid namespace of a process, or of "self"; 0 where this user may not see it."""
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


@cache
def children_are_listed() -> bool:
    """Whether the kernel lists a process's children (proc(5), CONFIG_PROC_CHILDREN)."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def below(roots: Iterable[Identity]) -> set[Identity]:
    """The live processes below `roots`, without the roots. Raises OSError.

    Reads only these processes where the kernel lists children.
    """
    if not children_are_listed():
        return descendants(roots, table())
    found: set[Identity] = set()
    todo = [root.pid for root in roots]
    while todo:
        parent = todo.pop()
        for pid in _children(parent):
            with contextlib.suppress(OSError):
                entry = entry_of(pid)
                if entry is not None and entry.parent == parent and entry.identity not in found:
                    found.add(entry.identity)
                    todo.append(pid)
    return found


def _children(pid: int) -> list[int]:
    """The children of a process, which /proc lists per thread; none if the process has gone or is hidden."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def processes_with_directory(directory: str) -> set[Identity]:
    """The live processes that have this directory in their environment, whatever their parent is."""
    return {entry.identity for pid, entry in table().items() if has_directory(environment(pid), directory)}


def has_directory(variables: bytes | None, directory: str = "") -> bool:
    """Whether an environment has STREAMVITALS_DIR, with this value or any."""
    wanted = b"\0STREAMVITALS_DIR=" + (os.fsencode(directory) + b"\0" if directory else b"")
    return wanted in (variables or b"")


def environment(pid: int) -> bytes | None:
    """The environment that a process was started with, a NUL before each variable; None if unreadable."""
    try:
        return b"\0" + _whole(f"/proc/{pid}/environ")
    except OSError:
        return None


def arguments(pid: int) -> list[bytes]:
    """The command line of a process, with an empty argument at the end. Raises OSError."""
    return _whole(f"/proc/{pid}/cmdline").split(b"\0")


def executable(pid: int) -> str:
    """The base name of the file that a process runs. Raises OSError."""
    return os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)")


def status(pid: int, field: str) -> list[str]:
    """The values of a field of /proc/<pid>/status, which every user may read. Raises OSError."""
    name = field.encode() + b":"
    for line in _whole(f"/proc/{pid}/status").splitlines():
        if line.startswith(name):
            return line.decode().split()[1:]
    return []


def _whole(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def descriptors() -> list[int]:
    """The descriptors that this process has open. Raises OSError.

    One of them was used for the listing itself, and is closed by now.
    """
    return sorted(int(name) for name in os.listdir("/proc/self/fd"))


def users_of(pid: int) -> frozenset[int]:
    """The user ids of a process (real, effective, saved, file system); none if they cannot be seen."""
    try:
        return frozenset(map(int, status(pid, "Uid")))
    except OSError:
        return frozenset()


def may_be_of(user: int, pid: int) -> bool:
    """Whether a file that this user owns may have been written by this process.

    That is so for a user of the process, and for root and our own user, which may have become that of the process.
    """
    return user in (0, os.geteuid()) or user in users_of(pid)


def descendants(roots: Iterable[Identity], rows: Mapping[int, Entry]) -> set[Identity]:
    """The live processes below `roots`, without the roots."""
    children: dict[int, list[Entry]] = {}
    for entry in rows.values():
        children.setdefault(entry.parent, []).append(entry)
    found: set[Identity] = set()
    todo = [root.pid for root in roots]
    while todo:
        for entry in children.get(todo.pop(), ()):
            if entry.identity not in found:
                found.add(entry.identity)
                todo.append(entry.identity.pid)
    return found
