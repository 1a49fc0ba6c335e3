"""``python -m bench.viewing``: what viewers of the live page cost the agent, with 500 open streams and 100 incidents a
minute; prints the table of docs/costs.md.

Four processes count in mapped files as apps do. CPU is what the kernel says that the agent has run for.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from .looking import spent
from .report import table
from .workers import ROOT

VIEWERS = (0, 1, 10)
PROCESSES, STREAMS, INCIDENTS = 4, 500, 100
_SECONDS, _SETTLE = 20.0, 3.0
# An app's streams, ten chunks a second each, and its failures; arguments: directory, streams, seconds to a failure.
_APP = """
import sys, time
sys.path[:0] = sys.argv[4:]
from store_support import LABELS, record
from streamvitals.outcome import Outcome
from streamvitals.sinks.incidents import IncidentSink
from streamvitals.store.memory import MappedMemory
from streamvitals.store.store import Store, StoreSink
store = Store(MappedMemory(sys.argv[1]))
store.set_build("1", "2", "true")
sinks = IncidentSink(store), StoreSink(store)
slots = [store.open_slot(LABELS._replace(model=f"m{i % 5}"), time.monotonic()) for i in range(int(sys.argv[2]))]
due = 0.0
while True:
    now = time.monotonic()
    for slot in slots:
        slot.view[slot.at + 3] += 1.0
        slot.view[slot.at + 6] = 1.0
        slot.view[slot.at] = now
    if now > due:
        due = now + float(sys.argv[3])
        ended = record(store.open_slot(LABELS, now), outcome=Outcome.RESET, error_type="connection_reset")
        for sink in sinks:
            sink.on_end(ended)
    time.sleep(0.1)
"""


@contextlib.contextmanager
def serving() -> Iterator[tuple[int, int]]:
    """The apps and an agent; yields its pid and its port."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        paths = [str(ROOT / "src"), str(ROOT / "tests")]
        facts = [directory, str(STREAMS // PROCESSES), str(60 * PROCESSES / INCIDENTS), *paths]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        agent = [sys.executable, "-m", "streamvitals", "agent", "--dir", directory, "--port", str(port)]
        commands = [*([[sys.executable, "-c", _APP, *facts]] * PROCESSES), agent]
        processes = [
            stack.enter_context(subprocess.Popen(one, stderr=subprocess.DEVNULL)) for one in commands  # noqa: S603
        ]
        try:
            time.sleep(_SETTLE)
            yield processes[-1].pid, port
        finally:
            for process in reversed(processes):
                process.kill()


def look(port: int, stop: threading.Event, got: list[int]) -> None:
    """Read the events as a browser does."""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        client.settimeout(1.0)
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                got.append(len(client.recv(65536)))


def row(pid: int, port: int, viewers: int) -> list[str]:
    """Measure with so many viewers."""
    stop, got = threading.Event(), [[0] for _ in range(viewers)]
    threads = [threading.Thread(target=look, args=(port, stop, one)) for one in got]
    for thread in threads:
        thread.start()
    time.sleep(_SETTLE)
    before, began, bytes_before = spent(pid), time.monotonic(), sum(map(sum, got))
    time.sleep(_SECONDS)
    seconds, each = time.monotonic() - began, (sum(map(sum, got)) - bytes_before) / max(1, viewers)
    cpu = spent(pid).since(before, 1).cpu / seconds / 10  # of milliseconds a second, in percent
    resident = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    stop.set()
    for thread in threads:
        thread.join()
    return [str(viewers), f"{cpu:.2f}", f"{resident:.1f}", f"{each / seconds / 1000:.0f}"]


def main() -> None:
    """Measure, and print the table."""
    with serving() as (pid, port):
        rows = [row(pid, port, viewers) for viewers in VIEWERS]
    print(table(["viewers", "the agent's CPU (% of one)", "its memory (MiB)", "sent to each (kB/s)"], rows))


if __name__ == "__main__":
    main()
