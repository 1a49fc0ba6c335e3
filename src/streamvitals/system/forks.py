"""Notices forks of this process, even those that Python does not see: uWSGI's master forks in C."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable

_hooks: list[Callable[[], object]] = []
_pid = os.getpid()


def in_child(hook: Callable[[], object]) -> None:
    """Call ``hook`` in every child that is forked from now on, before anything is counted there."""
    if not _hooks:
        os.register_at_fork(after_in_child=_forked)
    _hooks.append(hook)


def in_child_while_alive(method: Callable[[], object]) -> None:
    """Call a bound method in every child, as long as its object is alive: the hook does not keep it."""
    reference = weakref.WeakMethod(method)

    def streamvitals_after_fork() -> None:
        alive = reference()
        if alive is not None:
            alive()

    in_child(streamvitals_after_fork)


def notice() -> None:
    """Check whether this process has become a child since. Raises what a hook raises."""
    if os.getpid() != _pid:
        _forked()


def _forked() -> None:
    global _pid
    _pid = os.getpid()
    for hook in tuple(_hooks):
        hook()
