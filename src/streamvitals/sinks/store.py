"""Counts streams into fixed rows of doubles: the open ones in slots, the ended ones in a block per label set.

A store belongs to one process. Opening a slot takes no lock unless memory has to be had for it.
"""

from __future__ import annotations

import itertools
import logging
import threading
import time
from array import array
from collections.abc import Callable, Sequence

from .. import names
from ..stream.record import Progress, RetryRecord, StreamLabels, StreamRecord
from . import segment, tally
from .labels import OTHER_SET, Admission
from .layout import PROCESS_LAYOUT
from .memory import HeapMemory, Memory, MemoryUnavailableError
from .segment import Shape, shape
from .snapshot import Build, Exemplar, ExemplarKey, Snapshot
from .tally import Changes

_log = logging.getLogger("streamvitals")

# Raw label sets whose block is remembered; more than can be admitted, as several fold to one.
_MAX_KNOWN = 4 * names.MAX_LABEL_SETS
_MAX_EXEMPLARS = 2000
_MAX_BLOCKS_AT_A_TIME = 32
_MAX_SLOTS_AT_A_TIME = 2046
# What a process that may soon lose the right to make files takes at once.
_AT_ONCE_BLOCKS, _AT_ONCE_SLOTS = 16, 500
_ERRORS_AT = {v[0]: PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, *v) for v in names.INTERNAL_ERRORS.values}
_LAG_AT = PROCESS_LAYOUT.at(names.LOOP_LAG)
# Stands for "since the clock's zero", as 0 says that a slot is free.
_TINY = 1e-9


class Block:
    """The row of a label set: ``view[at]`` is its first double."""

    __slots__ = ("at", "labels", "ordinal", "view")

    def __init__(self, view: memoryview[float], at: int, ordinal: int, labels: StreamLabels) -> None:
        self.view = view
        self.at = at
        self.ordinal = ordinal
        self.labels = labels


class Slot:
    """An open stream. ``view[at + segment.STATE]`` and ``view[at + segment.CHUNKS]`` are for its reader to
    write. ``labels`` are the ones it is counted under. After a fork, in the child, ``view`` raises ValueError.
    """

    __slots__ = ("at", "ended", "labels", "view")

    def __init__(self, view: memoryview[float], at: int, labels: StreamLabels) -> None:
        self.view = view
        self.at = at
        self.labels = labels
        self.ended = False


