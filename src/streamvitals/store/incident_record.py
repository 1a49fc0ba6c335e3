"""The record of one stream that did not complete, or was among the slowest: its format, of a fixed size.

A record is written whole, with a checksum: one that was being written when the process was killed is not shown. Four
numbers before it change later (``REPEATS`` to ``RECOVERED_REPEATS``), each in one store. No content is in it: numbers,
ids, names of classes, and labels as they are counted.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from math import isfinite, isnan, nan
from typing import NamedTuple

from .. import names
from ..names import BETWEEN_CHUNKS, FIRST_TOKEN
from ..stream.record import Stall, StreamLabels, StreamRecord
from .segment import INCIDENT, LABEL_FIELDS, Shape, fit

# Why it is kept: its end, or that it completed slowly.
ENDED, SLOW_FIRST_TOKEN, SLOW_GAP = KINDS = ("ended", "slow_first_token", "slow_gap")
# How many stalls and attempts it has, the first ones.
MOST = 4

# The doubles of a record: its checksum and length, the four that change later, then what the checksum is of. Repeats:
# how many more of the same kind have no record of their own, and when the last one ended. Settled: the Unix time at
# which a later attempt of the operation worked, or minus the time at which it was given up.
_CHECK, REPEATS, LAST_REPEAT, SETTLED, RECOVERED_REPEATS, _BODY = range(6)
_NUMBERS = 21
_STALL, _ATTEMPT = 3, 4
_DOUBLES = _NUMBERS + MOST * (_STALL + _ATTEMPT)
_REASON = 20
_FIELDS = (
    *LABEL_FIELDS, *names.MAX_CUSTOM_LABELS * (names.MAX_CUSTOM_NAME, names.MAX_CUSTOM_VALUE),
    16, 40, 80, 32, 240, *MOST * (_REASON,),
)
_CUSTOM_AT = len(LABEL_FIELDS)
_REST_AT = _CUSTOM_AT + 2 * names.MAX_CUSTOM_LABELS
_HEAD = struct.Struct(f"<{_DOUBLES}d{len(_FIELDS)}H")
_CHECKED = struct.Struct("<II")
BODY_BYTES = _HEAD.size + sum(_FIELDS)
SIZE = 8 * _BODY + BODY_BYTES  # which must fit into segment.INCIDENT
SEQUENCE = _BODY


class Tried(NamedTuple):
    """One attempt: its request was sent ``start`` seconds after the first one; ``reason`` is why it failed."""

    start: float
    seconds: float
    status: int | None
    reason: str
    backoff: float


class IncidentRecord(NamedTuple):
    """What is kept of a stream. Times are Unix time, or seconds after its request; None: it is not known, or never was.

    ``run_since`` is when the first of those like it ended in its process, without a long pause in between, and
    ``run_number`` its own number among them; ``repeats`` is how many came after it and have no record. ``place`` is its
    number in the ring, with those that were overwritten."""

    id: str
    kind: str
    pid: int
    labels: StreamLabels
    outcome: str
    error_type: str
    time: float
    seconds: float
    chunks: int
    bytes: int | None = None
    silence: float | None = None
    attempts: int = 0
    chain_attempt: int = 1
    operation: str | None = None
    request_id: str | None = None
    trace_id: str | None = None
    causes: tuple[str, ...] = ()
    headers: float | None = None
    first_chunk: float | None = None
    first_token: float | None = None
    longest_gap: float = 0.0
    longest_gap_at: float | None = None
    stalls: int = 0
    stalled: float | None = 0.0
    backoff: float = 0.0
    first_stalls: tuple[Stall, ...] = ()
    first_attempts: tuple[Tried, ...] = ()
    run_since: float = 0.0
    run_number: int = 1
    place: int = 0
    repeats: int = 0
    last_repeat: float | None = None
    recovered: float | None = None
    given_up: float | None = None
    recovered_repeats: int = 0


class Run(NamedTuple):
    """Which of those like it a record is: see ``IncidentRecord``."""

    since: float
    number: int


def write(view: memoryview[float], at: int, body: bytes) -> None:
    """Write a record at this double; a reader sees none there until it is whole."""
    for number in range(_BODY):
        view[at + number] = 0.0
    with view.cast("B") as raw:
        start = 8 * (at + _BODY)
        raw[start : start + len(body)] = body
        _CHECKED.pack_into(raw, 8 * at, zlib.crc32(body), len(body))


def body_of(record: StreamRecord, kind: str, sequence: int, run: Run, place: int) -> bytes:
    """What is kept of a stream that has ended."""
    labels, operation, origin = record.labels, record.operation, record.clock_origin
    stalled = sum([stall.seconds for stall in record.stall_times]) if record.stalls == len(record.stall_times) else nan
    numbers: list[float | None] = [
        sequence, KINDS.index(kind), record.started + record.duration, record.duration, record.chunks,
        record.bytes_received, silence_of(record), record.http_attempts, record.chain_attempt,
        None if operation is None else operation.number, record.headers, record.first_chunk, record.first_token,
        record.max_gap, record.max_gap_at, record.stalls, stalled, record.backoff, run.since, run.number, place,
    ]
    for stall in record.stall_times[:MOST]:
        numbers += (stall.began, stall.seconds, (stall.phase == FIRST_TOKEN) + 2 * stall.keep_alive)
    numbers += [nan] * (_NUMBERS + MOST * _STALL - len(numbers))
    for attempt in record.attempts[:MOST]:
        numbers += (
            attempt.started - origin, attempt.ended - attempt.started, attempt.status, attempt.backoff,
        )
    numbers += [nan] * (_DOUBLES - len(numbers))
    ids = record.trace_ids
    texts = [*labels[:4], *(text for pair in labels.custom for text in pair)]
    texts += [""] * (_REST_AT - len(texts))
    texts += [
        record.outcome.value, record.error_type, record.request_id or "", ids.trace_id if ids else "",
        "\n".join(record.cause_chain),
    ]
    texts += [attempt.error_type for attempt in record.attempts[:MOST]]
    texts += [""] * (len(_FIELDS) - len(texts))
    parts = [
        raw if len(raw := text.encode("utf-8", "replace")) <= size else fit(text, size)
        for text, size in zip(texts, _FIELDS, strict=True)
    ]
    return _HEAD.pack(*[nan if n is None else n for n in numbers], *map(len, parts)) + b"".join(parts)


def silence_of(record: StreamRecord) -> float | None:
    """For how long nothing had come when it ended: since the last chunk, or else since the last request."""
    if record.last_chunk is None and record.attempts:
        last = record.attempts[-1]
        return max(0.0, last.ended - last.started)
    return record.since_last_chunk


def records(view: memoryview[float], form: Shape, pid: int, start: int) -> Iterator[IncidentRecord]:
    """The records of a segment that has some, written by the process ``pid`` that started at ``start``, but for those
    that are half written."""
    with view.cast("B") as raw:
        for at in places(form):
            crc, length = _CHECKED.unpack_from(raw, 8 * at)
            if not _HEAD.size <= length <= BODY_BYTES:
                continue
            body = bytes(raw[8 * (at + _BODY) : 8 * (at + _BODY) + length])
            if zlib.crc32(body) == crc:
                try:
                    yield _decoded(body, view[at + REPEATS : at + _BODY].tolist(), pid, start)
                except (ValueError, OverflowError, IndexError):
                    continue  # no process of ours has written that


def places(form: Shape) -> range:
    """Where the records of a segment stand."""
    return range(form.incidents_at, form.incidents_at + form.incidents * INCIDENT, INCIDENT)


def _decoded(body: bytes, later: Sequence[float], pid: int, start: int) -> IncidentRecord:
    unpacked = _HEAD.unpack_from(body)
    n, lengths = unpacked[:_DOUBLES], unpacked[_DOUBLES:]
    texts, at = [], _HEAD.size
    for length in lengths:
        texts.append(body[at : at + length].decode("utf-8", "replace"))
        at += length
    operation, provider, model, server = texts[:_CUSTOM_AT]
    pairs = zip(texts[_CUSTOM_AT:_REST_AT:2], texts[_CUSTOM_AT + 1 : _REST_AT : 2], strict=True)
    outcome, error_type, request_id, trace_id, causes, *reasons = texts[_REST_AT:]
    repeats, last_repeat, settled, recovered_repeats = (value if isfinite(value) else 0.0 for value in later)
    process = f"{pid}-{start}"
    return IncidentRecord(
        f"{process}-{int(n[0])}", KINDS[int(n[1])], pid,
        StreamLabels(operation, provider, model, server, tuple(pair for pair in pairs if all(pair))),
        outcome, error_type, _finite(n[2]), _finite(n[3]), int(n[4]), _whole(n[5]), _known(n[6]), int(n[7]), int(n[8]),
        None if isnan(n[9]) else f"{process}-{int(n[9])}",
        request_id or None, trace_id or None, tuple(causes.split("\n")) if causes else (),
        _known(n[10]), _known(n[11]), _known(n[12]), _finite(n[13]), _known(n[14]), int(n[15]), _known(n[16]),
        _finite(n[17]), tuple(_stalls(n[_NUMBERS:])), tuple(_attempts(n[_NUMBERS + MOST * _STALL :], reasons)),
        _finite(n[18]), int(n[19]), int(n[20]), int(repeats), last_repeat or None,
        settled if settled > 0.0 else None, -settled if settled < 0.0 else None, int(recovered_repeats),
    )


def _stalls(numbers: Sequence[float]) -> Iterator[Stall]:
    for at in range(0, MOST * _STALL, _STALL):
        began, seconds, flags = numbers[at : at + _STALL]
        if not isnan(began):
            thinking, keep_alive = int(flags) & 1, bool(int(flags) & 2)
            yield Stall(_finite(began), _finite(seconds), FIRST_TOKEN if thinking else BETWEEN_CHUNKS, keep_alive)


def _attempts(numbers: Sequence[float], reasons: Sequence[str]) -> Iterator[Tried]:
    for number, reason in enumerate(reasons):
        began, seconds, status, backoff = numbers[_ATTEMPT * number :][:_ATTEMPT]
        if not isnan(began):
            yield Tried(_finite(began), _finite(seconds), _whole(status), reason, _finite(backoff))


def _known(value: float) -> float | None:
    return None if isnan(value) else _finite(value)


def _whole(value: float) -> int | None:
    return None if isnan(value) else int(value)


def _finite(value: float) -> float:
    if not isfinite(value):
        raise ValueError("no number")
    return value
