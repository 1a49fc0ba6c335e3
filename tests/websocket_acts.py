"""How an application can talk over the SDK's WebSockets, and in which forms it can listen."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from app_support import App
from surface_acts import any_client

ENDS = frozenset({
    "response.done", "response.completed", "response.incomplete", "response.failed", "response.cancelled", "error",
})
LONG = "ok?chunks=500&gap=0.01"
try:
    from websockets.version import version as _version
except ImportError:
    _version = "0"
SYNC_PINGS = int(_version.split(".")[0]) >= 15
SESSION = "openai.lib.responses_websocket"


@dataclass(frozen=True)
class Socket:
    """One ``connect`` of the SDK. ``surface`` is the fault server's, ``operation`` what must be reported."""

    name: str
    surface: str
    resource: str  # dotted, below the client
    operation: str = "chat"
    structured: bool = False

    @property
    def realtime(self) -> bool:
        return self.surface == "realtime"

    def exists(self) -> bool:
        """Whether the installed SDK has it, and what it needs for it."""
        try:
            importlib.import_module("websockets")
        except ImportError:
            return False
        target: Any = any_client()
        for part in self.resource.split("."):
            target = getattr(target, part, None)
        return hasattr(target, "connect")

    def forms(self) -> tuple[str, ...]:
        """In which ways its events can be read."""
        connection = self.connection()
        more = ("handlers",) if hasattr(connection, "dispatch_events") else ()
        return ("events", "recv", "bytes", *more, *(("lane",) if self.name == "responses-ws" and has_lanes() else ()))

    def connection(self) -> Any:
        """The SDK's synchronous class."""
        module = importlib.import_module(f"openai.resources.{self.resource}.{self.resource.split('.')[-1]}")
        return getattr(module, "RealtimeConnection" if self.realtime else "ResponsesConnection")

    def connect(self, client: Any, spec: str, **options: Any) -> Any:
        """What is entered to connect."""
        target = client
        for part in self.resource.split("."):
            target = getattr(target, part)
        given = {"websocket_connection_options": {"close_timeout": 5, **options}}
        return target.connect(model=f"sv-{spec}", **given) if self.realtime else target.connect(**given)

    def asks(self, spec: str, **more: Any) -> dict[str, Any]:
        """A request for one response, as the SDK's helper takes it."""
        if self.realtime:
            return {"response": {"metadata": {"sv_scenario": spec}}, **more}
        return {"model": f"sv-{spec}", "input": "hello", **more}


SOCKETS = (
    Socket("responses-ws", "responses-ws", "responses"),
    Socket("realtime", "realtime", "realtime"),
    Socket("beta responses-ws", "responses-ws", "beta.responses"),
    Socket("beta realtime", "realtime", "beta.realtime"),
)


def has_lanes() -> bool:
    """Whether the SDK has sessions of several lanes."""
    try:
        importlib.import_module(SESSION)
    except ImportError:
        return False
    return True


def client(app: App) -> Any:
    return app.client(websocket_base_url=app.server.base_url.replace("http", "ws", 1))


def async_client(app: App) -> Any:
    return app.async_client(websocket_base_url=app.server.base_url.replace("http", "ws", 1))


def _seen(app: App, event: Any) -> str:
    """Note an event, give its type."""
    if isinstance(event, (bytes, str)):
        app.saw.append(event)
        return str(json.loads(event)["type"])
    app.saw.append(event.to_dict(warnings=False) if hasattr(event, "to_dict") else event)
    return str(event.type)


# -- listening, in every form ----------------------------------------------------------------------------------


def listen(app: App, connection: Any, form: str) -> None:
    """Until a response has ended, or the connection has."""
    if form == "events":
        for event in connection:
            if _seen(app, event) in ENDS:
                return
    elif form == "handlers":
        for kind in ENDS:
            connection.on(kind, lambda event: connection.close())
        connection.on("event", lambda event: _seen(app, event))
        connection.dispatch_events()
    else:
        while _seen(app, connection.recv_bytes() if form == "bytes" else connection.recv()) not in ENDS:
            pass


async def alisten(app: App, connection: Any, form: str) -> None:
    if form == "events":
        async for event in connection:
            if _seen(app, event) in ENDS:
                return
    elif form == "handlers":
        for kind in ENDS:
            connection.on(kind, lambda event: connection.close())
        connection.on("event", lambda event: _seen(app, event))
        await connection.dispatch_events()
    else:
        while _seen(app, await (connection.recv_bytes() if form == "bytes" else connection.recv())) not in ENDS:
            pass


