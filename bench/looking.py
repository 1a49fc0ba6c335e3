"""``python -m bench.looking``: what it costs to look at an app of many processes; writes bench/looking.md.

An agent serves a directory in which a fleet of processes (fleet.py) counts. CPU is what the kernel says that the
agent's process has run for, so nothing of the client or the fleet is in it; bytes and calls of read are the kernel's
counts, which no noise changes.
"""

from __future__ import annotations

import argparse
import gzip
import math
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from .report import table
from .workers import ROOT, SOURCE

OUTPUT = ROOT / "bench" / "looking.md"
PROCESSES, SETS = (1, 8, 64, 256), (1, 10, 100)
SHORT_LIVED = (100, 1000, 10000)
FOREIGN = 500
# Of a cell: seconds for each of its figures, and questions that are put at most.
_SECONDS, _MOST = 3.0, 100
_IDLE = 20.0
# Until an answer of the live page is made anew, and until one of the incidents that took long. Seconds.
_PAUSE, _LONG_PAUSE = 2.1, 15.1


class Spent(NamedTuple):
    """What a process has taken so far: milliseconds on a processor, calls of read, bytes read, times that it slept."""

    cpu: float
    calls: int
    read: int
    sleeps: int

    def since(self, before: Spent, times: float) -> Spent:
        """The share of one of so many."""
        return Spent(*((now - then) / times for now, then in zip(self, before, strict=True)))  # type: ignore[arg-type]


def spent(pid: int) -> Spent:
    """What the kernel has counted (proc(5)): of this process, of all of its threads."""
    ran = slept = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        ran += int((thread / "schedstat").read_text().split()[0])
        slept += int(_fields(thread / "status")["voluntary_ctxt_switches"])
    io = _fields(Path(f"/proc/{pid}/io"))
    return Spent(ran / 1e6, int(io["syscr"]), int(io["rchar"]), slept)


def resident(pid: int) -> float:
    """MiB of memory that are in use."""
    return int(_fields(Path(f"/proc/{pid}/status"))["VmRSS"].split()[0]) / 1024


def _fields(path: Path) -> dict[str, str]:
    lines = (line.partition(":") for line in path.read_text().splitlines())
    return {name: value.strip() for name, _, value in lines}


class Agent:
    """An agent in a process of its own."""

    def __init__(self, directory: str, source: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "streamvitals", "agent", "--dir", directory, "--port", "0"],
            env=_environ(source), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )
        self.pid = self._process.pid
        said = ""
        while "http://" not in said:
            said = self._process.stdout.readline() if self._process.stdout is not None else ""
            if not said:
                raise RuntimeError("the agent did not start")
        self._url = re.findall(r"http://[^/\s]+", said)[0]

    def get(self, path: str) -> bytes:
        """An answer's body; nothing where the agent has let go of us before the end, as it does after ten seconds."""
        try:
            with urllib.request.urlopen(self._url + path, timeout=60) as answer:  # noqa: S310
                body: bytes = answer.read()
        except (HTTPException, OSError):
            return b""
        return body

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Fleet:
    """A fleet, in a group of its own."""

    def __init__(self, directory: str, processes: int, sets: int, source: Path) -> None:
        self._process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "bench.fleet", directory, str(processes), str(sets)],
            env=_environ(source), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
            start_new_session=True,
        )
        self._answer()

    def do(self, order: str) -> None:
        """Give an order, and wait until it is done."""
        if self._process.stdin is not None:
            self._process.stdin.write(order + "\n")
        self._answer()

    def _answer(self) -> None:
        if self._process.stdout is None or not self._process.stdout.readline():
            raise RuntimeError("the fleet did not answer")

    def close(self) -> None:
        """End all of them."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()


def _environ(source: Path) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("STREAMVITALS_", "OTEL_"))}
    return {**env, "PYTHONPATH": f"{source}{os.pathsep}{ROOT}"}


@contextmanager
def app(processes: int, sets: int, source: Path = SOURCE) -> Iterator[tuple[Agent, Fleet]]:
    """An agent and what it looks at, of the package in ``source``."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    # Where files may be left by whoever owns it, as in a directory that `run` makes.
    directory = tempfile.mkdtemp(prefix="streamvitals-bench-", dir=memory)
    agent = fleet = None
    try:
        agent = Agent(directory, source)
        fleet = Fleet(directory, processes, sets, source)
        yield agent, fleet
    finally:
        for one in (fleet, agent):
            if one is not None:
                one.close()
        shutil.rmtree(directory, ignore_errors=True)


