"""``python -m bench [--peers] [--quick]``: measure, print, and write bench/results.md."""

from __future__ import annotations

import argparse
import platform
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from . import workers
from .environments import environment
from .report import markdown
from .rows import ROWS, Figure, Pairs, Row, figure
from .sides import CONTROL, OURS, PEERS, SPANS, TIMED, Side
from .workers import ROOT, Worker

_ROUNDS = 3
_QUICK = {
    "chunk": 500, "chunk_async": 500, "chunk_responses": 500, "chunk_bytes": 500,
    "stream": 5, "stream_async": 5, "first": 5, "first_async": 5, "chunk_built": 50, "stream_built": 5,
    "held_per_chunk": 100, "held_per_stream": 20, "import": 1, "never": 1, "loopback": 20,
    "loopback_many": 20,
}


class Comparison:
    """One run: in every round, each row is asked of each side in turn."""

    def __init__(
        self, sides: Sequence[Side], rows: Sequence[Row], environments: Path, directory: str, url: str
    ) -> None:
        self._sides, self._rows = list(sides), rows
        self._directory, self._url = directory, url
        self.pythons = {side: environment(environments / side.folder, side.requirements) for side in sides}
        self._found: dict[tuple[str, str], Pairs] = defaultdict(list)

    @contextmanager
    def _workers(self) -> Iterator[dict[Side, Worker]]:
        with ExitStack() as stack:
            started = {}
            for side in self._sides:
                worker = started[side] = Worker(side, self.pythons[side], self._directory)
                stack.callback(worker.close)
            yield started

    def run(self, rounds: int) -> None:
        """Measure everything ``rounds`` times, after a round that only warms up. A peer that does not work goes
        without figures."""
        with self._workers() as processes:
            for worker in processes.values():
                self._warm_up(worker)
            for number in range(rounds):
                print(f"round {number + 1} of {rounds}", file=sys.stderr)
                for name in dict.fromkeys(row.measure for row in self._rows):
                    rows = [row for row in self._rows if row.measure == name]
                    for side in self._sides:
                        if _applies(rows[0], side):
                            self._ask(rows, side, processes[side])

    def _warm_up(self, worker: Worker) -> None:
        try:
            rows = [row for row in self._rows if not row.startup and _applies(row, worker.side)]
            for name in dict.fromkeys(row.measure for row in rows):
                worker.measure(name, _QUICK[name], 2, self._url)
        except RuntimeError as error:
            if not worker.side.peer:
                raise
            print(error, file=sys.stderr)
            self._sides = [side for side in self._sides if side is not worker.side]

    def _ask(self, rows: Sequence[Row], side: Side, worker: Worker) -> None:
        row = rows[0]
        if row.startup:
            for _ in range(row.pairs):
                self._found[row.key, side.name].append(self._start(row, side))
            return
        for off, on in worker.measure(row.measure, row.size, row.pairs, self._url):
            for part in rows:
                self._found[part.key, side.name].append((off[part.part], on[part.part]))

    def _start(self, row: Row, side: Side) -> tuple[float, float]:
        programs = ("pass", "pass") if row.measure == "never" else (side.without, side.start)
        python = self.pythons[side]
        off, on = (
            workers.cpu_of(python, program, workers.environ(side, self._directory, observed=observed))
            for program, observed in zip(programs, (False, True), strict=True)
        )
        return off, on

    def figures(self) -> dict[tuple[str, str], Figure]:
        """By row and side."""
        told: dict[tuple[str, str], Figure] = {}
        for row in self._rows:
            for side in self._sides:
                pairs = self._found.get((row.key, side.name))
                if pairs:
                    told[row.key, side.name] = figure(row, pairs, told.get((row.less, side.name)))
        return told


def _applies(row: Row, side: Side) -> bool:
    if side is TIMED:
        return row.timed and not row.startup and not row.measure.startswith("loopback")
    if not row.all_sides:
        return side in (CONTROL, OURS)
    return not (side.peer and row.measure == "never")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also the other instrumentations")
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean nothing")
    parser.add_argument("--only", default="", help="rows whose key starts with this")
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--environments", type=Path, default=ROOT / ".build" / "bench")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results.md", help="not written by --quick")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    sides = (CONTROL, TIMED, OURS, SPANS, *(PEERS if given.peers else ()))
    rows = [row for row in ROWS if row.key.startswith(given.only)]
    if given.quick:
        rows = [replace(row, size=_QUICK[row.measure], pairs=1) for row in rows]
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    directory = tempfile.mkdtemp(prefix="streamvitals-bench-", dir=memory)
    try:
        with workers.loopback_server() as url:
            comparison = Comparison(sides, rows, given.environments, directory, url)
            comparison.run(1 if given.quick else given.rounds)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    python = comparison.pythons[OURS]
    versions = f"Python {platform.python_version()}, openai {workers.installed(python, 'openai')}."
    text = markdown(rows, sides, comparison.figures(), versions)
    print(text)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    if not given.quick:
        given.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
