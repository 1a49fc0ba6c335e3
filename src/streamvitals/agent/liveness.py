"""Finds out whether the program that wrote a mapped file still runs, even in another pid namespace."""

from __future__ import annotations

import contextlib

from ..store.segment import Identity
from .proc import entry_of, exists, pid_namespace, pids

# The pids in our namespace of processes of other ones, kept because finding one needs a scan of the whole machine.
_found: dict[Identity, int] = {}


def alive(identity: Identity) -> bool:
    """Whether this very process still runs this very program.

    A zombie with no thread left does not run.

    In doubt the answer is yes: if a living process were taken for dead, what it counts afterwards would be lost.
    """
    if not identity.start:
        return exists(identity.pid)
    found = _runs(identity.pid, identity)
    if found or not identity.namespace or identity.namespace == pid_namespace("self"):
        return found
    return _elsewhere(identity)


def pid_here(identity: Identity) -> int:
    """The pid of a process in our pid namespace, even if it runs in a container; 0 if not found."""
    if not identity.namespace or identity.namespace == pid_namespace("self"):
        return identity.pid
    if _is_where_it_was(identity):
        return _found[identity]
    with contextlib.suppress(OSError):
        for pid in pids():
            if pid_namespace(pid) == identity.namespace and _runs(pid, identity):
                _found[identity] = pid
                return pid
    return 0


def _runs(pid: int, identity: Identity) -> bool:
    try:
        entry = entry_of(pid)
    except OSError:
        return True
    if entry is None or entry.identity.start != identity.start:
        return False
    # An image of 0 could not be read by this user.
    return not entry.image or not identity.image or entry.image == identity.image


def _elsewhere(identity: Identity) -> bool:
    """Whether a process of another pid namespace, which has another pid here, still runs."""
    if _is_where_it_was(identity):
        return True
    try:
        there = pids()
    except OSError:
        return True
    # Where other users' processes are hidden, it may be one of those.
    if 1 not in there:
        return True
    for pid in there:
        if _may_be(pid, identity):
            _found[identity] = pid
            return True
    return False


def _is_where_it_was(identity: Identity) -> bool:
    if identity in _found and _may_be(_found[identity], identity):
        return True
    _found.pop(identity, None)
    return False


def _may_be(pid: int, identity: Identity) -> bool:
    return pid_namespace(pid) in (identity.namespace, 0) and _runs(pid, identity)
