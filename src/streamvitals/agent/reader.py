"""Reads what one process has counted from its mapped files, while it lives and after.

They are read and never mapped: a file that shrinks would end the agent (SIGBUS). Files are untrusted: implausible
ones are rejected without affecting others.
"""

from __future__ import annotations

import os
import re
import resource
import stat
import struct
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence

from ..outcome import Outcome
from ..store import incident_record, increments, segment
from ..store.exemplars import shown
from ..store.incident_record import ENDED, IncidentRecord
from ..store.inferences import Bound, Inference, decode
from ..store.labels import OTHER_SET
from ..store.layout import INFERENCE_LAYOUT, PROCESS_LAYOUT, STREAM_LAYOUT
from ..store.segment import BadSegmentError, Header, Identity, OpenSlot, OtherLayoutError, Placed, Shape
from ..store.snapshot import Build, Exemplar, ExemplarKey, Snapshot, stall_time
from ..stream.record import StallAfter, StreamLabels
from .foreign import FLAGS, ForeignFileError
from .liveness import pid_here
from .sums import numbers

NAME = re.compile(r"(\d+)-(\d+)\.\d+\.sv")
# Larger than any segment (store/segments.py). Bytes.
_MAX_SIZE = 4 * 1024 * 1024
# The first byte of a double, sign and exponent, tells what is no count, time or state: one that is negative, 2**65 or
# more, infinite or not a number. Nothing that is counted comes near.
_FIRST_BYTE = 7 if sys.byteorder == "little" else 0
_PLAUSIBLE = bytes(range(0x44))

_VERSION = struct.Struct("d")
_ROW_BYTES = 8 * STREAM_LAYOUT.size
_BLOCK_BYTES = _VERSION.size + 2 * _ROW_BYTES  # of a block, from its version on
# A change takes its process several times as long as one look at a block takes us.
_MOST_TRIES = 100

# Most streams with the same labels that have a record when their process dies; the others are counted in the last one.
_MOST_DEATHS = 16

Rows = dict[int, list[float]]  # by ordinal
NOTHING: Rows = {}


class AnothersFileError(BadSegmentError):
    """A file that names ``identity``, but belongs to a user that the process cannot be of."""

    def __init__(self, identity: Identity) -> None:
        super().__init__("of another user")
        self.identity = identity


