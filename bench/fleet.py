"""Processes that count into a directory of an app's, without an app: ``python -m bench.fleet DIRECTORY COUNT SETS``.

Forked from one that has all loaded, so that some hundreds fit on a small machine. Words on stdin, each answered by a
line: ``count`` has every process count one stream of each label set, ``fail`` so many that failed that it keeps all
the records that it can, ``hot`` two of them as fast as they can until
``cool``, ``short N`` starts N more that count one stream and end, ``idle N`` starts N that are none of the app's.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable

from streamvitals import names
from streamvitals.outcome import Outcome
from streamvitals.retries.failures import Chain
from streamvitals.sinks.incidents import IncidentSink
from streamvitals.startup import registration
from streamvitals.store.incidents import MOST
from streamvitals.store.memory import MappedMemory
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import Progress, StreamLabels, StreamRecord

_HOT = 2
# Their directory bounds how many files may wait for the agent. Seconds.
_PAUSE = 0.001


class Process:
    """What one process of the app does."""

    def __init__(self, directory: str, sets: int) -> None:
        registration.register(directory, registration.FORK)
        self._store = Store(MappedMemory(directory))
        self._store.set_build("0", "3.57.0", "true")
        self._sink = StoreSink(self._store, keeper=IncidentSink(self._store))
        self._labels = [
            StreamLabels("chat", "openai", f"gpt-bench-{number % 50}", f"api-{number // 50}.example.com")
            for number in range(sets)
        ]
        self.count()

    def count(self) -> None:
        """One stream of 20 chunks of each label set."""
        for number, labels in enumerate(self._labels):
            slot = self._store.open_slot(labels, time.monotonic())
            gaps = [0] * (len(names.GAP_EDGES) + 1)
            gaps[number % 7] = 19
            told = Progress(
                labels=labels, gap_counts=tuple(gaps), gap_sum=0.4, wait=0.5, hold=0.1, stalls=0, first_chunk=0.2,
                first_token=0.2,
            )
            self._sink.on_end(StreamRecord(
                labels=labels, outcome=Outcome.COMPLETED, error_type="", started=time.time(), duration=0.6, chunks=20,
                max_gap=0.1, wait=0.5, hold=0.1, stalls=0, first_chunk=0.2, first_token=0.2, last_chunk=0.6,
                bytes_received=None, attempts=(), backoff=0.0, progress=told, slot=slot,
            ))

    def fail(self) -> None:
        """As many streams that were reset as are kept, or answered with an error, eight at once of each kind."""
        for number in range(MOST):
            labels = self._labels[number % len(self._labels)]
            told = Progress(
                labels=labels, gap_counts=(0,) * (len(names.GAP_EDGES) + 1), gap_sum=0.0, wait=0.5, hold=0.0, stalls=0,
                first_chunk=None, first_token=None,
            )
            self._sink.on_end(StreamRecord(
                labels=labels, outcome=Outcome.HTTP_ERROR, error_type=str(500 + number % 16), started=time.time(),
                duration=0.5, chunks=0, max_gap=0.0, wait=0.5, hold=0.0, stalls=0, first_chunk=None, first_token=None,
                last_chunk=None, bytes_received=None, attempts=(), backoff=0.0, progress=told, operation=Chain(0.0),
                cause_chain=("InternalServerError", "HTTPStatusError"),
                slot=self._store.open_slot(labels, time.monotonic()),
            ))

    def serve(self, orders: int, done: int) -> None:
        """Do as told, until told nothing any more."""
        while order := os.read(orders, 1):
            if order == b"c":
                self.count()
                os.write(done, b".")
            if order == b"f":
                self.fail()
                os.write(done, b".")
            os.set_blocking(orders, False)
            while order == b"h":
                self.count()
                try:
                    order = os.read(orders, 1)
                except BlockingIOError:
                    continue
            os.set_blocking(orders, True)


class Fleet:
    """All of them."""

    def __init__(self, directory: str, processes: int, sets: int) -> None:
        self._directory, self._sets = directory, sets
        self._done, done = os.pipe()
        self._orders: list[int] = []
        for _ in range(processes):
            theirs, ours = os.pipe()
            _fork(lambda theirs=theirs: self._live(theirs, done))  # type: ignore[misc]
            os.close(theirs)
            self._orders.append(ours)
        self._wait(processes)

    def _live(self, orders: int, done: int) -> None:
        for other in self._orders:
            os.close(other)
        process = Process(self._directory, self._sets)
        os.write(done, b".")
        process.serve(orders, done)

    def _wait(self, answers: int) -> None:
        while answers > 0:
            answers -= len(os.read(self._done, answers))

    def obey(self, word: str, number: int) -> None:
        """One order."""
        if word in ("count", "fail"):
            for orders in self._orders:
                os.write(orders, word[0].encode())
            self._wait(len(self._orders))
        elif word in ("hot", "cool"):
            for orders in self._orders[:_HOT]:
                os.write(orders, word[0].encode() if word == "hot" else b"-")
        elif word == "short":
            for _ in range(number):
                os.waitpid(_fork(lambda: Process(self._directory, 1) and None), 0)
                time.sleep(_PAUSE)
        elif word == "idle":
            for _ in range(number):
                _fork(signal.pause)


def _fork(act: Callable[[], object]) -> int:
    pid = os.fork()
    if not pid:
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            act()
        finally:
            os._exit(0)
    return pid


def main() -> None:
    """Serve what stdin says; all of the group ends with it."""
    directory, processes, sets = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    fleet = Fleet(directory, processes, sets)
    print("ready", flush=True)
    for line in sys.stdin:
        word, _, number = line.strip().partition(" ")
        fleet.obey(word, int(number or 0))
        print(word, flush=True)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
