"""Prints the report for a person: in a terminal, and as a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Iterator, Sequence

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from . import plan
from .picture import FORMAT, THEME
from .report import Count, Look, OutcomeRow, QuantileRow, Report, Timed

WIDTH, NARROW = 112, 100
MOST_PROBLEMS = 20

# In this order, as the label and the color of who has to act.
_OWNERS = {
    "nobody": ("-", "green"), "limit": ("limit", "yellow"), "provider": ("provider", "red"),
    "quota": ("quota", "magenta"), "caller": ("caller", "blue"), "app": ("app", "cyan"),
}
_METRICS = {"streamvitals_time_to_first_token_seconds": "first token", "streamvitals_chunk_gap_seconds": "chunk gap"}
_SLOW = {plan.SLOW_PROVIDER: "slow provider", plan.SLOW_READER: "slow reader"}


def show(report: Report, console: Console, *, keep: bool) -> None:
    """Print all of it, and where the metrics are."""
    console.print(_all(report, console.width))
    stays = "until Ctrl-C" if keep else "for a few seconds more; with --keep they stay"
    console.print(f"  Metrics: [bold cyan]{report.metrics_url}[/], {stays}\n", soft_wrap=True)


def svg(report: Report) -> str:
    """Draw the same as a picture."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(_all(report, WIDTH))
    return console.export_svg(title="make demo", theme=THEME, code_format=FORMAT)


def line(report: Report) -> Text:
    """One round of many, in one line."""
    text = Text.assemble("  ", _mark(report.ok), f" {report.injected} streams injected, {report.reported} reported")
    for problem in report.problems[:MOST_PROBLEMS]:
        text.append("\n    ").append(problem, "red")
    for remark in report.remarks[-MOST_PROBLEMS:]:
        text.append("\n    ").append(remark, "yellow")
    return text


def difference(problem: str) -> Text:
    """Something that is not as it should be."""
    return Text.assemble("  ", _mark(False), " ", (problem, "red"))


def scrape_config(url: str) -> str:
    """The configuration for a Prometheus on this machine."""
    return (
        "  For prometheus.yml:\n\n    scrape_configs:\n      - job_name: streamvitals\n        scrape_interval: 5s\n"
        f"        static_configs:\n          - targets: [{url.split('/')[2]!r}]\n"
    )


def _all(report: Report, wide: int) -> RenderableType:
    width = min(wide, WIDTH) - 4
    parts: list[RenderableType] = [_head(report), _bar(report.outcomes, width), _outcomes(report.outcomes, width)]
    left = [*_quantiles(report.quantiles), *_times(report.timed)]
    right = [*_counts("retries by the SDK", report.retries), *_counts("counted besides", report.counts)]
    if width + 4 >= NARROW:
        beside = Table.grid(padding=(0, 3, 0, 0))
        beside.add_row(Group(*left), Group(*right))
        parts.append(beside)
    else:
        parts += [*left, *right]
    parts += [*_looks(report.looks, width), _verdict(report)]
    return Padding(Group(*parts), (1, 2, 0, 2))


def _head(report: Report) -> Text:
    processes = ", ".join(f"{row.streams}" + (f" ({row.note})" if row.note else "") for row in report.processes)
    claim = "Streams broken in every way we know, each one reported as what it was"
    return Text.assemble(
        (claim, "bold green") if report.ok else ("What was reported is not what happened", "bold red"),
        f"\n{report.injected} streams in {report.scenarios} ways, seed {report.seed}, {report.seconds:.0f} s. "
        f"An unmodified program on openai {report.openai_version} behind ", ("streamvitals run --", "bold cyan"),
        f"\nStreams by process: {processes}\n",
    )


def _mark(ok: bool) -> tuple[str, str]:
    return ("✓", "bold green") if ok else ("✗", "bold red")


def _near(ok: bool) -> tuple[str, str]:
    """For a time: one that is off fails nothing."""
    return ("✓", "bold green") if ok else ("~", "bold yellow")


