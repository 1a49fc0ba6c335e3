"""Whether the program that wrote a mapped file can still write to it; all from /proc (proc(5))."""

from __future__ import annotations

import os

from ..sinks.segment import Identity


def alive(identity: Identity) -> bool:
    """Whether this very process still runs this very program; a zombie with no thread left does not.

    In doubt the answer is yes: a living process that is taken for dead loses what it counts from then on.
    """
    if not identity.start:
        return _exists(identity.pid)
    found = _runs(str(identity.pid), identity)
    if found or not identity.namespace or identity.namespace == _namespace("self"):
        return found
    return _elsewhere(identity)


def _runs(pid: str, identity: Identity) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return False
    fields = text[text.rindex(b")") + 2 :].split()
    if int(fields[19]) != identity.start:
        return False
    image = int(fields[25])
    # 0: not for this user to see.
    if image and identity.image and image != identity.image:
        return False
    return fields[0] not in (b"Z", b"X") or _threads(pid) > 1


def _threads(pid: str) -> int:
    # A main thread that has gone is a zombie for as long as others run.
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _namespace(pid: str) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/pid").st_ino
    except OSError:
        return 0


def _elsewhere(identity: Identity) -> bool:
    """Whether a process of another pid namespace runs, which has another pid here."""
    try:
        pids = [name for name in os.listdir("/proc") if name.isdecimal()]
    except OSError:
        return True
    return any(_namespace(pid) == identity.namespace and _runs(pid, identity) for pid in pids)
