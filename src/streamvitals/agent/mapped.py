"""Reads what one process has counted from its mapped files, while it lives and after."""

from __future__ import annotations

import os
from collections.abc import Iterator

from ..sinks import segment, tally
from ..sinks.labels import OTHER_SET
from ..sinks.layout import PROCESS_LAYOUT, STREAM_LAYOUT
from ..sinks.memory import map_shared
from ..sinks.segment import BadSegmentError, Header, OpenSlot
from ..sinks.snapshot import Build, Snapshot
from ..sinks.tally import Changes
from ..stream.record import StreamLabels

Rows = dict[int, list[float]]


class MappedFile:
    """One file, mapped for reading. ``labels`` are those of its blocks seen so far, by ordinal."""

    def __init__(self, path: str) -> None:
        """Raises OSError, and BadSegmentError for what is no file of ours."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            # A view of doubles has to be made of whole ones.
            size = os.fstat(fd).st_size // 8 * 8
            if not size:
                raise BadSegmentError("empty")
            self.view, self._unmap = map_shared(fd, size, writable=False)
        finally:
            os.close(fd)
        try:
            self.header: Header = segment.read_header(self.view)
        except BadSegmentError:
            self.close()
            raise
        self.path = path
        self.labels: dict[int, StreamLabels] = {}

    def new_blocks(self) -> Iterator[tuple[int, StreamLabels]]:
        """Blocks that have come into use since the last time."""
        form = self.header.shape
        for ordinal in range(form.ordinal, form.ordinal + form.blocks):
            if ordinal not in self.labels:
                labels = segment.read_labels(self.view, form.block_at(ordinal))
                if labels is not None:
                    yield ordinal, labels

    def rows(self) -> Iterator[tuple[int, list[float]]]:
        """The numbers of the known blocks."""
        for ordinal in self.labels:
            at = self.header.shape.block_at(ordinal)
            yield ordinal, segment.doubles(self.view, at, STREAM_LAYOUT.size)

    def process_row(self) -> list[float]:
        """The process's own numbers; only in a first segment."""
        return segment.doubles(self.view, segment.PROCESS_AT, PROCESS_LAYOUT.size)

    def redo(self) -> list[float]:
        """Which block was being changed, then pairs of index and new value; empty if none was."""
        at = segment.REDO_AT
        count = int(self.view[at])
        if not 0 < count <= segment.REDO_ENTRIES:
            return []
        return segment.doubles(self.view, at + 1, 1 + 2 * count)

    def close(self) -> None:
        """Unmap; the object is of no use afterwards."""
        self.view.release()
        self._unmap()


class Image:
    """All files of one store."""

    def __init__(self) -> None:
        self.files: list[MappedFile] = []

    @property
    def created(self) -> int:
        """When its first file was made, time.monotonic_ns()."""
        return min(file.header.created for file in self.files)

    def build(self) -> Build | None:
        """What it runs, if it has said so."""
        builds = (segment.read_build(f.view) for f in self.files if f.header.shape.first)
        return next((build for build in builds if build is not None), None)

    def add_counted(self, total: Snapshot) -> None:
        """Add what it has counted so far."""
        self._add(total, self._rows())

    def add_open(self, total: Snapshot, now: float, stall_after: float) -> None:
        """Add the streams that are open at ``now`` (monotonic seconds)."""
        for slot, labels in self._slots():
            stalled = slot.state > 0 and now - slot.state > stall_after
            total.add_open(labels, max(0.0, now - slot.started), stalled=stalled)

    def last_words(self, now: float) -> Snapshot:
        """What a process that is gone has counted, its open streams ended by its death.

        A record that was being counted is finished first; then a slot's commit pair tells whether its stream
        is among what was counted.
        """
        rows = self._rows()
        for file in self.files:
            if file.header.shape.first:
                _finish(rows, file.redo())
        died = [(slot, labels) for slot, labels in self._slots() if not _counted(rows, slot)]
        total = Snapshot()
        self._add(total, rows)
        for slot, labels in died:
            row = total.streams.setdefault(labels, [0.0] * STREAM_LAYOUT.size)
            changes = Changes()
            tally.add_died(changes, max(0.0, now - slot.started), slot.chunks)
            for index, value in changes.onto(row).items():
                row[index] = value
        return total

    def close(self) -> None:
        """Unmap all files."""
        for file in self.files:
            file.close()

    def _rows(self) -> Rows:
        return {ordinal: row for file in self.files for ordinal, row in file.rows()}

    def _add(self, total: Snapshot, rows: Rows) -> None:
        for file in self.files:
            for ordinal, labels in file.labels.items():
                total.add_streams(labels, rows[ordinal])
            if file.header.shape.first:
                total.add_process(file.process_row())

    def _slots(self) -> Iterator[tuple[OpenSlot, StreamLabels]]:
        labels = {ordinal: labels for file in self.files for ordinal, labels in file.labels.items()}
        for file in self.files:
            for slot in segment.open_slots(file.view, file.header.shape):
                yield slot, labels.get(slot.ordinal, OTHER_SET)


def _finish(rows: Rows, redo: list[float]) -> None:
    row = rows.get(int(redo[0])) if redo else None
    if row is None:
        return
    for index, value in zip(redo[1::2], redo[2::2], strict=True):
        if 0 <= index < len(row):
            row[int(index)] = value


def _counted(rows: Rows, slot: OpenSlot) -> bool:
    row, index = rows.get(slot.ordinal), int(slot.commit_index) - 1
    return row is not None and 0 <= index < len(row) and row[index] >= slot.commit_value
