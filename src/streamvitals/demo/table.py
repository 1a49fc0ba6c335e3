"""The report for a person: in a terminal, and as a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from . import plan
from .report import Count, Look, OutcomeRow, QuantileRow, Report, Timed

PICTURE_WIDTH = 112
MOST_LOOKS = 96
MOST_PROBLEMS = 20

_OWNERS = {
    "nobody": ("-", "dim"), "limit": ("limit", "yellow"), "provider": ("provider", "red"),
    "quota": ("quota", "magenta"), "caller": ("caller", "blue"), "app": ("app", "cyan"),
}
_BARS = " ▁▂▃▄▅▆▇█"
_METRICS = {"streamvitals_time_to_first_token_seconds": "first token", "streamvitals_chunk_gap_seconds": "chunk gap"}
_TIMES = {
    f"wait of {plan.SLOW_PROVIDER}": "slow provider: wait", f"hold of {plan.SLOW_PROVIDER}": "slow provider: hold",
    f"wait of {plan.SLOW_READER}": "slow reader: wait", f"hold of {plan.SLOW_READER}": "slow reader: hold",
}


def show(report: Report, console: Console, *, keep: bool) -> None:
    """Print all of it, and where the metrics are."""
    console.print(_all(report))
    stays = "here until Ctrl-C" if keep else "there for a few seconds more; --keep stays up"
    console.print(f"  Metrics: [bold]{report.metrics_url}[/] ({report.metrics_bytes / 1000:.0f} kB), {stays}\n")


def line(report: Report) -> Text:
    """One round of many, in one line."""
    told = Text.assemble("  ", _mark(report.ok), f" {report.injected} streams injected, {report.reported} reported")
    for problem in report.problems[:MOST_PROBLEMS]:
        told.append("\n    ").append(problem, "red")
    return told


def difference(problem: str) -> Text:
    """Something that is not as it should be."""
    return Text.assemble("  ", _mark(False), " ", (problem, "red"))


def scrape_config(url: str) -> str:
    """What a Prometheus on this machine needs to be told."""
    return (
        "  For prometheus.yml:\n\n    scrape_configs:\n      - job_name: streamvitals\n        scrape_interval: 5s\n"
        f"        static_configs:\n          - targets: [{url.split('/')[2]!r}]\n"
    )


def _all(report: Report) -> RenderableType:
    parts: list[RenderableType] = [_head(report), _outcomes(report.outcomes)]
    lower = Table.grid(padding=(0, 3))
    left = [part for part in (_quantiles(report.quantiles), _times(report.timed)) if part is not None]
    right = [part for part in (_counts("retries inside the SDK", report.retries),
                               _counts("counted besides", report.counts)) if part is not None]
    lower.add_row(Group(*left), Group(*right))
    parts.append(Padding(lower, (0, 0, 0, 1)))
    if any(look.most or look.reported for look in report.looks):
        parts.append(_looks(report.looks))
    parts.append(_verdict(report))
    return Group(*parts)


def _head(report: Report) -> RenderableType:
    processes = ", ".join(f"{row.streams}" + (f" ({row.note})" if row.note else "") for row in report.processes)
    return Text.assemble(
        "\n  ", ("Every way a stream can break, and what was reported of it", "bold"),
        f"\n  {report.injected} streams, {report.scenarios} scenarios, seed {report.seed}, {report.seconds:.0f} s. "
        f"An unmodified program on openai {report.openai_version},\n  nothing but ", ("streamvitals run --", "bold cyan"),
        f" in front of it. Streams by process: {processes}.\n",
    )


def _mark(ok: bool) -> tuple[str, str]:
    return ("✓", "bold green") if ok else ("✗", "bold red")


def _table(*columns: tuple[str, str], expand: bool = False) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), header_style="dim", border_style="dim")
    for name, side in columns:
        table.add_column(name, justify="right" if side == "right" else "left", no_wrap=side != "wrap", ratio=None)
    table.expand = expand
    return table


def _outcomes(rows: Iterable[OutcomeRow]) -> RenderableType:
    table = _table(
        ("outcome", "left"), ("whose", "left"), ("how exactly", "wrap"), ("injected", "right"),
        ("reported", "right"), ("", "left"), expand=True,
    )
    for row in rows:
        if row.injected or row.reported:
            owner, color = _OWNERS[row.owner]
            table.add_row(
                Text(row.outcome, "bold"), Text(owner, color), _errors(row), str(row.injected),
                Text(f"{row.reported:g}", "bold" if row.ok else "bold red"), Text(*_mark(row.ok)),
            )
    return Padding(table, (0, 2, 0, 2))


def _errors(row: OutcomeRow) -> Text:
    told = Text()
    for count in row.errors:
        told.append(f"{count.what}\N{NO-BREAK SPACE}", "" if count.ok else "red")
        told.append(f"{count.injected:g}" if count.ok else f"{count.injected:g}≠{count.reported:g}",
                    "bold green" if count.ok else "bold red")
        told.append("  ")
    if row.silent:
        silently = f"({row.silent} of {row.injected} raised nothing in the program)"
        told.append(silently.replace(" ", "\N{NO-BREAK SPACE}"), "italic yellow")
    told.rstrip()
    return told


def _seconds(seconds: float) -> str:
    if math.isinf(seconds):
        return "∞"
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2f} s"


def _edge(seconds: float) -> str:
    return "∞" if math.isinf(seconds) else f"{seconds * 1000:g}" if seconds < 1 else f"{seconds * 1000:.0f}"


def _quantiles(rows: Sequence[QuantileRow]) -> RenderableType | None:
    if not rows:
        return None
    table = _table(("how fast", "left"), ("", "left"), ("server did", "right"), ("reported", "right"),
                   ("bucket, ms", "right"), ("", "left"))
    before = ""
    for row in rows:
        name = _METRICS.get(row.metric, row.metric)
        table.add_row(
            "" if name == before else name, f"p{row.quantile * 100:g}", _seconds(row.did),
            Text(_seconds(row.reported), "bold"), Text(f"{_edge(row.low)}-{_edge(row.high)}", "dim"), Text(*_mark(row.ok)),
        )
        before = name
    return table


def _times(rows: Sequence[Timed]) -> RenderableType | None:
    if not rows:
        return None
    table = _table(("who kept whom waiting", "left"), ("really", "right"), ("reported", "right"),
                   ("within", "right"), ("", "left"))
    for row in rows:
        table.add_row(
            _TIMES.get(row.what, row.what), f"{row.did:.2f} s", Text(f"{row.reported:.2f} s", "bold"),
            Text(f"± {row.tolerance:.2f} s", "dim"), Text(*_mark(row.ok)),
        )
    return table


def _counts(title: str, rows: Sequence[Count]) -> RenderableType | None:
    if not rows:
        return None
    table = _table((title, "left"), ("injected", "right"), ("reported", "right"), ("", "left"))
    for row in rows:
        table.add_row(row.what, f"{row.injected:g}", Text(f"{row.reported:g}", "bold"), Text(*_mark(row.ok)))
    return table


def _looks(looks: Sequence[Look]) -> RenderableType:
    """Two lines of bars, one look each; where what hung was changing the line of the truth shows the most."""
    step = math.ceil(len(looks) / MOST_LOOKS)
    groups = [looks[at : at + step] for at in range(0, len(looks), step)]
    top = max(1, *(max(look.most, look.reported) for look in looks))

    def bars(values: Iterable[int]) -> str:
        return "".join(_BARS[math.ceil(value / top * (len(_BARS) - 1))] for value in values)

    hung = bars(max(look.most if look.reported >= look.most else look.least for look in group) for group in groups)
    told = bars(max(look.reported for look in group) for group in groups)
    most = max(looks, key=lambda look: look.reported)
    return Text.assemble(
        ("\n  while they hung", "dim"), f", seen in {len(looks)} scrapes: at {most.at:.1f} s ",
        (f"streams_stalled {most.reported}", "bold yellow"), f", {most.most} hung ",
        _mark(all(look.ok for look in looks)),
        "\n  hanging   ", (hung, "red"), "\n  reported  ", (told, "yellow"), "\n",
    )


def _verdict(report: Report) -> RenderableType:
    off = len(report.problems)
    told = Text.assemble(
        "\n  ", _mark(report.ok), " ",
        (f"{report.injected} injected, {report.reported} reported, ", "bold"),
        (f"{off or 'no'} difference{'' if off == 1 else 's'}", "bold green" if report.ok else "bold red"), "\n",
    )
    for problem in report.problems[:MOST_PROBLEMS]:
        told.append("    ").append(problem, "red").append("\n")
    if off > MOST_PROBLEMS:
        told.append(f"    and {off - MOST_PROBLEMS} more\n", "red")
    told.append(
        "  Counts must be equal. A quantile, read off the buckets as Prometheus does, may be one bucket from the\n"
        "  server's own; prompt and key were searched for in all that was served.\n", "dim",
    )
    for note in report.notes:
        told.append(f"  {escape(note)}\n", "dim")
    return told


_THEME = TerminalTheme(
    (15, 20, 30), (214, 222, 235),
    [(1, 22, 39), (247, 108, 108), (112, 215, 133), (240, 200, 110), (120, 170, 255), (199, 146, 234), (110, 210, 230), (214, 222, 235)],
    [(99, 119, 119), (247, 108, 108), (112, 215, 133), (240, 200, 110), (120, 170, 255), (199, 146, 234), (110, 210, 230), (255, 255, 255)],
)


def svg(report: Report) -> str:
    """The same as a picture."""
    console = Console(record=True, width=PICTURE_WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(_all(report))
    return console.export_svg(title="make demo", theme=_THEME)
