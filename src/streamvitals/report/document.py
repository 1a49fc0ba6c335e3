"""The report as a program reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .summary import Row, Summary
from .text import iso


def document(summary: Summary, files: Sequence[str]) -> dict[str, Any]:
    """The report as one object; what is unknown is null."""
    some = bool(summary.all.streams)
    return {
        "files": list(files),
        "from": iso(summary.first) if some else None,
        "to": iso(summary.last) if some else None,
        "processes": len(summary.pids),
        **_row(summary.all),
        "failures_without_a_line": summary.suppressed,
        "streams_before_since": summary.earlier,
        "unusable_lines": summary.unreadable,
        "first_unusable_lines": [place._asdict() for place in summary.places],
        "by_model": [{**who._asdict(), **_row(row)} for who, row in summary.rows()],
        "not_completed": [
            {
                "outcome": kind.outcome, "error_type": kind.error_type, "owner": kind.owner, **kind.who._asdict(),
                "streams": ends.count, "first": iso(ends.first), "last": iso(ends.last),
                "newest_request_ids": list(ends.request_ids), "newest_trace_ids": list(ends.trace_ids),
            }
            for kind, ends in summary.ends()
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "streams": row.streams,
        "results": dict(row.results),
        "outcomes": dict(row.outcomes),
        "stalls": row.stalls,
        "requests_sent_again": row.sent_again,
        "streams_asked_again": row.asked_again,
        "streams_with_usage": row.with_usage,
        "tokens": dict(row.tokens) if row.with_usage else None,
        "quantiles": {measure: {"streams": count, **values} for measure, count, values in row.quantiles()},
    }
