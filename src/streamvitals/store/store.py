"""Counts streams in rows of doubles: open ones in slots, ended ones in a block per label set.

A store belongs to one process. Opening a slot takes no lock unless memory must be allocated for it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from .. import names
from ..stream.record import (
    STALL_AFTER,
    CallRecord,
    ChainRecord,
    Progress,
    RetryRecord,
    StallAfter,
    StreamEnd,
    StreamLabels,
    StreamRecord,
)
from ..stream.sink import Sink
from . import increments, inferences, segment
from .exemplars import Exemplars, shown
from .incidents import Incidents
from .increments import Row
from .inferences import Bound, Inference
from .labels import NO_CUSTOM_LABELS, OTHER_SET, Admission, Limits
from .layout import INFERENCE_LAYOUT, PROCESS_LAYOUT, STREAM_LAYOUT
from .memory import Memory
from .segments import Place, Segments
from .snapshot import Build, Opened, Snapshot, stall_time

# Raw label sets whose block is remembered, for each that can be admitted: several may be counted as one.
_KNOWN_PER_SET = 4
Add = Callable[[Row, Any], None]  # increments.py
# A state "since the clock's zero", because 0 would mean that the slot is free.
_TINY = 1e-9


class Block:
    """The rows of a label set, or of an inference's attributes: one is shown, and the next version shows the other."""

    __slots__ = ("at", "labels", "ordinal", "rows", "version", "view")

    def __init__(self, place: Place, labels: StreamLabels = OTHER_SET) -> None:
        self.view, self.at, self.ordinal = place
        self.labels = labels
        self.version = 0
        starts = segment.row_at(self.at, 0), segment.row_at(self.at, 1)
        self.rows = tuple(self.view[start : start + STREAM_LAYOUT.size] for start in starts)

    def numbers(self, count: int = STREAM_LAYOUT.size) -> list[float]:
        """A copy of the row that is shown; another thread may go on changing it."""
        while True:
            version = self.version
            found = segment.doubles(self.rows[version % 2], 0, count)
            if self.version == version:
                return found

    def release(self) -> None:
        """Make every change raise ValueError from now on."""
        for row in self.rows:
            row.release()


class Slot:
    """An open stream. The code that reads the stream writes STATE, CHUNKS, ANSWERED and KEPT_ALIVE (segment.py).
    ``block`` is what it is counted in. In a forked child ``view`` raises ValueError.
    """

    __slots__ = ("at", "block", "ended", "view")

    def __init__(self, view: memoryview[float], at: int, block: Block) -> None:
        self.view = view
        self.at = at
        self.block = block
        self.ended = False

    @property
    def labels(self) -> StreamLabels:
        """The labels that it is counted under."""
        return self.block.labels

    def open(self, started: float) -> None:
        """Show the stream from now on, in state "blocked"; an interrupt before that loses nothing."""
        view, at = self.view, self.at
        # Literals are cheaper than segment.STARTED, CHUNKS, ANSWERED, KEPT_ALIVE and, last, STATE.
        view[at + 1] = started
        view[at + 3] = 0.0
        view[at + 6] = 0.0
        view[at + 7] = 0.0
        view[at] = started if started > 0.0 else _TINY


