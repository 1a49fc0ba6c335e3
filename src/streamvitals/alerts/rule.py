"""Rules as data: an expression, how long it must last, how loud the alert is, and its texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["page", "ticket", "none"]
# symptom: what users feel. cause: why; silenced while a symptom of the same service pages, unless it has been sent
# before. state: something to mend that is no cause of anything yet. telemetry: what we cannot see. silence: is sent to
# nobody, and silences causes.
Kind = Literal["symptom", "cause", "state", "telemetry", "watchdog", "silence"]


@dataclass(frozen=True)
class Record:
    """A recording rule. ``expr`` is a template for Language.fill."""

    record: str
    expr: str


@dataclass(frozen=True)
class Alert:
    """An alerting rule.

    ``for_`` and ``keep_firing_for`` are Prometheus' `for` and `keep_firing_for`, in seconds. ``cause`` is the outcome
    that the alert stands for, if it does. ``expr``, ``summary`` and ``description`` are templates for Language.fill;
    the two texts are Go templates after that. ``dashboard`` is one of links.DASHBOARDS.
    """

    name: str
    kind: Kind
    severity: Severity
    expr: str
    summary: str
    description: str
    dashboard: str = ""
    for_: float = 0.0
    keep_firing_for: float = 0.0
    cause: str = ""