class Store:
    """The numbers of this process; see ``StoreSink`` for what writes them and ``snapshot`` for what reads."""

    def __init__(self, memory: Memory) -> None:
        self._wanted = memory
        self._build: Build | None = None
        self._said = False
        self._begin()

    def _begin(self) -> None:
        # Reentrant: a signal handler may open a stream while this thread is getting memory.
        self._lock = threading.RLock()
        self._memory: Memory = self._wanted
        self._segments: list[tuple[memoryview[float], Shape]] = []
        self._free: list[tuple[memoryview[float], int]] = []
        self._vacant: list[tuple[memoryview[float], int, int]] = []
        self._blocks: dict[StreamLabels, Block] = {}
        self._admitted: dict[StreamLabels, Block] = {}
        self._admission = Admission()
        self._first: memoryview[float] | None = None
        self._other: tuple[memoryview[float], int, int] | None = None
        self._ordinal = 0
        self._fault_counted = False
        self.exemplars: dict[ExemplarKey, Exemplar] = {}
        if self._memory.at_once:
            self.first()

    @property
    def mapped(self) -> bool:
        """Whether other processes see what is counted here (False once files could not be had)."""
        return self._memory.mapped

    def open_slot(self, labels: StreamLabels, started: float) -> Slot:
        """A slot, in state "blocked", for a stream whose request was issued at ``started`` (monotonic seconds).

        From here on the label set's series exist. May be called by any thread; not from a finalizer.
        """
        block = self._blocks.get(labels) or self.block(labels)
        while True:
            try:
                view, at = self._free.pop()
                break
            except IndexError:
                self._more_slots()
        # Literals are cheaper than segment.STARTED, ORDINAL, CHUNKS, COMMIT_INDEX and, last, STATE.
        view[at + 1] = started
        view[at + 2] = block.ordinal
        view[at + 3] = 0.0
        view[at + 4] = 0.0
        view[at] = started if started > 0.0 else _TINY
        return Slot(view, at, block.labels)

    def close_slot(self, slot: Slot) -> None:
        """Free a slot without counting anything: for what turned out to be no stream at all."""
        if not slot.ended:
            slot.ended = True
            slot.view[slot.at] = 0.0
            self._free.append((slot.view, slot.at))

    def block(self, labels: StreamLabels) -> Block:
        """The block that a label set is counted in: its own, or that of ``other``."""
        found = self._blocks.get(labels)
        if found is not None:
            return found
        with self._lock:
            self.first()
            folded = self._admission.admit(labels)
            found = self._admitted.get(folded) or self._new_block(folded)
            if len(self._blocks) < _MAX_KNOWN:
                self._blocks[labels] = found
            return found

    def commit(self, block: Block, changes: Changes) -> None:
        """Write new values into a block so that a kill in between is finished by whoever reads the file."""
        if not self._memory.mapped:
            self._apply(block, changes)
            return
        first, at = self.first(), segment.REDO_AT
        row = array("d", itertools.chain.from_iterable(changes.items()))[: 2 * segment.REDO_ENTRIES]
        first[at + 2 : at + 2 + len(row)] = memoryview(row)
        first[at + 1] = block.ordinal
        first[at] = len(row) // 2
        self._apply(block, changes)
        first[at] = 0.0

    def _apply(self, block: Block, changes: Changes) -> None:
        view, at = block.view, block.at
        for index, value in changes.items():
            view[at + index] = value

    def process_changes(self) -> Changes:
        """To be changed and given to ``commit_process``."""
        return Changes(self.first(), segment.PROCESS_AT)

    def commit_process(self, changes: Changes) -> None:
        """Write new values into the process's own row."""
        for index, value in changes.items():
            self.first()[segment.PROCESS_AT + index] = value

    def set_build(self, version: str, openai_version: str, patched: str) -> None:
        """Say what runs here: makes this process visible before its first stream."""
        with self._lock:
            self._build = (version, openai_version, patched)
            segment.write_build(self.first(), self._build)

    def snapshot(self, now: float, stall_after: float) -> Snapshot:
        """All numbers as of ``now`` (monotonic seconds); any thread."""
        result = Snapshot(exemplars=dict(self.exemplars))
        by_ordinal: dict[float, StreamLabels] = {}
        for block in list(self._admitted.values()):
            by_ordinal[block.ordinal] = block.labels
            row: Sequence[float] = block.view[block.at : block.at + tally.SIZE].tolist()
            result.add_streams(block.labels, row)
        for view, form in list(self._segments):
            if form.first:
                result.add_process(view[segment.PROCESS_AT : segment.PROCESS_AT + PROCESS_LAYOUT.size])
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
        self._wanted.after_fork()
        self._begin()
        for view, _ in inherited:
            view.release()

    def first(self) -> memoryview[float]:
        """The segment that holds the process's own row; made when first needed."""
        first = self._first
        if first is not None:
            return first
        with self._lock:
            if self._first is None:
                at_once = self._memory.at_once
                # One block is kept for `other`, so that there is always one to fold to.
                blocks = 1 + (_AT_ONCE_BLOCKS if at_once else 1)
                form = shape(first=True, slots=_AT_ONCE_SLOTS if at_once else 1, blocks=blocks, ordinal=0)
                view = self._allocate(form)
                if view is None:
                    # Without a first file this process is none to the agent: do not try again by halves.
                    self._memory = HeapMemory()
                    view = self._memory.allocate(form)
                self._first = view
                self._add(view, form)
                if self._fault_counted:
                    self._count_fault()
                if self._build is not None:
                    segment.write_build(view, self._build)
            return self._first

    def _new_block(self, folded: StreamLabels) -> Block:
        if folded == OTHER_SET or not (self._vacant or self._more_blocks()):
            folded = OTHER_SET
            known = self._admitted.get(folded)
            if known is not None:
                return known
            assert self._other is not None  # noqa: S101 - `block` has made the first segment
            view, at, ordinal = self._other
        else:
            view, at, ordinal = self._vacant.pop()
        segment.write_labels(view, at, folded)
        block = self._admitted[folded] = Block(view, at, ordinal, folded)
        return block

    def _more_blocks(self) -> bool:
        blocks = min(max(1, self._ordinal - 1), _MAX_BLOCKS_AT_A_TIME)
        form = shape(first=False, slots=1, blocks=blocks, ordinal=self._ordinal)
        view = self._allocate(form)
        if view is None:
            return False
        self._add(view, form)
        return True

    def _more_slots(self) -> None:
        with self._lock:
            self.first()
            if self._free:
                return
            have = sum(form.slots for _, form in self._segments)
            slots = min(max(126, have), _MAX_SLOTS_AT_A_TIME)
            form = shape(first=False, slots=slots, blocks=0, ordinal=self._ordinal)
            view = self._allocate(form)
            if view is None:
                # Nobody else sees these streams while they are open; their ends are counted in their blocks.
                view = HeapMemory().allocate(form)
            self._add(view, form)

    def _allocate(self, form: Shape) -> memoryview[float] | None:
        try:
            return self._memory.allocate(form)
        except MemoryUnavailableError as error:
            first_time = not self._fault_counted
            self._fault_counted = True
            if first_time and self._first is not None:
                self._count_fault()
            if not self._said:
                self._said = True
                _log.warning(
                    "streamvitals gets no more memory that its agent can see (%s): "
                    "some streams of this process will be missing or counted under 'other'", error,
                )
            return None

    def _count_fault(self) -> None:
        changes = self.process_changes()
        changes[_ERRORS_AT["store"]] += 1.0
        self.commit_process(changes)

    def _add(self, view: memoryview[float], form: Shape) -> None:
        vacant = [(view, form.block_at(o), o) for o in range(form.ordinal, form.ordinal + form.blocks)]
        if form.first:
            self._other = vacant.pop(0)
        self._ordinal += form.blocks
        self._vacant = vacant[::-1] + self._vacant
        self._segments.append((view, form))
        self._free.extend((view, at) for at in range(form.slots_at, form.blocks_at, segment.SLOT))


