"""Serves until a signal: the command `streamvitals faults`."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

from .server import FaultServer


def serve(server: FaultServer, host: str, port: int, port_file: Path | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Prints the base URL once connections are accepted.

    Raises OSError, before anything is printed, if nothing can be served there.
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
    print(server.base_url, flush=True)
    if port_file is not None:
        # Whoever waits for the file must never read it half written.
        aside = port_file.with_name(port_file.name + ".new")
        aside.write_text(f"{server.port}\n")
        os.replace(aside, port_file)
    await stop.wait()
    await server.stop()
