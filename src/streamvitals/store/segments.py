"""A process's segments: hands out slots and blocks, and gets memory for more of them when they run out.

It locks only to get memory. Where no more files can be made, a new label set is counted under ``other``, whose
block is in the first segment, and new slots are on the heap; if not even a first file can be made everything is
on the heap. Either way the app does not notice; it is logged once, and counted.
"""

from __future__ import annotations

import logging
import threading
from typing import NamedTuple

from .. import names
from . import segment
from .layout import PROCESS_LAYOUT
from .memory import HeapMemory, Memory, MemoryUnavailableError
from .segment import Shape, shape

logger = logging.getLogger("streamvitals")

_MAX_BLOCKS_AT_A_TIME = 32
_MIN_SLOTS_AT_A_TIME, _MAX_SLOTS_AT_A_TIME = 126, 2046
# Blocks and slots that a process which may soon lose the right to make files allocates at its start.
_AT_ONCE_BLOCKS, _AT_ONCE_SLOTS = 16, 500
_FAULT_AT = segment.PROCESS_AT + PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, "store")


class Place(NamedTuple):
    """Where a block's row starts, and its number within the process."""

    view: memoryview[float]
    at: int
    ordinal: int


class Segments:
    """Grows only. ``free`` holds the slots not in use: pop() and append() by any thread.

    ``custom``: blocks have room for custom labels.

    ``lock`` is reentrant because a signal handler may run while this thread is getting memory. The handler then does
    again what is half done; at worst one segment stays unused.
    """

    def __init__(self, memory: Memory, *, custom: bool = False, quiet: bool = False) -> None:
        self.lock = threading.RLock()
        self.free: list[tuple[memoryview[float], int]] = []
        self.made: list[tuple[memoryview[float], Shape]] = []
        self._memory = memory
        self.custom = custom
        self._first: memoryview[float] | None = None
        self._other: Place | None = None
        self._vacant: list[Place] = []
        self._ordinal = 0
        self._faulty, self._reason = False, ""
        self.reported = quiet

    @property
    def mapped(self) -> bool:
        """Whether other processes see what is counted here."""
        return self._memory.mapped

    def first(self) -> memoryview[float]:
        """The segment with the process's own row; made when first needed."""
        first = self._first
        if first is None:
            with self.lock:
                first = self._first or self._make_first()
        return first

    def other(self) -> Place:
        """The block that is reserved for ``other``, under which every label set can be counted."""
        self.first()
        assert self._other is not None  # noqa: S101 - it comes with the first segment
        return self._other

    def take_block(self) -> Place | None:
        """A block that is all zeros; None if there is no memory for one."""
        with self.lock:
            self.first()
            if not self._vacant:
                blocks = min(max(1, self._ordinal - 1), _MAX_BLOCKS_AT_A_TIME)
                form = self._form(first=False, slots=1, blocks=blocks)
                view = self._allocate(form)
                if view is None:
                    return None
                self._add(view, form)
            return self._vacant.pop()

    def more_slots(self) -> None:
        """Add slots to ``free``, unless another thread has just done so."""
        with self.lock:
            self.first()
            if self.free:
                return
            have = sum(form.slots for _, form in self.made)
            slots = min(max(_MIN_SLOTS_AT_A_TIME, have), _MAX_SLOTS_AT_A_TIME)
            form = self._form(first=False, slots=slots, blocks=0)
            view = self._allocate(form)
            if view is None:
                # Other processes do not see these streams while they are open; their ends are counted in their blocks.
                view = HeapMemory().allocate(form)
            self._add(view, form)

    def for_exemplars(self, count: int) -> tuple[memoryview[float], Shape] | None:
        """A segment with room for at least that many exemplars; None if there is no memory for them."""
        return self._apart(shape(first=False, slots=count, blocks=0, ordinal=0, exemplars=True))

    def for_incidents(self, count: int) -> tuple[memoryview[float], Shape] | None:
        """A segment for so many records of incidents; None if there is no memory for them."""
        return self._apart(Shape(first=False, slots=0, blocks=0, ordinal=0, incidents=count))

    def _apart(self, form: Shape) -> tuple[memoryview[float], Shape] | None:
        with self.lock:
            self.first()
            try:
                return self._memory.allocate(form), form
            except MemoryUnavailableError as error:
                self.first()[_FAULT_AT] += 1.0
                logger.debug("no memory for exemplars or incidents (%s)", error)
                return None

    def release(self) -> None:
        """Make every view raise ValueError from now on, without touching the memory behind it."""
        for view, _ in self.made:
            view.release()

    def _make_first(self) -> memoryview[float]:
        at_once = self._memory.at_once
        form = self._form(
            first=True,
            slots=_AT_ONCE_SLOTS if at_once else 1,
            blocks=1 + (_AT_ONCE_BLOCKS if at_once else 1),
        )
        view = self._allocate(form)
        if view is None:
            # Without a first file the agent does not see this process at all, so later files would be of no use.
            self._memory.report_unseen(self._reason)
            self._memory = HeapMemory()
            view = self._memory.allocate(form)
        if self._first is not None:
            return self._first
        self._add(view, form)
        if self._faulty:
            view[_FAULT_AT] += 1.0
        self._first = view
        return view

    def _form(self, *, first: bool, slots: int, blocks: int) -> Shape:
        # The numbers of blocks are taken before their memory is allocated, so that no two blocks get the same one.
        ordinal = self._ordinal
        self._ordinal += blocks
        return shape(first=first, slots=slots, blocks=blocks, ordinal=ordinal, custom=self.custom)

    def _allocate(self, form: Shape) -> memoryview[float] | None:
        try:
            return self._memory.allocate(form)
        except MemoryUnavailableError as error:
            if not self._faulty and self._first is not None:
                self._first[_FAULT_AT] += 1.0
            self._faulty, self._reason = True, str(error)
            if not self.reported:
                self.reported = True
                logger.warning(
                    "no more memory that the agent can see (%s): streams of this process will be missing "
                    "or counted under 'other'", error,
                )
            return None

    def _add(self, view: memoryview[float], form: Shape) -> None:
        places = [
            Place(view, form.block_at(ordinal), ordinal)
            for ordinal in range(form.ordinal, form.ordinal + form.blocks)
        ]
        self.made.append((view, form))
        if form.first:
            self._other = places.pop(0)
        self._vacant.extend(reversed(places))
        self.free.extend((view, at) for at in range(form.slots_at, form.blocks_at, segment.SLOT))
