"""Tells whether the program that wrote a mapped file still runs, also in another pid namespace."""

from __future__ import annotations

import contextlib

from ..store.segment import Identity
from .proc import entry_of, exists, pid_namespace, pids

# Which pids those of other pid namespaces have here: to find one takes a look at all of the machine.
_found: dict[Identity, int] = {}


def alive(identity: Identity) -> bool:
    """Whether this very process still runs this very program.

    A zombie with no thread left does not.

    In doubt the answer is yes: a living process that is taken for dead loses what it counts from then on.
    """
    if not identity.start:
        return exists(identity.pid)
    found = _runs(identity.pid, identity)
    if found or not identity.namespace or identity.namespace == pid_namespace("self"):
        return found
    return _elsewhere(identity)


def pid_here(identity: Identity) -> int:
    """The pid that a process has in our pid namespace, from a container within it say; 0 if not found."""
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
    # 0: not for this user to see.
    return not entry.image or not identity.image or entry.image == identity.image


def _elsewhere(identity: Identity) -> bool:
    """Whether a process of another pid namespace, which has another pid here, still runs."""
    if _is_where_it_was(identity):
        return True
    try:
        there = pids()
    except OSError:
        return True
    # Where others' processes are hidden it may be one of those.
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
