"""The incidents as JSON: what /api/v1/incidents answers (docs/http-api.md)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..outcome import Outcome, owner
from ..store.incident_record import KINDS, IncidentRecord
from .fold import Incident, fold
from .query import Query
from .sentences import explain

VERSION = 1
# For how long a slow stream is among the slowest. Seconds.
SLOW_FOR = 3600.0


def answer(records: Iterable[IncidentRecord], lost: int, query: Query, now: float) -> dict[str, Any]:
    """Everything that is asked for. ``lost`` is how many records are not kept any more; ``now`` is Unix time.

    An incident that went on within the time that is asked for is shown whole, with all that it counts."""
    wanted = [record for record in records if query.wants(record)]
    since = now - query.since if query.since is not None else 0.0
    incidents = [incident for incident in fold(wanted) if incident.last >= since]
    slowest = {kind: _slowest(wanted, kind, max(since, now - SLOW_FOR)) for kind in KINDS[1:]}
    all_of_them = sorted((r for i in incidents for r in i.records), key=lambda r: (-r.time, r.id))
    # Of each incident the newest one, whatever the limit, or nothing could be said of it.
    first = {incident.records[0].id for incident in incidents}
    room = max(0, query.limit - len(first))
    others = [record for record in all_of_them if record.id not in first]
    shown = {*first, *(record.id for record in others[:room])}
    listed = [record for record in all_of_them if record.id in shown]
    return {
        "version": VERSION,
        "now": now,
        "incidents": [_incident(incident, shown) for incident in incidents],
        "records": [_record(record) for record in [*listed, *(one for kind in slowest.values() for one in kind)]],
        "slowest": {kind.removeprefix("slow_"): [one.id for one in found] for kind, found in slowest.items()},
        "truncated": len(all_of_them) - len(listed),
        "lost": lost,
    }


def _slowest(records: list[IncidentRecord], kind: str, since: float) -> list[IncidentRecord]:
    found = [record for record in records if record.kind == kind and record.time >= since]
    return sorted(found, key=lambda record: (-slowness(record), record.id))[:4]


def slowness(record: IncidentRecord) -> float:
    """For how long a slow stream was silent: before its first token, or in its longest gap."""
    return record.longest_gap if record.kind == KINDS[2] else record.first_token or 0.0


def _incident(incident: Incident, shown: set[str]) -> dict[str, Any]:
    said = explain(incident.outcome, incident.error_type, model=incident.model, server=incident.server)
    return {
        "id": incident.id,
        "outcome": incident.outcome,
        "error_type": incident.error_type,
        "owner": owner_of(incident.outcome, incident.error_type),
        "operation": incident.operation,
        "provider": incident.provider,
        "model": incident.model,
        "server": incident.server,
        "labels": dict(incident.labels),
        "count": incident.number,
        "kept": incident.kept,
        "first": incident.first,
        "last": incident.last,
        "recovered": incident.recovered,
        "given_up": incident.given_up,
        "chunks": incident.chunks,
        "seconds": incident.seconds,
        "sentence": said.sentence,
        "next": said.next,
        "runbook": said.runbook,
        "records": [record.id for record in incident.records if record.id in shown],
    }


def _record(record: IncidentRecord) -> dict[str, Any]:
    labels = record.labels
    return {
        "id": record.id,
        "kind": record.kind,
        "time": record.time,
        "outcome": record.outcome,
        "error_type": record.error_type,
        "owner": owner_of(record.outcome, record.error_type),
        "operation": labels.operation,
        "provider": labels.provider,
        "model": labels.model,
        "server": labels.server,
        "labels": dict(labels.custom),
        "chunk_index": record.chunks,
        "bytes": record.bytes,
        "seconds": record.seconds,
        "silence": record.silence,
        "attempts": record.attempts,
        "chain_attempt": record.chain_attempt,
        "backoff": record.backoff,
        "operation_id": record.operation,
        "recovered": record.recovered,
        "given_up": record.given_up,
        "request_id": record.request_id,
        "trace_id": record.trace_id,
        "causes": list(record.causes),
        "pid": record.pid,
        "stalls": record.stalls,
        "stalled_seconds": record.stalled,
        "repeats": record.repeats,
        "timeline": {
            "start": record.time - record.seconds,
            "headers": record.headers,
            "first_chunk": record.first_chunk,
            "first_token": record.first_token,
            "end": record.seconds,
            "attempts": [
                {"start": each.start, "seconds": each.seconds, "status": each.status, "reason": each.reason,
                 "backoff": each.backoff}
                for each in record.first_attempts
            ],
            "stalls": [
                {"at": stall.began, "seconds": stall.seconds, "phase": stall.phase, "keep_alive": stall.keep_alive}
                for stall in record.first_stalls
            ],
            "longest_gap": None if record.longest_gap_at is None else {
                "at": record.longest_gap_at, "seconds": record.longest_gap,
            },
        },
    }


def owner_of(outcome: str, error_type: str) -> str:
    """Whose doing an end was; of one that this version does not know, nobody's."""
    try:
        return owner(Outcome(outcome), error_type)
    except ValueError:
        return "nobody"
