"""Adds up what all processes of a directory have counted, the living and the dead.

What a process counted is never lost and never counted twice, whoever is killed and whenever: a file counts
until the sum of the processes that are gone says that it includes it (agent/dead.py). Any number of readers may
work on one directory; the one that holds the lock folds, and the others see either both or neither of a
file's disappearance and the new sum.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from .. import names
from ..startup.registration import home
from ..store.incident_record import IncidentRecord
from ..store.inferences import Bound
from ..store.labels import NO_CUSTOM_LABELS, Admission, Limits
from ..store.layout import PROCESS_LAYOUT
from ..store.segment import BadSegmentError, Identity
from ..store.snapshot import Build, Exemplar, ExemplarKey, Opened, Snapshot
from ..stream.record import STALL_AFTER, StallAfter, StreamLabels
from .dead import DeadProcesses
from .dead_incidents import DeadIncidents, Kept
from .foreign import ForeignFileError, ForeignFiles, Key, NotCounted
from .liveness import alive
from .private_directory import places
from .proc import may_be_of
from .reader import NAME, AnothersFileError, MappedFile, ProcessFiles
from .sums import Row, Sums

_log = logging.getLogger("streamvitals")

LOCK = "agent.fold.lock"
_ERRORS_AT = PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, "agent")
_LAYOUT_AT = PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, "layout")
# How often another reader may change the directory under our eyes before we take what we have.
_TRIES = 20
# Most exemplars of processes that are gone; they are in no file, and lost if the agent is.
_MOST_EXEMPLARS = 5000


class Tree:
    """The sum over one directory, in which the number of label sets is bounded. Safe to use from any thread.

    Call ``snapshot`` or ``sweep`` regularly: the time of death is the time of the call.
    """

    def __init__(
        self,
        directory: str,
        *,
        stall_after: StallAfter = STALL_AFTER,
        limits: Limits = NO_CUSTOM_LABELS,
        clock: Callable[[], float] = time.monotonic,
        alive: Callable[[Identity], bool] = alive,
        trusts: Callable[[int, int], bool] = may_be_of,
        complain: Callable[[str], object] = _log.debug,
        tidy: bool = False,
    ) -> None:
        """``trusts`` says whether a file of a user may be a process's; ``complain`` gets each error once.

        ``tidy``: remove what a process that is gone has left that cannot be read, since no other agent will read it.
        """
        self._directory = directory
        self._trusts = trusts
        self._complain = complain
        self._stall_after = stall_after
        self._clock = clock
        self._alive = alive
        self._lock = threading.RLock()
        self._admission = Admission(limits)
        self._bound = Bound()
        self._dead = DeadProcesses(home(directory))
        self._sums = Sums()
        self._files: dict[Key, MappedFile] = {}
        # Each is complained of once; those that cannot be read now may be read later.
        self._bad: set[Key] = set()
        self._unread: set[Key] = set()
        # Folded, but the sum could not be written.
        self._unwritten: dict[Identity, Snapshot] = {}
        self._living: set[Identity] = set()
        self._exemplars: dict[ExemplarKey, Exemplar] = {}  # of the dead
        self._incidents = DeadIncidents()
        self._foreign = ForeignFiles(alive)
        self._tidy = tidy
        self._errors = 0.0
        self._write_failed = False

    def snapshot(self) -> Snapshot:
        """Read everything that was counted in the directory, and what is open now.

        Its rows must not be changed: those that nothing was added to stand in the next one too.
        """
        with self._lock:
            self._sweep()
            self._read(self._files)
            now = self._clock()
            total = Snapshot()
            rows: dict[StreamLabels, list[Row]] = {}
            for part in (self._dead.total, *self._unwritten.values()):
                for labels, row in part.streams.items():
                    rows.setdefault(self._admission.admit(labels), []).append(row)
                total.add_process(part.process)
                for inference, numbers in part.inferences.items():
                    total.add_inference(self._bound.admit(inference), numbers)
            total.add_exemplars(self._exemplars.items())
            for identity, process in self._by_process().items():
                if identity in self._unwritten:
                    continue
                process.add_inferences(total, self._bound)
                for labels, raw in process.rows():
                    rows.setdefault(labels, []).append(raw)
                process.add_process(total)
                total.add_exemplars(process.exemplars())
                if identity in self._living:
                    process.add_open(total, now, self._stall_after)
                    build = process.build()
                    if build is not None:
                        total.builds[build] = total.builds.get(build, 0) + 1
            total.streams = self._sums.of(rows)
            self._add_errors(total)
            return total

    def opened(self) -> list[Opened]:
        """What is open in the living processes. Little of each file is read for it."""
        with self._lock:
            self._sweep()
            living = {i: process for i, process in self._by_process().items() if i in self._living}
            for process in living.values():
                for file in process.files:
                    with contextlib.suppress(OSError, BadSegmentError):  # the next scrape tells of it
                        file.read_slots()
                if not process.knows_all_slots():
                    # There are label sets that are new.
                    self._read([key for key, file in self._files.items() if file in process.files])
            return [
                Opened(identity.pid, labels, slot)
                for identity, process in living.items() for slot, labels in process.slots()
            ]

    def sweep(self) -> None:
        """Notice which processes have died, and add their counts to the sum of the dead."""
        with self._lock:
            self._sweep()

    def builds(self) -> dict[Identity, Build | None]:
        """Sweep, then return the living processes that have files here, and the versions that they run."""
        with self._lock:
            self._sweep()
            self._read([key for key, file in self._files.items() if file.header.shape.first and file.build is None])
            return self.builds_seen()

    def builds_seen(self) -> dict[Identity, Build | None]:
        """The same as ``builds``, as of the last sweep."""
        with self._lock:
            return {i: process.build() for i, process in self._by_process().items() if i in self._living}

    def process_row(self) -> list[float]:
        """The counts that have no label set. Little of each file is read for it."""
        with self._lock:
            self.builds()
            total = Snapshot()
            for part in (self._dead.total, *self._unwritten.values()):
                total.add_process(part.process)
            for identity, process in self._by_process().items():
                if identity not in self._unwritten:
                    for file in process.files:
                        with contextlib.suppress(OSError, BadSegmentError):  # the next scrape tells of it
                            file.read_process()
                    process.add_process(total)
            self._add_errors(total)
            return total.process

    def incidents(self) -> Kept:
        """The records of incidents of all processes, those that are gone included."""
        with self._lock:
            self._sweep()
            return self._incidents.with_living(self._incidents_of(self._files.values()))

    def _incidents_of(self, files: Iterable[MappedFile]) -> list[IncidentRecord]:
        found: list[IncidentRecord] = []
        for file in files:
            if file.header.shape.incidents:
                with contextlib.suppress(OSError, BadSegmentError):  # the next scrape tells of it
                    found += file.read_incidents()
        return found

    def not_counted(self) -> list[NotCounted]:
        """The living processes whose files cannot be read, as of the last sweep."""
        with self._lock:
            return self._foreign.not_counted()

    def counting(self) -> set[Identity]:
        """The living processes that have files here, readable or not, as of the last sweep."""
        with self._lock:
            return self._living | self._foreign.living()

    @property
    def errors(self) -> int:
        """How many errors there were, with files and of our own."""
        return int(self._errors)

    def close(self) -> None:
        """Close all files."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _sweep(self) -> None:
        for _ in range(_TRIES):
            self._load_dead()
            self._scan()
            dead = self._find_dead()
            if dead or self._unwritten:
                # Once more: what they made between the look at the directory and their end.
                self._scan()
                self._fold(dead)
            if not self._load_dead():
                return

    def _load_dead(self) -> bool:
        """Read the sum of the dead again; return whether another reader has changed it."""
        try:
            changed = self._dead.load()
        except (OSError, ValueError) as error:
            self._count_error("the sum of processes that are gone", error)
            return False
        if changed:
            # Whoever was admitted in the run of an earlier agent comes first in this one too.
            for labels in self._dead.total.streams:
                self._admission.admit(labels)
            for inference in self._dead.total.inferences:
                self._bound.admit(inference)
        return changed

    def _scan(self) -> None:
        """Open new files, and close those whose counts are in the sum."""
        there = self._list()
        self._bad &= there
        self._unread &= there | self._files.keys()
        self._foreign.look(there, remove=self._tidy)
        for key in there - self._files.keys() - self._bad:
            self._open(key)
        for key in list(self._files):
            file = self._files[key]
            if file.header.identity in self._dead.included:
                del self._files[key]
                file.close()
                if key in there:
                    with contextlib.suppress(OSError):
                        os.unlink(file.path)

    def _read(self, keys: Iterable[Key]) -> None:
        """Read these files, and admit the label sets that are new in them, the oldest file first."""
        for key in sorted(keys, key=lambda key: self._files[key].header.created):
            file = self._files[key]
            try:
                file.read()
            except (OSError, BadSegmentError) as error:
                if key not in self._unread:
                    self._count_error(f"{_name(key)} is damaged or cannot be read", error)
                self._unread.add(key)
            for ordinal, labels in list(file.new_blocks()):
                file.labels[ordinal] = self._admission.admit(labels)

    def _list(self) -> set[Key]:
        found: set[Key] = set()
        for place in places(self._directory):
            # Files that are open stay readable without their directory.
            with contextlib.suppress(OSError), os.scandir(place) as entries:
                found.update((entry.path, entry.inode()) for entry in entries if NAME.fullmatch(entry.name))
        return found

    def _open(self, key: Key) -> None:
        try:
            file = MappedFile(key[0], self._trusts)
        except FileNotFoundError:
            return
        except ForeignFileError as error:
            self._bad.add(key)
            self._foreign.add(key, error.identity)
            self._complain(f"{_name(key)} is of another version, or not of streamvitals: {error}")
        except BadSegmentError as error:
            self._bad.add(key)
            self._count_error(f"{_name(key)} is no file of this app's", error)
            if isinstance(error, AnothersFileError) and not self._alive(error.identity):
                # Nobody comes back for it, and it takes room.
                with contextlib.suppress(OSError):
                    os.unlink(key[0])
        except OSError as error:
            # Too many open files, say: may go away. A link does not.
            if key not in self._unread:
                self._count_error(f"{_name(key)} cannot be read now", error)
            self._unread.add(key)
        else:
            if any(other.inode == file.inode for other in self._files.values()):
                file.close()  # another name of the same
            else:
                self._files[key] = file

    def _by_process(self) -> dict[Identity, ProcessFiles]:
        found: dict[Identity, ProcessFiles] = {}
        for file in self._files.values():
            found.setdefault(file.header.identity, ProcessFiles()).files.append(file)
        return found

    def _find_dead(self) -> list[Identity]:
        processes = self._by_process()
        # What a process ran before an exec is gone, though the process is not.
        running: dict[Identity, int] = {}
        for identity in sorted(processes, key=lambda i: processes[i].created):
            running[_process(identity)] = identity.image
        running = {p: image for p, image in running.items() if self._alive(p._replace(image=image))}
        self._living = {i for i in processes if running.get(_process(i)) == i.image}
        return [identity for identity in processes if identity not in self._living]

    def _fold(self, dead: list[Identity]) -> None:
        """Add the dead to the sum and remove their files; do nothing if another reader is doing so."""
        with self._directory_lock() as ours:
            if not ours:
                return
            self._load_dead()
            done = self._dead.included
            for identity in [i for i in self._unwritten if i in done]:
                del self._unwritten[identity]
            processes, now = self._by_process(), self._clock()
            self._read([key for key, file in self._files.items() if file.header.identity in dead])
            for identity in dead:
                if identity not in done and identity not in self._unwritten:
                    process = processes[identity]
                    self._unwritten[identity] = process.final_snapshot(now, self._bound, time.time())
                    self._keep_exemplars(process)
                    self._incidents.keep([*self._incidents_of(process.files), *process.died])
            if self._unwritten:
                try:
                    self._dead.write(self._unwritten, processes)
                except OSError as error:
                    # A full file system, say: what was folded stays in memory, its files stay where they are.
                    if not self._write_failed:
                        self._count_error("the sum cannot be written", error)
                    self._write_failed = True
                    return
                self._unwritten = {}
        self._scan()

    def _keep_exemplars(self, process: ProcessFiles) -> None:
        """Keep the newest exemplars of processes that are gone: nobody may have scraped the last ones."""
        kept = Snapshot(exemplars=self._exemplars)
        kept.add_exemplars(process.exemplars())
        for key in sorted(kept.exemplars, key=kept.exemplars.__getitem__)[:-_MOST_EXEMPLARS]:
            del kept.exemplars[key]

    @contextlib.contextmanager
    def _directory_lock(self) -> Iterator[bool]:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            fd = os.open(os.path.join(home(self._directory), LOCK), flags, 0o600)
        except OSError:
            # The directory is read-only: each reader adds up the dead in its own memory.
            yield True
            return
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
                return
            yield True
        finally:
            os.close(fd)

    def _add_errors(self, total: Snapshot) -> None:
        total.process[_ERRORS_AT] += self._errors
        total.process[_LAYOUT_AT] += self._foreign.processes

    def _count_error(self, what: str, error: Exception) -> None:
        self._errors += 1.0
        self._complain(f"{what}: {error}")


def _process(identity: Identity) -> Identity:
    return Identity(identity.pid, identity.start, 0, identity.namespace, 0)


def _name(key: Key) -> str:
    return os.path.basename(key[0])
