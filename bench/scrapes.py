"""``python -m bench.scrapes --before SRC``: what a scrape costs now, and with the package in SRC; writes scrapes.md.

A minute or two, as each figure is of a few questions; looking.py measures more, and longer.
"""

from __future__ import annotations

import argparse
import gzip
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .looking import app, ask
from .report import table
from .workers import ROOT, SOURCE

OUTPUT = ROOT / "bench" / "scrapes.md"
PROCESSES, SETS = (1, 8, 64), (1, 20, 100)
_SECONDS = 1.0


class Cost(NamedTuple):
    """What one scrape takes: samples, KiB plain and gzipped, and the agent's milliseconds of CPU."""

    samples: int
    size: float
    gzipped: float
    quiet: float
    changed: float


def cost(processes: int, sets: int, source: Path) -> Cost:
    """Of an agent that looks at so many processes, each of which has counted a stream of each label set."""
    with app(processes, sets, source) as (agent, fleet):
        body = agent.get("/metrics")
        quiet = ask(agent, "/metrics", seconds=_SECONDS).spent.cpu
        changed = ask(agent, "/metrics", fleet, _SECONDS).spent.cpu
    samples = sum(1 for line in body.splitlines() if not line.startswith(b"#"))
    return Cost(samples, len(body) / 1024, len(gzip.compress(body, 1)) / 1024, quiet, changed)


def _row(processes: int, sets: int, before: Cost, now: Cost) -> list[str]:
    def pair(name: str, form: str) -> str:
        return f"{getattr(before, name):{form}} -> {getattr(now, name):{form}}"

    return [
        str(processes), str(sets), pair("samples", ",d"), pair("size", ",.0f"), pair("gzipped", ",.0f"),
        pair("quiet", ".1f"), pair("changed", ".1f"),
    ]


_HOW = """\
Before and now, of an agent whose processes have each counted a stream of each label set. Samples are what Prometheus
takes of one scrape. CPU is the agent's own, of a scrape of which nothing has changed since the last one, and of one
before which every process has counted a stream of every label set; on a machine with {cores} processors.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.scrapes", description=__doc__)
    parser.add_argument("--before", type=Path, required=True, metavar="SRC", help="the src folder of an older checkout")
    parser.add_argument("--name", default="before", help="what that is, for the table")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args(arguments)
    rows = []
    for sets in SETS:
        for processes in PROCESSES:
            rows.append(_row(processes, sets, *(cost(processes, sets, source) for source in (given.before, SOURCE))))
            print(*rows[-1], file=sys.stderr)
    given.output.write_text("\n".join((
        f"# What a scrape costs: {given.name} and now\n",
        f"Python {platform.python_version()}, Linux {platform.release()}.\n",
        _HOW.format(cores=os.cpu_count()),
        table(["processes", "label sets", "samples", "KiB", "KiB gzip", "CPU quiet (ms)", "all changed (ms)"], rows),
    )))
    return 0


if __name__ == "__main__":
    sys.exit(main())
