"""Base URLs for what no server can play: nobody listens, nobody answers, no such host, TLS fails."""

from __future__ import annotations

import atexit
import functools
import socket


@functools.cache
def _reserved() -> socket.socket:
    """A port that stays closed: bound, so that nobody else can open it, and never listening."""
    reserved = socket.socket()
    reserved.bind(("127.0.0.1", 0))
    atexit.register(reserved.close)
    return reserved


@functools.cache
def _full() -> tuple[socket.socket, ...]:
    """A listener that never accepts, its queue filled: on Linux further connections get no answer."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    fillers = []
    for _ in range(4):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(listener.getsockname())
        fillers.append(filler)
    for held in (listener, *fillers):
        atexit.register(held.close)
    return (listener, *fillers)


def _url(bound: socket.socket) -> str:
    return f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


def refused_url() -> str:
    """A base URL where connections are refused."""
    return _url(_reserved())


def connect_timeout_url() -> str:
    """A base URL where connections are neither accepted nor refused (Linux)."""
    return _url(_full()[0])


def dns_failure_url() -> str:
    """A base URL whose host does not exist, by RFC 6761."""
    return "http://nonexistent.invalid/v1"


def tls_failure_url(base_url: str) -> str:
    """The fault server's base URL with https: it answers a TLS handshake with plain text."""
    return base_url.replace("http://", "https://", 1)
