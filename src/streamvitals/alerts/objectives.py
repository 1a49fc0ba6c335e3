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
_SEVERITY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]|\{\{|\}\}")

# Where this project publishes its own pages, without a slash at the end: "" while it does so nowhere.
PROJECT_PAGES = ""
# Who a service is. Where there is no cluster or namespace among the labels, the job alone is.
SERVICE = ("cluster", "namespace", "job")
# How loud an alert is, by our words for it.
SEVERITIES = ("page", "ticket", "none")
# Labels of alerts that say what our rules and Alertmanager go by.
OWN_ALERT_LABELS = ("alertname", "alertstate", "severity", "kind", "cause", "ticket")
MAX_ALERT_LABELS, MAX_ALERT_LABEL = 16, 256

# The shortest window of a rate, and how many scrapes it must have: with two of them a rate is known.
SHORTEST_WINDOW, SCRAPES_PER_WINDOW = 120.0, 2.5
# How many times the shortest window the next longer ones are, at least: what a blip leaves in it must be half of it at
# most.
FAST_WINDOW, MID_WINDOW = 2.5, 5.0

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

    ``availability`` is in percent of the operations; all durations are in seconds. ``service`` are the labels that
    tell one service from another: a page is for one of them. ``by`` are custom labels: one value that fails pages,
    as one model does. ``only`` are conditions on labels, such as `("job", "=", "chat")`: of other series the rules
    read none, so that services with other objectives may have rules of their own beside them. ``severities`` are
    other words for SEVERITIES, and ``alert_labels`` labels that every alert has besides. Without an address of
    runbooks or of Grafana no link is written. ``speed`` divides every window and every `for`, so that the same
    rules can be seen at work in a minute.
    """

    availability: float = 99.5
    ttft_p95: float = 2.5
    # Slower than four chunks a second the text comes slower than people read.
    chunk_gap_p95: float = 0.25
    scrape_interval: float = 30.0
    interval: float = 30.0
    service: tuple[str, ...] = SERVICE
    by: tuple[str, ...] = ()
    only: tuple[tuple[str, str, str], ...] = ()
    severities: tuple[tuple[str, str], ...] = ()
    alert_labels: tuple[tuple[str, str], ...] = ()
    runbook_url: str = PROJECT_PAGES and f"{PROJECT_PAGES}/alerts/runbooks"
    dashboard_url: str = ""
    speed: float = 1.0

    def __post_init__(self) -> None:
        if not 50.0 <= self.availability <= 99.99:
            _refuse("availability", f"{self.availability:g}", "a percentage from 50 to 99.99")
        for name in ("ttft_p95", "chunk_gap_p95"):
            _between(name, getattr(self, name), 0.001, 600.0)
        _between("interval", self.interval, 1.0, 60.0)
        _between("scrape_interval", self.scrape_interval, 1.0, 120.0)
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
        for label, operator, value in self.only:
            if not _LABEL.fullmatch(label) or operator not in ("=", "!=") or not value or _UNSAFE.search(value):
                allowed = "LABEL=VALUE or LABEL!=VALUE in one line, such as job=chat"
                _refuse("only", f"{label}{operator}{value}", allowed)
            if label not in self.service:
                allowed = f"a label that tells services apart: {', '.join(self.service)}"
                _refuse("only", f"{label}{operator}{value}", allowed)
        _check_severities(self.severities)
        _check_alert_labels(self.alert_labels, self.service)
        for name in ("runbook_url", "dashboard_url"):
            if getattr(self, name) and not _URL.fullmatch(getattr(self, name)):
                _refuse(name, getattr(self, name), "an http or https address without blanks, quotes or braces")
        if not (math.isfinite(self.speed) and self.speed > 0):
            _refuse("speed", f"{self.speed:g}", "a positive number")

    def severity(self, ours: str) -> str:
        """Return the user's word for one of SEVERITIES."""
        return dict(self.severities).get(ours, ours)

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


def _check_severities(given: tuple[tuple[str, str], ...]) -> None:
    for ours, theirs in given:
        allowed = f"{', '.join(SEVERITIES[:-1])} or {SEVERITIES[-1]}, each once, = a word of letters, digits, - _ ."
        if ours not in SEVERITIES or not _SEVERITY.fullmatch(theirs) or [name for name, _ in given].count(ours) > 1:
            _refuse("severity", f"{ours}={theirs}", allowed)
    called = dict(zip(SEVERITIES, SEVERITIES, strict=True)) | dict(given)
    for ours in SEVERITIES[1:]:
        if called[ours] == called["page"]:
            _refuse("severity", f"page={called['page']}", f"{ours} is called so too, and must not wake anybody")


def _check_alert_labels(given: tuple[tuple[str, str], ...], service: tuple[str, ...]) -> None:
    for name, value in given:
        if not _LABEL.fullmatch(name) or name.startswith("__"):
            _refuse("alert_label", f"{name}={value}", "NAME=VALUE, the name of letters, digits and _, such as team=llm")
        if name in OWN_ALERT_LABELS or name in service:
            _refuse("alert_label", f"{name}={value}", f"{name} is on the alerts already, and tells them apart")
        if not value or len(value) > MAX_ALERT_LABEL or _UNSAFE.search(value):
            _refuse("alert_label", f"{name}={value}",
                    f"a value of 1 to {MAX_ALERT_LABEL} characters in one line, without {{{{ and }}}}")
    if len({name for name, _ in given}) < len(given) or len(given) > MAX_ALERT_LABELS:
        _refuse("alert_label", ", ".join(name for name, _ in given), f"{MAX_ALERT_LABELS} labels at most, each once")


def _between(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        _refuse(name, f"{value:g}s", f"from {least:g}s to {most:g}s")


def _refuse(name: str, value: str, allowed: str) -> NoReturn:
    raise ObjectiveError(f"{name.replace('_', '-')} {value!r} is not allowed: {allowed}")
