"""Finds the processes of the app: the registered ones and their descendants, until the last has gone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from ..startup import registration
from . import private_directory
from .proc import (
    Identity,
    alive,
    below,
    children_are_listed,
    entry_of,
    may_be_of,
    users_of,
)
from .unreported import Unreported, unreported_python

# How often to scan for descendants of registered processes, and how often where that needs a scan of the whole machine;
# a scrape in between uses the last scan. Seconds.
SCAN_EVERY, FULL_SCAN_EVERY = 2.0, 30.0
# How often to remove the files of registered processes that have gone. Seconds.
LOOK_EVERY = 2.0
# Most processes that an answer to /healthz lists.
MAX_LISTED = 20
# Most files that are counted as refused because they are not trusted.
MAX_REFUSED = 1000


class Health(NamedTuple):
    """The state of the app's processes.

    ``unreported`` are Pythons that did not register, ``faults`` those that could not patch openai, by pid, ``unseen``
    those whose counts the agent cannot see; ``problems`` are words for other problems that some processes have.
    """

    seen: int
    alive: int
    unreported: tuple[Unreported, ...]
    faults: tuple[tuple[int, str], ...]
    unseen: tuple[tuple[int, str], ...]
    problems: tuple[str, ...]


class ProcessMonitor:
    """Reads the registrations and /proc. Safe to use from several threads.

    ``app`` is the app's main process.

    A process that has registered stays known until it is gone, even if its file is removed. ``unseen`` counts the
    processes that reported that the agent cannot see their counts. ``complain`` is called with the path of each file
    that is not trusted.
    """

    def __init__(
        self, directory: str, app: Identity | None = None, complain: Callable[[str], object] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._directory = directory
        self.app = app
        self._complain = complain
        self._clock = clock
        self._next_scan = self._next_look = 0.0
        self._lock = threading.Lock()
        self._registered: dict[Identity, private_directory.Registration] = {}
        self._below: set[Identity] = set()
        self._images: dict[Identity, int] = {}  # of the programs that these processes ran when last checked; 0 in doubt
        self._users: set[int] = set()
        self._refused: set[str] = set()
        self._seen = 0
        self.unseen = 0

    def trusts(self, user: int, pid: int) -> bool:
        """Whether a file that this user owns may have been written by that process.

        If the process is gone: whether any process of the app ran as that user.
        """
        if may_be_of(user, pid):
            return True
        if users_of(pid):
            return False  # a worker that has dropped its rights may not write for other processes
        if user not in self._users:
            with self._lock:
                self._look()
                # A process that registered as root may have dropped its rights since then, and forked.
                self._users.update(*(users_of(identity.pid) for identity in self._registered))
        return user in self._users

    def anyone_left(self) -> bool:
        """Check again; return whether any process may still count something.

        Such a process is the app's main process, whatever it runs, and each registered process for as long as it runs
        the program that registered. Other descendants are not waited for: a gpg-agent that the app has started lives
        for ever.
        """
        with self._lock:
            self._look()
            if self.app is not None and alive(self.app):
                return True
            return any(self._runs_on(identity, what) for identity, what in self._registered.items())

    def look_now_and_then(self) -> None:
        """Check again if the last check is a while ago.

        This removes the files that processes have left, since the space for them is bounded.
        """
        with self._lock:
            if self._clock() >= self._next_look:
                self._look()

    @staticmethod
    def _runs_on(identity: Identity, what: private_directory.Registration) -> bool:
        try:
            entry = entry_of(identity.pid)
        except OSError:
            return True
        if entry is None or entry.identity != identity:
            return False
        # `run` registers before it becomes the app by exec, so a different image is expected and is the app.
        return what.kind == registration.RUN or 0 in (what.image, entry.image) or what.image == entry.image

    def health(self, counting: Mapping[Identity, int]) -> Health:
        """Check, and return the state; ``counting`` are the processes that have files here, and their images."""
        with self._lock:
            self._look()
            self._scan()
            living = {*self._registered, *self._below}
            suspects = [identity for identity in living if not self._reported(identity, counting)]
            reasons = (unreported_python(identity, self._directory) for identity in suspects)
            unreported = sorted(one for one in reasons if one is not None)
            reports = [
                (identity.pid, kind, detail)
                for identity, one in self._registered.items() for kind, detail in one.reports
            ]
            faults, unseen = (
                tuple(sorted((pid, detail) for pid, kind, detail in reports if kind == wanted)[:MAX_LISTED])
                for wanted in (registration.FAULT, registration.UNSEEN)
            )
            words = {word for _, kind, detail in reports if kind == registration.PROBLEM for word in detail.split("-")}
            return Health(self._seen, len(living), tuple(unreported[:MAX_LISTED]), faults, unseen, tuple(sorted(words)))

    def _look(self) -> None:
        """Read the registrations, and remove those of processes that have gone."""
        self._next_look = self._clock() + LOOK_EVERY
        before = {*self._registered, *self._below}
        found = {**self._registered, **private_directory.registered(self._directory, self._refuse)}
        for identity, what in found.items():
            known = self._registered.get(identity)
            self.unseen += _unseen(what) and not (known is not None and _unseen(known))
            if self._lives(identity):
                # The main process registers before it becomes the app, which may run as another user (gosu, su-exec).
                if identity not in self._registered or identity == self.app:
                    self._users |= users_of(identity.pid)
                self._registered[identity] = what
            else:
                self._registered.pop(identity, None)
                private_directory.forget(what)
            self._seen += identity not in before
        below = self._below - self._registered.keys()
        self._below = {identity for identity in below if self._lives(identity)}
        self._images = {i: image for i, image in self._images.items() if i in self._registered or i in self._below}

    def _lives(self, identity: Identity) -> bool:
        """Whether a process exists, or may exist; stores which program it runs."""
        try:
            entry = entry_of(identity.pid)
        except OSError:
            self._images[identity] = 0
            return True
        if entry is None or entry.identity != identity:
            return False
        self._images[identity] = entry.image
        return True

    def _refuse(self, path: str) -> None:
        if path not in self._refused and len(self._refused) < MAX_REFUSED:
            self._refused.add(path)
            self._complain("a file that is named like a registration is none, or another user's")

    def _scan(self) -> None:
        """Find the processes below the known ones. A process stays known when its parent goes."""
        now = self._clock()
        if now < self._next_scan:
            return
        self._next_scan = now + (SCAN_EVERY if children_are_listed() else FULL_SCAN_EVERY)
        known = {*self._registered, *self._below}
        try:
            new = below(known) - known
        except OSError:
            return
        # If the app reaps orphans, the agent is among its descendants.
        new = {identity for identity in new if identity.pid != os.getpid()}
        for identity in new:
            self._users |= users_of(identity.pid)
        self._below |= {identity for identity in new if self._lives(identity)}
        self._seen += len(new)

    def _reported(self, identity: Identity, counting: Mapping[Identity, int]) -> bool:
        """Whether the program that this process runs now has registered, or counts without."""
        runs, what = self._images[identity], self._registered.get(identity)
        images = {counting.get(identity), what.image if what is not None else None} - {None}
        return bool(images & {runs, 0}) or (runs == 0 and bool(images))


def _unseen(what: private_directory.Registration) -> bool:
    return any(kind == registration.UNSEEN for kind, _ in what.reports)
