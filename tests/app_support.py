"""An application that streams, and everything that it saw: run bare, then observed, the two must be equal."""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import os
import re
import ssl
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import openai
import pytest

import streamvitals
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.faults.request_log import RequestLog
from streamvitals.process import lifecycle
from streamvitals.stream.tracebacks import chain
from streamvitals.testing import RecordList, recorded

MESSAGES: list[Any] = [{"role": "user", "content": "hello"}]
VERSION = tuple(int(part) for part in openai.__version__.split(".")[:2])
LONG = "sv-ok?chunks=500&gap=0.01"  # a stream that outlives every act
HANGS = 20.0  # seconds after which something that never came is given up
# Addresses of objects differ from run to run, as do the request ids that the server counts up.
_VOLATILE = re.compile(r"req_\d+|\b(0x)?[0-9a-f]{8,}\b")
_OURS = str(Path(streamvitals.__file__).parent)

Act = Callable[["App"], Any]


def _harmless(value: Any) -> Any:
    if isinstance(value, str):
        return _VOLATILE.sub("*", value)
    if isinstance(value, dict):
        return {str(k): _harmless(v) for k, v in value.items()}
    if value is None or isinstance(value, (int, float, bytes)):
        return value
    return type(value).__qualname__


def frames_of(error: BaseException) -> list[tuple[str, str]]:
    """The traceback, without our own frames."""
    stack = traceback.extract_tb(error.__traceback__)
    return [(Path(f.filename).name, f.name) for f in stack if not f.filename.startswith(_OURS)]


# Loading the certificates of all the world takes longer than all the rest of a short test.
_NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _transport(kind: str) -> dict[str, Any]:
    """A client as the SDK makes its own, or one of the package that bench/versions.py names."""
    package = os.environ.get("STREAMVITALS_TEST_CLIENT")
    if package:
        make = getattr(importlib.import_module(package), kind)
    else:
        make = getattr(openai, "Default" + kind.replace("Client", "HttpxClient"), None)
    return {"http_client": make(verify=_NO_CERTIFICATES)} if make is not None else {}


def http_package() -> Any:
    """What the clients here are of: httpx or httpx2."""
    names = (os.environ.get("STREAMVITALS_TEST_CLIENT"), "httpx2" if VERSION >= (3, 0) else "httpx")
    return importlib.import_module(next(filter(None, names)))


class App:
    """Hands out clients to an act, and keeps what the act saw in ``saw``."""

    def __init__(self, server: ThreadedFaultServer) -> None:
        self.server = server
        self.saw: list[Any] = []
        self.clients: list[Any] = []
        self._before = len(server.log)

    def client(self, **options: Any) -> openai.OpenAI:
        return self._made(openai.OpenAI(**{**self._options(), **_transport("Client"), **options}))

    def async_client(self, **options: Any) -> openai.AsyncOpenAI:
        return self._made(openai.AsyncOpenAI(**{**self._options(), **_transport("AsyncClient"), **options}))

    def _options(self) -> dict[str, Any]:
        return {"api_key": "key", "base_url": self.server.base_url, "max_retries": 0, "timeout": HANGS}

    def _made(self, client: Any) -> Any:
        self.clients.append(client)
        return client

    def create(self, model: str = LONG, **body: Any) -> Any:
        """A stream of a new client."""
        return self.client().chat.completions.create(model=model, messages=MESSAGES, stream=True, **body)

    async def acreate(self, model: str = LONG, **body: Any) -> Any:
        completions = self.async_client().chat.completions
        return await completions.create(model=model, messages=MESSAGES, stream=True, **body)

    def stream(self, stream: Any) -> Any:
        """Note what a stream is, and return it."""
        response = stream.response
        self.saw.append((
            type(stream).__qualname__, isinstance(stream, (openai.Stream, openai.AsyncStream)), sorted(vars(stream)),
            type(stream._iterator).__name__, type(response).__module__, response.status_code, sorted(response.headers),
            sorted(vars(response)), _harmless(str(response.request.url)), response.is_closed,
        ))
        return stream

    def chunk(self, item: Any) -> None:
        self.saw.append(item.model_dump() if hasattr(item, "model_dump") else item)

    def read(self, stream: Iterable[Any]) -> None:
        """Read to the end, or to the error."""
        for item in self.stream(stream) if hasattr(stream, "response") else stream:
            self.chunk(item)

    async def aread(self, stream: Any) -> None:
        async for item in self.stream(stream) if hasattr(stream, "response") else stream:
            self.chunk(item)

    def caught(self, error: BaseException) -> None:
        """Note all that an exception can tell an app."""
        for link in chain(error):
            kind = f"{type(link).__module__}.{type(link).__qualname__}"
            self.saw.append((kind, _harmless(str(link)), _harmless(vars(link)), frames_of(link)))

    @contextmanager
    def catching(self, *kinds: type[BaseException]) -> Iterator[None]:
        kinds = kinds or (Exception,)
        try:
            yield
        except kinds as error:
            self.caught(error)
            # What an app does with a traceback is its business; here it must not keep the stream alive.
            error.__traceback__ = None
        else:
            self.saw.append("no exception")

    def requests(self) -> list[RequestLog]:
        """What this app asked of the server so far."""
        return self.server.log[self._before :]


