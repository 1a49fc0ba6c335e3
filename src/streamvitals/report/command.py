"""The command `streamvitals report`."""

from __future__ import annotations

import json
import math
import os
import re
import time

import click

from .document import document
from .lines import STDIN, read, time_of, with_rotated
from .summary import Summary
from .text import path_shown, printable, render, unreadable

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for a program to read.")
@click.option("--since", metavar="WHEN", help="Only streams that began then or later: 30m, 12h, 7d, or an ISO time.")
@click.argument("files", nargs=-1, metavar="[FILE]...")
def report(as_json: bool, since: str | None, files: tuple[str, ...]) -> None:
    """Print what the streams of a program did, from its journal: streamvitals report streams.jsonl

    FILE is what STREAMVITALS_JOURNAL named, and is that by default; - is stdin. FILE.1, into which a large journal is
    rotated, is read with it, and so is a file that gzip has compressed.

    Exit status 2 if a file cannot be read, or has lines and none of a journal.
    """
    given = files or tuple(filter(None, [os.environ.get("STREAMVITALS_JOURNAL")]))
    if not given:
        raise click.UsageError("give the journal's file, or - for stdin; STREAMVITALS_JOURNAL is not set here")
    summary = Summary(_since(since))
    read_from = []
    for path in _found(given):
        try:
            for line in read(path):
                summary.add(line)
        except OSError as error:
            raise click.UsageError(f"{path_shown(path)} cannot be read: {error.strerror or error}") from error
        read_from.append("stdin" if path == STDIN else path)
    for said in unreadable(summary):
        click.echo(f"streamvitals: {said}", err=True)
    if summary.nothing_of_a_journal:
        where = ", ".join(map(path_shown, read_from))
        raise click.UsageError(f"no line of a journal in {where}; STREAMVITALS_JOURNAL makes the program write one")
    if as_json:
        click.echo(json.dumps(document(summary, read_from), indent=2))
    else:
        click.echo("\n".join(render(summary, read_from)))


def _found(given: tuple[str, ...]) -> list[str]:
    try:
        return with_rotated(given)
    except (OSError, ValueError) as error:
        name = path_shown(str(getattr(error, "filename", None) or given[0]))
        raise click.UsageError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error


def _since(text: str | None) -> float:
    if text is None:
        return -math.inf
    if (match := re.fullmatch(r"(\d{1,9})([smhd])", text.strip())) is not None:
        return time.time() - int(match[1]) * _UNITS[match[2]]
    try:
        return time_of(text)
    except (ValueError, OverflowError) as error:
        raise click.UsageError(
            f"--since: {printable(text)!r} is no time; 30m, 12h, 7d or 2026-01-31T09:00Z are"
        ) from error