class MappedFile:
    """One mapped file, as it was when it was last read whole.

    ``labels`` are the label sets that its blocks are counted under, by ordinal; the tree fills it in, which admits
    label sets.
    """

    def __init__(self, path: str, trusted: Callable[[int, int], bool]) -> None:
        """Open a file; ``trusted`` says whether a file of this user may be the process's with that pid.

        Raises OSError, BadSegmentError for what is no file of ours, ForeignFileError for a process's file that this
        version cannot read, and AnothersFileError.
        """
        fd = os.open(path, FLAGS)
        try:
            found = os.fstat(fd)
            if not stat.S_ISREG(found.st_mode):
                raise BadSegmentError("no regular file")
            if found.st_size > _MAX_SIZE:
                raise BadSegmentError("too large")
            # A view of doubles has to be made of whole ones.
            raw = os.pread(fd, found.st_size // 8 * 8, 0)
            if not raw:
                raise BadSegmentError("empty")
            header, identity = _header(raw, path)
            if not trusted(found.st_uid, pid_here(identity)):
                raise AnothersFileError(identity)
            if isinstance(header, BadSegmentError):
                raise ForeignFileError(str(header), identity) from header
            self.header = header
        except BaseException:
            os.close(fd)
            raise
        # Kept open it stays readable when its name is removed. Half of the descriptors are for other things.
        if fd >= resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2:
            os.close(fd)
            fd = -1
        self.path = path
        self.inode = (found.st_dev, found.st_ino)
        self.labels: dict[int, StreamLabels] = {}
        self.named: dict[int, StreamLabels] = {}
        self.inferences: dict[int, Inference] = {}
        self.slots: list[OpenSlot] = []
        self.exemplars: list[Placed] = []
        self.build: Build | None = None
        self.process_row: Sequence[float] = ()
        self.versions: dict[int, float] = {}  # of the blocks, by ordinal
        form = self.header.shape
        self._blocks = {n: form.block_at(n) for n in range(form.ordinal, form.ordinal + form.blocks)}
        self._rows: dict[int, bytes] = {}
        self._fd = fd
        self._head = raw[: segment.HEADER_BYTES]

    def read_incidents(self) -> list[IncidentRecord]:
        """Read the records of a file that holds some. Raises as ``read`` does."""
        form, identity = self.header.shape, self.header.identity
        raw = self._contents(form.size)
        if len(raw) < form.size or not raw.startswith(self._head):
            raise BadSegmentError("cut, or written over")
        return list(incident_record.records(memoryview(raw).cast("d"), form, identity.pid, identity.start))

    def read(self) -> None:
        """Read the whole file.

        Raises OSError, and BadSegmentError where it is damaged: then what was counted before stands, and what
        is open is not known.
        """
        form = self.header.shape
        raw = self._contents(form.size)
        try:
            if len(raw) < form.size or not raw.startswith(self._head):
                raise BadSegmentError("cut, or written over")
            view = memoryview(raw).cast("d")
            if form.incidents:
                return  # read when somebody asks for them
            if form.exemplars:
                self.exemplars = list(segment.exemplars(view, form))
                return
            slots = _slots(view, form)
            named, inferences = dict(self.named), dict(self.inferences)
            for ordinal, at in self._blocks.items():
                if ordinal not in named and ordinal not in inferences:
                    labels = segment.read_labels(view, at, form.custom)
                    if labels is not None:
                        named[ordinal] = labels
                    elif (attributes := segment.read_attributes(view, at, form.custom)) is not None:
                        inferences[ordinal] = decode(attributes)
            versions, rows = {}, {}
            for ordinal in (*named, *inferences):
                versions[ordinal], rows[ordinal] = self._shown(raw, ordinal)
            process = _numbers(raw, segment.PROCESS_AT, PROCESS_LAYOUT.size) if form.first else ()
        except (ValueError, OverflowError, TypeError) as error:
            self.slots = []
            raise BadSegmentError(str(error)) from error
        self.inferences = inferences
        self.slots, self.named, self._rows, self.process_row = slots, named, rows, process
        self.versions = versions
        self.build = segment.read_build(view) if form.first else None

    def read_slots(self) -> None:
        """Read only what is open. Raises as ``read`` does."""
        form = self.header.shape
        if form.exemplars or form.incidents:
            return
        self.slots = []
        raw = self._contents(8 * form.blocks_at)
        if len(raw) < 8 * form.blocks_at or not raw.startswith(self._head):
            raise BadSegmentError("cut, or written over")
        try:
            self.slots = _slots(memoryview(raw).cast("d"), form)
        except (ValueError, OverflowError) as error:
            raise BadSegmentError(str(error)) from error

    def read_process(self) -> None:
        """Read only the counts that have no label set. Raises as ``read`` does."""
        if self.header.shape.first:
            raw = self._contents(8 * segment.PROCESS_END)
            if not raw.startswith(self._head):
                raise BadSegmentError("written over")
            self.process_row = _numbers(raw, segment.PROCESS_AT, PROCESS_LAYOUT.size)

    def new_blocks(self) -> Iterator[tuple[int, StreamLabels]]:
        """The blocks in use that have no entry in ``labels`` yet."""
        return ((ordinal, labels) for ordinal, labels in self.named.items() if ordinal not in self.labels)

    def rows(self) -> Iterator[tuple[int, StreamLabels, bytes]]:
        """The numbers of the blocks in ``labels``: the same object for as long as they are the same."""
        return ((ordinal, labels, self._rows[ordinal]) for ordinal, labels in self.labels.items())

    def inference_rows(self) -> Iterator[tuple[int, Inference, bytes]]:
        """The numbers of the blocks in ``inferences``, each as long as a label set's row."""
        return ((ordinal, inference, self._rows[ordinal]) for ordinal, inference in self.inferences.items())

    def _shown(self, raw: bytes, ordinal: int) -> tuple[float, bytes]:
        """The version of a block, and the row that it shows, from the file's bytes or read once more."""
        start, before = 8 * self._blocks[ordinal], self._rows.get(ordinal)
        block = raw[start : start + _BLOCK_BYTES]
        for _ in range(_MOST_TRIES):
            (version,) = _VERSION.unpack_from(block)
            at = 8 * segment.row_at(0, version)
            row = block[at : at + _ROW_BYTES]
            if row == before:
                return version, before
            # The process writes on while its bytes are copied. As long as it shows this version, it writes into the
            # other row.
            if self._contents(_VERSION.size, start) == block[: _VERSION.size]:
                return version, _plausible(row)
            block = self._contents(_BLOCK_BYTES, start)
            if len(block) < _BLOCK_BYTES:
                raise BadSegmentError("cut")
        raise BadSegmentError("written over while it was read")

    def _contents(self, size: int, start: int = 0) -> bytes:
        if self._fd >= 0:
            return os.pread(self._fd, size, start)
        fd = os.open(self.path, FLAGS)
        try:
            found = os.fstat(fd)
            if (found.st_dev, found.st_ino) != self.inode:
                raise FileNotFoundError(self.path)
            return os.pread(fd, size, start)
        finally:
            os.close(fd)

    def close(self) -> None:
        """Close the file; the object is of no use afterwards."""
        if self._fd >= 0:
            os.close(self._fd)


def _header(raw: bytes, path: str) -> tuple[Header | BadSegmentError, Identity]:
    """The header of a file, or what is wrong with it, and whose file it is."""
    name = NAME.fullmatch(os.path.basename(path))
    named = (int(name[1]), int(name[2])) if name is not None else (0, 0)
    found: Header | BadSegmentError
    try:
        found = segment.read_header(memoryview(raw).cast("d"))
        identity = found.identity
    except OtherLayoutError as error:
        found, identity = error, error.identity
    except BadSegmentError as error:
        found, identity = error, Identity(*named, 0, 0, 0)
    if named != (identity.pid, identity.start):
        raise BadSegmentError("another process's")
    return found, identity


def _slots(view: memoryview[float], form: Shape) -> list[OpenSlot]:
    slots = list(segment.open_slots(view, form))
    for slot in slots:
        _numbers(array("d", (abs(slot.state), *slot[1:-1], abs(slot.kept_alive))).tobytes(), 0, len(slot))
    return slots


def _plausible(part: bytes) -> bytes:
    if part[_FIRST_BYTE::8].translate(None, _PLAUSIBLE):
        raise BadSegmentError("impossible numbers")
    return part


def _numbers(raw: bytes, at: int, count: int) -> array[float]:
    part = raw[8 * at : 8 * (at + count)]
    if len(part) < 8 * count:
        raise BadSegmentError("cut")
    return array("d", _plausible(part))


class ProcessFiles:
    """All files of one store, written by one program of one process (an exec starts another program)."""

    def __init__(self) -> None:
        self.files: list[MappedFile] = []
        self.died: list[IncidentRecord] = []  # of the streams that ended with the process

    @property
    def created(self) -> int:
        """When its first file was made, time.monotonic_ns()."""
        return min(file.header.created for file in self.files)

    def build(self) -> Build | None:
        """The versions that it runs, if it has written them yet."""
        return next((file.build for file in self.files if file.build is not None), None)

    def rows(self) -> Iterator[tuple[StreamLabels, bytes]]:
        """Its counts so far, by label set; one may come several times."""
        return ((labels, row) for file in self.files for _, labels, row in file.rows())

    def add_inferences(self, total: Snapshot, bound: Bound, changed: Mapping[int, list[float]] = NOTHING) -> None:
        """Add its counts for the conventions' metrics to ``total``; ``changed`` are rows that its files have not."""
        for file in self.files:
            for ordinal, inference, raw in file.inference_rows():
                row = changed.get(ordinal) or numbers(raw)
                total.add_inference(bound.admit(inference), row[: INFERENCE_LAYOUT.size])

    def add_process(self, total: Snapshot) -> None:
        """Add its counts that have no label set to ``total``."""
        for file in self.files:
            if file.process_row:
                total.add_process(file.process_row)

    def add_open(self, total: Snapshot, now: float, stall_after: StallAfter) -> None:
        """Add the streams that are open at ``now`` (monotonic seconds)."""
        for slot, labels in self.slots():
            total.add_open(labels, max(0.0, now - slot.started), slot.stalled(now, stall_time(labels, stall_after)))

    def exemplars(self) -> Iterator[tuple[ExemplarKey, Exemplar]]:
        """The exemplars of the label sets that are known."""
        labels = self._labels()
        for file in self.files:
            for placed in file.exemplars:
                exemplar = shown(placed, labels)
                if exemplar is not None:
                    yield exemplar

    def knows_all_slots(self) -> bool:
        """Whether the labels of all that is open have been read."""
        labels = self._labels()
        return all(slot.ordinal in labels for file in self.files for slot in file.slots)

    def final_snapshot(self, now: float, bound: Bound, unix: float = 0.0) -> Snapshot:
        """All that a process that is gone has counted, with its open streams ended by its death, at Unix time ``unix``.

        A slot's commit tells whether its stream is among what was counted.
        """
        blocks = [block for file in self.files for block in file.rows()]
        rows = {ordinal: list(numbers(row)) for ordinal, _, row in blocks}
        rows |= {ordinal: list(numbers(row)) for f in self.files for ordinal, _, row in f.inference_rows()}
        versions = {ordinal: version for file in self.files for ordinal, version in file.versions.items()}
        died = [(slot, labels) for slot, labels in self.slots() if not _counted(versions, slot)]
        total = Snapshot()
        for ordinal, labels, _ in blocks:
            total.add_streams(labels, rows[ordinal])
        self.add_inferences(total, bound, rows)
        self.add_process(total)
        for slot, labels in died:
            row = total.streams.setdefault(labels, [0.0] * STREAM_LAYOUT.size)
            increments.died(row, max(0.0, now - slot.started), slot.chunks)
        self.died = self._deaths([one for one in died if not one[1].of_calls], now, unix)
        return total

    def _deaths(self, died: list[tuple[OpenSlot, StreamLabels]], now: float, unix: float) -> list[IncidentRecord]:
        """The records of streams that were open when their process died; only what their slots say is known."""
        identity = self.files[0].header.identity
        found: dict[StreamLabels, list[IncidentRecord]] = {}
        for number, (slot, labels) in enumerate(died):
            alike = found.setdefault(labels, [])
            if len(alike) == _MOST_DEATHS:
                alike[-1] = alike[-1]._replace(repeats=alike[-1].repeats + 1, last_repeat=unix)
                continue
            alike.append(IncidentRecord(
                f"{identity.pid}-{identity.start}-open{number}", ENDED, identity.pid, labels, Outcome.ABANDONED.value,
                "process_died", unix, max(0.0, now - slot.started), int(slot.chunks),
                silence=now - slot.state if slot.state > 0.0 else None, stalled=None,
                run_since=unix, run_number=len(alike) + 1, place=-1,
            ))
        return [record for alike in found.values() for record in alike]

    def _labels(self) -> dict[int, StreamLabels]:
        return {ordinal: labels for file in self.files for ordinal, labels in file.labels.items()}

    def slots(self) -> Iterator[tuple[OpenSlot, StreamLabels]]:
        """What is open, as of the last reading."""
        labels = self._labels()
        for file in self.files:
            for slot in file.slots:
                yield slot, labels.get(slot.ordinal, OTHER_SET)


def _counted(versions: Mapping[int, float], slot: OpenSlot) -> bool:
    """Whether the stream's end is in the row of its block."""
    return 0.0 < slot.commit <= versions.get(int(slot.ordinal), 0.0)
