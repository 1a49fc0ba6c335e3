"""The objectives: what the user promises, and what rules must know of the surroundings."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import NoReturn

from ..names import MAX_CUSTOM_LABELS, may_be_custom

_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_CUSTOM = re.compile(r"[a-z][a-z0-9_]*")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")
_URL = re.compile(r"https?://[^\s\"'{}\\]+")

# The shortest window of a rate, and how many scrapes it must have: with two, one lost scrape is a gap.
SHORTEST_WINDOW, SCRAPES_PER_WINDOW = 120.0, 4

# Seconds that the example for Alertmanager lets pass before it sends a ticket, its `group_wait`: until a page that is
# due as well is there to silence it.
TICKET_WAIT = 300.0

# So many times faster than the budget allows is worth waking somebody.
PAGE_BURN = 10


class ObjectiveError(ValueError):
    """An objective has a value that is not allowed; the text names it and says what is."""


def seconds(text: str, what: str) -> float:
    """Parse a duration such as 250ms, 2.5s or 1m into seconds. Raises ObjectiveError."""
    found = _DURATION.fullmatch(text.strip())
    if not found:
        _refuse(what, text, "a number with a unit: 250ms, 2.5s, 1m, 1h")
    return float(found[1]) * _UNITS[found[2]]


@dataclass(frozen=True)
class Objectives:
    """What the rules are made for.

    ``availability`` is in percent of the operations; all durations are in seconds. ``service`` are the labels that tell
    one service from another: a page is for one of them. ``by`` are custom labels: one value that fails pages, as one
    model does. ``speed`` divides every window and every `for`, so that the same rules can be seen at work in a minute.
    """

    availability: float = 99.5
    ttft_p95: float = 2.5
    # Slower than four chunks a second the text comes slower than people read.
    chunk_gap_p95: float = 0.25
    scrape_interval: float = 30.0
    interval: float = 30.0
    service: tuple[str, ...] = ("job",)
    by: tuple[str, ...] = ()
    runbook_url: str = "https://runbooks.example.com/streamvitals"
    dashboard_url: str = "https://grafana.example.com"
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not 50.0 <= self.availability <= 99.99:
            _refuse("availability", f"{self.availability:g}", "a percentage from 50 to 99.99")
        for name in ("ttft_p95", "chunk_gap_p95"):
            _between(name, getattr(self, name), 0.001, 600.0)
        _between("interval", self.interval, 1.0, 60.0)
        _between("scrape_interval", self.scrape_interval, 1.0, 60.0)
        if not self.service:
            _refuse("service_label", "", "at least one label, such as job")
        for label in self.service:
            if not _LABEL.fullmatch(label) or label in ("instance", "le"):
                _refuse("service_label", label, "a label's name that all replicas of a service share, such as job")
        if len(set(self.service)) < len(self.service):
            _refuse("service_label", ", ".join(self.service), "each label once")
        for label in self.by:
            if not may_be_custom(label) or label in self.service:
                taken = "it is taken by another label; " if _CUSTOM.fullmatch(label) else ""
                _refuse("by", label, f"{taken}the name of a label in STREAMVITALS_LABELS, such as tenant")
        if len(set(self.by)) < len(self.by) or len(self.by) > MAX_CUSTOM_LABELS:
            _refuse("by", ", ".join(self.by), f"{MAX_CUSTOM_LABELS} labels at most, each once")
        for name in ("runbook_url", "dashboard_url"):
            if not _URL.fullmatch(getattr(self, name)):
                _refuse(name, getattr(self, name), "an http or https address without blanks, quotes or braces")
        if not (math.isfinite(self.speed) and self.speed > 0):
            _refuse("speed", f"{self.speed:g}", "a positive number")

    @property
    def budget(self) -> float:
        """The share of operations that may fail."""
        return round(1.0 - self.availability / 100.0, 8)

    @property
    def page_share(self) -> float:
        """The share of operations that pages if it fails, and goes on to."""
        return min(PAGE_BURN * self.budget, 0.5)

    @property
    def short(self) -> float:
        """The shortest window that rates are taken over."""
        return max(SHORTEST_WINDOW, SCRAPES_PER_WINDOW * self.scrape_interval)


def _between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        _refuse(name, f"{value:g}s", f"from {least:g}s to {most:g}s")


def _refuse(name: str, value: str, allowed: str) -> NoReturn:
    raise ObjectiveError(f"{name.replace('_', '-')} {value!r} is not allowed: {allowed}")
