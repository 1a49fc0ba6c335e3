"""What the app's own set-up breaks: hooks, redirects, event loops, transports, and the alarms that it sets itself."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import openai
import pytest

from app_acts import LATE_HEADERS, STALL, stands_in
from app_support import _NO_CERTIFICATES, HANGS, MESSAGES, App, http_package, run, until, verdicts
from peer_support import HAS_AIOHTTP, HEAD, peer, reading, says, wait
from streamvitals.faults import ThreadedFaultServer
from streamvitals.testing import RecordList, recorded

Observe = Callable[..., RecordList]
HOOK, DEADLINE = ("rejected", "event_hook"), ("cancelled", "deadline")


class Refused(Exception):
    """Of the app's own."""


def refuse(*_: object) -> None:
    raise Refused


async def arefuse(*_: object) -> None:
    raise Refused


HTTP = http_package()
# As the SDK makes them, but without loading the certificates of all the world.
SYNC, ASYNC = partial(HTTP.Client, verify=_NO_CERTIFICATES), partial(HTTP.AsyncClient, verify=_NO_CERTIFICATES)


# -- hooks and redirects --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("when", ["request", "response"])
def test_an_event_hook_that_raises_is_the_callers(when: str, mode: str, observe: Observe) -> None:
    def act(app: App) -> Any:
        hooks = {when: [refuse if mode == "sync" else arefuse]}
        client = SYNC if mode == "sync" else ASYNC
        return reading(mode, "sv-ok", http_client=client(event_hooks=hooks))(app)

    async def aact(app: App) -> None:
        await act(app)

    assert verdicts(observe(act if mode == "sync" else aact)) == [HOOK]


def test_a_hook_whose_own_request_fails_is_the_callers(observe: Observe) -> None:
    def act(app: App) -> None:
        with socket.create_server(("127.0.0.1", 0)) as door:
            port = door.getsockname()[1]
        hooks = {"request": [lambda _: HTTP.get(f"http://127.0.0.1:{port}/", verify=_NO_CERTIFICATES)]}
        reading("sync", "sv-ok", http_client=SYNC(event_hooks=hooks))(app)

    assert verdicts(observe(act)) == [HOOK]


def test_a_hook_that_makes_an_exception_of_a_status_hides_nothing(observe: Observe) -> None:
    def act(app: App) -> None:
        hooks = {"response": [lambda response: response.raise_for_status()]}
        reading("sync", "sv-503", http_client=SYNC(event_hooks=hooks))(app)

    assert verdicts(observe(act)) == [("http_error", "503")]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_too_many_redirects_are_the_callers(mode: str, observe: Observe) -> None:
    moved = b"HTTP/1.1 307 x\r\nlocation: /v1/chat/completions\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    with peer(says({"m": moved})) as url:

        def act(app: App) -> Any:
            client = (SYNC if mode == "sync" else ASYNC)(follow_redirects=True)
            return reading(mode, "m", base_url=url, http_client=client)(app)

        async def aact(app: App) -> None:
            await act(app)

        assert verdicts(observe(act if mode == "sync" else aact)) == [("rejected", "too_many_redirects")]


def test_what_a_hook_reads_in_vain_is_the_providers(observe: Observe) -> None:
    """It reads the response, for a log say, and the provider is silent."""

    def act(app: App) -> None:
        hooks = {"response": [lambda response: response.read()]}
        reading("sync", "sv-stall", http_client=SYNC(event_hooks=hooks), timeout=0.3)(app)

    assert verdicts(observe(act)) == [("timeout", "read_timeout")]


@pytest.mark.parametrize("status", [301, 302, 307])
def test_a_redirect_that_the_client_does_not_follow_is_the_callers(status: int, observe: Observe) -> None:
    moved = b"HTTP/1.1 %d x\r\nlocation: /v2/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % status
    with peer(says({"m": moved})) as url:

        def act(app: App) -> None:
            reading("sync", "m", base_url=url, http_client=SYNC(follow_redirects=False))(app)

        assert verdicts(observe(act)) == [("rejected", "other")]


# -- event loops ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
def test_a_client_in_a_second_event_loop_is_the_callers(kind: str) -> None:
    """Its pool holds a connection of the first one."""
    if kind == "aiohttp" and not HAS_AIOHTTP:
        pytest.skip("openai[aiohttp] is not installed")

    def play(sock: socket.socket, model: str) -> None:
        sock.sendall(HEAD + b"content-length: 0\r\n\r\n")
        wait(HANGS)

    with peer(play) as url, recorded() as records:
        made = openai.DefaultAioHttpClient() if kind == "aiohttp" else ASYNC()
        client = openai.AsyncOpenAI(api_key="key", base_url=url, max_retries=0, timeout=HANGS, http_client=made)
        loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
        asked: dict[str, Any] = {"messages": MESSAGES, "stream": True}

        async def read(model: str) -> None:
            async for _ in await client.chat.completions.create(model=model, **asked):
                pass

        loops[0].run_until_complete(read("first"))
        with pytest.raises((RuntimeError, openai.APIConnectionError)):
            loops[1].run_until_complete(read("second"))
        loops[0].run_until_complete(client.close())
        for loop in loops:
            loop.close()
    assert verdicts(records)[1:] == [("rejected", "closed_loop")]


