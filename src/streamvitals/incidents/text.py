"""Incidents for a terminal, from the JSON that agents answer: names from outside cannot do anything there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from ..outcome import Outcome, result
from .sentences import explain

_LONGEST = 128
_SLOW = {"first_token": "slowest first tokens", "gap": "longest gaps"}


def plain(text: object) -> str:
    """The text in one line: without control characters, and without those that turn the direction of writing."""
    return "".join(c if c.isprintable() else "?" for c in str(text)[:_LONGEST])


def duration(seconds: float) -> str:
    """A duration with as many digits as one reads: 0.034 s, 1.5 s, 12 s, 2 min, 3 h."""
    if seconds < 1:
        return f"{seconds:.3f} s"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    for unit, length in (("min", 60.0), ("h", 3600.0)):
        if seconds < (7200.0 if unit == "min" else 172800.0):
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds / 86400:.0f} d"


def clock(at: float, now: float) -> str:
    """A time of day, of this machine; with the date if it is long ago."""
    return time.strftime("%H:%M:%S" if now - at < 43200 else "%m-%d %H:%M:%S", time.localtime(at))


def headline(incident: Mapping[str, Any]) -> str:
    """What happened, where, how often, and after how much: `reset, gpt-4o at api.example, 34 in 2 min, …`."""
    error = plain(incident["error_type"])
    what = plain(incident["outcome"]) + (f" ({error})" if error else "")
    labels = "".join(f", {plain(name)}={plain(value)}" for name, value in incident["labels"].items())
    number, lasted = incident["count"], incident["last"] - incident["first"]
    how_often = f"{number} in {duration(max(1.0, lasted))}" if number > 1 else "once"
    chunks = incident["chunks"]
    after = f"after {chunks} chunk{'' if chunks == 1 else 's'}, {duration(incident['seconds'])}"
    at = f" at {plain(incident['server'])}" if incident["server"] else ""
    return f"{what}, {plain(incident['model'])}{at}{labels}, {how_often}, {after}"


def incident_lines(incident: Mapping[str, Any], now: float) -> list[str]:
    """An incident: its headline, what became of its operations, and what to look at next."""
    # Said anew, with names that are safe: the agent may be of another version, or be no agent at all.
    said = explain(
        str(incident["outcome"]), str(incident["error_type"]), model=plain(incident["model"]),
        server=plain(incident["server"]),
    )
    lines = [f"{clock(incident['last'], now)}  {headline(incident)}  [{plain(incident['id'])}]"]
    lines.append(f"    {said.sentence}{_recovered(incident)}")
    runbook = f" (streamvitals runbook {said.runbook})" if said.runbook else ""
    lines.append(f"    next: {said.next}{runbook}")
    return lines


def _recovered(incident: Mapping[str, Any]) -> str:
    recovered, kept = incident["recovered"], incident["kept"]
    if not recovered and result_of(incident) not in ("failed", "rejected"):
        return ""
    if incident["count"] == 1:
        return " A later attempt made it good." if recovered else " No later attempt has made it good yet."
    those = f"the last {kept}" if kept < incident["count"] else str(kept)
    if not recovered:
        return f" None of {those} was made good by a later attempt yet."
    if recovered >= kept:
        return f" All of {those} were made good by a later attempt."
    return f" {recovered} of {those} {'was' if recovered == 1 else 'were'} made good by a later attempt."


def result_of(incident: Mapping[str, Any]) -> str:
    """What its end means to those who asked; "" for one that this version does not know."""
    try:
        return result(Outcome(incident["outcome"]), str(incident["error_type"]))
    except ValueError:
        return ""


def check(made: Mapping[str, Any]) -> None:
    """Raise ValueError, KeyError, TypeError or AttributeError for what is no answer that can be shown."""
    for incident in made["incidents"]:
        incident_lines(incident, made["now"])
        float(incident["last"])
    for record in made["records"]:
        list(record_lines(record, made["now"]))
        float(record["time"])
    list(slowest_lines(made, made["now"]))
    int(made["truncated"] + made["lost"])


def record_lines(record: Mapping[str, Any], now: float) -> Iterator[str]:
    """One stream from its request to its end."""
    line = record["timeline"]
    ids = [f"pid {record['pid']}"]
    ids += [f"{name} {plain(record[key])}" for name, key in (("request", "request_id"), ("trace", "trace_id"))
            if record[key]]
    ids += [f"{plain(name)}={plain(value)}" for name, value in record["labels"].items()]
    yield f"  {clock(record['time'], now)}  {plain(record['id'])}: {', '.join(ids)}"
    events: list[tuple[float, str]] = []
    for attempt in line["attempts"]:
        reason = plain(attempt["reason"]) if attempt["reason"] else "answered"
        if attempt["status"] is not None and str(attempt["status"]) != reason:
            reason = f"status {attempt['status']}" + (f", {reason}" if attempt["reason"] else "")
        waited = f", then waited {duration(attempt['backoff'])}" if attempt["backoff"] else ""
        events.append((attempt["start"], f"request sent: {reason}, over after {duration(attempt['seconds'])}{waited}"))
    if record["attempts"] > len(line["attempts"]):
        events.append((line["end"], f"{record['attempts']} requests in all"))
    came = ("headers", "first_chunk", "first_token")
    events += [(line[name], name.replace("_", " ")) for name in came if line[name] is not None]
    for stall in line["stalls"]:
        what = "nothing but keep-alives" if stall["keep_alive"] else "silence"
        where = "before the first token" if stall["phase"] == "first_token" else "between chunks"
        events.append((stall["at"], f"stalled: {duration(stall['seconds'])} of {what} {where}"))
    gap = line["longest_gap"]
    if gap is not None and gap["at"] not in [stall["at"] for stall in line["stalls"]]:
        events.append((gap["at"], f"longest gap: {duration(gap['seconds'])}"))
    for at, text in sorted(events, key=lambda event: event[0]):
        yield f"      {at:8.3f} s  {text}"
    yield f"      {line['end']:8.3f} s  {_end(record)}"
    if record["causes"]:
        yield f"      causes: {' < '.join(map(plain, record['causes']))}"
    fate = _fate(record, now)
    if fate:
        yield f"      {fate}"


def _end(record: Mapping[str, Any]) -> str:
    error = f" ({plain(record['error_type'])})" if record["error_type"] else ""
    size = "" if record["bytes"] is None else f", {record['bytes']} bytes"
    silent = "" if record["silence"] is None else f", {duration(record['silence'])} of silence before"
    return f"{plain(record['outcome'])}{error}: {record['chunk_index']} chunks{size}{silent}"


def _fate(record: Mapping[str, Any], now: float) -> str:
    if record["operation_id"] is None:
        return ""
    attempt = f"attempt {record['chain_attempt']} of operation {plain(record['operation_id'])}"
    if record["recovered"]:
        return f"{attempt}, made good by a later one at {clock(record['recovered'], now)}"
    if record["given_up"]:
        return f"{attempt}, given up at {clock(record['given_up'], now)}"
    return f"{attempt}, not yet made good by a later one"


def slow_heading(record: Mapping[str, Any]) -> str:
    """What stands above one of the slowest streams."""
    at = f" at {plain(record['server'])}" if record["server"] else ""
    return f"among the slowest that completed: {plain(record['model'])}{at}, of {plain(record['agent'])}"


def slowest_lines(made: Mapping[str, Any], now: float) -> Iterator[str]:
    """The slowest streams that completed."""
    records = {record["id"]: record for record in made["records"]}
    for name, ids in made["slowest"].items():
        found = [records[one] for one in ids if one in records]
        if found and name in _SLOW:
            yield f"{_SLOW[name]} of the last hour, of streams that completed:"
        for record in found:
            gap = record["timeline"]["longest_gap"] or {"seconds": 0.0}
            seconds = record["timeline"]["first_token"] if name == "first_token" else gap["seconds"]
            at = f" at {plain(record['server'])}" if record["server"] else ""
            yield (
                f"    {duration(seconds or 0.0)}, {plain(record['model'])}{at}, {clock(record['time'], now)}"
                f"  [{plain(record['id'])}]"
            )
