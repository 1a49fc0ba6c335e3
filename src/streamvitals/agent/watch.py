"""Who of the app is there: the registered processes and those below them, and when the last one has gone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from typing import NamedTuple

from .. import presence
from . import directory as private
from .processes import Entry, Identity, Silent, alive, carriers, descendants, silent_python, table

# A process that never registers is found when the whole table is read, which costs more. Seconds.
SCAN_EVERY = 5.0
# In an answer to /healthz.
MAX_LISTED = 20


class Health(NamedTuple):
    """``silent`` are Pythons that did not report in, ``faults`` those that could not patch openai, by pid."""

    seen: int
    alive: int
    silent: tuple[Silent, ...]
    faults: tuple[tuple[int, str], ...]


class Watcher:
    """Looks at the registrations and at /proc. Safe to use from several threads."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._lock = threading.Lock()
        self._registered: dict[Identity, private.Registration] = {}
        self._below: set[Identity] = set()
        self._seen = 0
        self._scanned = float("-inf")

    def anyone_left(self) -> bool:
        """Look again; whether any process of the app is alive."""
        with self._lock:
            self._look()
            if not self._registered or time.monotonic() - self._scanned > SCAN_EVERY:
                self._scan()
            if not self._registered and not self._below:
                self._below = carriers(self._directory)
            return bool(self._registered or self._below)

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
        self._scanned = time.monotonic()
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