def run(act: Act, server: ThreadedFaultServer) -> App:
    """Run a synchronous or asynchronous act to its end, with what reaches only the logs noted too."""
    app = App(server)
    with _noise(app):
        if inspect.iscoroutinefunction(act):
            asyncio.run(_to_the_end(act, app))
        else:
            with ExitStack() as stack:
                stack.callback(lambda: [client.close() for client in app.clients])
                act(app)
                gc.collect()
        gc.collect()
    return app


async def _to_the_end(act: Act, app: App) -> None:
    try:
        await act(app)
        gc.collect()
    finally:
        for client in app.clients:
            await client.close()


@contextmanager
def _noise(app: App) -> Iterator[None]:
    """Complaints of the interpreter and of asyncio that an app would find on stderr."""
    noise: set[str] = set()
    loops: WeakSet[Any] = WeakSet()
    loop_type, patches = asyncio.base_events.BaseEventLoop, pytest.MonkeyPatch()
    make, complain = loop_type.__init__, loop_type.default_exception_handler

    def made(loop: Any) -> None:
        make(loop)
        loops.add(loop)

    def complained(loop: Any, context: dict[str, Any]) -> None:
        if loop in loops:  # and not of the fault server, or of a test before
            noise.add(f"asyncio: {context['message']}: {type(context.get('exception')).__qualname__}")
        else:
            complain(loop, context)

    def hook(args: Any) -> None:
        noise.add(f"unraisable: {args.exc_type.__name__}: {args.exc_value}")

    patches.setattr(loop_type, "__init__", made)
    patches.setattr(loop_type, "default_exception_handler", complained)
    patches.setattr(sys, "unraisablehook", hook)
    try:
        yield
    finally:
        patches.undo()
    app.saw.append(sorted(noise))


def settle() -> None:
    """Everything that ended, however it was left, has been told to the sinks."""
    gc.collect()
    current = lifecycle.current()
    if current is not None:
        current.flush()


def observe(act: Act, server: ThreadedFaultServer, config: Config | None = None) -> RecordList:
    """Run an act bare, then observed: the app must have seen the same. Returns what was recorded."""
    bare = run(act, server)
    with recorded(config) as records:
        app = run(act, server)
        settle()
        open_left = list(lifecycle.current()._open)  # type: ignore[union-attr]
    assert app.saw == bare.saw
    assert records.faults == []
    assert open_left == [], "counted only because the runtime was stopped"
    return records


def verdicts(records: Iterable[Any]) -> list[tuple[str, str]]:
    return [(record.outcome.value, record.error_type) for record in records]


class Cases:
    """Acts with what must be recorded of them, for a parametrized test."""

    def __init__(self) -> None:
        self.cases: list[Any] = []

    def counted(self, *want: tuple[str, str]) -> Callable[[Act], Act]:
        """Add the decorated act, whose streams must be reported as this, in this order."""

        def register(act: Act) -> Act:
            self.cases.append(pytest.param(act, list(want), id=getattr(act, "__name__", "act")))
            return act

        return register


def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition that other threads or the peer will bring about."""
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.001)


async def auntil(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + HANGS
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        await asyncio.sleep(0.001)
