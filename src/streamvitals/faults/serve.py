"""Serves until a signal: the command `streamvitals faults`."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from .server import FaultServer


class PortFileError(Exception):
    """The file for the port cannot be written; the message says why."""


def serve(server: FaultServer, host: str, port: int, port_file: Path | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Prints the base URL once connections are accepted.

    Raises OSError, before anything is printed, if nothing can be served there, and PortFileError likewise.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(server, host, port, port_file))


async def _serve(server: FaultServer, host: str, port: int, port_file: Path | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with suppress(NotImplementedError):  # Windows: KeyboardInterrupt ends asyncio.run
            loop.add_signal_handler(number, stop.set)
    await server.start(host, port)
    try:
        if port_file is not None:
            _write_port(server.port, port_file)
        print(server.base_url, flush=True)
        await stop.wait()
    finally:
        await server.stop()


def _write_port(port: int, file: Path) -> None:
    # A program that waits for the file must never read it half written.
    aside = file.with_name(file.name + ".new")
    try:
        aside.write_text(f"{port}\n")
        os.replace(aside, file)
    except OSError as error:
        raise PortFileError(f"{file}: {error.strerror}") from error
