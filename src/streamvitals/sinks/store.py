"""Counts streams into fixed rows of doubles: the open ones in slots, the ended ones in a block per label set.

A store belongs to one process. Opening a slot takes no lock unless memory has to be had for it.
"""

from __future__ import annotations

import itertools
import time
from array import array
from collections.abc import Callable

from .. import names
from ..stream.record import ChainRecord, Progress, RetryRecord, StreamLabels, StreamRecord
from . import segment, tally
from .labels import OTHER_SET, Admission
from .layout import PROCESS_LAYOUT, STREAM_LAYOUT
from .memory import Memory
from .segments import Place, Segments
from .snapshot import Build, Exemplar, ExemplarKey, Snapshot
from .tally import Changes

# Raw label sets whose block is remembered; more than can be admitted, as several fold to one.
_MAX_KNOWN = 4 * names.MAX_LABEL_SETS
_MAX_EXEMPLARS = 2000
_ERRORS_AT = {v[0]: PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, *v) for v in names.INTERNAL_ERRORS.values}
_HINTS_AT = {v[0]: PROCESS_LAYOUT.at(names.HINTS_SEEN, *v) for v in names.HINTS_SEEN.values}
_LAG_AT = PROCESS_LAYOUT.at(names.LOOP_LAG)
# Stands for "since the clock's zero", as 0 says that a slot is free.
_TINY = 1e-9


class Block:
    """The row of a label set: ``view[at]`` is its first double."""

    __slots__ = ("at", "labels", "ordinal", "view")

    def __init__(self, place: Place, labels: StreamLabels) -> None:
        self.view, self.at, self.ordinal = place
        self.labels = labels


class Slot:
    """An open stream. ``view[at + segment.STATE]`` and ``view[at + segment.CHUNKS]`` are for its reader to
    write. ``labels`` are the ones it is counted under. In a forked child ``view`` raises ValueError.
    """

    __slots__ = ("at", "ended", "labels", "view")

    def __init__(self, view: memoryview[float], at: int, labels: StreamLabels) -> None:
        self.view = view
        self.at = at
        self.labels = labels
        self.ended = False

    def open(self, started: float) -> None:
        """Show the stream from now on, in state "blocked"; whoever is interrupted before has lost nothing."""
        view, at = self.view, self.at
        # Literals are cheaper than segment.STARTED, CHUNKS, COMMIT_INDEX and, last, STATE.
        view[at + 1] = started
        view[at + 3] = 0.0
        view[at + 4] = 0.0
        view[at] = started if started > 0.0 else _TINY


