"""The format of a segment, which a store writes and the agent reads.

A segment is a row of doubles, on the heap or in a mapped file. It starts with a header that never changes;
the first segment of a process also has the facts about its build and the process's own series.
Then come slots (one per open stream) and blocks (one per label set). The header and the facts about the build have the
same place in every version, so that an agent can name a process of another version (agent/foreign.py).

Every number is one aligned 8-byte store, so a reader in another process sees the old or the new number, never half of
one. A change that takes several stores is arranged so that the process may be killed between any two of them: a block's
labels are valid once their checksum is right; a slot is open once its state is not 0. A block has its row twice, and a
version: the changes that one record makes are made in the row that is not shown, and shown together by the next
version.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from itertools import compress
from typing import NamedTuple, cast

from .. import names
from ..names import BETWEEN_CHUNKS, FIRST_TOKEN, KEEP_ALIVE, KEEP_ALIVE_WITHIN
from ..stream.record import StallAfter, StreamLabels
from .layout import INFERENCE_LAYOUT, PROCESS_LAYOUT, STREAM_LAYOUT

MAGIC = b"SVITALS1"
PAGE = 4096
_DOUBLE = 8

# A slot's doubles. State: > 0 blocked in a read since that monotonic time; < 0 held by the app since minus it; 0 free.
# Commit: 0, or the version of the block from which on the stream's end is counted in it. Answered: 1 once the first
# token of the answer has come. Kept alive: > 0 when the last comment came, of this wait if that has begun before; < 0
# minus the time from which on nothing but keep-alives have come to the app, the last one at the begin of this wait.
STATE, STARTED, ORDINAL, CHUNKS, COMMIT, UNUSED, ANSWERED, KEPT_ALIVE = range(8)
SLOT = 8

# The room of a record of an incident (incident_record.py), in doubles.
INCIDENT = 200

_HEADER = struct.Struct("<8sIIIIQQQQQQIIII")
HEADER_BYTES = 128
_BUILD = struct.Struct("<IHHH")
_BUILD_BYTES = 256
_BUILD_FIELDS = (40, 40, 160)
_ATTRIBUTES = struct.Struct("<II")
_NO_LABELS = INFERENCE_LAYOUT.fingerprint
# Operation, provider, model, server: bytes of UTF-8.
LABEL_FIELDS = (32, 64, 128, 128)
_CUSTOM_FIELDS = names.MAX_CUSTOM_LABELS * (names.MAX_CUSTOM_NAME, names.MAX_CUSTOM_VALUE)

BUILD_AT = HEADER_BYTES // _DOUBLE
PROCESS_AT = BUILD_AT + _BUILD_BYTES // _DOUBLE
PROCESS_END = PROCESS_AT + PROCESS_LAYOUT.size
_FIRST_HEAD = -(-PROCESS_END // SLOT) * SLOT
_HEAD = HEADER_BYTES // _DOUBLE


class _BlockForm(NamedTuple):
    """Where the labels of a block stand, and how much room, in doubles, they and the whole block take.

    After the labels come the version and the two rows."""

    fields: tuple[int, ...]
    lengths: struct.Struct
    head: int
    size: int


def _block_form(fields: tuple[int, ...], head_bytes: int) -> _BlockForm:
    head = head_bytes // _DOUBLE
    lengths = struct.Struct(f"<I{len(fields)}H")
    return _BlockForm(fields, lengths, head, -(-(head + 1 + 2 * STREAM_LAYOUT.size) // SLOT) * SLOT)


# By whether there is room for custom labels: who declares none does not pay for it.
_BLOCKS = {False: _block_form(LABEL_FIELDS, 384), True: _block_form((*LABEL_FIELDS, *_CUSTOM_FIELDS), 704)}


# Instead of slots a segment may have exemplars, in as much room each: a checksum of what follows, the bucket's index in
# the block's row, the block's ordinal, the value, the Unix time, the ids of the trace and the span.
_EXEMPLAR = struct.Struct("<IQdd16s8s")
_CHECKED = struct.Struct(f"<I{_EXEMPLAR.size}s")


class BadSegmentError(ValueError):
    """The bytes are no segment of this layout: torn, foreign, or of another version."""


class OtherLayoutError(BadSegmentError):
    """A whole segment that a process with this identity wrote, in a version with another layout."""

    def __init__(self, identity: Identity) -> None:
        super().__init__("another layout")
        self.identity = identity


class Identity(NamedTuple):
    """Identifies a store of a program in a process: ``image`` differs before and after an exec, ``store`` between
    several stores of one program.

    ``start`` is field 22 and ``image`` field 28 (the address of the stack) of /proc/<pid>/stat, ``namespace``
    the inode of the pid namespace; 0 where unknown. ``store`` is any number.
    """

    pid: int
    start: int
    image: int
    namespace: int
    store: int


class Shape(NamedTuple):
    """What a segment holds; ``ordinal`` is the number, within its process, of its first block.

    ``exemplars``: exemplars stand where slots would. ``custom``: its blocks have room for custom labels. ``incidents``
    is how many records of incidents come after the blocks."""

    first: bool
    slots: int
    blocks: int
    ordinal: int
    exemplars: bool = False
    custom: bool = False
    incidents: int = 0

    @property
    def slots_at(self) -> int:
        return _FIRST_HEAD if self.first else _HEAD

    @property
    def blocks_at(self) -> int:
        return self.slots_at + SLOT * self.slots

    @property
    def size(self) -> int:
        """The size of the segment in bytes."""
        return (self.incidents_at + INCIDENT * self.incidents) * _DOUBLE

    @property
    def incidents_at(self) -> int:
        return self.blocks_at + _BLOCKS[self.custom].size * self.blocks

    def block_at(self, ordinal: int) -> int:
        """The index of a block's version."""
        form = _BLOCKS[self.custom]
        return self.blocks_at + form.size * (ordinal - self.ordinal) + form.head


