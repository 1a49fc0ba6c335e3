"""``python -m bench.outage``: what observing costs while everything fails and is asked again; writes bench/outage.md.

Every figure is what the observer adds to the bare SDK, which alternate in one process (storm.py), over a transport in
memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .environments import environment
from .instructions import FOLDER, PINNED
from .report import table
from .sides import OURS
from .storm import KINDS
from .workers import ROOT, environ

OUTPUT = ROOT / "bench" / "outage.md"
TASKS = (10, 200, 1000, 5000)
OPEN = (1, 100, 1000)
_REQUESTS = 1000
_TITLES = {
    "good": "good, 20 chunks", "refused": "refused before the headers", "status": "answered with 503",
    "cut": "reset after 4 chunks",
}


class Storm:
    """The process that is measured."""

    def __init__(self, python: Path, directory: str) -> None:
        env = environ(OURS, directory)
        env["PYTHONPATH"] += os.pathsep + str(ROOT)
        self._process = subprocess.Popen(  # noqa: S603
            [str(python), "-m", "bench.storm"], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1,
        )

    def added(self, measure: str, kind: str, tasks: int, requests: int, pairs: int) -> tuple[float, float]:
        """The median of what the bare SDK takes, and of what the observer adds. Raises RuntimeError if it died."""
        order = {"measure": measure, "kind": kind, "tasks": tasks, "requests": requests, "pairs": pairs}
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("no pipes")
        self._process.stdin.write(json.dumps(order) + "\n")
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the process ended while it measured {measure}")
        found = json.loads(answer)
        return statistics.median(off for off, _ in found), statistics.median(on - off for off, on in found)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


_HOW = """\
Each of so many tasks asks a question, and asks it again when the request has failed, until {requests:,} requests have
been made, and twice at least; all have asked before one is answered. A failing request is to add at most twice what a
good stream does, however many tasks there are.
"""

_OBJECTS = """\
"Only it frees" are in cycles; "held" belong to a task that has failed and waits to ask again.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.outage", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean nothing")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--output", type=Path, default=OUTPUT, help="not written by --quick")
    given = parser.parse_args(arguments)
    requests, pairs, many = (200, 1, TASKS[:2]) if given.quick else (_REQUESTS, given.pairs, TASKS)
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="streamvitals-bench-", dir=memory) as directory:
        storm = Storm(environment(FOLDER, PINNED), directory)
        try:
            storm.added("cpu", "cut", 10, 20, 1)
            cpu, calls, held = [], [], []
            for kind in KINDS:
                found = [storm.added("cpu", kind, tasks, max(2, requests // tasks), pairs) for tasks in many]
                bare = statistics.median(bare for bare, _ in found)
                cpu.append([_TITLES[kind], f"{bare:.0f}", *(f"{added:.0f}" for _, added in found)])
                each = [storm.added("calls", kind, tasks, 2, 1) for tasks in many]
                calls.append([_TITLES[kind], f"{each[0][0]:,.0f}", *(f"{added:,.0f}" for _, added in each)])
                garbage = storm.added("garbage", kind, 100, 3, 1)
                left = storm.added("held", kind, 500, 1, 1)
                held.append([_TITLES[kind], *(f"{figure:.1f}" for figure in (*garbage, *left))])
                print(*cpu[-1], "|", *calls[-1][1:], "|", *held[-1][1:], file=sys.stderr)
            forks = [
                [str(streams), *(f"{figure / 1e3:.2f}" for figure in storm.added("fork", "good", streams, 1, pairs))]
                for streams in (OPEN[:2] if given.quick else OPEN)
            ]
        finally:
            storm.close()
    text = "\n".join((
        "# What an outage costs\n", f"Python {platform.python_version()}, {PINNED[0]}.\n",
        _HOW.format(requests=requests), "## CPU per request (µs)\n",
        table(["request", "SDK alone", *(f"{tasks:,} tasks add" for tasks in many)], cpu),
        "## Calls of functions per request, of Python's and of C's\n",
        table(["request", "SDK alone", *(f"{tasks:,} tasks add" for tasks in many)], calls),
        "## Objects of the cyclic collector per request\n", _OBJECTS,
        table(["request", "only it frees: SDK alone", "added", "held: SDK alone", "added"], held),
        "## fork()\n\nCPU of the child by the time that `fork()` returns in it.\n",
        table(["open streams", "SDK alone (ms)", "added (ms)"], forks),
    ))
    print(text)
    if not given.quick:
        given.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