def _table(*columns: str) -> Table:
    """Columns whose name starts with `>` are aligned right."""
    table = Table(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim",
        border_style="dim",
    )
    for name in columns:
        table.add_column(name.lstrip(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    return table


def _spaced(table: Table) -> RenderableType:
    return Padding(table, (0, 0, 1, 0))


def _bar(rows: Sequence[OutcomeRow], width: int) -> Text:
    """All streams as one bar, by who has to act, with what the colors mean below."""
    counts = {owner: sum(row.injected for row in rows if row.owner == owner) for owner in _OWNERS}
    total, drawn, before = sum(counts.values()), 0, 0
    bar, legend = Text(), Text()
    for owner, (name, color) in _OWNERS.items():
        if counts[owner]:
            before += counts[owner]
            upto = max(drawn + 1, round(width * before / total))
            bar.append("█" * (upto - drawn), color)
            drawn = upto
            legend.append("■ ", color).append(f"{'completed' if owner == 'nobody' else name} {counts[owner]}  ")
    return bar.append("\n").append_text(legend).append("\n")


def _outcomes(rows: Iterable[OutcomeRow], width: int) -> RenderableType:
    narrow = width + 4 < NARROW
    columns = ["outcome", "owner", "how exactly", ">silent", ">injected", ">reported", ""]
    fixed = 14 + 8 + 6 + 8 + 8 + 1 + 2 * 6
    if narrow:
        columns.remove("owner")
        fixed -= 10
    table = _table(*columns)
    table.columns[columns.index("how exactly")].width = width - fixed
    for row in rows:
        if row.injected or row.reported:
            owner, color = _OWNERS[row.owner]
            owners = [] if narrow else [Text(owner, color)]
            table.add_row(
                Text(row.outcome, f"bold {color}"), *owners, _errors(row.errors, width - fixed),
                Text(str(row.silent), "yellow") if row.silent else "", str(row.injected),
                Text(f"{row.reported:g}", "bold" if row.ok else "bold red"), Text(*_mark(row.ok)),
            )
    return _spaced(table)


def _errors(counts: Iterable[Count], width: int) -> Text:
    """Error types with their number, never broken between the two; where they differ, both numbers."""
    text, used = Text(), 0
    for count in counts:
        number = f"{count.injected:g}" if count.ok else f"{count.injected:g}≠{count.reported:g}"
        length = len(count.what) + 1 + len(number)
        if used:
            fits = used + 2 + length <= width
            text.append("  " if fits else "\n")
            used = used + 2 if fits else 0
        text.append(f"{count.what} ", "" if count.ok else "red")
        text.append(number, "bold green" if count.ok else "bold red")
        used += length
    return text


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _edge(seconds: float) -> str:
    return "∞" if math.isinf(seconds) else f"{seconds * 1000:g}"


def _quantiles(rows: Sequence[QuantileRow]) -> Iterator[RenderableType]:
    table = _table("how fast", "", ">server", ">program", ">reported", ">bucket, ms", "")
    before = ""
    for row in rows:
        name = _METRICS.get(row.metric, row.metric)
        within = f"{_edge(row.low)}-{_edge(row.high)}"
        table.add_row(
            "" if name == before else name, f"p{row.quantile * 100:g}", _seconds(row.did), _seconds(row.felt),
            Text(_seconds(row.reported), "bold"), Text(within, "dim"), Text(*_near(row.ok)),
        )
        before = name
    if rows:
        yield _spaced(table)


def _times(rows: Sequence[Timed]) -> Iterator[RenderableType]:
    table = _table("who kept whom waiting", ">injected", ">program", ">reported", ">within", "")
    for row in rows:
        table.add_row(
            f"{_SLOW.get(row.model, row.model)}: {row.what}", f"{row.did:.2f} s", f"{row.felt:.2f} s",
            Text(f"{row.reported:.2f} s", "bold"), Text(f"± {row.tolerance:.2f} s", "dim"), Text(*_near(row.ok)),
        )
    if rows:
        yield _spaced(table)


def _counts(title: str, rows: Sequence[Count]) -> Iterator[RenderableType]:
    table = _table(title, ">injected", ">reported", "")
    table.columns[0].min_width = 18
    for row in rows:
        table.add_row(row.what, f"{row.injected:g}", Text(f"{row.reported:g}", "bold"), Text(*_mark(row.ok)))
    if rows:
        yield _spaced(table)


def _looks(looks: Sequence[Look], width: int) -> Iterator[RenderableType]:
    """The scrapes around the one that saw most. While streams begin or cease to hang a range is true."""
    if not any(look.reported for look in looks):
        return
    peak = max(range(len(looks)), key=lambda index: looks[index].reported)
    first = peak
    most = (width - 24) // 6
    while first > 0 and peak - first < most // 2 and (looks[first].reported or looks[first].most):
        first -= 1
    shown = looks[max(0, first - 1) :][:most]
    table = _table("seconds into the run", *(f">{look.at:.1f}" for look in shown), "")
    for column in table.columns[1:-1]:
        column.min_width = 4
    table.add_row("silent for over 1 s", *(_range(look) for look in shown), "")
    ok = all(look.ok for look in looks)
    numbers = (Text(str(look.reported), "bold" if look.ok else "bold yellow") for look in shown)
    table.add_row("streams_stalled", *numbers, Text(*_near(ok)))
    yield _spaced(table)


def _range(look: Look) -> Text:
    return Text(str(look.most)) if look.least == look.most else Text(f"{look.least}-{look.most}", "dim")


def _verdict(report: Report) -> Text:
    off = len(report.problems)
    text = Text.assemble(
        _mark(report.ok), " ", (f"{report.injected} injected, {report.reported} reported, ", "bold"),
        (f"{off or 'no'} difference{'' if off == 1 else 's'}", "bold green" if report.ok else "bold red"),
    )
    for problem in report.problems[:MOST_PROBLEMS]:
        text.append("\n  ").append(problem, "red")
    if off > MOST_PROBLEMS:
        text.append(f"\n  and {off - MOST_PROBLEMS} more", "red")
    if report.remarks:
        text.append("\nTimes that are off, which fails nothing:", "yellow")
    for remark in report.remarks[-MOST_PROBLEMS:]:
        text.append(f"\n  {remark}", "yellow")
    text.append(
        "\nsilent: failures that raised no exception in the program. Counts must be equal; a quantile, estimated as\n"
        "Prometheus does, at most one bucket from what the server did or from what the program's own watch says.\n"
        if report.ok else "\n", "dim",
    )
    for note in report.notes:
        text.append(f"{note}\n", "dim")
    return text