class Asked(NamedTuple):
    """What it takes to answer one question: ``slowest`` is the 99th percentile, in milliseconds as ``middle``."""

    spent: Spent
    middle: float
    slowest: float


def ask(agent: Agent, path: str, fleet: Fleet | None = None, seconds: float = _SECONDS) -> Asked:
    """Ask again and again; between the questions the fleet counts, if one is given."""
    agent.get(path)
    took: list[float] = []
    total = Spent(0, 0, 0, 0)
    end = time.monotonic() + seconds
    while len(took) < _MOST and (time.monotonic() < end or len(took) < 3):
        if fleet is not None:
            fleet.do("count")
        before, began = spent(agent.pid), time.perf_counter()
        answered = agent.get(path)
        took.append(1e3 * (time.perf_counter() - began) if answered else math.inf)
        total = Spent(*(sum(pair) for pair in zip(total, spent(agent.pid).since(before, 1), strict=True)))
    took.sort()
    return Asked(
        total.since(Spent(0, 0, 0, 0), len(took)), took[len(took) // 2], took[min(len(took) - 1, len(took) * 99 // 100)]
    )


def cell(processes: int, sets: int, seconds: float) -> tuple[list[str], list[str]]:
    """A row of the table of scrapes, and one of that of /healthz."""
    with app(processes, sets) as (agent, fleet):
        body = agent.get("/metrics")
        still, counted = ask(agent, "/metrics", seconds=seconds), ask(agent, "/metrics", fleet, seconds)
        fleet.do("hot")
        hot = ask(agent, "/metrics", seconds=seconds)
        fleet.do("cool")
        well, told = ask(agent, "/healthz", seconds=seconds), len(agent.get("/healthz"))
        memory = resident(agent.pid)
    size = f"{len(body) / 1024:,.0f}"
    key = [str(processes), str(sets)]
    return (
        [*key, size, f"{len(gzip.compress(body, 1)) / 1024:,.0f}", _ms(still.spent.cpu), _ms(counted.spent.cpu),
         _ms(hot.spent.cpu), _ms(hot.middle), _ms(hot.slowest), f"{counted.spent.calls:,.0f}",
         f"{counted.spent.read / 1024:,.0f}", f"{memory:.0f}"],
        [*key, str(told), _ms(well.spent.cpu), _ms(well.middle), f"{well.spent.calls:,.0f}",
         f"{well.spent.read / 1024:,.0f}"],
    )


def idle(processes: int, foreign: int, seconds: float) -> list[str]:
    """A row of what an agent takes that nobody asks, for a second, with so many other processes on the machine."""
    with app(processes, 1) as (agent, fleet):
        fleet.do(f"idle {foreign}")
        time.sleep(1.0)
        before = spent(agent.pid)
        time.sleep(seconds)
        took = spent(agent.pid).since(before, seconds)
        scrape = ask(agent, "/metrics", seconds=1.0)
        memory = resident(agent.pid)
    return [
        str(processes), str(foreign), f"{took.cpu:.2f}", f"{took.sleeps:.1f}", f"{took.calls:,.0f}",
        f"{scrape.spent.calls:,.0f}", f"{memory:.1f}",
    ]


def folding(numbers: Sequence[int]) -> Iterator[list[str]]:
    """Rows of what it takes to add up processes that come and go."""
    with app(1, 1) as (agent, fleet):
        for number in numbers:
            before, began = spent(agent.pid), time.monotonic()
            fleet.do(f"short {number}")
            body = agent.get("/metrics").decode()
            took = spent(agent.pid).since(before, number)
            counted = sum(float(value) for value in re.findall(r'streams_total\{.*"completed".* (\S+)', body))
            yield [
                f"{number:,}", f"{time.monotonic() - began:.0f}", f"{took.cpu:.2f}", f"{took.calls:.0f}",
                f"{took.read / 1024:.0f}", f"{resident(agent.pid):.0f}", f"{counted:,.0f}",
            ]


def page(processes: int, times: int) -> list[str]:
    """A row of what the answers take that the live page reads, each made anew: CPU, and bytes of the incidents."""
    with app(processes, 1) as (agent, fleet):
        taken = [_anew(agent, path, times, _PAUSE) for path in ("streams", "summary", "incidents")]
        fleet.do("fail")
        time.sleep(_PAUSE)
        taken.append(_anew(agent, "incidents", times, _LONG_PAUSE))
        size, memory = len(agent.get("/api/v1/incidents")), resident(agent.pid)
    return [str(processes), *map(_ms, taken), f"{size / 1024:,.0f}", f"{memory:.0f}"]


def _anew(agent: Agent, name: str, times: int, pause: float) -> float:
    total = 0.0
    for _ in range(times):
        time.sleep(pause)
        before = spent(agent.pid)
        agent.get(f"/api/v1/{name}")
        total += spent(agent.pid).since(before, 1).cpu
    return total / times


def _ms(milliseconds: float) -> str:
    if milliseconds == math.inf:
        return "no answer"
    return f"{milliseconds:.1f}" if milliseconds < 100 else f"{milliseconds:,.0f}"


_HOW = """\
"Quiet" is a scrape of which nothing has changed since the last one, "all changed" one before which every process has
counted a stream of every label set, "hot" one while two processes count as fast as they can, on a machine with {cores}
processors. CPU is the agent's own, latency what the client saw (the 99th percentile, of fewer than 100 questions the
slowest), reads are calls and KiB of the read family, of files of /proc as of those that are counted in. The agent has
no part in any chunk of the app's: it only reads.
"""


_PAGE = """\
An answer is used again for a second or two, whoever asks; one of the incidents that took more than 50 ms of CPU for
twenty times as long, 15 s at most. "All records": every process has 128 of streams that failed.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.looking", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="see that everything runs; the figures mean nothing")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="not written by --quick")
    given = parser.parse_args(arguments)
    seconds, resting = (0.3, 1.0) if given.quick else (_SECONDS, _IDLE)
    scrapes, health = [], []
    for processes in PROCESSES[:2] if given.quick else PROCESSES:
        for sets in SETS[:2] if given.quick else SETS:
            one, other = cell(processes, sets, seconds)
            print(*one, "|", *other[2:], file=sys.stderr)
            scrapes.append(one)
            health.append(other)
    rest = [idle(*each, resting) for each in ((1, 0), (8, 0), (64, 0), (256, 0), (8, FOREIGN))]
    pages = [page(processes, 1 if given.quick else 3) for processes in (PROCESSES[:2] if given.quick else PROCESSES)]
    folds = list(folding(SHORT_LIVED[:1] if given.quick else SHORT_LIVED))
    text = "\n".join((
        "# What looking costs\n", f"Python {platform.python_version()}, Linux {platform.release()}.\n",
        _HOW.format(cores=os.cpu_count()), "## A scrape\n",
        table(["processes", "label sets", "KiB", "KiB gzip", "CPU quiet (ms)", "all changed (ms)", "hot (ms)",
               "latency hot (ms)", "p99 hot (ms)", "reads", "KiB read", "RSS (MiB)"], scrapes),
        "## /healthz\n",
        table(["processes", "label sets", "bytes", "CPU (ms)", "latency (ms)", "reads", "KiB read"], health),
        f"## An agent that nobody asks, per second, over {resting:.0f} s\n",
        table(["processes", "others on the machine", "CPU (ms)", "wake-ups", "reads", "reads of one scrape",
               "RSS (MiB)"], rest),
        "## Answers of the live page, made anew\n", _PAGE,
        table(["processes", "streams: CPU (ms)", "summary (ms)", "incidents, none (ms)", "incidents, all records (ms)",
               "KiB", "RSS (MiB)"], pages),
        "## Processes that come, count one stream and go, one by one\n",
        table(["processes", "seconds", "CPU each (ms)", "reads each", "KiB read each", "RSS (MiB)", "streams counted"],
              folds),
    ))
    print(text)
    if not given.quick:
        given.output.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