def shape(
    *, first: bool, slots: int, blocks: int, ordinal: int, exemplars: bool = False, custom: bool = False
) -> Shape:
    """A shape with at least that many slots, and as many more as fill the segment's last page."""
    least = Shape(first, slots, blocks, ordinal, exemplars, custom)
    room = -least.size % PAGE
    return least._replace(slots=slots + room // (SLOT * _DOUBLE))


class Header(NamedTuple):
    """The facts in a segment's header; ``created`` is time.monotonic_ns()."""

    identity: Identity
    created: int
    shape: Shape


def write_header(view: memoryview[float], header: Header) -> None:
    """Write the header of a new segment; ``view`` holds doubles."""
    identity, form = header.identity, header.shape
    kind = form.first | form.exemplars << 1 | form.custom << 2
    fields = (
        STREAM_LAYOUT.fingerprint, PROCESS_LAYOUT.fingerprint, kind, *identity, header.created,
        form.slots, form.blocks, form.ordinal, form.incidents,
    )
    crc = zlib.crc32(repr(fields).encode())
    with view.cast("B") as raw:
        _HEADER.pack_into(raw, 0, MAGIC, crc, *fields)


def read_header(view: memoryview[float]) -> Header:
    """Read a segment's header; ``view`` holds doubles.

    Raises BadSegmentError unless the segment is whole and of this layout.
    """
    if view.nbytes < HEADER_BYTES:
        raise BadSegmentError("shorter than a header")
    with view.cast("B") as raw:
        magic, crc, *fields = _HEADER.unpack_from(raw, 0)
    if magic != MAGIC or crc != zlib.crc32(repr(tuple(fields)).encode()):
        raise BadSegmentError("no header")
    stream, process, kind, *identity, created, slots, blocks, ordinal, incidents = fields
    if (stream, process) != (STREAM_LAYOUT.fingerprint, PROCESS_LAYOUT.fingerprint):
        raise OtherLayoutError(Identity(*identity))
    form = Shape(bool(kind & 1), slots, blocks, ordinal, bool(kind & 2), bool(kind & 4), incidents)
    if form.size > view.nbytes:
        raise BadSegmentError("shorter than its header says")
    return Header(Identity(*identity), created, form)


def write_build(view: memoryview[float], build: tuple[str, str, str]) -> None:
    """Write (version, openai_version, patched) into a first segment."""
    texts = [fit(text, size) for text, size in zip(build, _BUILD_FIELDS, strict=True)]
    body = b"".join(texts)
    with view.cast("B") as raw:
        at = BUILD_AT * _DOUBLE + _BUILD.size
        raw[at : at + len(body)] = body
        _BUILD.pack_into(raw, BUILD_AT * _DOUBLE, zlib.crc32(body), *map(len, texts))


def read_build(view: memoryview[float]) -> tuple[str, str, str] | None:
    """Read what ``write_build`` wrote; None before that, or in the middle of it."""
    with view.cast("B") as raw:
        crc, *lengths = _BUILD.unpack_from(raw, BUILD_AT * _DOUBLE)
        at = BUILD_AT * _DOUBLE + _BUILD.size
        texts = _texts(raw, at, crc, lengths, sum(_BUILD_FIELDS))
    return (texts[0], texts[1], texts[2]) if texts else None


def write_labels(view: memoryview[float], at: int, labels: StreamLabels, custom: bool = False) -> None:
    """Write the labels of the block whose version is at ``at``; they are already cleaned.

    ``custom``: the block has room for custom labels, as in its segment's shape."""
    form = _BLOCKS[custom]
    given = [*labels[:4], *(text for pair in labels.custom for text in pair)]
    given += [""] * len(form.fields)
    texts = [fit(text, size) for text, size in zip(given, form.fields, strict=False)]
    body = b"".join(texts)
    with view.cast("B") as raw:
        start = (at - form.head) * _DOUBLE
        raw[start + form.lengths.size : start + form.lengths.size + len(body)] = body
        form.lengths.pack_into(raw, start, zlib.crc32(body), *map(len, texts))


def read_labels(view: memoryview[float], at: int, custom: bool = False) -> StreamLabels | None:
    """The labels of the block whose version is at ``at``; None if it is not in use yet."""
    form = _BLOCKS[custom]
    with view.cast("B") as raw:
        start = (at - form.head) * _DOUBLE
        crc, *lengths = form.lengths.unpack_from(raw, start)
        texts = _texts(raw, start + form.lengths.size, crc, lengths, sum(form.fields))
    if not texts:
        return None
    operation, provider, model, server, *custom_texts = texts
    pairs = zip(custom_texts[::2], custom_texts[1::2], strict=True)
    return StreamLabels(operation, provider, model, server, tuple(pair for pair in pairs if all(pair)))


def row_at(at: int, version: float) -> int:
    """The index of the row that a block with this version shows; the version is at ``at``."""
    return at + 1 + STREAM_LAYOUT.size * (int(version) % 2)


def attributes_room(custom: bool) -> int:
    """How many bytes of attributes a block has room for; ``custom`` as in ``write_labels``."""
    return _BLOCKS[custom].head * _DOUBLE - _ATTRIBUTES.size


def write_attributes(view: memoryview[float], at: int, text: bytes, custom: bool = False) -> None:
    """Write the attributes of a block with a row of INFERENCE_LAYOUT; there must be room for them.

    The checksum begins with the layout's fingerprint: for readers of label sets, and for those of another layout, the
    block is not in use."""
    with view.cast("B") as raw:
        start = (at - _BLOCKS[custom].head) * _DOUBLE
        raw[start + _ATTRIBUTES.size : start + _ATTRIBUTES.size + len(text)] = text
        _ATTRIBUTES.pack_into(raw, start, zlib.crc32(text, _NO_LABELS), len(text))


def read_attributes(view: memoryview[float], at: int, custom: bool = False) -> bytes | None:
    """Read what ``write_attributes`` wrote; None for any other block."""
    with view.cast("B") as raw:
        start = (at - _BLOCKS[custom].head) * _DOUBLE
        crc, length = _ATTRIBUTES.unpack_from(raw, start)
        if not 0 < length <= attributes_room(custom):
            return None
        text = bytes(raw[start + _ATTRIBUTES.size : start + _ATTRIBUTES.size + length])
    return text if zlib.crc32(text, _NO_LABELS) == crc else None


def _texts(raw: memoryview, at: int, crc: int, lengths: list[int], most: int) -> list[str] | None:
    total = sum(lengths)
    if not 0 < total <= most:
        return None
    body = bytes(raw[at : at + total])
    if zlib.crc32(body) != crc:
        return None
    texts = []
    for length in lengths:
        texts.append(body[:length].decode("utf-8", "replace"))
        body = body[length:]
    return texts


def fit(text: str, size: int) -> bytes:
    """The text as UTF-8, cut between characters to at most ``size`` bytes."""
    raw = text.encode("utf-8", "replace")
    return raw if len(raw) <= size else raw[:size].decode("utf-8", "ignore").encode()


def doubles(view: memoryview[float], at: int, count: int) -> list[float]:
    """A copy of some of a segment's numbers."""
    return cast("list[float]", view[at : at + count].tolist())


class OpenSlot(NamedTuple):
    """One slot that is in use; fields as written by the store."""

    state: float
    started: float
    ordinal: int
    chunks: float
    commit: float
    unused: float
    answered: float
    kept_alive: float

    def waiting_since(self) -> float | None:
        """Since when the app has waited for a chunk, whatever has kept the connection alive; None if it holds it."""
        if self.state <= 0.0:
            return None
        return min(-self.kept_alive, self.state) if self.kept_alive < 0.0 else self.state

    def stalled(self, now: float, after: StallAfter) -> str | None:
        """The phase that the stream is stalled in, one of ``names.PHASES``; None if it is not."""
        began, kept_alive = self.waiting_since(), self.kept_alive
        if began is None or now - began <= (after.between_chunks if self.answered else after.first_token):
            return None
        last = self.state if kept_alive < 0.0 else kept_alive
        if began <= last and kept_alive and now - last <= KEEP_ALIVE_WITHIN:
            return KEEP_ALIVE
        return BETWEEN_CHUNKS if self.answered else FIRST_TOKEN


def open_slots(view: memoryview[float], form: Shape) -> Iterator[OpenSlot]:
    """The slots in use."""
    states = view[form.slots_at : form.blocks_at : SLOT].tolist()
    for number in compress(range(form.slots), states):
        state, started, ordinal, *others = doubles(view, form.slots_at + SLOT * number, SLOT)
        if state:
            yield OpenSlot(state, started, int(ordinal), *others)


class Placed(NamedTuple):
    """An exemplar in a segment: the bucket's index in the row of the block with this ordinal, and what was observed."""

    bucket: int
    ordinal: int
    value: float
    time: float
    trace_id: bytes
    span_id: bytes


def write_exemplar(
    view: memoryview[float], at: int, bucket: int, ordinal: int, value: float, time: float, trace_id: bytes,
    span_id: bytes,
) -> None:
    """Write an exemplar, with its checksum; the facts are those of ``Placed``."""
    body = _EXEMPLAR.pack(bucket, ordinal, value, time, trace_id, span_id)
    _CHECKED.pack_into(view, at * _DOUBLE, zlib.crc32(body), body)


def exemplars(view: memoryview[float], form: Shape) -> Iterator[Placed]:
    """The exemplars of a segment that has some, but for those that are half written."""
    with view.cast("B") as raw:
        for at in range(form.slots_at * _DOUBLE, form.blocks_at * _DOUBLE, SLOT * _DOUBLE):
            crc, body = _CHECKED.unpack_from(raw, at)
            if zlib.crc32(body) == crc:
                yield Placed(*_EXEMPLAR.unpack(body))
