"""What one stream adds to the conventions' own metrics, and under which attributes.

They are kept beside the rows of the label sets: their boundaries are the conventions', and they carry attributes that
no label set has (port, error type, the response's model). So there is a row per set of attributes, made with its first
stream, in a block of a process's segments like any other: a row of ``STREAM_LAYOUT`` is longer than one of
``INFERENCE_LAYOUT``. Nothing is kept unless OTLP metrics are exported.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any, NamedTuple

from .. import conventions
from ..names import Metric
from ..stream.record import StreamLabels, StreamRecord, Usage
from .increments import Row
from .labels import OTHER_SET, clean
from .layout import INFERENCE_LAYOUT
from .measured import quantized

# Sets of attributes that are kept. Past the first half the optional ones are left out of new sets; past all of them
# new sets are counted together.
MAX_SETS = 128
_OPTIONAL = 64  # longest text of an optional attribute, in bytes


class Inference(NamedTuple):
    """The attributes of a series, without its modality; "" and 0 where there is none."""

    labels: StreamLabels
    port: int = 0
    outcome: str = ""
    error_type: str = ""
    response_model: str = ""
    service_tier: str = ""

    def encode(self) -> bytes:
        """The attributes as bytes; ``decode`` reads them."""
        return json.dumps(self, separators=(",", ":"), ensure_ascii=False).encode()


def decode(raw: bytes) -> Inference:
    """Read what ``encode`` wrote. Raises ValueError or TypeError for anything else."""
    return inference_from(json.loads(raw))


def inference_from(parsed: Any) -> Inference:
    """The attributes, from what JSON makes of them. Raises as ``decode`` does."""
    (operation, provider, model, server, custom), port, *texts = parsed
    labels = StreamLabels(operation, provider, model, server, tuple((name, value) for name, value in custom))
    inference = Inference(labels, port, *texts)
    of_labels = (*labels[:4], *(text for pair in labels.custom for text in pair))
    if type(port) is not int or not all(isinstance(text, str) for text in (*of_labels, *texts)):
        raise TypeError("no attributes of an inference")
    return inference


_OTHERS = Inference(OTHER_SET)


def inference_of(record: StreamRecord, labels: StreamLabels) -> Inference | None:
    """The attributes that a stream is counted under, with its bounded label set; None if it is not counted."""
    if record.inside is not None and record.inside.has_metrics:
        return None  # the instrumentation around it counts it
    if labels.operation in conventions.NOT_INFERENCE and labels.operation != conventions.FETCH:
        return None
    return Inference(
        labels, (record.server_port or 0) if labels.server else 0, record.outcome.value,
        conventions.error_type(record.failed, record.error_type),
        clean(record.response_model or "", _OPTIONAL),
        clean(record.service_tier or "", _OPTIONAL) if labels.provider == "openai" else "",
    )


class Bound:
    """Decides which sets of attributes are kept; the number of them is bounded, whatever a provider sends."""

    def __init__(self, room: int = 1 << 12) -> None:
        """``room``: how many bytes the attributes of one may take."""
        self._known: set[Inference] = set()
        self._room = room

    def admit(self, inference: Inference) -> Inference:
        """The set to count under."""
        known = self._known
        if inference in known:
            return inference
        if len(known) >= MAX_SETS // 2 or len(inference.encode()) > self._room:
            labels = inference.labels._replace(custom=())
            inference = inference._replace(labels=labels, response_model="", service_tier="")
        if inference not in known and (len(known) >= MAX_SETS or len(inference.encode()) > self._room):
            inference = _OTHERS._replace(outcome=inference.outcome, error_type=inference.error_type)
            if inference.error_type:
                inference = inference._replace(error_type=conventions.OTHER_ERROR)
        known.add(inference)
        return inference


Value = tuple[Metric, tuple[str, ...], float]
_NO_VALUES = ()


def values(record: StreamRecord) -> Iterator[Value]:
    """What a stream that ended adds, but for the times between its chunks: counters' increments, histograms' values."""
    yield conventions.DURATION, _NO_VALUES, record.duration
    if record.labels.operation in conventions.NOT_INFERENCE:
        return
    if record.first_chunk is not None:
        yield conventions.FIRST_CHUNK, _NO_VALUES, record.first_chunk
    if record.usage is not None and not record.replayed:
        yield from _tokens(record.usage, failed=record.failed)


def _tokens(usage: Usage, *, failed: bool) -> Iterator[Value]:
    for metric, total, parts in (
        (conventions.INPUT, usage.input, (usage.text_input, usage.image_input, usage.audio_input)),
        (conventions.OUTPUT, usage.output, (usage.text_output, usage.image_output, usage.audio_output)),
        (conventions.CACHE_READ, usage.cached, (usage.text_cached, usage.image_cached, usage.audio_cached)),
        (conventions.CACHE_WRITE, usage.cache_write, ()),
        (conventions.REASONING, usage.reasoning, ()),
    ):
        if total:
            yield from _by_modality(metric, total, parts)
    if failed:
        return
    for metric, total in ((conventions.INPUT_PER_CALL, usage.input), (conventions.OUTPUT_PER_CALL, usage.output)):
        if total is not None:
            yield metric, _NO_VALUES, quantized(total)


def _by_modality(metric: Metric, total: int, parts: tuple[int | None, ...]) -> Iterator[Value]:
    """Points that add up to the total: what is of no reported modality is unknown, and never taken for text."""
    rest = total - sum(part or 0 for part in parts)
    if rest < 0:
        rest, parts = total, ()  # they contradict each other
    for modality, part in zip(conventions.MODALITIES, parts, strict=False):
        if part:
            yield metric, (modality,), quantized(part)
    if rest:
        yield metric, (conventions.UNKNOWN,), quantized(rest)


_AT = {(s.metric, s.values): s.start for s in INFERENCE_LAYOUT.series}
_PER_CHUNK_AT = _AT[conventions.PER_CHUNK, ()]


def add(row: Row, record: StreamRecord) -> None:
    """Add a stream that ended to a row of ``INFERENCE_LAYOUT``."""
    for metric, own, value in values(record):
        at = _AT[metric, own]
        if metric.kind == "counter":
            row[at] += value
        else:
            row[at + bisect_left(metric.edges, value)] += 1.0
            row[at + len(metric.edges) + 1] += quantized(value)
    if record.chunk_times is not None and record.labels.operation not in conventions.NOT_INFERENCE:
        counts, seconds = record.chunk_times
        for bucket, count in enumerate(counts):
            if count:
                row[_PER_CHUNK_AT + bucket] += count
        row[_PER_CHUNK_AT + len(conventions.SECONDS) + 1] += quantized(seconds)
