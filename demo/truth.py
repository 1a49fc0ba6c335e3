"""Puts together what really happened: the plan, the fault server's log and the program's own lines.

Nothing here comes from streamvitals. Times in the server's log are `time.monotonic()` of this machine, so
that they can be compared with the moments at which the demo scraped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .plan import Job, job_path

Entry = dict[str, Any]


@dataclass(frozen=True)
class Said:
    """The program's line about a finished job. ``saw`` is the class of the exception that it got, or "".

    By its own watch, in seconds: ``first`` until it had a token, ``waits`` for every chunk, and for how long it
    ``held`` them before it asked for the next.
    """

    pid: int
    chunks: int
    saw: str
    first: float | None = None
    waits: tuple[float, ...] = ()
    held: float = 0.0


@dataclass
class Stream:
    """One job and what became of it. ``requests`` are the server's log entries, in order."""

    job: Job
    requests: list[Entry] = field(default_factory=list)
    said: Said | None = None

    @property
    def chunks(self) -> int:
        """How many chunks the program was given, by its own count."""
        return self.said.chunks if self.said is not None else 0

    @property
    def gaps(self) -> list[float]:
        """The server's pauses before each chunk that the program was given, after the first; seconds."""
        gaps: list[float] = self.requests[-1]["gaps"][: max(0, self.chunks - 1)] if self.requests else []
        return gaps

    @property
    def first_token(self) -> float | None:
        """Seconds from the first request's arrival to the first token's sending; None if it was not given one."""
        if not self.requests or not self.chunks:
            return None
        first, last = self.requests[0], self.requests[-1]
        if last["first_token"] is None:
            return None
        seconds: float = last["t_request"] + last["first_token"] - first["t_request"]
        return seconds

    def silences(self) -> Iterator[tuple[float, float]]:
        """When the program waited and the server sent nothing, as (from, to) on the monotonic clock."""
        for entry in self.requests:
            headers = entry["t_headers"]
            yield entry["t_request"], entry["t_end"] if headers is None else headers
            if headers is None or self.job.how == "leave":
                continue
            at = headers
            if entry["first_chunk"] is not None:
                at = entry["t_request"] + entry["first_chunk"]
                yield headers, at
                for gap in self.gaps:
                    yield at, at + gap
                    at += gap
            if not self.job.leaves_early:
                yield at, entry["t_end"]


@dataclass
class Truth:
    """Everything that was injected. ``faults`` says where the demo itself did not do what it planned."""

    streams: list[Stream]
    faults: list[str]

    def stalled(self, start: float, end: float, threshold: float) -> tuple[int, int]:
        """The least and the most streams that hung at any moment from ``start`` to ``end``.

        A stream hangs that has been without a sign for longer than ``threshold``.
        """
        changes = []
        least = most = now = 0
        for stream in self.streams:
            for begin, until in stream.silences():
                begin += threshold
                if begin < until and begin < end and until > start:
                    now += begin <= start
                    changes += [(moment, step) for moment, step in ((begin, 1), (until, -1)) if start < moment < end]
        least = most = now
        for _, step in sorted(changes):
            now += step
            least, most = min(least, now), max(most, now)
        return least, most


def read_log(lines: Iterable[str]) -> list[Entry]:
    """The server's log; a line that is still being written is left out."""
    return [json.loads(line) for line in lines if line.endswith("\n")]


def gather(plan: list[Job], log: Iterable[Entry], said: Mapping[int, Said]) -> Truth:
    """Put the three together, and check that each job was done as it was planned."""
    streams = {job_path(job.id): Stream(job, said=said.get(job.id)) for job in plan}
    faults = []
    for entry in sorted(log, key=lambda entry: entry["t_request"]):
        name = entry["path"].split("/")[1]
        if name in streams:
            streams[name].requests.append(entry)
        else:
            faults.append(f"a request to {entry['path']} that nobody planned")
    for stream in streams.values():
        faults += _unplanned(stream)
    return Truth([*streams.values()], faults)


def _unplanned(stream: Stream) -> Iterator[str]:
    job = stream.job
    if stream.said is None and job.how != "crash":
        yield f"job {job.id} ({job.scenario}): the program did not say that it was done"
    played = {entry["scenario"] for entry in stream.requests}
    planned = set() if job.unreachable else {job.server_spec.partition("?")[0]}
    if played != planned:
        yield f"job {job.id} ({job.scenario}): the server played {sorted(played)}, not {sorted(planned)}"
    attempts = 0 if job.unreachable else 1 + len(job.retried)
    if len(stream.requests) != attempts:
        yield f"job {job.id} ({job.scenario}): {len(stream.requests)} requests, not {attempts}"
