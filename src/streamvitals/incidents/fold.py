"""Folds records of streams that ended alike, in whatever process, into incidents with a count."""

from __future__ import annotations

import statistics
import zlib
from collections.abc import Iterable
from typing import NamedTuple

from ..store.incident_record import ENDED, IncidentRecord

# Of two ends that are alike, so many seconds apart, the later one begins another incident.
QUIET = 300.0


class Incident(NamedTuple):
    """Streams that ended alike. Times are Unix time; ``records`` are those that are kept, the newest first.

    ``number`` is of all, also of those that have no record, and ``kept`` is of those of whom it is still known whether
    they recovered. ``labels`` are the own labels that they have in common."""

    id: str
    outcome: str
    error_type: str
    operation: str
    provider: str
    model: str
    server: str
    labels: tuple[tuple[str, str], ...]
    number: int
    kept: int
    first: float
    last: float
    recovered: int
    given_up: int
    chunks: int
    seconds: float
    records: tuple[IncidentRecord, ...]


class _Run(NamedTuple):
    """What one process has of one run of ends that are alike."""

    first: float
    last: float
    number: int
    records: list[IncidentRecord]


def fold(records: Iterable[IncidentRecord]) -> list[Incident]:
    """The incidents, the last one first."""
    kinds: dict[tuple[str, ...], dict[tuple[object, ...], list[IncidentRecord]]] = {}
    for record in records:
        if record.kind == ENDED:
            kind = (record.outcome, record.error_type, *record.labels[:4])
            run = (record.id.rpartition("-")[0], record.labels.custom, record.run_since)
            kinds.setdefault(kind, {}).setdefault(run, []).append(record)
    incidents = [
        _incident(kind, together)
        for kind, runs in kinds.items() for together in _together(map(_run, runs.values()))
    ]
    return sorted(incidents, key=lambda incident: (-incident.last, incident.id))


def _run(records: list[IncidentRecord]) -> _Run:
    last = max(max(record.time, record.last_repeat or 0.0) for record in records)
    count = max(record.run_number + record.repeats for record in records)
    return _Run(min(last, *(record.run_since for record in records)), last, count, records)


def _together(runs: Iterable[_Run]) -> list[list[_Run]]:
    """The runs of all processes, apart where none of them went on for some time."""
    groups: list[list[_Run]] = []
    until = 0.0
    for run in sorted(runs, key=lambda run: run.first):
        if not groups or run.first - until > QUIET:
            groups.append([])
        groups[-1].append(run)
        until = max(until, run.last) if len(groups[-1]) > 1 else run.last
    return groups


def _incident(kind: tuple[str, ...], runs: list[_Run]) -> Incident:
    records = sorted((one for run in runs for one in run.records), key=lambda one: (-one.time, one.id))
    first = min(run.first for run in runs)
    common = set(records[0].labels.custom).intersection(*(record.labels.custom for record in records))
    outcome, error_type, operation, provider, model, server = kind
    return Incident(
        f"{zlib.crc32(repr((kind, int(first))).encode()):08x}", outcome, error_type, operation, provider, model, server,
        tuple(pair for pair in records[0].labels.custom if pair in common),
        sum(run.number for run in runs), sum(1 + record.repeats for record in records),
        first, max(run.last for run in runs),
        sum((record.recovered is not None) + record.recovered_repeats for record in records),
        sum(record.given_up is not None for record in records),
        int(statistics.median(record.chunks for record in records)),
        statistics.median(record.seconds for record in records), tuple(records),
    )