def reading(call: Socket, form: str, spec: str, **options: Any) -> Callable[[App], None]:
    """Ask once and listen to the end, or to the error."""

    def act(app: App) -> None:
        with app.catching(), call.connect(client(app), spec, **options) as connection:
            if form == "lane":
                lanes = importlib.import_module(SESSION)
                with lanes.ResponsesWebSocketSession(connection, limits=_limits(lanes)) as session:
                    session.default.send({"type": "response.create", **call.asks(spec)})
                    while _seen(app, session.default.recv()) not in ENDS:
                        pass
            else:
                connection.response.create(**call.asks(spec))
                listen(app, connection, form)

    return act


def areading(call: Socket, form: str, spec: str, **options: Any) -> Callable[[App], Any]:
    async def act(app: App) -> None:
        with app.catching():
            async with call.connect(async_client(app), spec, **options) as connection:
                if form == "lane":
                    lanes = importlib.import_module(SESSION)
                    async with lanes.AsyncResponsesWebSocketSession(connection, limits=_limits(lanes)) as session:
                        await session.default.send({"type": "response.create", **call.asks(spec)})
                        while _seen(app, await session.default.recv()) not in ENDS:
                            pass
                else:
                    await connection.response.create(**call.asks(spec))
                    await alisten(app, connection, form)

    return act


def _limits(lanes: Any) -> Any:
    return lanes.ResponsesWebSocketLimits(
        max_lanes=4, max_events_per_lane=10_000, max_events=10_000, max_bytes_per_lane=1 << 24, max_bytes=1 << 24
    )


# -- ends of the app's own --------------------------------------------------------------------------------------

ABANDONS = {
    "break": ("abandoned", "closed"),  # and out of the `with` block
    "close": ("abandoned", "closed"),
    "never": ("abandoned", "closed"),
    "error": ("abandoned", "closed"),
    "drop": ("abandoned", "dropped"),
    "cancel": ("cancelled", "cancelled"),
    "cancel and drop": ("cancelled", "cancelled"),
    "interrupt": ("cancelled", "keyboard_interrupt"),
}
SYNC = ("break", "close", "never", "error", "drop", "interrupt")
ASYNC = ("break", "close", "never", "error", "drop", "cancel", "cancel and drop")


class Unwanted(Exception):
    """What an application raises when it does not like an answer."""


def abandoning(call: Socket, how: str) -> Callable[[App], None]:
    """Read a few events, then leave."""

    def act(app: App) -> None:
        if how == "drop":
            connection = call.connect(client(app), LONG).enter()
            _begin(app, call, connection)
            socket = connection._connection  # the library's own thread holds it
            del connection
            gc.collect()
            socket.close()
            return
        with app.catching(Unwanted, KeyboardInterrupt), call.connect(client(app), LONG) as connection:
            if how == "never":
                connection.response.create(**call.asks(LONG))
                return
            _begin(app, call, connection)
            if how == "close":
                connection.close()
            elif how != "break":
                raise Unwanted if how == "error" else KeyboardInterrupt

    return act


def _begin(app: App, call: Socket, connection: Any) -> None:
    connection.response.create(**call.asks(LONG))
    while _seen(app, connection.recv()) != "response.created":
        pass


def aabandoning(call: Socket, how: str) -> Callable[[App], Any]:
    async def act(app: App) -> None:
        if how.endswith("drop"):
            connection = await call.connect(async_client(app), LONG).enter()
            await _abegin(app, call, connection)
            if how.startswith("cancel"):
                await _cancel(app, connection)
            socket = connection._connection  # the loop holds it
            del connection
            gc.collect()
            await socket.close()
            return
        with app.catching(Unwanted):
            async with call.connect(async_client(app), LONG) as connection:
                if how == "never":
                    await connection.response.create(**call.asks(LONG))
                    return
                await _abegin(app, call, connection)
                if how == "close":
                    await connection.close()
                elif how == "cancel":
                    await _cancel(app, connection)
                elif how == "error":
                    raise Unwanted

    return act


async def _abegin(app: App, call: Socket, connection: Any) -> None:
    await connection.response.create(**call.asks(LONG))
    while _seen(app, await connection.recv()) != "response.created":
        pass


async def _cancel(app: App, connection: Any) -> None:
    """Cancel the task that reads, once it is at it."""
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in connection:
            begun.set()

    task = asyncio.ensure_future(read())
    await begun.wait()
    task.cancel()
    with app.catching(asyncio.CancelledError):
        await task


def ends(call: Socket, mode: str) -> Iterator[tuple[Callable[[App], Any], tuple[str, str]]]:
    """Every way in which an application leaves, and what must be reported of it."""
    for how in SYNC if mode == "sync" else ASYNC:
        yield (abandoning if mode == "sync" else aabandoning)(call, how), ABANDONS[how]
