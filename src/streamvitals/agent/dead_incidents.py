"""The incident records of processes that are gone, which the agent keeps in its memory: they are lost if it is."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ..store.incident_record import ENDED, IncidentRecord

# Most records of processes that are gone; of the dead, the newest ones.
MOST = 1000


class Kept(NamedTuple):
    """The records, and how many others there were that have been overwritten or dropped."""

    records: list[IncidentRecord]
    lost: int


class DeadIncidents:
    """Bounded: the oldest records are dropped first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: dict[str, IncidentRecord] = {}
        self._lost = 0

    def keep(self, records: Iterable[IncidentRecord]) -> None:
        """Add the records of a process that is gone."""
        new = list(records)
        self._lost += overwritten(new)
        self._kept.update((record.id, record) for record in new)
        for record in sorted(self._kept.values(), key=lambda record: record.time)[: -self._most]:
            del self._kept[record.id]
            self._lost += 1

    def with_living(self, records: Iterable[IncidentRecord]) -> Kept:
        """These, and the records of living processes."""
        living = [record for record in records if record.id not in self._kept]
        return Kept([*self._kept.values(), *living], self._lost + overwritten(living))


def overwritten(records: Iterable[IncidentRecord]) -> int:
    """How many records were overwritten in the rings that these were read from."""
    rings: dict[str, list[int]] = {}
    for record in records:
        if record.kind == ENDED and record.place >= 0:
            rings.setdefault(record.id.rpartition("-")[0], []).append(record.place)
    return sum(max(0, max(ring) + 1 - len(ring)) for ring in rings.values())
