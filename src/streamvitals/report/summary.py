"""Adds up what the lines of a journal say: how streams ended, how long what took, what failed."""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ..outcome import RESULTS
from .lines import Entry, Place, Suppressed

# Quantiles, by nearest rank: each is a time that some stream had.
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
MEASURES = ("time_to_first_token", "max_gap", "duration_completed", "tokens_per_second")
# Names come from outside: so many are told apart, and the rest are "other".
MOST_ROWS, MOST_KINDS, MOST_PIDS = 1000, 1000, 100_000
# The newest ids of each kind of failure, and the first lines that could not be read.
KEPT_IDS, KEPT_PLACES = 3, 5
GOOD = ("completed", "limit")


class Who(NamedTuple):
    """What one row is about."""

    operation: str
    provider: str
    model: str
    server: str


OTHER = Who("other", "other", "other", "other")


class Kind(NamedTuple):
    """One kind of end that nobody wanted."""

    outcome: str
    error_type: str
    owner: str
    who: Who


class Ends:
    """The ends of one kind: how many, from when to when, and the newest ids."""

    def __init__(self) -> None:
        self.count, self.first, self.last = 0, math.inf, -math.inf
        self.request_ids: deque[str] = deque(maxlen=KEPT_IDS)
        self.trace_ids: deque[str] = deque(maxlen=KEPT_IDS)

    def add(self, entry: Entry) -> None:
        self.count += 1
        end = entry.time + entry.elapsed
        self.first, self.last = min(self.first, end), max(self.last, end)
        if entry.request_id:
            self.request_ids.appendleft(entry.request_id)
        if entry.trace_id:
            self.trace_ids.appendleft(entry.trace_id)


class Row:
    """What is added up of some streams."""

    def __init__(self) -> None:
        self.streams = self.stalls = self.sent_again = self.asked_again = self.with_usage = 0
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        self.outcomes: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.values = {measure: array("d") for measure in MEASURES}

    def add(self, entry: Entry) -> None:
        self.streams += 1
        self.results[entry.result] += 1
        self.outcomes[entry.outcome.value] += 1
        self.stalls += entry.stalls
        self.sent_again += max(0, entry.http_attempts - 1)
        self.asked_again += entry.chain_attempt > 1
        self.with_usage += bool(entry.tokens)
        self.tokens.update(entry.tokens)
        duration = entry.elapsed if entry.result == "completed" else None
        for measure, value in zip(
            MEASURES, (entry.first_token, entry.max_gap, duration, entry.tokens_per_second), strict=True
        ):
            if value is not None:
                self.values[measure].append(value)

    def quantiles(self) -> Iterator[tuple[str, int, dict[str, float]]]:
        """Each measure that some stream has, how many have it, and its quantiles."""
        for measure, values in self.values.items():
            if values:
                ranked = sorted(values)
                yield measure, len(ranked), {name: nearest_rank(ranked, q) for name, q in QUANTILES.items()}


def nearest_rank(ranked: Sequence[float], quantile: float) -> float:
    """The least of the sorted values that so large a part of them does not exceed."""
    return ranked[max(0, math.ceil(quantile * len(ranked)) - 1)]


class Summary:
    """All lines, added up."""

    def __init__(self, since: float = -math.inf) -> None:
        self._since = since
        self.all = Row()
        self.by_who: dict[Who, Row] = {}
        self.bad_ends: dict[Kind, Ends] = {}
        self.pids: set[int] = set()
        self.first, self.last = math.inf, -math.inf
        self.suppressed = self.unreadable = self.earlier = 0
        self.places: list[Place] = []

    def add(self, line: Entry | Suppressed | Place) -> None:
        """Add one line."""
        if isinstance(line, Place):
            self.unreadable += 1
            if len(self.places) < KEPT_PLACES:
                self.places.append(line)
            return
        if isinstance(line, Suppressed):
            self.suppressed += line.suppressed
            return
        if line.time < self._since:
            self.earlier += 1
            return
        self.suppressed += line.suppressed
        self.first, self.last = min(self.first, line.time), max(self.last, line.time + line.elapsed)
        if line.pid is not None and len(self.pids) < MOST_PIDS:
            self.pids.add(line.pid)
        who = Who(line.operation, line.provider, line.model, line.server)
        if who not in self.by_who and len(self.by_who) >= MOST_ROWS:
            who = OTHER
        self.all.add(line)
        self.by_who.setdefault(who, Row()).add(line)
        if line.result not in GOOD:
            kind = Kind(line.outcome.value, line.error_type, line.owner, who)
            if kind not in self.bad_ends and len(self.bad_ends) >= MOST_KINDS:
                kind = Kind("other", "other", "other", OTHER)
            self.bad_ends.setdefault(kind, Ends()).add(line)

    @property
    def nothing_of_a_journal(self) -> bool:
        """Whether there were lines, and none of a journal."""
        return bool(self.unreadable) and not (self.all.streams or self.suppressed or self.earlier)

    def rows(self) -> list[tuple[Who, Row]]:
        """The largest first."""
        return sorted(self.by_who.items(), key=lambda item: (-item[1].streams, item[0]))

    def ends(self) -> list[tuple[Kind, Ends]]:
        """What was not completed: failures before what the program itself left, the most frequent first."""
        return sorted(self.bad_ends.items(), key=lambda item: (item[0].owner == "app", -item[1].count, item[0]))
