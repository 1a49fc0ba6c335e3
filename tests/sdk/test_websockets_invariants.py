"""What holds of every stream, for the responses of WebSockets: retries, kept text, spans, collectors, forks."""

from __future__ import annotations

import gc
import json
import os
import threading
from collections import Counter
from typing import Any

import pytest

from app_support import App, run, settle, verdicts
from counting_support import counted, open_streams, within_time
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.stream.partial import text_of
from streamvitals.testing import recorded
from surface_cases import CONNECTED
from websocket_acts import LONG, Socket, async_client, client, listen, reading

RESPONSES = [call for call in CONNECTED if not call.realtime]
REALTIME = [call for call in CONNECTED if call.realtime]
pytestmark = pytest.mark.skipif(not CONNECTED, reason="no WebSockets in this SDK")
one_of_each = pytest.mark.parametrize("call", [*RESPONSES[:1], *REALTIME[:1]], ids=lambda call: call.name)


# -- the application's own retries


@pytest.mark.skipif(not RESPONSES, reason="no Responses over WebSockets in this SDK")
def test_the_same_asked_again_on_another_connection_is_a_retry(server: ThreadedFaultServer) -> None:
    app = App(server)
    with recorded() as records:
        for spec in ("reset-after-n", "ok"):
            with app.catching(), RESPONSES[0].connect(client(app), "ok") as connection:
                connection.send({"type": "response.create", "model": "m", "input": "hello", "sv_scenario": spec})
                listen(app, connection, "events")
    assert verdicts(records) == [("reset", "connection_reset"), ("completed", "")]
    assert [(retry.source, retry.reason) for retry in records.retries] == [("app", "reset")]
    assert [record.chain_attempt for record in records] == [1, 2]


@pytest.mark.skipif(not RESPONSES, reason="no Responses over WebSockets in this SDK")
def test_something_else_asked_is_none(server: ThreadedFaultServer) -> None:
    app = App(server)
    with recorded() as records:
        for spec, asked in (("reset-after-n", "hello"), ("ok", "something else")):
            with app.catching(), RESPONSES[0].connect(client(app), "ok") as connection:
                connection.send({"type": "response.create", "model": "m", "input": asked, "sv_scenario": spec})
                listen(app, connection, "events")
    assert records.retries == []
    assert [chain.event for chain in records.chains] == ["failed"]


@pytest.mark.skipif(not REALTIME, reason="no Realtime in this SDK")
def test_the_next_turn_of_a_conversation_is_none(server: ThreadedFaultServer) -> None:
    app = App(server)
    with recorded() as records, REALTIME[0].connect(client(app), "ok") as connection:
        for spec in ("failed", "ok"):
            connection.response.create(**REALTIME[0].asks(spec))
            listen(app, connection, "events")
    assert verdicts(records) == [("api_error", "server_error"), ("completed", "")]
    assert records.retries == []


# -- text that was asked to be kept


@one_of_each
def test_the_tail_of_a_failed_response(call: Socket, server: ThreadedFaultServer) -> None:
    with recorded(Config(capture_partial=12)) as records:
        run(reading(call, "events", "reset-after-n"), server)
        run(reading(call, "events", "ok"), server)
    assert [record.partial for record in records] == ["ken1 token2 ", None]


def test_sound_is_no_text() -> None:
    assert text_of({"type": "response.output_audio.delta", "delta": "UklGRg=="}) == ""
    assert text_of({"type": "response.output_audio_transcript.delta", "delta": "hello"}) == "hello"


# -- the collector, wherever it strikes


@one_of_each
def test_connections_that_are_dropped_while_the_collector_runs_all_the_time(
    call: Socket, server: ThreadedFaultServer
) -> None:
    app = App(server)
    sockets: list[Any] = []
    made = client(app)

    def drop() -> None:
        connection = call.connect(made, LONG).enter()
        connection.response.create(**call.asks(LONG))
        while connection.recv().type != "response.created":
            pass
        sockets.append(connection._connection)

    def read() -> None:
        with call.connect(made, "ok") as connection:
            connection.response.create(**call.asks("ok"))
            listen(app, connection, "events")

    def act() -> None:
        threads = [threading.Thread(target=work) for work in (drop, read) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    with recorded() as records:
        before = gc.get_threshold()
        gc.set_threshold(1)
        try:
            within_time(act)
        finally:
            gc.set_threshold(*before)
        settle()
        for socket in sockets:
            socket.close()
        assert open_streams() == 0
        assert counted() == {"completed": 4, "abandoned": 4}
    assert Counter(verdicts(records)) == {("completed", ""): 4, ("abandoned", "dropped"): 4}
    assert records.faults == []


# -- a fork


@one_of_each
def test_a_forked_child_counts_its_own(call: Socket, server: ThreadedFaultServer) -> None:
    app = App(server)

    def child() -> None:
        read(client(app))
        settle()
        os.write(told, json.dumps(counted()).encode())

    def read(made: Any) -> None:
        with call.connect(made, "ok") as connection:
            connection.response.create(**call.asks("ok"))
            for event in connection:
                if event.type in ("response.done", "response.completed"):
                    break

    with recorded() as records:
        connection = call.connect(client(app), "ok").enter()
        connection.response.create(**call.asks("stall-then-fine?stall=0.3"))
        answer, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                child()
            finally:
                os._exit(0)
        os.close(told)
        os.waitpid(pid, 0)
        with open(answer, "rb") as lines:
            assert json.loads(lines.read()) == {"completed": 1}
        listen(app, connection, "events")
        connection.close()
    assert verdicts(records) == [("completed", "")]


# -- the event loop


@one_of_each
def test_the_loops_lag_is_measured_while_a_response_is_under_way(call: Socket, server: ThreadedFaultServer) -> None:
    async def act(app: App) -> None:
        async with call.connect(async_client(app), "ok") as connection:
            await connection.response.create(**call.asks("stall-then-fine?stall=0.4"))
            async for event in connection:
                if event.type in ("response.done", "response.completed"):
                    break

    with recorded() as records:
        run(act, server)
    assert records.lags
