"""Rules that are widely written, as others would use them on the same worlds."""

from __future__ import annotations

from typing import Any

from streamvitals import names
from streamvitals.alerts.language import MODEL, Language
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.promql import FAILED, quantile, rate

Rules = list[dict[str, Any]]


def _rule(name: str, expr: str, severity: str, for_: str = "0s") -> dict[str, Any]:
    filled = Language(Objectives()).fill(expr)
    return {"alert": name, "expr": filled, "for": for_, "labels": {"severity": severity}}


def _ratio(window: str) -> str:
    return f"({_share('job', window)})"


def _share(by: str, window: str) -> str:
    failed, ended = (rate(names.STREAMS, by, over=window, where=where) for where in ((FAILED,), ()))
    return f"{failed} / {ended}"


def naive() -> Rules:
    """Page at more than 5% errors for five minutes."""
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


def llm_d() -> Rules:
    """Use the thresholds of llm-d's rules that have a counterpart here, critical as page and warning as ticket.

    docs/monitoring/prometheus-alerting-rules.yaml of llm-d/llm-d at bdd5e5b.
    """
    def first_token(q: str, window: str, *by: str) -> str:
        return quantile(q, names.TIME_TO_FIRST_TOKEN, *by, over=window)

    return [
        _rule("HighErrorRate", f"{_ratio('5m')} > 0.05", "page", "2m"),
        _rule("ModelHighErrorRate", f"{_share(MODEL, '5m')} > 0.1", "page", "5m"),
        _rule("NoHealthyBackends", "sum(up) == 0", "page", "1m"),
        _rule("ExtremeFirstToken", f"{first_token('0.99', '5m', MODEL)} > 30", "page", "5m"),
        _rule("AvailabilityBurn", f"{_ratio('1h')} > 0.001 and {_ratio('5m')} > 0.001", "page", "5m"),
        _rule("ElevatedErrorRate", f"{_ratio('5m')} > 0.01", "ticket", "10m"),
        _rule("HighFirstToken", f"{first_token('0.99', '5m', MODEL)} > 10", "ticket", "10m"),
        _rule("FirstTokenObjective", f"{first_token('0.95', '1h')} > 3", "ticket", "15m"),
    ]


BASELINES = {"errors > 5% for 5m": naive, "workbook burn rates": workbook, "llm-d thresholds": llm_d}
