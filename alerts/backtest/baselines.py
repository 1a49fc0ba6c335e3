"""What others would use on the same worlds: rules that are widely written, as their readers would write them."""

from __future__ import annotations

from typing import Any

from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.promql import Language

Rules = list[dict[str, Any]]
_FAILED = '$streams{$outcome=~"$failed_outcomes"}'


def _rule(name: str, expr: str, severity: str, hold: str = "0s") -> dict[str, Any]:
    filled = Language(Objectives()).fill(expr)
    return {"alert": name, "expr": filled, "for": hold, "labels": {"severity": severity}}


def _ratio(window: str) -> str:
    return f"(sum by (job) (rate({_FAILED}[{window}])) / sum by (job) (rate($streams[{window}])))"


def naive() -> Rules:
    """More than 5% errors for five minutes."""
    return [_rule("Errors", f"{_ratio('2m')} > 0.05", "page", "5m")]


def workbook() -> Rules:
    """Multi-window, multi-burn-rate: The Site Reliability Workbook, chapter 5, table 5-8, for 99.5%."""
    fast = f"{_ratio('1h')} > 0.072 and {_ratio('5m')} > 0.072"
    slow = f"{_ratio('6h')} > 0.03 and {_ratio('30m')} > 0.03"
    return [
        _rule("BurnFast", fast, "page"),
        _rule("BurnSlow", slow, "page"),
        _rule("BurnTicket", f"{_ratio('3d')} > 0.005 and {_ratio('6h')} > 0.005", "ticket"),
    ]


BASELINES = {"errors > 5% for 5m": naive, "workbook burn rates": workbook}
