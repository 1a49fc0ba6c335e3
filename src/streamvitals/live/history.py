"""What was counted, noted every 15 seconds for an hour: "the last five minutes" and "the last hour" are made of it."""

from __future__ import annotations

import math
import operator
from array import array
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from ..store.layout import PROCESS_LAYOUT, STREAM_LAYOUT
from ..store.snapshot import Snapshot, merged_rows
from ..stream.record import StreamLabels

# Seconds. Models apart are kept for the last minutes, and of the hour before now and then: they take most of the room.
EVERY, KEEP, APART, APART_EVERY = 15.0, 3600.0, 330.0, 300.0
# Most models apart; the others are counted in the sum alone.
MOST_MODELS = 60

Model = tuple[str, str]  # provider and model
Row = Sequence[float]  # of STREAM_LAYOUT
_NOTHING: Row = array("d", bytes(8 * STREAM_LAYOUT.size))


class Note(NamedTuple):
    """All counts at a Unix time; of calls without a stream none."""

    time: float
    streams: Row
    process: Row
    models: dict[Model, Row] | None

    @classmethod
    def of(cls, snapshot: Snapshot, now: float, before: Note | None = None) -> Note:
        """``before`` lends the rows that have not changed since, so that they take room once."""
        by_model: dict[Model, list[Row]] = {}
        for labels, row in snapshot.streams.items():
            if not labels.of_calls:
                by_model.setdefault(_model(labels), []).append(row)
        models: dict[Model, Row] = {model: array("d", merged_rows(rows)) for model, rows in by_model.items()}
        total = array("d", merged_rows(list(models.values()))) if models else _NOTHING
        kept = dict(list(models.items())[:MOST_MODELS])
        known = before.models or {} if before is not None else {}
        kept = {model: known[model] if known.get(model) == row else row for model, row in kept.items()}
        return cls(now, total, array("d", snapshot.process), kept)

    @classmethod
    def nothing(cls, now: float) -> Note:
        """Before anything was counted."""
        return cls(now, _NOTHING, array("d", bytes(8 * PROCESS_LAYOUT.size)), {})


class Window(NamedTuple):
    """What was counted from one note to another; ``seconds`` are None where it began with the process."""

    seconds: float | None
    streams: Row
    process: Row
    models: dict[Model, Row]


def window(before: Note, now: Note, seconds: float | None = None) -> Window:
    """What was counted between two notes."""
    known = before.models or {}
    return Window(
        seconds if seconds is not None else now.time - before.time,
        _minus(now.streams, before.streams), _minus(now.process, before.process),
        {model: _minus(row, known.get(model, _NOTHING)) for model, row in (now.models or {}).items()},
    )


def _minus(now: Row, before: Row) -> Row:
    return list(map(operator.sub, now, before))


def _model(labels: StreamLabels) -> Model:
    return labels.provider, labels.model


class History:
    """The notes of the last hour, the oldest first."""

    def __init__(self) -> None:
        self.notes: deque[Note] = deque()
        self._next = -math.inf

    def is_due(self, now: float) -> bool:
        """Whether it is time for a note; ``now`` is any clock in seconds that goes on."""
        return now >= self._next

    def note(self, snapshot: Snapshot, now: float, unix_time: float) -> None:
        """Note a snapshot."""
        self._next = now + EVERY
        self.notes.append(Note.of(snapshot, unix_time, self.notes[-1] if self.notes else None))
        # One more than the hour, which the hour's window begins with.
        while len(self.notes) > KEEP / EVERY + 1:
            self.notes.popleft()
        self._thin(unix_time)

    def _thin(self, now: float) -> None:
        """Forget the models of older notes, but for one in five minutes and the oldest of all."""
        last = -math.inf
        for index, note in enumerate(self.notes):
            if now - note.time < APART:
                break
            if note.models is None:
                continue
            if index and note.time - last < APART_EVERY - EVERY / 2:
                self.notes[index] = note._replace(models=None)
            else:
                last = note.time

    def since(self, seconds: float, now: Note) -> Window:
        """What was counted in about so many seconds before ``now``, or for as long as there are notes."""
        start, models = now, now.models
        for note in reversed(self.notes):
            if now.time - start.time >= seconds - EVERY / 2:
                break
            start, models = note, note.models if note.models is not None else models
        # Of older notes few have models apart: theirs may begin some minutes later than the sum does.
        return window(start._replace(models=models), now)
