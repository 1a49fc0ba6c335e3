"""The report as people read it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from datetime import datetime, timezone

from ..outcome import RESULTS
from .summary import Ends, Kind, Row, Summary, Who

MOST_SHOWN = 20  # rows of each table; the JSON has all
_LONGEST_NAME = 60
_MEASURES = {
    "time_to_first_token": "time to first token", "max_gap": "longest gap",
    "duration_completed": "duration, completed", "tokens_per_second": "output tokens per second",
}


def iso(time: float) -> str:
    """The time in UTC, to the millisecond."""
    return datetime.fromtimestamp(time, timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def render(summary: Summary, files: Sequence[str]) -> list[str]:
    """The lines of the report."""
    every = summary.all
    if not every.streams:
        return [f"no streams in {', '.join(map(path_shown, files))}", *_left_out(summary)]
    lines = [
        f"{_count(every.streams, 'stream')}{_of_processes(summary)}, {_second(summary.first)} to "
        f"{_second(summary.last)} ({_span(summary.last - summary.first)})",
        _results(every),
        *_repeated(every), *_left_out(summary), "",
    ]
    lines += _table(
        ["", "streams", *RESULTS, "stalls", "tokens in", "out"],
        [[_name(who), f"{row.streams:,}", *(f"{row.results[result]:,}" for result in RESULTS), f"{row.stalls:,}",
          *_tokens(row)] for who, row in summary.rows()],
    )
    if 0 < every.with_usage < every.streams:
        lines.append("+: more were used, since the provider has not reported the tokens of every stream")
    quantiles = [
        [_MEASURES[measure], f"{count:,}", *(_value(measure, value) for value in values.values())]
        for measure, count, values in every.quantiles()
    ]
    if quantiles:
        lines += ["", *_table(["", "streams", "p50", "p90", "p99", "max"], quantiles)]
    if summary.bad_ends:
        head = ["not completed", "streams", "who has to act", "first", "last", "newest request ids"]
        one_day = iso(summary.first)[:10] == iso(summary.last)[:10]  # the first line says which
        ends = [_end(kind, ends, _second if not one_day else _time_of_day) for kind, ends in summary.ends()]
        lines += ["", *_table(head, ends, text=(2, 3, 4, 5))]
    return lines


def _results(row: Row) -> str:
    words = {
        "completed": "completed", "limit": "ended at a limit", "failed": "failed", "rejected": "rejected",
        "left": "left by the program",
    }
    said = ", ".join(f"{row.results[result]:,} {words[result]}" for result in RESULTS if row.results[result])
    judged = sum(row.results[result] for result in ("completed", "limit", "failed"))
    share = f"; {row.results['failed'] / judged:.1%} of what the provider was to complete failed" if judged else ""
    return said + share


def _repeated(row: Row) -> list[str]:
    said = []
    if row.sent_again:
        said.append(f"the SDK sent {_count(row.sent_again, 'request')} again")
    if row.asked_again:
        said.append(f"{_count(row.asked_again, 'stream')} asked again for what had failed")
    return ["; ".join(said)] if said else []


def _left_out(summary: Summary) -> list[str]:
    """What the numbers do not have: nobody may take a part for the whole."""
    said = []
    if summary.suppressed:
        said.append(
            f"{_count(summary.suppressed, 'more failure')} have no line of their own, and are in no number here: while "
            "everything fails the journal takes ten a second"
        )
    if summary.earlier:
        said.append(f"{_count(summary.earlier, 'stream')} began earlier, and are left out")
    return said


def unreadable(summary: Summary) -> list[str]:
    """What is said of lines that are no lines of a journal."""
    if not summary.unreadable:
        return []
    first = summary.places[0]
    others = f"{_count(summary.unreadable, 'line')} could not be used; the first is"
    return [f"{others} line {first.line} of {path_shown(first.file)}: {first.why}"]


def _end(kind: Kind, ends: Ends, shown: Callable[[float], str]) -> list[str]:
    what = printable(f"{kind.outcome} {kind.error_type}".strip())
    return [
        f"{what}: {_name(kind.who)}", f"{ends.count:,}", kind.owner, shown(ends.first), shown(ends.last),
        " ".join(printable(each) for each in ends.request_ids) or "unknown",
    ]


def _name(who: Who) -> str:
    operation = "" if who.operation in ("chat", "other") else f"{who.operation} of "
    server = f" at {who.server}" if who.server not in ("", who.model) else ""
    return printable(f"{operation}{who.model or 'unknown model'}{server}")


def _tokens(row: Row) -> list[str]:
    if not row.with_usage:
        return ["unknown", "unknown"]
    mark = "" if row.with_usage == row.streams else "+"
    return [f"{row.tokens['input']:,}{mark}", f"{row.tokens['output']:,}{mark}"]


def _value(measure: str, value: float) -> str:
    return f"{value:.1f}" if measure == "tokens_per_second" else _duration(value)


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds:.0f} s"


def _span(seconds: float) -> str:
    if seconds < 60:
        return _duration(seconds)
    minutes, rest = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _second(time: float) -> str:
    return iso(time)[:19].replace("T", " ") + "Z"


def _time_of_day(time: float) -> str:
    return iso(time)[11:19] + "Z"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _of_processes(summary: Summary) -> str:
    return f" of {_count(len(summary.pids), 'process').replace('processs', 'processes')}" if summary.pids else ""


def path_shown(path: str) -> str:
    """A path, whole if it can be."""
    return printable(path, 4096)


def printable(text: str, longest: int = _LONGEST_NAME) -> str:
    """A name from outside, short and on one line: it must not write into the reader's terminal."""
    short = text if len(text) <= longest else text[: longest - 1] + "…"
    return "".join(c if c.isprintable() else "?" for c in short)


def _table(head: list[str], rows: list[list[str]], text: tuple[int, ...] = ()) -> list[str]:
    """The first column and those in ``text`` to the left, numbers to the right."""
    shown = rows[:MOST_SHOWN]
    widths = [max(len(cell) for cell in column) for column in zip(head, *shown, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if at == 0 or at in text else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *shown)
    ]
    more = len(rows) - len(shown)
    return [*lines, f"and {more:,} more rows, see --json"] if more else lines
