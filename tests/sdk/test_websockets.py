"""The SDK's WebSockets over real ones: what is counted besides how one response ends, and that nothing else changes.

The table of surfaces and faults is in test_surfaces.py, the rules by which messages are told apart in
test_conversation.py.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app_support import App, auntil, run, settle, until, verdicts
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.faults.payloads import PROMPT_TOKENS
from streamvitals.process import lifecycle
from streamvitals.sdk.openai_sdk import OPENAI
from streamvitals.stream.conversation import Conversation
from streamvitals.testing import RecordList, recorded
from surface_cases import CONNECTED
from websocket_acts import (
    ABANDONS,
    ASYNC,
    ENDS,
    SYNC,
    Socket,
    aabandoning,
    abandoning,
    alisten,
    areading,
    async_client,
    client,
    has_lanes,
    listen,
    reading,
)

REALTIME = [call for call in CONNECTED if call.realtime]
pytestmark = pytest.mark.skipif(not CONNECTED, reason="no WebSockets in this SDK")
every_socket = pytest.mark.parametrize("call", CONNECTED, ids=lambda call: call.name)
one_realtime = pytest.mark.parametrize("call", REALTIME[:1], ids=lambda call: call.name)
modes = pytest.mark.parametrize("mode", ["sync", "async"])


@pytest.fixture(scope="module", autouse=True)
def _warm(server: ThreadedFaultServer) -> None:
    """The SDK builds most of its types at first use; full collections need not walk them any more."""
    for call in CONNECTED:
        run(reading(call, "events", "ok"), server)
    gc.collect()
    gc.freeze()


def stalled() -> int:
    current = lifecycle.current()
    assert current is not None
    return sum(current.snapshot().stalled.values())


def active() -> int:
    current = lifecycle.current()
    assert current is not None
    return sum(current.snapshot().active.values())


# -- what a record says


@every_socket
@modes
def test_times_usage_chunks_and_bytes(
    call: Socket, mode: str, observe: Callable[..., RecordList], server: ThreadedFaultServer
) -> None:
    make = reading if mode == "sync" else areading
    record = observe(make(call, "events", "ok?first_token=0.01"))[0]
    server.wait_idle()
    entry = server.log[-1]
    assert record.usage is not None
    assert record.usage[:4] == (PROMPT_TOKENS, 8, 3, None if call.realtime else 2)
    assert record.first_chunk is not None
    assert record.first_token is not None
    assert record.first_token > record.first_chunk
    assert record.chunks == entry.chunks
    assert record.bytes_received is not None
    assert 0 < entry.bytes_sent - record.bytes_received <= 4 * entry.chunks  # the heads of the frames
    assert (record.response_id, record.request_id) == ("resp_streamvitals_1", "req_socket")
    assert record.labels[:4] == ("chat", "other", "sv-ok?first_token=0.01", "127.0.0.1")
    assert (record.url_path, record.server_port) == (entry.path, server.port)
    assert record.attempts == ()


@every_socket
@modes
def test_two_responses_one_after_the_other(
    call: Socket, mode: str, observe: Callable[..., RecordList], server: ThreadedFaultServer
) -> None:
    def act(app: App) -> None:
        with call.connect(client(app), "ok") as connection:
            for spec in ("ok", "length"):
                connection.response.create(**call.asks(spec))
                listen(app, connection, "events")

    async def aact(app: App) -> None:
        async with call.connect(async_client(app), "ok") as connection:
            for spec in ("ok", "length"):
                await connection.response.create(**call.asks(spec))
                await alisten(app, connection, "events")

    records = observe(act if mode == "sync" else aact)
    assert verdicts(records) == [("completed", ""), ("length", "")]
    server.wait_idle()
    assert [record.chunks for record in records] == [entry.chunks for entry in server.log[-2:]]


@one_realtime
@modes
def test_two_responses_at_once(
    call: Socket, mode: str, observe: Callable[..., RecordList], server: ThreadedFaultServer
) -> None:
    specs = ("ok?chunks=6&gap=0.01", "content-filter?chunks=5&gap=0.012")

    def act(app: App) -> None:
        with call.connect(client(app), "ok") as connection:
            for spec in specs:
                connection.response.create(**call.asks(spec))
            for _ in specs:
                listen(app, connection, "recv")
        app.saw = [len(app.saw)]  # in which order they come is the machine's

    async def aact(app: App) -> None:
        async with call.connect(async_client(app), "ok") as connection:
            for spec in specs:
                await connection.response.create(**call.asks(spec))
            for _ in specs:
                await alisten(app, connection, "recv")
        app.saw = [len(app.saw)]

    records = observe(act if mode == "sync" else aact)
    server.wait_idle()
    told = {record.outcome.value: record.chunks for record in records}
    assert told == {"completed": server.log[-2].chunks, "content_filter": server.log[-1].chunks}
    assert len({record.response_id for record in records}) == 2


@one_realtime
def test_one_reset_ends_both(call: Socket, observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        with app.catching(), call.connect(client(app), "ok") as connection:
            connection.response.create(**call.asks("stall-then-fine?stall=20"))
            connection.response.create(**call.asks("reset-before-first-chunk?delay=0.05"))
            for _ in connection:
                pass

    assert verdicts(observe(act)) == [("reset", "connection_reset")] * 2


@pytest.mark.skipif(not has_lanes(), reason="no lanes in this SDK")
def test_lanes(observe: Callable[..., RecordList], server: ThreadedFaultServer) -> None:
    call = CONNECTED[0]

    async def act(app: App) -> None:
        from openai.lib import responses_websocket as lanes

        limits = lanes.ResponsesWebSocketLimits(
            max_lanes=4, max_events_per_lane=999, max_events=999, max_bytes_per_lane=1 << 20, max_bytes=1 << 20
        )
        async with (
            call.connect(async_client(app), "ok") as connection,
            lanes.AsyncResponsesWebSocketSession(connection, limits=limits) as session,
        ):
            asked = []
            for name, spec in (("one", "ok?gap=0.01"), ("two", "length?gap=0.01")):
                lane = session.lane(name)
                await lane.send({"type": "response.create", **call.asks(spec)})
                asked.append(lane.get_final_response())
            app.saw += [response.status for response in await asyncio.gather(*asked)]

    records = observe(act)
    server.wait_idle()
    assert sorted(verdicts(records)) == [("completed", ""), ("length", "")]
    assert sorted(record.chunks for record in records) == sorted(entry.chunks for entry in server.log[-2:])


@one_realtime
def test_what_the_server_says_unasked(call: Socket, observe: Callable[..., RecordList]) -> None:
    """As with a server that detects the end of a turn by itself."""

    def act(app: App) -> None:
        with call.connect(client(app), "ok") as connection:
            connection.input_audio_buffer.commit()
            listen(app, connection, "events")

    record = observe(act)[0]
    assert (record.outcome.value, record.first_chunk, record.chunks) == ("completed", None, 11)
    assert record.first_token is not None


@every_socket
def test_what_was_queued_before_the_connection_was_open(call: Socket, observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        manager = call.connect(client(app), "ok")
        manager.send({"type": "response.create", **call.asks("ok")})
        with manager as connection:
            listen(app, connection, "events")

    if not hasattr(call.connect(client(App(_no_server())), "ok"), "send"):
        pytest.skip("this SDK queues nothing")
    assert verdicts(observe(act)) == [("completed", "")]


def _no_server() -> Any:
    class Server:
        base_url, log = "http://localhost", ()

    return Server


@every_socket
@modes
def test_the_sdk_reconnects_and_the_app_asks_again(
    call: Socket, mode: str, observe: Callable[..., RecordList]
) -> None:
    """The response that was under way is lost with its socket; the next one is on another."""
    again = "ok?after=1"  # another one, or it would be a retry of a request that the server has counted

    def options() -> dict[str, Any]:
        return {"on_reconnecting": lambda event: None, "initial_delay": 0.001}

    if "on_reconnecting" not in inspect.signature(_resource(call, client(App(_no_server()))).connect).parameters:
        pytest.skip("this SDK does not reconnect")

    async def aact(app: App) -> None:
        async with _connect(call, async_client(app), **options()) as connection:
            await connection.response.create(**call.asks("fin-at-boundary"))
            socket = connection._connection
            reader = asyncio.ensure_future(_until_end(app, connection))
            await auntil(lambda: connection._connection is not socket)
            await connection.response.create(**call.asks(again))
            await reader

    def threaded(app: App) -> None:
        with _connect(call, client(app), **options()) as connection:
            connection.response.create(**call.asks("fin-at-boundary"))
            socket = connection._connection
            reader = threading.Thread(target=_read_until_end, args=(app, connection))
            reader.start()
            until(lambda: connection._connection is not socket and not connection._is_reconnecting)
            connection.response.create(**call.asks(again))
            reader.join()

    records = observe(threaded if mode == "sync" else aact)
    assert verdicts(records) == [("truncated", "incomplete_read"), ("completed", "")]


def _resource(call: Socket, made: Any) -> Any:
    for part in call.resource.split("."):
        made = getattr(made, part)
    return made


def _connect(call: Socket, made: Any, **options: Any) -> Any:
    return _resource(call, made).connect(**({"model": "sv-ok"} if call.realtime else {}), **options)


def _read_until_end(app: App, connection: Any) -> None:
    for event in connection:
        if event.type in ENDS:
            app.saw.append(event.type)
            return


async def _until_end(app: App, connection: Any) -> None:
    async for event in connection:
        if event.type in ENDS:
            app.saw.append(event.type)
            return


# -- the app's own ends


def _ends() -> Iterator[Any]:
    for call in CONNECTED:
        for mode, ways in (("sync", SYNC), ("async", ASYNC)):
            for how in ways:
                yield pytest.param(call, how, mode, id=f"{call.name}-{how}-{mode}")


@pytest.mark.parametrize(("call", "how", "mode"), list(_ends()))
def test_the_apps_own_ends(call: Socket, how: str, mode: str, observe: Callable[..., RecordList]) -> None:
    act = abandoning(call, how) if mode == "sync" else aabandoning(call, how)
    assert verdicts(observe(act)) == [ABANDONS[how]]


@every_socket
def test_a_read_with_a_deadline_is_no_end(call: Socket, observe: Callable[..., RecordList]) -> None:
    async def act(app: App) -> None:
        async with call.connect(async_client(app), "ok") as connection:
            await connection.response.create(**call.asks("stall-then-fine?stall=0.2"))
            tried = 0
            while True:
                try:
                    event = await asyncio.wait_for(connection.recv(), 0.05)
                except asyncio.TimeoutError:
                    tried += 1
                    continue
                if event.type in ENDS:
                    break
            app.saw.append((event.type, tried > 0))

    record = observe(act, Config(stall_after=0.15))[0]
    assert (record.outcome.value, record.stalls) == ("completed", 1)


@every_socket
def test_what_is_open_when_the_process_ends(call: Socket, server: ThreadedFaultServer) -> None:
    app = App(server)
    with recorded() as records:
        connection = call.connect(client(app), "ok").enter()
        connection.response.create(**call.asks("stall-then-fine?stall=20"))
        while connection.recv().type != "response.created":
            pass
        current = lifecycle.current()
        assert current is not None
        current.close()
        connection.close()
    assert verdicts(records) == [("abandoned", "dropped")]


# -- silence


@every_socket
@modes
def test_a_hang_shows_while_it_lasts_and_an_idle_socket_never(
    call: Socket, mode: str, server: ThreadedFaultServer
) -> None:
    app, released = App(server), threading.Event()
    idle = threading.Event()

    def talk() -> None:
        with call.connect(client(app), "ok") as connection:
            idle.wait()
            connection.response.create(**call.asks("stall-then-fine?stall=0.4"))
            listen(app, connection, "events")
            released.set()

    async def atalk() -> None:
        async with call.connect(async_client(app), "ok") as connection:
            await asyncio.to_thread(idle.wait)
            await connection.response.create(**call.asks("stall-then-fine?stall=0.4"))
            await alisten(app, connection, "events")
            released.set()

    with recorded(Config(stall_after=0.05)) as records:
        thread = threading.Thread(target=talk if mode == "sync" else lambda: asyncio.run(atalk()))
        thread.start()
        assert active() == 0
        idle.set()
        until(lambda: stalled() == 1)
        until(lambda: released.is_set())
        thread.join()
        assert (active(), stalled()) == (0, 0)
    assert [(record.outcome.value, record.stalls) for record in records] == [("completed", 1)]


@every_socket
def test_an_app_that_does_not_read_is_not_stalled(call: Socket, server: ThreadedFaultServer) -> None:
    app = App(server)
    with recorded(Config(stall_after=0.001)) as records, call.connect(client(app), "ok") as connection:
        connection.response.create(**call.asks("ok"))
        server.wait_idle()
        assert (active(), stalled()) == (1, 0)
        listen(app, connection, "events")
    assert records[0].hold > 0


# -- nothing else changes


@every_socket
@modes
@pytest.mark.parametrize("status", ["401", "429", "500"])
def test_a_connection_that_is_refused_is_no_stream(
    call: Socket, mode: str, status: str, observe: Callable[..., RecordList]
) -> None:
    def options() -> dict[str, Any]:
        return {"extra_headers": {"sv-scenario": status}}

    def act(app: App) -> None:
        with app.catching(), _connect(call, client(app), **options()):
            pass

    async def aact(app: App) -> None:
        with app.catching():
            async with _connect(call, async_client(app), **options()):
                pass

    assert verdicts(observe(act if mode == "sync" else aact)) == []


@every_socket
@modes
def test_a_fault_of_ours_is_counted_and_the_app_sees_none_of_it(
    call: Socket, mode: str, server: ThreadedFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    act = (reading if mode == "sync" else areading)(call, "events", "ok")
    bare = run(act, server)

    def fail(self: Any, *args: Any) -> None:
        raise AssertionError("ours")

    for name in ("_read", "_add", "_rest", "_all_end"):
        with monkeypatch.context() as broken, recorded() as records:
            broken.setattr(Conversation, name, fail)
            app = run(act, server)
            settle()
            assert app.saw == bare.saw, name
        assert records.faults, name


@every_socket
def test_it_is_taken_off_open_connections_too(call: Socket, server: ThreadedFaultServer) -> None:
    app = App(server)
    with recorded() as records:
        connection = call.connect(client(app), "ok").enter()
        watched = type(connection._connection)
        connection.response.create(**call.asks("ok"))
    assert type(connection._connection) is watched.__base__
    assert not [name for name in vars(connection._connection) if "streamvitals" in name]
    connection.response.create(**call.asks("ok"))
    for _ in range(2):
        listen(app, connection, "events")
    connection.close()
    assert verdicts(records) == [("abandoned", "never_iterated")]
    assert not hasattr(type(connection).__init__, "__wrapped__")


@every_socket
@modes
def test_nothing_of_a_connection_is_kept(call: Socket, mode: str, server: ThreadedFaultServer) -> None:
    gone: list[weakref.ref[Any]] = []

    def act(app: App) -> None:
        with call.connect(client(app), "ok") as connection:
            connection.response.create(**call.asks("ok"))
            listen(app, connection, "events")
            gone.extend((weakref.ref(connection), weakref.ref(connection._connection)))

    async def aact(app: App) -> None:
        async with call.connect(async_client(app), "ok") as connection:
            await connection.response.create(**call.asks("ok"))
            await alisten(app, connection, "events")
            gone.extend((weakref.ref(connection), weakref.ref(connection._connection)))

    with recorded():
        run(act if mode == "sync" else aact, server)
        # The library's own thread may be a moment longer in the connection.
        until(lambda: gc.collect() >= 0 and not any(reference() for reference in gone))


def test_a_stand_in_for_a_connection_is_left_alone(records: RecordList) -> None:
    class Fake:
        def recv(self) -> None:
            raise NotImplementedError

    fake = Fake()
    CONNECTED[0].connection()(fake)
    assert vars(fake) == {}
    assert records.faults == []


@every_socket
def test_a_message_that_is_parsed_without_a_connection(call: Socket, observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        connection = call.connection()
        app.saw.append(connection.parse_event(None, b'{"type": "error"}').type)
        with app.catching():
            connection.parse_event(None, b"{")

    assert observe(act) == []


def test_the_modules_are_imported_by_the_app_alone() -> None:
    told = (
        "import sys, streamvitals; streamvitals.instrument(); import openai; client = openai.OpenAI(api_key='none');"
        f" print([name for name in {OPENAI.socket_modules} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