TraceIds = Callable[[StreamRecord], tuple[str, str] | None]


def trace_ids_of_parent(record: StreamRecord) -> tuple[str, str] | None:
    """Trace and span id, as lower-case hex, of the span that was current when the stream was asked for."""
    parent = record.trace_parent
    trace, span = getattr(parent, "trace_id", 0), getattr(parent, "span_id", 0)
    return (f"{trace:032x}", f"{span:016x}") if trace and span else None


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
        block = self._store.block(progress.labels)
        changes = Changes(block.view, block.at)
        tally.add_progress(changes, progress)
        self._store.commit(block, changes)

    def on_retry(self, retry: RetryRecord) -> None:
        """Count an attempt that is made again."""
        block = self._store.block(retry.labels)
        changes = Changes(block.view, block.at)
        tally.add_retry(changes, retry)
        self._store.commit(block, changes)

    def on_end(self, record: StreamRecord) -> None:
        """Count a stream that ended, once, and free its slot. One that another process opened is not ours."""
        slot = record.slot if isinstance(record.slot, Slot) else None
        if slot is not None and not _ours(slot):
            return
        block = self._store.block(record.labels)
        changes = Changes(block.view, block.at)
        if not tally.add_end(changes, record, self._unix_time()):
            self.on_internal_error("classify")
        if slot is not None:
            index = tally.STREAMS_AT[record.outcome]
            view, at = slot.view, slot.at
            view[at + segment.ORDINAL] = block.ordinal
            view[at + segment.COMMIT_VALUE] = changes[index]
            view[at + segment.COMMIT_INDEX] = index + 1
        self._store.commit(block, changes)
        if slot is not None:
            self._store.close_slot(slot)
        if self._exemplars:
            self._keep_exemplars(record, block)

    def on_loop_lag(self, seconds: float) -> None:
        """Add one observation of the event loop's lag."""
        changes = self._store.process_changes()
        changes.observe(_LAG_AT, names.LAG_EDGES, seconds)
        self._store.commit_process(changes)

    def on_internal_error(self, where: str) -> None:
        """Count a fault of our own; an unknown place is ``other``."""
        changes = self._store.process_changes()
        changes[_ERRORS_AT.get(where, _ERRORS_AT[names.OTHER])] += 1.0
        self._store.commit_process(changes)

    def _keep_exemplars(self, record: StreamRecord, block: Block) -> None:
        ids = self._trace_ids(record)
        if ids is None:
            return
        kept, now = self._store.exemplars, self._unix_time()
        for key, value in tally.exemplars_of(record):
            if key not in kept and len(kept) >= _MAX_EXEMPLARS:
                kept.pop(next(iter(kept)))
            kept[key._replace(labels=block.labels)] = Exemplar(now, value, *ids)


def _ours(slot: Slot) -> bool:
    if slot.ended:
        return False
    try:
        slot.view[slot.at]
    except ValueError:
        return False
    return True
