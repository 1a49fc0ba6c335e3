"""Runs the fault server in a thread of its own, for synchronous programs and tests."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

from .request_log import RequestLog
from .script import ByModel, Choice
from .server import FaultServer


class ThreadedFaultServer:
    """A FaultServer in a background thread with its own event loop."""

    def __init__(
        self, host: str = "127.0.0.1", port: int = 0, log_size: int = 2048, default: Choice = ""
    ) -> None:
        self._address = (host, port)
        self._server = FaultServer(log_size, default=default)
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
    def by_model(self) -> ByModel:
        """See FaultServer.by_model. A dictionary's items are changed in one step."""
        return self._server.by_model

    def play(self, *specs: str) -> None:
        """See FaultServer.play."""
        self._server.play(*specs)

    def reset(self) -> None:
        """See FaultServer.reset."""
        self._server.reset()

    @property
    def log(self) -> list[RequestLog]:
        """The log so far; entries of requests under way still change, see `wait_idle`."""
        return list(self._server.log.copy())  # deque.copy is one step under the GIL, iterating here is not

    def wait_idle(self, timeout: float = 10.0) -> None:
        """Wait until no request is under way, so that every entry of the log is final."""
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
