"""Draws what agents say in a terminal, with Rich."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .read import Seen

# Half a second each: what a trace shows.
TRACE = 24
_HEIGHTS = "▁▂▃▄▅▆▇█"
_LEVELS = {"ok": "bold green", "warn": "bold yellow", "bad": "bold white on red"}
_STATES = {"stalled": "bold red", "waiting": "blue", "streaming": "green", "held": "bright_black"}
Row = dict[str, Any]
# By what lines are sorted; the first key is the default.
SORTS: dict[str, Callable[[Row], Any]] = {
    "state": lambda row: (row["state"] != "stalled", -row["age"]),
    "age": lambda row: -row["age"],
    "silence": lambda row: -row["silence"],
    "chunks": lambda row: -row["chunks"],
    "model": lambda row: (row["model"], -row["age"]),
}


class Screen:
    """Remembers how many chunks each stream had, to draw its trace."""

    def __init__(self) -> None:
        self._traces: dict[tuple[str, str], deque[int]] = {}
        self._chunks: dict[tuple[str, str], int] = {}

    def draw(self, seen: Sequence[Seen], sort: str, lines: int) -> RenderableType:
        """The whole screen; ``lines`` is how many there are room for."""
        rows = [{**stream, "url": one.url} for one in seen for stream in one.streams.get("streams", ())]
        self._remember(rows)
        parts: list[RenderableType] = []
        for one in seen:
            parts.extend(_head(one, many=len(seen) > 1))
        room = max(3, lines - 3 * len(seen) - 4)
        rows.sort(key=SORTS[sort])
        parts.append(self._table(rows[:room], many=len(seen) > 1))
        hidden = sum(one.streams.get("open", 0) for one in seen) - len(rows[:room])
        more = f"and {hidden} more; " if hidden > 0 else ""
        parts.append(Text(f"{more}sorted by {sort} (s: next, q: quit)", style="bright_black"))
        return Group(*parts)

    def _remember(self, rows: Sequence[Row]) -> None:
        traces: dict[tuple[str, str], deque[int]] = {}
        for row in rows:
            key = row["url"], row["id"]
            trace = traces[key] = self._traces.get(key, deque(maxlen=TRACE))
            trace.append(max(0, row["chunks"] - self._chunks.get(key, row["chunks"])))
        self._traces = traces
        self._chunks = {(row["url"], row["id"]): row["chunks"] for row in rows}

    def _table(self, rows: Sequence[Row], many: bool) -> Table:
        table = Table(box=None, padding=(0, 1), header_style="bright_black", expand=True)
        for name in (*(("agent",) if many else ()), "model", "where"):
            table.add_column(name, overflow="ellipsis", no_wrap=True, ratio=2)
        table.add_column("chunks, half a second each", no_wrap=True, width=TRACE)
        for name in ("state", "age", "silent", "chunks"):
            table.add_column(name, justify="left" if name == "state" else "right", no_wrap=True)
        for row in rows:
            style = _STATES.get(row["state"], "")
            where = " ".join([row["server"], *row["labels"].values()])
            table.add_row(
                *([Text(plain(row["url"]))] if many else []),
                Text(plain(row["model"]), style="bold"), Text(plain(where)),
                Text(trace(self._traces[row["url"], row["id"]], row["state"]), style=style),
                Text(plain(row["state"]), style=style), seconds(row["age"]),
                Text(seconds(row["silence"]) if row["silence"] >= 1 else "", style=style), f"{row['chunks']:,}",
            )
        return table


def understood(one: Seen) -> Seen:
    """The same, or that it is not understood: anything may answer at an address."""
    try:
        Screen().draw([one], "state", lines=1000)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError):
        return Seen(one.url, {}, {}, f"what {one.url} answers is not understood: use the same version on both sides")
    return one


def _head(one: Seen, many: bool) -> list[RenderableType]:
    name = f"{plain(one.url)}  " if many else ""
    if one.error:
        return [Text(plain(one.error), style="bold white on red")]
    level, text = one.streams["headline"]["level"], one.streams["headline"]["text"]
    recent = one.summary["recent"]
    first, states = recent["first_token"], one.streams["states"]
    rate = "" if recent["per_second"] is None else f" ({recent['per_second']:.1f}/s)"
    figures = (
        f"{one.streams['open']} open, {states['stalled']} stalled, {states['waiting']} waiting   "
        f"{recent['ended']} ended{rate}   {recent['operations_failed']} of {recent['operations']} operations failed   "
        f"first token p50 {seconds(first['p50'])} p95 {seconds(first['p95'])}"
    )
    return [Text(f"{name}{plain(text)}", style=_LEVELS.get(level, "")), Text(figures), Text()]


def trace(beats: Sequence[int], state: str) -> str:
    """A stream's last samples: a flat line where no chunk came."""
    most = max(4, *beats) if beats else 4
    flat = "━" if state == "stalled" else "┈" if state == "waiting" else "─"
    return "".join(_HEIGHTS[(7 * beat) // most] if beat else flat for beat in beats).rjust(TRACE)


def seconds(value: float | None) -> str:
    """A duration, as short as it is read."""
    if value is None:
        return "-"
    if value < 1:
        return f"{value * 1000:.0f} ms"
    return f"{value:.1f} s" if value < 10 else f"{value:.0f} s" if value < 120 else f"{value / 60:.0f} min"


def plain(text: object) -> str:
    """A text without what would drive the terminal: a name is whatever somebody has called something."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text)[:400])
