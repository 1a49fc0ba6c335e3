"""Tables of what a script has measured: for a terminal, and into docs/compatibility.md."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

Rows = Sequence[Sequence[str]]  # the first is the heading


def text(rows: Rows) -> str:
    """For reading in a terminal."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(rows: Rows) -> str:
    """The same in Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def add_option(parser: argparse.ArgumentParser) -> None:
    """``--markdown FILE``."""
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write what was measured into the table in FILE")


def write_part(file: Path, name: str, rows: Rows, order: Sequence[str]) -> None:
    """Put the rows into the table between ``<!-- name -->`` and ``<!-- /name -->``: in place of those that begin
    with the same cell, sorted as ``order`` has these; what is not in it goes. Raises ValueError without a part."""
    before, found, rest = file.read_text().partition(f"<!-- {name} -->\n")
    there, closed, after = rest.partition(f"<!-- /{name} -->\n")
    if not found or not closed:
        raise ValueError(f"{file} has no part {name}")
    kept = [[cell.strip() for cell in line.split("|")[1:-1]] for line in there.splitlines()[3:] if line]
    measured = {row[0] for row in rows}
    all_rows = [*(row for row in kept if row[0] not in measured and row[0] in order), *rows[1:]]
    sorted_ = [rows[0], *sorted(all_rows, key=lambda row: order.index(row[0]))]
    file.write_text(f"{before}{found}\n{markdown(sorted_)}\n\n{closed}{after}")
