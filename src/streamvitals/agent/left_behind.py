"""Reads the incidents in a directory whose agent is gone, and changes nothing there."""

from __future__ import annotations

import contextlib
import os

from ..store.incident_record import IncidentRecord
from ..store.segment import BadSegmentError
from .dead_incidents import Kept, overwritten
from .private_directory import places
from .proc import may_be_of
from .reader import NAME, MappedFile

_MOST_FILES = 2000


def incidents_in(directory: str) -> Kept:
    """The records that stand in the files of a directory, of living processes and of dead ones."""
    found: dict[str, IncidentRecord] = {}
    for path in _files(directory)[:_MOST_FILES]:
        with contextlib.suppress(OSError, BadSegmentError):  # no file of ours, or one that is gone by now
            file = MappedFile(path, _may_be)
            try:
                if file.header.shape.incidents:
                    found.update((record.id, record) for record in file.read_incidents())
            finally:
                file.close()
    records = list(found.values())
    return Kept(records, overwritten(records))


def _may_be(user: int, pid: int) -> bool:
    return user == os.geteuid() or may_be_of(user, pid)


def _files(directory: str) -> list[str]:
    found = []
    for place in places(directory):
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            found += [entry.path for entry in entries if NAME.fullmatch(entry.name)]
    return sorted(found)
