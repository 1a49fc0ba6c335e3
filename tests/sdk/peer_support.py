"""A peer that says, byte for byte, what a test wants, for what no server of ours would: broken HTTP, broken TLS."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

from app_support import MESSAGES, App

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
CHUNKED = HEAD + b"transfer-encoding: chunked\r\n\r\n"
HAS_AIOHTTP = importlib.util.find_spec("aiohttp") is not None and hasattr(openai, "DefaultAioHttpClient")
Play = Callable[[socket.socket, str], None]


def event(data: dict[str, Any] | str) -> bytes:
    return b"data: " + (data if isinstance(data, str) else json.dumps(data)).encode() + b"\n\n"


def chunk(content: str | None = None, finish: str | None = None, **choice: Any) -> bytes:
    """One event of a chat completion."""
    delta = {"content": content} if content else {}
    choices = [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]
    return event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices})


def framed(body: bytes) -> bytes:
    """As one chunk of the chunked encoding."""
    return b"%x\r\n%s\r\n" % (len(body), body)


GOOD = framed(chunk("a") + chunk(finish="stop") + event("[DONE]")) + b"0\r\n\r\n"


@contextmanager
def peer(play: Play, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """The base URL of a peer that plays once on each connection: with the socket and the model that is asked."""
    door = socket.create_server(("127.0.0.1", 0))

    def answer(sock: socket.socket) -> None:
        with suppress(OSError, ValueError):
            sock = tls.wrap_socket(sock, server_side=True) if tls else sock
            with sock:
                play(sock, json.loads(_body(sock))["model"])

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(door.accept()[0],), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{door.getsockname()[1]}/v1"
    finally:
        with suppress(OSError):
            door.shutdown(socket.SHUT_RDWR)
        door.close()
        thread.join()


def _body(sock: socket.socket) -> bytes:
    data = b""
    while True:
        head, ended, body = data.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if ended and len(body) >= (int(length[1]) if length else 0):
            return body
        more = sock.recv(65536)
        if not more:
            raise ConnectionError
        data += more


def says(what: dict[str, bytes]) -> Play:
    """Plays what is listed for the model, headers and body one after the other, and hangs up."""

    def play(sock: socket.socket, model: str) -> None:
        head, ended, body = what[model].partition(b"\r\n\r\n")
        sock.sendall(head + ended)
        if body:
            wait(0.02)  # both at once, some clients take for a broken head
            sock.sendall(body)
        wait(0.02)

    return play


def wait(seconds: float) -> None:
    threading.Event().wait(seconds)


def certificate(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context and a client's that trusts it."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, cert = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)
    return server, ssl.create_default_context(cafile=cert)


def below_tls(sock: socket.socket, data: bytes) -> None:
    """Past the encryption, as a box in between would."""
    os.write(sock.fileno(), data)


def reading(mode: str, model: str, **options: Any) -> Callable[[App], Any]:
    """An act that reads one stream to its end."""

    def act(app: App) -> None:
        client = app.client(**options)
        with app.catching():
            app.read(client.chat.completions.create(model=model, messages=MESSAGES, stream=True))

    async def aact(app: App) -> None:
        more = {"http_client": openai.DefaultAioHttpClient()} if mode == "aiohttp" else {}
        client = app.async_client(**{**more, **options})
        with app.catching():
            await app.aread(await client.chat.completions.create(model=model, messages=MESSAGES, stream=True))

    if mode == "aiohttp" and not HAS_AIOHTTP:
        pytest.skip("openai[aiohttp] is not installed")
    return act if mode == "sync" else aact
