"""The agent's server with a store of ours, in a thread, for tests of its viewers; not named test_*."""

from __future__ import annotations

import contextlib
import http.client
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from streamvitals.agent.http import AgentServer
from streamvitals.incidents.page import IncidentsPage
from streamvitals.live.answers import Live
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Opened, Snapshot
from streamvitals.store.store import Store
from streamvitals.stream.record import STALL_AFTER


class Served:
    """A server of a store of ours; ``looks`` counts how often the slots were looked at."""

    def __init__(self) -> None:
        self.store = Store(HeapMemory())
        self.looks = 0
        self.faults: list[BaseException] = []
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        server = AgentServer(
            listener, lambda names, accept: (b"metrics", "text/plain"), dict, lambda: None, self.faults.append, 0.05,
            Live(self._look, Snapshot, STALL_AFTER, IncidentsPage(lambda: ([], 0))),
        )
        self.viewers = server._viewers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=server.serve, args=(self._stop,))
        self._thread.start()

    def _look(self) -> list[Opened]:
        self.looks += 1
        return self.store.opened()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()

    def ask(self, path: str, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
        with contextlib.closing(http.client.HTTPConnection(*self.address, timeout=60)) as connection:
            connection.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
            answer = connection.getresponse()
            return answer, answer.read()

    @contextlib.contextmanager
    def view(self) -> Iterator[http.client.HTTPResponse]:
        with socket.create_connection(self.address, timeout=60) as client:
            client.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with http.client.HTTPResponse(client) as answer:
                answer.begin()
                yield answer


def certificate(folder: Path, name: str = "server") -> None:
    """Make a certificate for localhost, and its key."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.crt"), "-subj", f"/CN={name}",
         "-addext", f"subjectAltName=DNS:localhost,DNS:{name}"],
        check=True, capture_output=True,
    )