class Store:
    """The numbers of this process; ``StoreSink`` writes them and ``snapshot`` reads them."""

    def __init__(self, memory: Memory, limits: Limits = NO_CUSTOM_LABELS) -> None:
        self._memory = memory
        self._limits = limits
        self._build: Build | None = None
        self._begin(Segments(memory, custom=bool(limits.custom)))

    def _begin(self, segments: Segments) -> None:
        self._segments = segments
        self._free = segments.free
        self._blocks: dict[StreamLabels, Block] = {}
        self._admitted: dict[StreamLabels, Block] = {}
        self._admission = Admission(self._limits)
        self._inferences: dict[Inference, Block] = {}
        self._bound = Bound(segment.attributes_room(segments.custom))
        self.exemplars = Exemplars(segments.for_exemplars)
        self.incidents = Incidents(segments.for_incidents)
        if self._build is not None or self._memory.at_once:
            self._write_build()

    @property
    def mapped(self) -> bool:
        """Whether other processes see what is counted here (False once files could not be made)."""
        return self._segments.mapped

    def open_slot(self, labels: StreamLabels, started: float) -> Slot:
        """A slot, in state "blocked", for a stream that was asked for at ``started`` (monotonic seconds).

        May be called by any thread; not from a finalizer.
        """
        slot = self.take_slot(labels)
        slot.open(started)
        return slot

    def take_slot(self, labels: StreamLabels) -> Slot:
        """A slot that shows no stream until it is opened. The label set's series exist from now on."""
        block = self._blocks.get(labels) or self.block(labels)
        while True:
            try:
                view, at = self._free.pop()
                break
            except IndexError:
                self._segments.more_slots()
        view[at + 2] = block.ordinal
        view[at + 4] = 0.0  # segment.COMMIT: what was in it before is of another stream
        return Slot(view, at, block)

    def take_call_slot(self, labels: StreamLabels) -> Slot | None:
        """As ``take_slot``, for a call without a stream; None if there is no memory to count it in: the block that is
        reserved for that counts streams."""
        block = self._blocks.get(labels) or self.block(labels)
        return self.take_slot(block.labels) if block.labels.of_calls else None

    def close_slot(self, slot: Slot) -> None:
        """Free a slot without counting anything: for what turned out to be no stream at all."""
        if not slot.ended:
            slot.view[slot.at] = 0.0
            # Set before the slot can be taken again: an interrupt here may lose a slot but never share it.
            slot.ended = True
            self._free.append((slot.view, slot.at))

    def block(self, labels: StreamLabels) -> Block:
        """The block that a label set is counted in: its own, or that of ``other``."""
        found = self._blocks.get(labels)
        if found is None:
            with self._segments.lock:
                folded = self._admission.admit(labels)
                found = self._admitted.get(folded) or self._new_block(folded)
                if len(self._blocks) < _KNOWN_PER_SET * self._limits.sets:
                    self._blocks[labels] = found
        return found

    def _new_block(self, folded: StreamLabels) -> Block:
        place = None if folded == OTHER_SET else self._segments.take_block()
        if place is None:
            folded = OTHER_SET
            if folded in self._admitted:
                return self._admitted[folded]
            place = self._segments.other()
        segment.write_labels(place.view, place.at, folded, self._segments.custom)
        # A signal handler may have made one in between: there must not be two blocks, each with its own row.
        return self._admitted.setdefault(folded, Block(place, folded))

    def inference_block(self, inference: Inference) -> Block | None:
        """The block of an inference's attributes; None if there is no memory for it."""
        found = self._inferences.get(inference)
        if found is not None:
            return found
        with self._segments.lock:
            inference = self._bound.admit(inference)
            found = self._inferences.get(inference)
            place = self._segments.take_block() if found is None else None
            if place is not None:
                segment.write_attributes(place.view, place.at, inference.encode(), self._segments.custom)
                found = self._inferences.setdefault(inference, Block(place))
        return found

    def change(self, block: Block, add: Add, item: Any, slot: Slot | None = None) -> None:
        """Let ``add`` add an item to a block's row, and show all of it at once: the process may be killed at any time.

        ``slot`` is the slot of the stream whose end is added, and is freed. May be called again after an interrupt if
        the block's version is still the same; with a slot in any case."""
        shown = block.version
        if slot is None or not shown or slot.view[slot.at + segment.COMMIT] != shown:
            version = shown + 1
            row = block.rows[version % 2]
            row[:] = block.rows[shown % 2]
            add(row, item)
            if slot is not None:
                view, at = slot.view, slot.at
                view[at + 2] = block.ordinal  # segment.ORDINAL and COMMIT
                view[at + 4] = version
            block.view[block.at] = block.version = version
        if slot is not None:
            self.close_slot(slot)

    def change_process(self, add: Add, item: Any) -> None:
        """Let ``add`` add an item to the process's own row."""
        add(self._segments.first()[segment.PROCESS_AT : segment.PROCESS_END], item)

    def process_numbers(self) -> list[float]:
        """The process's own row, in the order of ``PROCESS_LAYOUT``."""
        return segment.doubles(self._segments.first(), segment.PROCESS_AT, PROCESS_LAYOUT.size)

    def set_build(self, version: str, openai_version: str, patched: str) -> None:
        """Write what runs here, which makes this process visible before its first stream."""
        self._build = (version, openai_version, patched)
        self._write_build()

    def _write_build(self) -> None:
        first = self._segments.first()
        if self._build is not None:
            segment.write_build(first, self._build)

    def snapshot(self, now: float, stall_after: StallAfter = STALL_AFTER) -> Snapshot:
        """All numbers as of ``now`` (monotonic seconds); any thread."""
        result = Snapshot()
        by_ordinal = self._by_ordinal()
        for block in list(self._admitted.values()):
            result.add_streams(block.labels, block.numbers())
        for inference, block in list(self._inferences.items()):
            result.add_inference(inference, block.numbers(INFERENCE_LAYOUT.size))
        for view, form in list(self._segments.made):
            if form.first:
                result.add_process(segment.doubles(view, segment.PROCESS_AT, PROCESS_LAYOUT.size))
        for _, labels, slot in self.opened():
            stalled = slot.stalled(now, stall_time(labels, stall_after))
            result.add_open(labels, max(0.0, now - slot.started), stalled)
        result.exemplars.update(filter(None, (shown(placed, by_ordinal) for placed in self.exemplars.all())))
        if self._build is not None:
            result.builds[self._build] = 1
        return result

    def opened(self) -> list[Opened]:
        """What is open now; any thread."""
        by_ordinal, pid = self._by_ordinal(), os.getpid()
        slots = (slot for view, form in list(self._segments.made) for slot in segment.open_slots(view, form))
        return [Opened(pid, by_ordinal[slot.ordinal], slot) for slot in slots if slot.ordinal in by_ordinal]

    def _by_ordinal(self) -> dict[int, StreamLabels]:
        return {block.ordinal: block.labels for block in list(self._admitted.values())}

    def reset_after_fork(self) -> None:
        """Release everything of the parent's, in a forked child, which counts its own streams from now on.

        Slots that were open keep their views, which raise ValueError from now on.
        """
        inherited, exemplars, incidents = self._segments, self.exemplars, self.incidents
        blocks = *self._admitted.values(), *self._inferences.values()
        self._memory.after_fork()
        self._begin(Segments(self._memory, custom=inherited.custom, quiet=inherited.reported))
        inherited.release()
        for block in blocks:
            block.release()
        exemplars.release()
        incidents.release()


