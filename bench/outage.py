"""``python -m bench.outage``: what observing costs while everything fails and is asked again; writes bench/outage.md.

Every figure is what the observer adds to the bare SDK, which alternate in one process (storm.py), over a transport in
memory.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from .environments import environment
from .instructions import FOLDER, PINNED
from .report import table
from .sides import OURS
from .storm import KINDS
from .workers import ROOT, environ

OUTPUT = ROOT / "bench" / "outage.md"
TASKS = (10, 200, 1000, 5000)
OPEN = (1, 1000, 10000)
_REQUESTS = 1000
_ALIKE = "503, all ask the same"
_TITLES = {
    "good": "good, 20 chunks", "refused": "refused before the headers", "status": "answered with 503",
    "cut": "reset after 4 chunks",
}

Figures = list[float]


class Storm:
    """The process that is measured."""

    def __init__(self, python: Path, directory: str) -> None:
        env = environ(OURS, directory)
        env["PYTHONPATH"] += os.pathsep + str(ROOT)
        self._process = subprocess.Popen(  # noqa: S603
            [str(python), "-m", "bench.storm"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1,
        )

    def measure(
        self, measure: str, kind: str, tasks: int, requests: int, pairs: int, alike: bool = False
    ) -> tuple[Figures, Figures]:
        """The medians of what the bare SDK takes, and of what the observer adds. Raises RuntimeError if it died."""
        order = {
            "measure": measure, "kind": kind, "tasks": tasks, "requests": requests, "pairs": pairs, "alike": alike
        }
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes")
        self._process.stdin.write(json.dumps(order) + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process ended while it measured {measure}")
        found = json.loads(answer)
        bare = [statistics.median(one) for one in zip(*(off for off, _ in found), strict=True)]
        differences = ([now - then for now, then in zip(on, off, strict=True)] for off, on in found)
        return bare, [statistics.median(one) for one in zip(*differences, strict=True)]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class Sizes(NamedTuple):
    """How many tasks and open streams, requests of all tasks together, and requests or open streams of a figure."""

    tasks: Sequence[int]
    open: Sequence[int]
    requests: int
    figure: int

    def pairs(self, number: int) -> int:
        """How many pairs a figure needs of which each half has so many."""
        return max(1, self.figure // number)


def cpu(storm: Storm, sizes: Sizes) -> list[list[str]]:
    """Rows of CPU per request, with more and more tasks."""
    rows = []
    for kind, alike in (*((kind, False) for kind in KINDS), ("status", True)):
        times = [(tasks, max(2, sizes.requests // tasks)) for tasks in sizes.tasks]
        found = [storm.measure("cpu", kind, *each, sizes.pairs(math.prod(each)), alike) for each in times]
        bare = statistics.median(bare for [bare], _ in found)
        rows.append([
            _ALIKE if alike else _TITLES[kind], f"{bare:.0f}", *(f"{added:.0f}" for _, [added] in found)
        ])
        print(*rows[-1], file=sys.stderr)
    return rows


def calls(storm: Storm, sizes: Sizes) -> list[list[str]]:
    """Rows of calls per request, with few tasks and with many."""
    rows = []
    for kind, alike in (*((kind, False) for kind in KINDS), ("status", True)):
        few, many = (storm.measure("calls", kind, tasks, 2, 1, alike) for tasks in (sizes.tasks[0], sizes.tasks[-1]))
        rows.append([
            _ALIKE if alike else _TITLES[kind], *(f"{figure:,.0f}" for figure in (few[0][0], few[1][0], many[1][0]))
        ])
        print(*rows[-1], file=sys.stderr)
    return rows


def objects(storm: Storm) -> list[list[str]]:
    """Rows of what the cyclic collector has to do."""
    rows = []
    for kind in KINDS:
        found = [
            storm.measure("garbage", kind, 100, 3, 1), storm.measure("held", kind, 500, 1, 1),
            storm.measure("collections", kind, 100, 20, 1),
        ]
        figures = [figure for bare, added in found for pair in zip(bare, added, strict=True) for figure in pair]
        rows.append([_TITLES[kind], *(f"{figure:.1f}" for figure in figures)])
        print(*rows[-1], file=sys.stderr)
    return rows


def forks(storm: Storm, sizes: Sizes) -> list[list[str]]:
    """Rows of what a fork costs, with more and more open streams."""
    rows = []
    for streams in sizes.open:
        bare, added = storm.measure("fork", "good", streams, 1, min(5, sizes.pairs(streams)))
        figures = [figure for pair in zip(bare, added, strict=True) for figure in pair]
        rows.append([f"{streams:,}", *(f"{figure / 1e3:.2f}" for figure in figures)])
        print(*rows[-1], file=sys.stderr)
    return rows


_HOW = """\
What is measured is the process, with the SDK's transport in memory. Each of so many tasks asks a question, and asks it
again when the request has failed, until {requests:,} requests have been made, and twice at least; all have asked before
one is answered. A failing request is to add at most twice what a good stream does, however many tasks there are.
"""

_OBJECTS = """\
"Only it frees": objects in cycles, per request. "Held": by a task that has failed and waits to ask again. "Young" and
"full": collections of the youngest generation and of all, per 1,000 requests. An open stream has {bare:.0f} objects
that the collector looks at, and {added:.0f} of the observer's.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean nothing")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="not written by --quick")
    given = parser.parse_args(arguments)
    sizes = Sizes(TASKS[:2], OPEN[:2], 200, 1) if given.quick else Sizes(TASKS, OPEN, _REQUESTS, 3 * _REQUESTS)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="streamvitals-bench-", dir=memory) as directory:
        storm = Storm(environment(FOLDER, PINNED), directory)
        try:
            for kind in KINDS:  # what is done once, and by the first streams of an outage
                storm.measure("cpu", kind, 10, 20, 1)
            taken, called, looked_at = cpu(storm, sizes), calls(storm, sizes), objects(storm)
            [bare], [added] = storm.measure("tracked", "good", 500, 1, 1)
            forked = forks(storm, sizes)
        finally:
            storm.close()
    text = "\n".join((
        "# What an outage costs\n", f"Python {platform.python_version()}, {PINNED[0]}.\n",
        _HOW.format(requests=sizes.requests), "## CPU per request (µs)\n",
        table(["request", "SDK alone", *(f"{tasks:,} tasks add" for tasks in sizes.tasks)], taken),
        "## Calls of functions per request, of Python's and of C's\n",
        table(["request", "SDK alone", *(f"{tasks:,} tasks add" for tasks in sizes.tasks[:: len(sizes.tasks) - 1])],
              called),
        "## The cyclic collector\n", _OBJECTS.format(bare=bare, added=added),
        table(["request", "only it frees: SDK alone", "added", "held: SDK alone", "added", "young: SDK alone", "added",
               "full: SDK alone", "added"], looked_at),
        "## fork()\n\nCPU in ms. Of the streams that are open in the parent the child counts none.\n",
        table(["open streams", "parent in fork(): SDK alone", "added", "child until it returns: SDK alone", "added",
               "its first stream: SDK alone", "added", "its second: SDK alone", "added"], forked),
    ))
    print(text)
    if not given.quick:
        given.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
