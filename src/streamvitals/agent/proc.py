"""Which processes of the app are alive, and which Pythons among them did not report in; all from /proc.

Fields as proc(5) numbers them. Only "no such process" says that one is gone. Where that cannot be told (no
descriptor or memory left, a process that is hidden from this user by hidepid) it is taken for alive.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

from ..startup import registration
from .protocol import is_agent

# An interpreter that has just been started has not come to its `sitecustomize` yet. Seconds.
GRACE = 2.0


class Identity(NamedTuple):
    """A process, told apart from a later one with the same pid. ``start`` in clock ticks since boot, of the machine
    and not of a time namespace."""

    pid: int
    start: int


class Entry(NamedTuple):
    """One row of the process table. ``image`` tells programs apart that follow each other by exec; 0 where it
    may not be read."""

    identity: Identity
    parent: int
    image: int


class Silent(NamedTuple):
    """A Python that did not report in: ``exe`` is its executable's base name."""

    pid: int
    exe: str
    reason: str


def parse_identity(text: str) -> Identity | None:
    """`<pid>-<starttime>`, or None where it is something else."""
    pid, dash, start = text.partition("-")
    if dash and pid.isdecimal() and start.isdecimal() and 0 < int(pid[:12]) < 1 << 31 and len(text) < 40:
        return Identity(int(pid), int(start))
    return None


def entry_of(pid: int) -> Entry | None:
    """The process with this pid; None if there is none, or only a zombie of one. Raises OSError in doubt."""
    try:
        stat = _line(f"/proc/{pid}/stat")
        fields = stat[stat.rindex(b")") + 2 :].split()
        # A main thread that has ended is a zombie for as long as others run.
        if fields[0] == b"X" or (fields[0] == b"Z" and len(os.listdir(f"/proc/{pid}/task")) < 2):
            return None
        return Entry(Identity(pid, int(fields[19]) - _boot_offset()), int(fields[1]), int(fields[25]))
    except (FileNotFoundError, ProcessLookupError):
        if _hidden(pid):
            raise PermissionError(errno.EPERM, "it is there, and not for this user to see") from None
        return None
    except (ValueError, IndexError):
        return None


def _line(path: str) -> bytes:
    """A short file of /proc: a look at an app reads one for each of its processes, and `open` takes twice as long."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def named(pid: int) -> str:
    """The process with this pid as `<pid>-<starttime>`; "" if there is none to be seen."""
    try:
        entry = entry_of(pid)
    except OSError:
        return ""
    return f"{entry.identity.pid}-{entry.identity.start}" if entry is not None else ""


def _hidden(pid: int) -> bool:
    """Whether there is a process though /proc shows none (hidepid in proc(5))."""
    if pid <= 0:  # to kill(2) a group
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
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError):
                entry = entry_of(int(name))
                if entry is not None:
                    found[entry.identity.pid] = entry
    return found


@cache
def children_are_listed() -> bool:
    """Whether the kernel lists a process's children (proc(5), CONFIG_PROC_CHILDREN)."""
    return os.path.exists(f"/proc/self/task/{os.getpid()}/children")


def below(roots: Iterable[Identity]) -> set[Identity]:
    """The live processes below `roots`, the roots not among them: looks at these only, if it can. Raises OSError."""
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
    """Listed per thread. None of one that has gone, or is not for this user to see."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += map(int, file.read().split())
    return found


def carriers(directory: str) -> set[Identity]:
    """The live processes that got this directory in their environment, whoever their parent is."""
    wanted = b"\0STREAMVITALS_DIR=" + os.fsencode(directory) + b"\0"
    return {entry.identity for pid, entry in table().items() if wanted in (_environment(pid) or b"")}


def users_of(pid: int) -> frozenset[int]:
    """The user ids that a process has (real, effective, saved, of files); none where there is none to be seen."""
    try:
        with open(f"/proc/{pid}/status", "rb") as file:
            line = next(line for line in file if line.startswith(b"Uid:"))
    except (OSError, StopIteration):
        return frozenset()
    return frozenset(map(int, line.split()[1:]))


def may_be_of(user: int, pid: int) -> bool:
    """Whether a file of this user may be this process's: its own user's, root's or ours, who may all become others."""
    return user in (0, os.geteuid()) or user in users_of(pid)


def descendants(roots: Iterable[Identity], rows: Mapping[int, Entry]) -> set[Identity]:
    """The live processes below `roots`, the roots not among them."""
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


def silent_python(identity: Identity, directory: str) -> Silent | None:
    """What to say of a process that has not reported in: nothing unless it is a Python that should have."""
    try:
        exe = os.path.basename(os.readlink(f"/proc/{identity.pid}/exe")).removesuffix(" (deleted)")
        with open(f"/proc/{identity.pid}/cmdline", "rb") as file:
            arguments = file.read().split(b"\0")
    except OSError:
        return None
    if not exe.startswith("python") or _age(identity) < GRACE or is_agent(arguments):
        return None
    return Silent(identity.pid, exe, _reason(exe, arguments, _environment(identity.pid), directory))


def _age(identity: Identity) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - identity.start / os.sysconf("SC_CLK_TCK")


def _environment(pid: int) -> bytes | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return b"\0" + file.read()
    except OSError:
        return None


def _reason(exe: str, arguments: list[bytes], environment: bytes | None, directory: str) -> str:
    """Why it did not, from the outside; of arguments and variables only known names are looked at."""
    for argument in arguments[1:]:
        if not argument.startswith(b"-") or argument.startswith(b"--") or argument in (b"-", b"-c", b"-m"):
            break
        for letter, flag in ((b"I", "-I"), (b"E", "-E"), (b"S", "-S")):
            if letter in argument[1:]:
                return f"started with {flag}"
    version = exe.removeprefix("python").split(".")
    if version[0] == "2" or (version[0] == "3" and len(version) > 1 and version[1] in "56789"):
        return "older than Python 3.10"
    if environment is not None and b"\0STREAMVITALS_DIR=" not in environment:
        return "started with a cleared environment"
    if environment is not None and b"/streamvitals/startup/inject" not in environment:
        return "PYTHONPATH was replaced"
    if environment is not None and b"\0STREAMVITALS_DIR=" + os.fsencode(directory) + b"\0" not in environment:
        return "another `streamvitals run` watches it"
    return "another sitecustomize in front, a frozen program, or no room for its file"
