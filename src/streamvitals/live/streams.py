"""The pulse: what is open now, stream by stream, or by model where there are many. See docs/http-api.md.

Nothing is added to the path of a chunk for it: a slot holds how many chunks have come, and who waits since when. What
beats is the number of chunks, from one look to the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from ..store.segment import OpenSlot
from ..store.snapshot import Opened
from ..stream.record import StallAfter, StreamLabels

# What a stream does: the app waits for its first token; chunks come; none comes for too long; the app holds it.
WAITING, STREAMING, STALLED, HELD = STATES = ("waiting", "streaming", "stalled", "held")
# Most streams in one answer, and in one event: more are folded by model alone.
MOST_STREAMS, MOST_IN_EVENT = 1000, 40
# Most lines of models; the rest share one line.
MOST_MODELS = 60
# An app that works on a chunk for longer than this, in seconds, is shown as holding its stream.
HELD_AFTER = 1.0
# Looks that come sooner after each other, in seconds, share one sample.
SHARED = 0.4

Model = tuple[str, str]  # provider and model
# Of a model, 95 of 100 first tokens came sooner than this; None where that is not known.
FirstTokens = Callable[[Model], float | None]


class Sample(NamedTuple):
    """All streams at one moment, the stalled ones first and then the oldest; ``calls`` are those without a stream."""

    time: float
    streams: list[dict[str, Any]]
    models: list[dict[str, Any]]
    calls: int


class Pulse:
    """Looks at the open slots when somebody asks. Call it from one thread at a time.

    ``look`` returns what is open, ``clock`` is the clock of slots and ``unix_time`` the one that is shown.
    """

    def __init__(
        self, look: Callable[[], Sequence[Opened]], stall_after: StallAfter, clock: Callable[[], float],
        unix_time: Callable[[], float], first_tokens: FirstTokens = lambda _: None,
    ) -> None:
        self._look = look
        self._stall_after = stall_after
        self._clock = clock
        self._unix_time = unix_time
        self._first_tokens = first_tokens
        self._at = -math.inf
        self._sample = Sample(0.0, [], [], 0)
        self._chunks: Mapping[str, int] | None = None

    def sample(self) -> Sample:
        """What is open now, or was a moment ago."""
        now = self._clock()
        if now - self._at >= SHARED:
            self._sample, self._at = self._take(now), now
        return self._sample

    def _take(self, now: float) -> Sample:
        opened = self._look()
        streams: dict[str, dict[str, Any]] = {}
        for pid, labels, slot in opened:
            if not labels.of_calls:
                name = f"{pid}-{slot.started:.6f}"
                while name in streams:  # two that were asked for in the same microsecond
                    name += "+"
                streams[name] = self._stream(name, pid, labels, slot, now)
        ordered = sorted(streams.values(), key=lambda one: (one["state"] != STALLED, -one["age"]))
        models = self._models(ordered)
        self._chunks = {name: one["chunks"] for name, one in streams.items()}
        return Sample(self._unix_time(), ordered, models, len(opened) - len(streams))

    def _stream(self, name: str, pid: int, labels: StreamLabels, slot: OpenSlot, now: float) -> dict[str, Any]:
        after = self._patience(labels)
        waiting_since = slot.waiting_since()
        phase = slot.stalled(now, after)
        if phase is not None:
            state = STALLED
        elif waiting_since is None and now + slot.state > HELD_AFTER:
            state = HELD
        else:
            state = STREAMING if slot.answered else WAITING
        return {
            "id": name, "pid": pid, "operation": labels.operation, "provider": labels.provider, "model": labels.model,
            "server": labels.server, "labels": dict(labels.custom), "state": state, "phase": phase,
            "age": _seconds(now - slot.started),
            "silence": _seconds(now - waiting_since) if waiting_since is not None else 0.0,
            "chunks": int(slot.chunks),
            "stalled_after": round(after.between_chunks if slot.answered else after.first_token, 3),
        }

    def _patience(self, labels: StreamLabels) -> StallAfter:
        """Before its first token a model may take twice as long as it usually does."""
        usual = self._first_tokens((labels.provider, labels.model))
        first_token, between_chunks = self._stall_after
        return StallAfter(max(first_token, 2.0 * (usual or 0.0)), between_chunks)

    def _models(self, streams: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """A line for each model. ``beats`` are the chunks that have come since the last sample."""
        before, lines = self._chunks, dict[Model, dict[str, Any]]()
        for one in streams:
            key = one["provider"], one["model"]
            if key not in lines and len(lines) >= MOST_MODELS - 1:
                key = "other", "other"
            line = lines.setdefault(key, {
                "provider": key[0], "model": key[1], "open": 0, **dict.fromkeys(STATES, 0), "beats": 0,
                "oldest": 0.0, "silence": 0.0,
            })
            line["open"] += 1
            line[one["state"]] += 1
            line["oldest"] = max(line["oldest"], one["age"])
            line["silence"] = max(line["silence"], one["silence"] if one["state"] == STALLED else 0.0)
            if before is not None:
                line["beats"] += max(0, one["chunks"] - before.get(one["id"], 0))
        return [lines[key] for key in sorted(lines)]


def answer(sample: Sample, limit: int) -> dict[str, Any]:
    """What /api/v1/streams says: at most ``limit`` streams one by one, all of them by model."""
    return {
        "version": 1, "now": round(sample.time, 3), "open": len(sample.streams),
        "states": {state: sum(line[state] for line in sample.models) for state in STATES},
        "calls_open": sample.calls,
        "streams": sample.streams[:limit], "models": sample.models,
        "truncated": max(0, len(sample.streams) - limit),
    }


def _seconds(value: float) -> float:
    return round(max(0.0, value), 3)
