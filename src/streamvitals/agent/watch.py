"""Who of the app is there: the registered processes and those below them, and when the last one has gone."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from typing import NamedTuple

from .. import presence
from . import directory as private
from .processes import Entry, Identity, Silent, alive, descendants, entry_of, silent_python, table

# In an answer to /healthz.
MAX_LISTED = 20


class Health(NamedTuple):
    """``silent`` are Pythons that did not report in, ``faults`` those that could not patch openai, by pid."""

    seen: int
    alive: int
    silent: tuple[Silent, ...]
    faults: tuple[tuple[int, str], ...]


class Watcher:
    """Looks at the registrations and at /proc. Safe to use from several threads. ``app``: its main process."""

    def __init__(self, directory: str, app: Identity | None = None) -> None:
        self._directory = directory
        self.app = app
        self._lock = threading.Lock()
        self._registered: dict[Identity, private.Registration] = {}
        self._below: set[Identity] = set()
        self._seen = 0

    def anyone_left(self) -> bool:
        """Look again; whether anybody is there who may still count something.

        That is the app's main process, whatever it runs, and who has registered, for as long as it runs the program
        that did. Others below them are not waited for: a gpg-agent that the app has started lives for ever.
        """
        with self._lock:
            self._look()
            if self.app is not None and alive(self.app):
                return True
            return any(self._runs_on(identity, what) for identity, what in self._registered.items())

    @staticmethod
    def _runs_on(identity: Identity, what: private.Registration) -> bool:
        entry = entry_of(identity.pid)
        if entry is None or entry.identity != identity:
            return False
        # What registered before `run` became it is another program by now, and the app.
        return what.kind == presence.RUN or 0 in (what.image, entry.image) or what.image == entry.image

    def health(self, counting: Mapping[Identity, int]) -> Health:
        """The state of the tree now; ``counting`` are the processes that have files here, and their images."""
        with self._lock:
            self._look()
            rows = self._scan()
            living = {*self._registered, *self._below}
            suspects = [identity for identity in living if not self._reported(identity, rows, counting)]
            silent = sorted(s for identity in suspects if (s := silent_python(identity)) is not None)
            said = self._registered.items()
            faults = sorted((i.pid, what.detail) for i, what in said if what.kind == presence.FAULT)
            return Health(self._seen, len(living), tuple(silent[:MAX_LISTED]), tuple(faults[:MAX_LISTED]))

    def _look(self) -> None:
        """Read the registrations; those of processes that have gone are removed."""
        before = {*self._registered, *self._below}
        self._registered = {}
        for identity, what in private.registered(self._directory).items():
            here = alive(identity)
            if here:
                self._registered[identity] = what
            else:
                private.forget(what)
            self._seen += identity not in before
        self._below = {identity for identity in self._below if alive(identity)} - self._registered.keys()

    def _scan(self) -> dict[int, Entry]:
        """Find who is below. A process stays known when its parent goes."""
        rows = table()
        # Where the app reaps orphans the agent is below it too.
        rows.pop(os.getpid(), None)
        known = {*self._registered, *self._below}
        new = descendants(known, rows) - known
        self._below |= new
        self._seen += len(new)
        return rows

    def _reported(
        self, identity: Identity, rows: Mapping[int, Entry], counting: Mapping[Identity, int]
    ) -> bool:
        """Whether the program that this process now runs has registered itself, or counts without."""
        entry, what = rows.get(identity.pid), self._registered.get(identity)
        if entry is None:
            return True
        images = {counting.get(identity), what.image if what is not None else None} - {None}
        return bool(images & {entry.image, 0}) or (entry.image == 0 and bool(images))