class Store:
    """The numbers of this process; see ``StoreSink`` for what writes them and ``snapshot`` for what reads."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory
        self._build: Build | None = None
        self._begin(Segments(memory))

    def _begin(self, segments: Segments) -> None:
        self._segments = segments
        self._free = segments.free
        self._blocks: dict[StreamLabels, Block] = {}
        self._admitted: dict[StreamLabels, Block] = {}
        self._admission = Admission()
        self.exemplars: dict[ExemplarKey, Exemplar] = {}
        if self._build is not None or self._memory.at_once:
            self._write_build()

    @property
    def mapped(self) -> bool:
        """Whether other processes see what is counted here (False once files could not be had)."""
        return self._segments.mapped

    def open_slot(self, labels: StreamLabels, started: float) -> Slot:
        """A slot, in state "blocked", for a stream that was asked for at ``started`` (monotonic seconds).

        May be called by any thread; not from a finalizer.
        """
        slot = self.take_slot(labels)
        slot.open(started)
        return slot

    def take_slot(self, labels: StreamLabels) -> Slot:
        """A slot that shows no stream until it is opened. From here on the label set's series exist."""
        block = self._blocks.get(labels) or self.block(labels)
        while True:
            try:
                view, at = self._free.pop()
                break
            except IndexError:
                self._segments.more_slots()
        view[at + 2] = block.ordinal
        return Slot(view, at, block.labels)

    def close_slot(self, slot: Slot) -> None:
        """Free a slot without counting anything: for what turned out to be no stream at all."""
        if not slot.ended:
            slot.view[slot.at] = 0.0
            # Before it can be another's: an interrupt here may lose a slot but never share it.
            slot.ended = True
            self._free.append((slot.view, slot.at))

    def block(self, labels: StreamLabels) -> Block:
        """The block that a label set is counted in: its own, or that of ``other``."""
        found = self._blocks.get(labels)
        if found is None:
            with self._segments.lock:
                folded = self._admission.admit(labels)
                found = self._admitted.get(folded) or self._new_block(folded)
                if len(self._blocks) < _MAX_KNOWN:
                    self._blocks[labels] = found
        return found

    def _new_block(self, folded: StreamLabels) -> Block:
        place = None if folded == OTHER_SET else self._segments.take_block()
        if place is None:
            folded = OTHER_SET
            if folded in self._admitted:
                return self._admitted[folded]
            place = self._segments.other()
        segment.write_labels(place.view, place.at, folded)
        block = self._admitted[folded] = Block(place, folded)
        return block

    def commit(self, block: Block, values: dict[int, float]) -> None:
        """Write new values into a block so that a kill in between is finished by whoever reads the file."""
        mapped = self._segments.mapped
        if mapped:
            first, at = self._segments.first(), segment.REDO_AT
            row = array("d", list(itertools.chain.from_iterable(values.items()))[: 2 * segment.REDO_ENTRIES])
            first[at + 2 : at + 2 + len(row)] = memoryview(row)
            first[at + 1] = block.ordinal
            first[at] = len(row) // 2
        view, start = block.view, block.at
        for index, value in values.items():
            view[start + index] = value
        if mapped:
            first[at] = 0.0

    def commit_process(self, changes: Changes) -> None:
        """Add to the process's own row."""
        first = self._segments.first()
        for index, value in changes.onto(first, segment.PROCESS_AT).items():
            first[segment.PROCESS_AT + index] = value

    def process_numbers(self) -> list[float]:
        """The process's own row, in the order of ``PROCESS_LAYOUT``."""
        return segment.doubles(self._segments.first(), segment.PROCESS_AT, PROCESS_LAYOUT.size)

    def set_build(self, version: str, openai_version: str, patched: str) -> None:
        """Say what runs here: makes this process visible before its first stream."""
        self._build = (version, openai_version, patched)
        self._write_build()

    def _write_build(self) -> None:
        first = self._segments.first()
        if self._build is not None:
            segment.write_build(first, self._build)

    def snapshot(self, now: float, stall_after: float) -> Snapshot:
        """All numbers as of ``now`` (monotonic seconds); any thread."""
        result = Snapshot(exemplars=dict(self.exemplars))
        by_ordinal: dict[int, StreamLabels] = {}
        for block in list(self._admitted.values()):
            by_ordinal[block.ordinal] = block.labels
            result.add_streams(block.labels, segment.doubles(block.view, block.at, STREAM_LAYOUT.size))
        for view, form in list(self._segments.made):
            if form.first:
                result.add_process(segment.doubles(view, segment.PROCESS_AT, PROCESS_LAYOUT.size))
            for slot in segment.open_slots(view, form):
                labels = by_ordinal.get(slot.ordinal)
                if labels is not None:
                    stalled = slot.state > 0 and now - slot.state > stall_after
                    result.add_open(labels, max(0.0, now - slot.started), stalled=stalled)
        if self._build is not None:
            result.builds[self._build] = 1
        return result

    def reset_after_fork(self) -> None:
        """Let go, in a forked child, of all that is the parent's; what is counted from now on is the child's.

        Slots that were open keep their views, which raise ValueError from now on.
        """
        inherited = self._segments
        self._memory.after_fork()
        self._begin(Segments(self._memory, quiet=inherited.said))
        inherited.release()


TraceIds = Callable[[StreamRecord], "tuple[str, str] | None"]


def trace_ids_of_parent(record: StreamRecord) -> tuple[str, str] | None:
    """Trace and span id, as lower-case hex, of the span that was current when the stream was asked for."""
    parent = record.trace_parent
    trace, span = getattr(parent, "trace_id", 0), getattr(parent, "span_id", 0)
    return (f"{trace:032x}", f"{span:016x}") if trace and span else None


