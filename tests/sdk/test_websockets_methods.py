"""Apps that hold methods of a WebSocket instead of the SDK's connection: they work, and all of it is counted."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from app_support import App, verdicts
from streamvitals.faults import ThreadedFaultServer
from streamvitals.testing import RecordList, recorded
from surface_cases import CONNECTED
from websocket_acts import ENDS, LONG, Socket, async_client, client

pytestmark = pytest.mark.skipif(not CONNECTED, reason="no WebSockets in this SDK")
every_socket = pytest.mark.parametrize("call", CONNECTED, ids=lambda call: call.name)
modes = pytest.mark.parametrize("mode", ["sync", "async"])


def message(call: Socket, spec: str) -> str:
    return json.dumps({"type": "response.create", **call.asks(spec)})


def kind(app: App, raw: str | bytes) -> str:
    app.saw.append(raw)
    return str(json.loads(raw)["type"])


def methods(app: App, call: Socket) -> tuple[Any, Any, Any]:
    """Of a connection that nobody else holds."""
    socket = call.connect(client(app), "ok").enter()._connection
    return socket.recv, socket.send, socket.close


async def amethods(app: App, call: Socket) -> tuple[Any, Any, Any]:
    socket = (await call.connect(async_client(app), "ok").enter())._connection
    return socket.recv, socket.send, socket.close


@every_socket
@modes
def test_a_talk_by_methods_alone(call: Socket, mode: str, observe: Callable[..., RecordList]) -> None:
    """The connection goes while a response is under way, the library's own hold on the socket when it is closed."""
    specs = ("ok", "length")

    def act(app: App) -> None:
        connection = call.connect(client(app), "ok").enter()
        recv, send, close = (getattr(connection._connection, name) for name in ("recv", "send", "close"))
        for spec in specs:
            send(message(call, spec))
            recv()
            connection = None
            gc.collect()
            while kind(app, recv()) not in ENDS:
                pass
        close()
        gc.collect()
        with app.catching():
            recv()
        with app.catching():
            send("what nobody hears")
        close()

    async def aact(app: App) -> None:
        connection = await call.connect(async_client(app), "ok").enter()
        recv, send, close = (getattr(connection._connection, name) for name in ("recv", "send", "close"))
        for spec in specs:
            await send(message(call, spec))
            await recv()
            connection = None
            gc.collect()
            while kind(app, await recv()) not in ENDS:
                pass
        await close()
        gc.collect()
        with app.catching():
            await recv()
        with app.catching():
            await send("what nobody hears")
        await close()

    assert verdicts(observe(act if mode == "sync" else aact)) == [("completed", ""), ("length", "")]


@every_socket
@modes
@pytest.mark.parametrize("left", ["closed", "dropped"])
def test_leaving_a_response(call: Socket, mode: str, left: str, observe: Callable[..., RecordList]) -> None:
    """By the one method that is left, or by dropping it while the library goes on holding the socket."""

    def act(app: App) -> None:
        recv, send, close = methods(app, call)
        socket = weakref.ref(recv.__self__)
        send(message(call, LONG))
        del send
        while kind(app, recv()) != "response.created":
            pass
        del recv
        gc.collect()
        if left == "closed":
            close()
        else:
            del close
            gc.collect()
            app.saw.append(socket() is not None)
            socket().close()

    async def aact(app: App) -> None:
        recv, send, close = await amethods(app, call)
        socket = weakref.ref(recv.__self__)
        await send(message(call, LONG))
        del send
        while kind(app, await recv()) != "response.created":
            pass
        del recv
        gc.collect()
        if left == "closed":
            await close()
        else:
            del close
            gc.collect()
            app.saw.append(socket() is not None)
            await socket().close()

    assert verdicts(observe(act if mode == "sync" else aact)) == [("abandoned", left)]


@every_socket
@modes
def test_they_are_methods_of_the_socket(call: Socket, mode: str, observe: Callable[..., RecordList]) -> None:
    def look(app: App, socket: Any) -> None:
        for name in ("recv", "send", "close"):
            method = getattr(socket, name)
            app.saw.append((
                type(method), method.__self__ is socket, method.__name__, method == getattr(socket, name),
                inspect.iscoroutinefunction(method), inspect.iscoroutinefunction(getattr(type(socket), name)),
            ))
        app.saw.append((type(socket).__module__, type(socket).__qualname__))

    def act(app: App) -> None:
        with call.connect(client(app), "ok") as connection:
            look(app, connection._connection)

    async def aact(app: App) -> None:
        async with call.connect(async_client(app), "ok") as connection:
            look(app, connection._connection)

    assert observe(act if mode == "sync" else aact) == []


@contextmanager
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@every_socket
@modes
@pytest.mark.parametrize("kept", ["recv", "close", "nothing"])
def test_a_socket_lives_as_long_as_it_would(
    call: Socket, mode: str, kept: str, observe: Callable[..., RecordList]
) -> None:
    """Down to the collector: what goes with its last reference still does."""

    def note(app: App, what: Any, *references: weakref.ref[Any]) -> None:
        app.saw.append([reference() is not None for reference in references])

    def act(app: App) -> None:
        connection = call.connect(client(app), "ok").enter()
        socket = weakref.ref(connection._connection)
        dropped, library = weakref.ref(connection), _threads(connection._connection)
        method = getattr(connection._connection, kept, None)
        with _without_collector():
            connection.close()
            for thread in library:
                thread.join()
            note(app, method, dropped, socket)
            del connection
            note(app, method, dropped, socket)
            del method
            note(app, None, dropped, socket)

    async def aact(app: App) -> None:
        connection = await call.connect(async_client(app), "ok").enter()
        socket, dropped = weakref.ref(connection._connection), weakref.ref(connection)
        method = getattr(connection._connection, kept, None)
        with _without_collector():
            await connection.close()
            for _ in range(20):
                await asyncio.sleep(0)
            note(app, method, dropped, socket)
            del connection
            note(app, method, dropped, socket)
            del method
            note(app, None, dropped, socket)

    assert observe(act if mode == "sync" else aact) == []


def _threads(socket: Any) -> list[threading.Thread]:
    return [thing for thing in vars(socket).values() if isinstance(thing, threading.Thread)]


@every_socket
def test_a_method_that_was_got_before_we_were_gone(call: Socket, server: ThreadedFaultServer) -> None:
    app = App(server)
    with recorded() as records:
        recv, send, close = methods(app, call)
        send(message(call, "ok"))
    while kind(app, recv()) not in ENDS:
        pass
    send(message(call, "length"))
    while kind(app, recv()) not in ENDS:
        pass
    close()
    assert verdicts(records) == [("abandoned", "never_iterated")]
    assert records.faults == []