@pytest.mark.parametrize("kind", ["httpx", "aiohttp"])
def test_a_pool_that_is_exhausted_is_the_callers(kind: str, server: ThreadedFaultServer) -> None:
    if kind == "aiohttp" and not HAS_AIOHTTP:
        pytest.skip("openai[aiohttp] is not installed")

    def play(sock: socket.socket, model: str) -> None:
        sock.sendall(HEAD + b"content-length: 9999\r\n\r\n")
        wait(HANGS)

    async def act(app: App) -> None:
        make = openai.DefaultAioHttpClient if kind == "aiohttp" else ASYNC
        limited = make(limits=HTTP.Limits(max_connections=1))
        timeout = openai.Timeout(HANGS, pool=0.05)
        client = app.async_client(base_url=url, http_client=limited, timeout=timeout)
        asked: dict[str, Any] = {"model": "m", "messages": MESSAGES, "stream": True}
        async with await client.chat.completions.create(**asked):
            with pytest.raises(openai.APITimeoutError):
                await client.chat.completions.create(**asked)

    with peer(play) as url, recorded() as records:
        run(act, server)
    assert sorted(verdicts(records)) == [("abandoned", "closed"), ("timeout", "pool_timeout")]


# -- the app's machine ----------------------------------------------------------------------------------------


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.open(os.devnull, os.O_RDONLY)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_descriptors_that_are_used_up_are_the_apps(mode: str, observe: Observe) -> None:
    single = HTTP.Limits(max_keepalive_connections=0)  # the next request makes a connection of its own

    def act(app: App) -> None:
        client = SYNC(limits=single)
        reading("sync", "sv-ok", http_client=client)(app)
        with no_more_descriptors():
            reading("sync", "sv-ok", http_client=client)(app)

    async def aact(app: App) -> None:
        client = ASYNC(limits=single)
        await reading("async", "sv-ok", http_client=client)(app)
        with no_more_descriptors():
            await reading("async", "sv-ok", http_client=client)(app)

    assert verdicts(observe(act if mode == "sync" else aact)) == [("completed", ""), ("rejected", "other")]


def test_an_address_that_the_machine_does_not_have_is_the_apps(observe: Observe) -> None:
    def act(app: App) -> None:
        from_elsewhere = HTTP.HTTPTransport(local_address="203.0.113.7", verify=_NO_CERTIFICATES)
        reading("sync", "sv-ok", http_client=SYNC(transport=from_elsewhere))(app)

    assert verdicts(observe(act)) == [("rejected", "other")]


# -- transports of the app ------------------------------------------------------------------------------------


class Bytes(HTTP.SyncByteStream):  # type: ignore[misc, name-defined]
    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error

    def __iter__(self) -> Iterator[bytes]:
        yield b'data: {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}\n\n'
        raise self.error()


class Transport(HTTP.BaseTransport):  # type: ignore[misc, name-defined]
    def __init__(self, error: Callable[[], Exception], before: bool) -> None:
        self.error, self.before = error, before

    def handle_request(self, request: Any) -> Any:
        if self.before:
            raise self.error()
        return HTTP.Response(200, headers={"content-type": "text/event-stream"}, stream=Bytes(self.error))


@pytest.mark.parametrize(
    ("error", "before", "body"),
    [
        (partial(HTTP.ReadTimeout, "x"), ("timeout", "read_timeout"), ("timeout", "read_timeout")),
        (partial(ConnectionResetError, 104, "x"), ("reset", "connection_reset"), ("reset", "connection_reset")),
        (partial(TimeoutError, "x"), ("timeout", "other"), ("timeout", "other")),
        (Refused, ("rejected", "other"), ("cancelled", "other")),
        (partial(KeyError, "x"), ("rejected", "other"), ("cancelled", "other")),
    ],
    ids=["httpx's", "the system's", "a timeout", "its own", "a mistake"],
)
def test_a_transport_of_the_app_that_raises(error: Any, before: Any, body: Any, observe: Observe) -> None:
    """What it says of the provider is believed; an exception of no such class is the app's."""
    for at_once, want in ((True, before), (False, body)):

        def act(app: App, at_once: bool = at_once) -> None:
            with_transport = SYNC(transport=Transport(error, at_once))
            reading("sync", "m", http_client=with_transport)(app)

        assert verdicts(observe(act)) == [want]


# -- the app's own deadlines ----------------------------------------------------------------------------------


@contextmanager
def ringing(kind: type[Exception], app: App, chunks: int) -> Iterator[None]:
    """An alarm of the app's own that rings once the app is blocked in a read of its stream."""

    def handle(number: int, frame: Any) -> None:
        raise kind("too long")

    main = threading.main_thread().ident
    assert main is not None

    def ring() -> None:
        until(lambda: sum(isinstance(seen, dict) for seen in app.saw) >= chunks and stands_in("httpcore", main))
        signal.pthread_kill(main, signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, handle)
    thread = threading.Thread(target=ring)
    thread.start()
    try:
        yield
    finally:
        thread.join()
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", [Refused, TimeoutError, ConnectionAbortedError, openai.APIConnectionError])
@pytest.mark.parametrize(("model", "chunks"), [(LATE_HEADERS, 0), (STALL, 3)], ids=["before", "body"])
def test_an_alarm_of_the_app_is_its_deadline_whatever_it_raises(
    kind: Any, model: str, chunks: int, observe: Observe
) -> None:
    def make(text: str) -> Exception:
        return kind(message=text, request=None) if kind is openai.APIConnectionError else kind(text)

    def act(app: App) -> None:
        with ringing(make, app, chunks):  # type: ignore[arg-type]
            reading("sync", model)(app)

    assert verdicts(observe(act)) == [DEADLINE]


def test_an_exception_that_the_app_was_handling_before_explains_nothing(observe: Observe) -> None:
    """Python makes it the context of whatever is raised next."""

    def act(app: App) -> None:
        try:
            raise HTTP.ReadTimeout("of another request")
        except HTTP.ReadTimeout:
            reading("sync", "m", http_client=SYNC(transport=Transport(Refused, False)))(app)

    records = observe(act)
    assert verdicts(records) == [("cancelled", "other")]
    assert "ReadTimeout" not in records[0].cause_chain
