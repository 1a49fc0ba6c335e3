"""The comparison as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .rows import Figure, Row
from .sides import Side

Figures = Mapping[tuple[str, str], Figure]

_HOW = """\
- Every figure is the median of pairs, observer off and on, that alternate in one process (start-up: in processes that
  alternate). All sides take turns in one run. CPU is that of the whole process.
- The rows per chunk and per stream read from a transport in memory, because the noise of sockets would hide what is
  measured. They get chunks that are built already, because building them is nine tenths of what the SDK spends.
- The concurrent streams come over loopback from a server in another process, with chunks built already: 500 of 60
  chunks, or 5,000 of 6.
- "bare again" is the noise, nothing on both sides: a difference that is no larger means nothing. "timed generator"
  stamps the clock, counts in buckets, looks at the finish_reason, and reports nothing.
- A budget is the project's own aim, "(over)" that it is not reached.
- Content capture is off wherever there is a switch for it. Exporters drop what they get.
"""


def _number(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:.3f}"
    if unit == "bytes":
        return f"{value:.0f}" if abs(value) >= 10 else f"{value:.1f}"
    if unit == "%":
        return f"{value:+.1f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _budget(row: Row) -> str:
    return f"{row.budget.text}; with spans {row.with_spans.text}" if row.with_spans is not None else row.budget.text


def markdown(rows: Sequence[Row], sides: Sequence[Side], figures: Figures, versions: str) -> str:
    """Two tables: the medians side by side, and their spread."""
    head = ["added by", "budget", *(side.title for side in sides)]
    body = [
        [f"{row.title} ({row.unit})", _budget(row), *(_cell(row, side, figures) for side in sides)]
        for row in rows
    ]
    spread = [
        [row.title, side.title, _number(f.bare, "s" if row.unit == "s" else ""), *(
            _number(value, row.unit) for value in (f.least, f.lower, f.middle, f.upper)
        ), str(f.pairs)]
        for row in rows for side in sides if (f := figures.get((row.key, side.name)))
    ]
    return "\n".join((
        "# What observing a stream costs\n", versions + "\n", _HOW, table(head, body), "## Spread\n",
        table(["row", "side", "without", "min", "lower quartile", "median", "upper quartile", "pairs"], spread),
    ))


def _cell(row: Row, side: Side, figures: Figures) -> str:
    found = figures.get((row.key, side.name))
    if found is None:
        return ""
    text = _number(found.middle, row.unit)
    return f"{text} (over)" if side.injected and _over(row, side, found.middle, figures) else text


def _over(row: Row, side: Side, value: float, figures: Figures) -> bool:
    """Whether the figure is over its budget; not where the side that this is a share of was not asked."""
    budget = row.with_spans if side.env and row.with_spans is not None else row.budget
    if not budget.side:
        return value > budget.plus
    of = figures.get((budget.row or row.key, budget.side))
    if of is None:
        return False
    if budget.noise:
        return value < of.lower if row.part == 0 else value > of.upper
    return value > budget.times * of.middle + budget.plus