class _Update:
    """New values for one block, and the slot of the stream that ended with them, if one did.

    ``write`` may be called again after it was interrupted: it sets values and adds nothing.
    """

    __slots__ = ("_committed_at", "_slot", "_store", "_values", "block")

    def __init__(
        self, store: Store, labels: StreamLabels, changes: Changes, slot: Slot | None, committed_at: int
    ) -> None:
        self.block = block = store.block(labels)
        self._store = store
        self._values = changes.onto(block.view, block.at)
        self._slot = slot
        self._committed_at = committed_at

    def write(self) -> None:
        slot = self._slot
        if slot is not None and not slot.ended:
            view, at = slot.view, slot.at
            view[at + segment.ORDINAL] = self.block.ordinal
            view[at + segment.COMMIT_VALUE] = self._values[self._committed_at]
            view[at + segment.COMMIT_INDEX] = self._committed_at + 1
        self._store.commit(self.block, self._values)
        if slot is not None:
            self._store.close_slot(slot)


class StoreSink:
    """A sink that adds records to a store. ``exemplars`` keeps the last trace of each bucket besides."""

    def __init__(
        self,
        store: Store,
        *,
        exemplars: bool = False,
        trace_ids: TraceIds = trace_ids_of_parent,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._exemplars = exemplars
        self._trace_ids = trace_ids
        self._unix_time = unix_time

    def on_progress(self, progress: Progress) -> None:
        """Add what a long stream has gathered."""
        self._write(progress.labels, lambda changes: tally.add_progress(changes, progress))

    def on_retry(self, retry: RetryRecord) -> None:
        """Count an attempt that is made again."""
        self._write(retry.labels, lambda changes: tally.add_retry(changes, retry))

    def on_chain(self, chain: ChainRecord) -> None:
        """Count what became of a chain of the application's own attempts."""
        self._write(chain.labels, lambda changes: tally.add_chain(changes, chain))

    def on_end(self, record: StreamRecord) -> None:
        """Count a stream that ended, and free its slot. Nothing is done for one that has been counted, or
        that was open before a fork and is the parent's."""
        slot = record.slot if isinstance(record.slot, Slot) else None
        if slot is not None and not _ours(slot):
            return
        block = self._write(
            record.labels,
            lambda changes: tally.add_end(changes, record, self._unix_time),
            slot, tally.STREAMS_AT[record.outcome],
        )
        if not tally.listed(record):
            self.on_internal_error("classify")
        if record.hints:
            self._count_hints(record.hints)
        if self._exemplars:
            self._keep_exemplars(record, block)

    def on_loop_lag(self, seconds: float) -> None:
        """Add one observation of the event loop's lag."""
        changes = Changes()
        changes.observe(_LAG_AT, names.LAG_EDGES, seconds)
        self._store.commit_process(changes)

    def on_internal_error(self, where: str) -> None:
        """Count a fault of our own; an unknown place is ``other``."""
        changes = Changes()
        changes[_ERRORS_AT.get(where, _ERRORS_AT[names.OTHER])] += 1.0
        self._store.commit_process(changes)

    def _count_hints(self, hints: tuple[str, ...]) -> None:
        changes = Changes()
        for hint in hints:
            changes[_HINTS_AT.get(hint, _HINTS_AT[names.OTHER])] += 1.0
        self._store.commit_process(changes)

    def _write(
        self, labels: StreamLabels, add: Callable[[Changes], None], slot: Slot | None = None, committed_at: int = 0
    ) -> Block:
        ready: _Update | None = None
        try:
            add(changes := Changes())
            update = _Update(self._store, labels, changes, slot, committed_at)
            ready = update
            ready.write()
        except BaseException:
            # What a signal handler raises comes between any two of our instructions. It is the app's and goes on
            # to it, but the app may live on, and what was interrupted must be counted once and as a whole.
            if ready is None:
                add(changes := Changes())
                ready = _Update(self._store, labels, changes, slot, committed_at)
            ready.write()
            raise
        return ready.block

    def _keep_exemplars(self, record: StreamRecord, block: Block) -> None:
        ids = self._trace_ids(record)
        if ids is None:
            return
        kept, now = self._store.exemplars, self._unix_time()
        for key, value in tally.exemplars_of(record, block.labels):
            if key not in kept and len(kept) >= _MAX_EXEMPLARS:
                kept.pop(next(iter(kept)))
            kept[key] = Exemplar(now, value, *ids)


def _ours(slot: Slot) -> bool:
    if slot.ended:
        return False
    try:
        slot.view[slot.at]
    except ValueError:
        return False
    return True
