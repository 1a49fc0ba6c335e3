"""A store with a clock of ours, and what the live page makes of it."""

from __future__ import annotations

from typing import Any

from store_support import LABELS, record
from streamvitals.incidents.page import IncidentsPage
from streamvitals.live.answers import Live
from streamvitals.live.history import History
from streamvitals.store import segment
from streamvitals.store.memory import HeapMemory
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import StallAfter, StreamLabels

AFTER = StallAfter(60.0, 5.0)
BEGAN = 1_700_000_000.0


class Lived:
    """A store, its sink, and a ``Live`` that looks at both; ``now`` is in seconds since the beginning."""

    def __init__(self, history: bool = True) -> None:
        self.now = 1000.0
        self.store = Store(HeapMemory())
        self.sink = StoreSink(self.store, unix_time=lambda: BEGAN + self.now)
        self.history = History() if history else None
        self.live = Live(
            self.store.opened, lambda: self.store.snapshot(self.now, AFTER), AFTER, IncidentsPage(lambda: ([], 0)),
            self.history, clock=lambda: self.now, unix_time=lambda: BEGAN + self.now,
        )

    def open(self, labels: StreamLabels = LABELS, **fields: float) -> Any:
        """Open a stream now; ``fields`` are those of its slot, as segment.py names them in capitals."""
        slot = self.store.open_slot(labels, self.now)
        self.set(slot, **fields)
        return slot

    def set(self, slot: Any, **fields: float) -> None:
        for name, value in fields.items():
            slot.view[slot.at + getattr(segment, name.upper())] = value

    def end(self, count: int = 1, **facts: Any) -> None:
        """End streams, as ``store_support.record`` has them."""
        for _ in range(count):
            self.sink.on_end(record(self.store.open_slot(facts.get("labels", LABELS), self.now), **facts))

    def pass_time(self, seconds: float, step: float = 15.0) -> None:
        """Let time pass, in which the counts are noted as the agent does."""
        end = self.now + seconds
        while self.now < end:
            self.live.note()
            self.now = min(end, self.now + step)
        self.live.note()

    def streams(self, limit: int = 40) -> dict[str, Any]:
        """What is open, by a new sample."""
        self.now += 0.5
        return self.live.streams(limit)
