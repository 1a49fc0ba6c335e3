"""What /api/v1/summary says: the last minutes, the last hour and its course, models, limits; see docs/http-api.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from .. import names
from ..store.layout import STREAM_LAYOUT
from ..store.snapshot import Snapshot
from . import counts, streams
from .headline import PROMISED
from .history import EVERY, KEEP, History, Note, Window, window
from .streams import Sample

# Seconds: the window of what is called recent, and one point of the course.
RECENT, POINT = 300.0, 60.0
# Most rows of each table.
MOST_MODELS, MOST_LIMITS, MOST_ERRORS = 60, 40, 20
_HISTOGRAMS = {"first_token": names.TIME_TO_FIRST_TOKEN, "gap": names.CHUNK_GAP}


class Counted(NamedTuple):
    """The counts at one moment: ``at`` is on the clock of slots."""

    at: float
    snapshot: Snapshot
    now: Note
    recent: Window
    hour: Window

    @classmethod
    def of(cls, snapshot: Snapshot, history: History | None, at: float, unix_time: float) -> Counted:
        """``history`` is None where nothing is noted: then all is since the process began."""
        now = Note.of(snapshot, unix_time)
        if history is not None:
            return cls(at, snapshot, now, history.since(RECENT, now), history.since(KEEP, now))
        whole = window(Note.nothing(unix_time), now)._replace(seconds=None)
        return cls(at, snapshot, now, whole, whole)


def summary(sample: Sample, counted: Counted, history: History | None) -> dict[str, Any]:
    """The answer; ``history`` is what the course is made of."""
    _, snapshot, now, recent, hour = counted
    return {
        "version": 1, "now": round(now.time, 3),
        "processes": sum(snapshot.builds.values()),
        "recent": _figures(recent), "hour": {**_figures(hour), **_ends(hour)},
        "distributions": {name: _distribution(metric, recent, hour) for name, metric in _HISTOGRAMS.items()},
        "course": {"every": POINT, "points": [] if history is None else list(_course(history, now))},
        "models": _models(recent, sample), "limits": list(_limits(snapshot, now.time))[:MOST_LIMITS],
        "promised": {"first_token_p95": PROMISED.ttft_p95, "gap_p95": PROMISED.chunk_gap_p95,
                     "failing_warn": PROMISED.budget, "failing_bad": PROMISED.page_share},
    }


def usual_first_tokens(history: History) -> dict[tuple[str, str], float | None]:
    """Within which time 95 of 100 first tokens came, in the last hour, by model."""
    rows = history.since(KEEP, history.notes[-1]).models
    return {model: counts.times(row, names.TIME_TO_FIRST_TOKEN)["p95"] for model, row in rows.items()}


def _figures(of: Window) -> dict[str, Any]:
    row = of.streams
    failed, operations = counts.operations(row)
    ended = round(counts.counted(row, names.STREAMS))
    wait, hold = counts.counted(row, names.WAIT), counts.counted(row, names.HOLD)
    return {
        "seconds": None if of.seconds is None else round(of.seconds, 1),
        "ended": ended, "per_second": round(ended / of.seconds, 3) if of.seconds else None,
        "operations": operations, "operations_failed": failed,
        **{name: counts.times(row, metric) for name, metric in _HISTOGRAMS.items()},
        "wait_seconds": round(wait, 3), "hold_seconds": round(hold, 3),
        "loop_lag": counts.times(of.process, names.LOOP_LAG),
        "stalls": round(counts.counted(row, names.STALLS)),
        "retries": {source: counts.by_label(row, names.RETRIES, "reason", source=source)
                    for source in names.RETRY_SOURCES},
        "recoveries": counts.by_label(row, names.RECOVERIES, "source"),
        "backoff_seconds": round(counts.counted(row, names.BACKOFF), 3),
        "fallbacks": round(counts.counted(row, names.FALLBACKS)),
    }


def _ends(hour: Window) -> dict[str, Any]:
    return {
        "outcomes": counts.by_label(hour.streams, names.STREAMS, "outcome"),
        "results": counts.by_label(hour.streams, names.STREAMS, "result"),
        "errors": counts.errors(hour.streams)[:MOST_ERRORS],
    }


def _distribution(metric: names.Metric, recent: Window, hour: Window) -> dict[str, Any]:
    return {
        "edges": metric.edges,
        "recent": [round(count) for count in counts.buckets(recent.streams, metric)],
        "hour": [round(count) for count in counts.buckets(hour.streams, metric)],
    }


def _course(history: History, now: Note) -> Iterator[dict[str, Any]]:
    """A point for each minute: what was counted in the minute before it."""
    notes = [*history.notes, now]
    start = notes[0]
    for note in notes[1:]:
        if note.time - start.time >= POINT - EVERY / 2 or (note is now and note.time > start.time):
            yield _point(window(start._replace(models=None), note._replace(models=None)), note.time)
            start = note


def _point(of: Window, time: float) -> dict[str, Any]:
    failed, operations = counts.operations(of.streams)
    first, gap = (counts.times(of.streams, metric) for metric in _HISTOGRAMS.values())
    return {
        "time": round(time, 1), "seconds": of.seconds,
        "results": counts.by_label(of.streams, names.STREAMS, "result"),
        "operations": operations, "operations_failed": failed,
        "first_token_p50": first["p50"], "first_token_p95": first["p95"], "gap_p50": gap["p50"], "gap_p95": gap["p95"],
        "wait_seconds": round(counts.counted(of.streams, names.WAIT), 3),
        "hold_seconds": round(counts.counted(of.streams, names.HOLD), 3),
        "loop_lag_p95": counts.times(of.process, names.LOOP_LAG)["p95"],
        "retries": round(counts.counted(of.streams, names.RETRIES)),
        "stalls": round(counts.counted(of.streams, names.STALLS)),
    }


def _models(recent: Window, sample: Sample) -> list[dict[str, Any]]:
    """A row for each model that has ended something lately or has something open; the busiest first."""
    lines = {(line["provider"], line["model"]): line for line in sample.models}
    rows = []
    for model in {**dict.fromkeys(recent.models), **dict.fromkeys(lines)}:
        row, line = recent.models.get(model), lines.get(model)
        ended = round(counts.counted(row, names.STREAMS)) if row is not None else 0
        if ended or line is not None:
            failed, operations = counts.operations(row) if row is not None else (0, 0)
            rows.append({
                "provider": model[0], "model": model[1], "ended": ended, "operations": operations,
                "operations_failed": failed,
                **{name: counts.times(row, metric) if row is not None else counts.NO_TIMES
                   for name, metric in _HISTOGRAMS.items()},
                **{what: line[what] if line is not None else 0 for what in ("open", streams.STALLED)},
            })
    return sorted(rows, key=lambda r: (-r["operations_failed"], -r["ended"] - r["open"], r["model"]))[:MOST_MODELS]


def _limits(snapshot: Snapshot, unix_time: float) -> Iterator[dict[str, Any]]:
    """What providers have said is left of their limits, the least first."""
    found: list[dict[str, Any]] = []
    for labels, row in snapshot.streams.items():
        for kind in names.RATELIMIT_KINDS:
            remaining, when = _gauge(row, names.RATELIMIT_REMAINING, kind)
            limit, _ = _gauge(row, names.RATELIMIT_LIMIT, kind)
            if when:
                found.append({
                    "provider": labels.provider, "model": labels.model, "server": labels.server, "kind": kind,
                    "remaining": remaining, "limit": limit or None, "age": round(max(0.0, unix_time - when), 1),
                })
    yield from sorted(found, key=lambda one: one["remaining"] / one["limit"] if one["limit"] else 1.0)


def _gauge(row: Sequence[float], metric: names.Metric, kind: str) -> tuple[float, float]:
    at = STREAM_LAYOUT.at(metric, kind)
    return row[at], row[at + 1]
