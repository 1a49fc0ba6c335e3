"""Replies that are no HTTP, and TLS that breaks behind the handshake, over real sockets and every kind of client."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

from app_support import App, http_package, until, verdicts
from peer_support import (
    CHUNKED,
    GOOD,
    HEAD,
    below_tls,
    certificate,
    chunk,
    framed,
    peer,
    reading,
    says,
    wait,
)
from streamvitals.testing import RecordList

Observe = Callable[..., RecordList]
PROTOCOL, INCOMPLETE = ("malformed", "protocol_error"), ("truncated", "incomplete_read")
HUNG_UP, ABORTED = ("reset", "server_disconnected"), ("reset", "connection_aborted")
FIRST = CHUNKED + framed(chunk("a"))

# What the peer says before it hangs up, and what that is.
BEFORE_HEADERS: dict[str, tuple[bytes, tuple[str, str]]] = {
    "nothing": (b"", HUNG_UP),
    "half a status line": (b"HTTP/1.1 20", HUNG_UP),
    "half a head": (b"HTTP/1.1 200 OK\r\ncontent-ty", HUNG_UP),
    "a status that is no number": (b"HTTP/1.1 abc OK\r\n\r\n", PROTOCOL),
    "a page without a head": (b"<html>\r\n\r\n", PROTOCOL),
    "a header without a colon": (b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n", PROTOCOL),
    "a header that is too long": (b"HTTP/1.1 200 OK\r\nx: " + b"a" * 300_000 + b"\r\n\r\n", PROTOCOL),
    "an error whose body ends early": (b"HTTP/1.1 500 x\r\ncontent-length: 99\r\n\r\nabc", ("http_error", "500")),
    "another's greeting": (b"SSH-2.0-OpenSSH_9.6\r\n", PROTOCOL),
    "a page without a line": (b"<html>", PROTOCOL),
    "a length that is no number": (HEAD + b"content-length: abc\r\n\r\n", PROTOCOL),
}
BODY: dict[str, tuple[bytes, tuple[str, str]]] = {
    "a chunk's length that is no number": (FIRST + b"zz\r\nabc\r\n", PROTOCOL),
    "a length below zero": (FIRST + b"-5\r\nabc\r\n", PROTOCOL),
    "a chunk that is longer than it says": (FIRST + b"3\r\nabcdef\r\n0\r\n\r\n", PROTOCOL),
    "a trailer that is none": (FIRST + b"0\r\nnothing at all\r\n\r\n", PROTOCOL),
    "the end inside a chunk": (FIRST + b"ff\r\ndata: {", INCOMPLETE),
    "the end between chunks": (FIRST, INCOMPLETE),
    "the end inside a chunk's length": (FIRST + b"f", INCOMPLETE),
    "the end before the declared length": (HEAD + b"content-length: 9999\r\n\r\n" + chunk("a"), INCOMPLETE),
}
CASES = {**BEFORE_HEADERS, **BODY}


def _cases() -> Iterator[Any]:
    for name in CASES:
        for mode in ("sync", "async"):
            yield pytest.param(name, mode, id=f"{name}-{mode}")
    for name, (_, want) in CASES.items():
        # aiohttp's compiled parser never ends a body that breaks behind its head: nothing is raised, and the app hangs.
        if name not in BODY or want != PROTOCOL:
            yield pytest.param(name, "aiohttp", id=f"{name}-aiohttp")


@pytest.mark.parametrize(("name", "mode"), list(_cases()))
def test_what_is_no_http_is_malformed_and_what_ends_early_is_not(name: str, mode: str, observe: Observe) -> None:
    said, want = CASES[name]
    with peer(says({"m": said})) as url:
        assert verdicts(observe(reading(mode, "m", base_url=url))) == [want]


def test_a_reply_that_is_no_http_is_tried_again_for_that_reason(observe: Observe) -> None:
    answers = iter([b"HTTP/1.1 abc OK\r\n\r\n", CHUNKED + GOOD] * 2)  # bare, then observed

    def play(sock: socket.socket, model: str) -> None:
        sock.sendall(next(answers))

    with peer(play) as url:
        records = observe(reading("sync", "m", base_url=url, max_retries=1))
    assert verdicts(records) == [("completed", "")]
    assert [retry.reason for retry in records.retries] == ["malformed"]


# An alert that ends the connection, and a record that nobody can decrypt (https://www.rfc-editor.org/rfc/rfc8446#section-5).
BROKEN = {"alert": b"\x15\x03\x03\x00\x02\x02\x50", "record": b"\x17\x03\x03\x00\x20" + bytes(32)}


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.mark.parametrize("mode", ["sync", "async", "aiohttp"])
@pytest.mark.parametrize("what", list(BROKEN))
@pytest.mark.parametrize("where", ["before", "body", "retried"])
def test_tls_that_breaks_later_is_a_connection_that_was_aborted(
    where: str, what: str, mode: str, observe: Observe, contexts: tuple[ssl.SSLContext, ssl.SSLContext]
) -> None:
    server, trusting = contexts
    tries = iter([True, False] * 2)  # bare, then observed
    apps: list[App] = []

    def play(sock: socket.socket, model: str) -> None:
        if where == "retried" and not next(tries):
            sock.sendall(CHUNKED + GOOD)
            return
        if where == "body":
            sock.sendall(FIRST)
            until(lambda: any(isinstance(seen, dict) for seen in apps[-1].saw))
        below_tls(sock, BROKEN[what])
        wait(0.1)

    def client(app: App) -> Any:
        if mode == "aiohttp":
            return openai.DefaultAioHttpClient(verify=trusting)
        http = http_package()
        return http.Client(verify=trusting) if mode == "sync" else http.AsyncClient(verify=trusting)

    def act(app: App) -> Any:
        apps.append(app)
        return reading(mode, "m", base_url=url, max_retries=int(where == "retried"), http_client=client(app))(app)

    async def aact(app: App) -> None:
        await act(app)

    reading(mode, "m")
    with peer(play, server) as url:
        records = observe(act if mode == "sync" else aact)
    assert verdicts(records) == [("completed", "") if where == "retried" else ABORTED]
    assert [retry.reason for retry in records.retries] == ["reset"] * (where == "retried")
