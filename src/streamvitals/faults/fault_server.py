"""The fault server for programs, for synchronous tests, and for the command line.

    async with FaultServer() as server: ...          # in an event loop
    with ThreadedFaultServer() as server: ...        # in a thread of its own
    python -m streamvitals.faults.fault_server --port 8080

Beside it the base URLs of what no server can play: nobody listens, no such host, TLS fails, nobody answers.
"""

from __future__ import annotations

import argparse
import asyncio
import atexit
import functools
import os
import signal
import socket
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import TextIO

from .ask import Moods
from .request_log import RequestLog
from .server import FaultServer

__all__ = [
    "FaultServer",
    "RequestLog",
    "ThreadedFaultServer",
    "connect_timeout_url",
    "dns_failure_url",
    "refused_url",
    "tls_failure_url",
]


class ThreadedFaultServer:
    """A FaultServer in a background thread with its own event loop."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0, log_size: int = 2048) -> None:
        self._address = (host, port)
        self._server = FaultServer(log_size)
        self._thread = threading.Thread(target=self._run, name="fault-server", daemon=True)
        self._started = threading.Event()
        self._failure: OSError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def base_url(self) -> str:
        return self._server.base_url

    @property
    def moods(self) -> Moods:
        """See FaultServer.moods. A dictionary's items are changed in one step."""
        return self._server.moods

    @property
    def log(self) -> list[RequestLog]:
        """What was done so far; entries of requests under way still change, see `wait_idle`."""
        return list(self._server.log.copy())  # deque.copy is one step under the GIL, iterating here is not

    def wait_idle(self, timeout: float = 10.0) -> None:
        """Until no request is under way, so that every entry of the log is final."""
        if self._loop is not None and self._thread.is_alive():
            waiting = asyncio.wait_for(self._server.wait_idle(), timeout)
            asyncio.run_coroutine_threadsafe(waiting, self._loop).result()

    def start(self) -> ThreadedFaultServer:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def stop(self) -> None:
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def __enter__(self) -> ThreadedFaultServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            await self._server.start(*self._address)
        except OSError as failure:  # raised in the thread that called start()
            self._failure = failure
            return
        finally:
            self._started.set()
        await self._stop.wait()
        await self._server.stop()


@functools.cache
def _reserved() -> socket.socket:
    """A port that is ours and stays closed: bound, so that nobody else can open it, and never listening."""
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    atexit.register(reserved.close)
    return reserved


@functools.cache
def _full() -> tuple[socket.socket, ...]:
    """A listener that never accepts, its queue filled: on Linux further connections get no answer."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    for held in (listener, *fillers):
        atexit.register(held.close)
    return (listener, *fillers)


def _url(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


def refused_url() -> str:
    """Connections are refused."""
    return _url(_reserved())


def connect_timeout_url() -> str:
    """Connections are neither accepted nor refused (Linux)."""
    return _url(_full()[0])


def dns_failure_url() -> str:
    """The name of the host does not exist, by RFC 6761."""
    return "http://nonexistent.invalid/v1"


def tls_failure_url(base_url: str) -> str:
    """The fault server's base URL with https: it answers a TLS handshake with plain text."""
    return base_url.replace("http://", "https://", 1)


async def _serve(host: str, port: int, port_file: Path | None, log: TextIO | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends asyncio.run
            loop.add_signal_handler(number, stop.set)
    server = FaultServer(log_file=log)
    await server.start(host, port)
    print(server.base_url, flush=True)
    if port_file is not None:
        # Whoever waits for the file must never read it half written.
        aside = port_file.with_name(port_file.name + ".new")
        aside.write_text(f"{server.port}\n")
        os.replace(aside, port_file)
    await stop.wait()
    await server.stop()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m streamvitals.faults.fault_server",
        description="An OpenAI-compatible chat server that fails on demand. The model name says how.",
    )
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--port-file", type=Path, help="write the port here once connections are accepted")
    parser.add_argument("--log", type=Path, help="append one JSON line per finished request")
    given = parser.parse_args(arguments)
    with open(given.log, "a", encoding="utf-8") if given.log else nullcontext() as log:
        try:
            with suppress(KeyboardInterrupt):
                asyncio.run(_serve(given.host, given.port, given.port_file, log))
        except OSError as failure:
            print(f"cannot serve on {given.host}:{given.port}: {failure}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