class Keeper(Protocol):
    """Keeps records of streams that did not complete, and of the slowest that did (sinks/incidents.py). A stream is
    among the slowest if its first token or its longest gap took more than these seconds."""

    slow_first_token: float
    slow_gap: float

    def keep(self, record: StreamRecord) -> None:
        """Keep a record, once, if it is to be kept. Raises what interrupts it, and nothing else."""


class StoreSink(Sink):
    """Adds records to a store. ``exemplars`` also keeps the last trace of each bucket, ``conventional`` counts for the
    conventions' own metrics (inferences.py). ``keeper`` is asked from here because another sink would cost each stream
    more than its comparisons."""

    def __init__(
        self,
        store: Store,
        *,
        exemplars: bool = False,
        conventional: bool = False,
        keeper: Keeper | None = None,
        unix_time: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._exemplars = exemplars
        self._conventional = conventional
        self._keeper = keeper
        self._inference: tuple[StreamRecord, Block, int] | None = None
        self._unix_time = unix_time
        self._add_ended = partial(increments.ended, unix_time=unix_time)
        self._add_call = partial(increments.call_ended, unix_time=unix_time)

    def on_progress(self, progress: Progress) -> None:
        """Add what a long stream has gathered."""
        self._write(self._store.block(progress.labels), increments.progressed, progress)

    def on_retry(self, retry: RetryRecord) -> None:
        """Count a retry."""
        self._write(self._store.block(retry.labels), increments.retried, retry)

    def on_chain(self, chain: ChainRecord) -> None:
        """Count what became of a chain of the application's own attempts."""
        self._write(self._store.block(chain.labels), increments.chained, chain)

    def needs_record(self, end: StreamEnd) -> bool:
        """Streams are counted without a record, but for what goes beyond that."""
        return self._exemplars or self._conventional or self._is_kept(end)

    def _is_kept(self, end: StreamEnd | StreamRecord) -> bool:
        keeper = self._keeper
        return keeper is not None and (
            end.operation is not None or end.max_gap > keeper.slow_gap
            or (end.first_token or 0.0) > keeper.slow_first_token
        )

    def on_end(self, record: StreamEnd | StreamRecord) -> None:
        """Count a stream that ended, and free its slot.

        Does nothing for a stream that has been counted, or that was opened before a fork and belongs to the parent."""
        slot, labels = record.slot if isinstance(record.slot, Slot) else None, record.labels
        if slot is not None and not _ours(slot):
            return
        whole = record if isinstance(record, StreamRecord) else None
        if whole is not None and self._keeper is not None and self._is_kept(whole):
            self._keeper.keep(whole)
        block = slot.block if slot is not None and slot.block.labels is labels else self._store.block(labels)
        if self._conventional and whole is not None:
            self._count_inference(whole, block.labels)
        self._write(block, self._add_ended, record, slot)
        self._inference = None
        if record.error_type and not increments.listed(record):
            self.on_internal_error("classify")
        for hint in record.hints:
            self._store.change_process(increments.hinted, hint)
        if self._exemplars and whole is not None:
            self._keep_exemplars(whole, block)

    def on_call_retry(self, labels: StreamLabels) -> None:
        """Count an attempt that the SDK makes again."""
        retry = RetryRecord(labels, "sdk", names.OTHER, 0.0)
        self._write(self._store.block(labels), increments.retried, retry)

    def on_call(self, record: CallRecord) -> None:
        """Count a call without a stream that ended, once, and free its slot; as ``on_end``."""
        if isinstance(record.slot, Slot) and _ours(record.slot):
            self._write(self._store.block(record.labels), self._add_call, record, record.slot)
            for hint in record.hints:
                self._store.change_process(increments.hinted, hint)

    def on_loop_lag(self, seconds: float) -> None:
        """Add one observation of the event loop's lag."""
        self._store.change_process(increments.lagged, seconds)

    def on_internal_error(self, where: str) -> None:
        """Count a fault of our own; an unknown place is ``other``."""
        self._store.change_process(increments.faulted, where)

    def _count_inference(self, record: StreamRecord, labels: StreamLabels) -> None:
        """Count a stream for the conventions' metrics, before its slot is freed.

        If that is interrupted the record comes again, before any other."""
        begun = self._inference
        if begun is None or begun[0] is not record:
            inference = inferences.inference_of(record, labels)
            block = self._store.inference_block(inference) if inference is not None else None
            if block is None:
                return
            begun = self._inference = record, block, block.version
        _, block, before = begun
        if block.version == before:
            self._store.change(block, inferences.add, record)

    def _write(self, block: Block, add: Add, item: Any, slot: Slot | None = None) -> None:
        before = block.version
        try:
            self._store.change(block, add, item, slot)
        except BaseException:
            # A signal handler may raise between any two of our instructions. The exception goes on to the app, but the
            # app may live on, so the record that was interrupted must be counted once and as a whole.
            if block.version == before or slot is not None:
                self._store.change(block, add, item, slot)
            raise

    def _keep_exemplars(self, record: StreamRecord, block: Block) -> None:
        span = record.span
        if span is None:
            return
        trace_id, span_id = span.trace_id.to_bytes(16, "big"), span.span_id.to_bytes(8, "big")
        values = increments.exemplars_of(record)
        self._store.exemplars.keep(values, block.ordinal, self._unix_time(), trace_id, span_id)


def _ours(slot: Slot) -> bool:
    if slot.ended:
        return False
    try:
        slot.view[slot.at]
    except ValueError:
        return False
    return True
