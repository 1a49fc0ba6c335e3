"""The result of the comparison: plain facts for the table and for --json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Count:
    """Something that must be exactly as injected; or up to ``most``, as the program's own watch has it."""

    what: str
    injected: float
    reported: float
    most: float | None = None

    @property
    def ok(self) -> bool:
        return self.injected <= self.reported <= (self.injected if self.most is None else self.most)


@dataclass(frozen=True)
class OutcomeRow:
    """One outcome with its error types.

    ``raised`` streams gave the program an exception, ``silent`` ones, although they failed, did not. ``ok`` also says
    that each was counted under its own label set.
    """

    outcome: str
    owner: str
    injected: int
    reported: float
    errors: tuple[Count, ...]
    raised: int
    silent: int
    ok: bool


@dataclass(frozen=True)
class QuantileRow:
    """One quantile in seconds, by the server's log, the program's own clock and the metrics.

    ``low`` and ``high`` are the bounds of the bucket that the reported quantile is in.
    """

    metric: str
    quantile: float
    did: float
    felt: float
    reported: float
    low: float
    high: float
    ok: bool


@dataclass(frozen=True)
class Timed:
    """Seconds of one model's streams, as injected, by the program's own watch, and reported."""

    model: str
    what: str
    did: float
    felt: float
    reported: float
    tolerance: float

    @property
    def ok(self) -> bool:
        low, high = sorted((self.did, self.felt))
        return low - self.tolerance <= self.reported <= high + self.tolerance


@dataclass(frozen=True)
class Look:
    """One scrape during the run: the least and most streams that hung around that moment, and the gauge."""

    at: float
    least: int
    most: int
    reported: int

    @property
    def ok(self) -> bool:
        return self.least <= self.reported <= self.most


@dataclass(frozen=True)
class ProcessRow:
    """A process of the program and how many streams it had."""

    pid: int | None
    streams: int
    note: str = ""


@dataclass
class Report:
    """The whole comparison.

    ``problems`` is every difference in words, and what went wrong beside the plan; ``remarks`` are times that are off,
    which a busy machine makes of true numbers: they fail nothing.
    """

    seed: int
    openai_version: str
    seconds: float
    metrics_url: str
    metrics_bytes: int
    outcomes: list[OutcomeRow] = field(default_factory=list)
    scenarios: int = 0
    counts: list[Count] = field(default_factory=list)
    retries: list[Count] = field(default_factory=list)
    quantiles: list[QuantileRow] = field(default_factory=list)
    timed: list[Timed] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    processes: list[ProcessRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether everything was reported as it happened."""
        return not self.problems

    @property
    def injected(self) -> int:
        return sum(row.injected for row in self.outcomes)

    @property
    def reported(self) -> int:
        return int(sum(row.reported for row in self.outcomes))

    def as_dict(self) -> dict[str, Any]:
        """For --json."""
        found = asdict(self)
        for key in ("outcomes", "quantiles", "counts", "retries", "timed", "looks"):
            for row, entry in zip(getattr(self, key), found[key], strict=True):
                entry["ok"] = row.ok
        return {"ok": self.ok, "injected": self.injected, "reported": self.reported, **found}
