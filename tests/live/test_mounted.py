"""The live page in a program's own server, which calls instrument()."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest

import streamvitals
from store_support import LABELS
from streamvitals.page import asgi_app, wsgi_app
from streamvitals.process import lifecycle

ROOT = "/vitals"
Reply = tuple[int, dict[str, str], bytes]


def by_wsgi(path: str, method: str = "GET", query: str = "", tag: str = "") -> Reply:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": ROOT, "PATH_INFO": path, "QUERY_STRING": query,
        **({"HTTP_IF_NONE_MATCH": tag} if tag else {}),
    }
    setup_testing_defaults(environ)
    began: list[Any] = []
    body = validator(wsgi_app)(environ, lambda status, headers, exc_info=None: began.extend((status, headers)))  # type: ignore[arg-type,func-returns-value]
    try:
        sent = b"".join(body)
    finally:
        body.close()  # type: ignore[attr-defined]
    return int(began[0].split()[0]), dict(began[1]), sent


def by_asgi(path: str, method: str = "GET", query: str = "", tag: str = "") -> Reply:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": method, "root_path": ROOT, "path": ROOT + path, "query_string": query.encode(),
        "headers": [(b"if-none-match", tag.encode())] if tag else [],
    }
    asyncio.run(asgi_app(scope, None, send))  # type: ignore[arg-type]
    start, body = sent
    assert all(name == name.lower() for name, _ in start["headers"])
    return start["status"], {n.decode().title(): v.decode() for n, v in start["headers"]}, body["body"]


ASKS = pytest.mark.parametrize("ask", [by_wsgi, by_asgi])


@pytest.fixture
def observed() -> Iterator[Any]:
    streamvitals.instrument()
    runtime = lifecycle.current()
    assert runtime is not None
    yield runtime
    streamvitals.uninstrument()


@ASKS
def test_it_shows_this_process(observed: Any, ask: Any) -> None:
    slot = observed.store.open_slot(LABELS, observed.clock() - 61.0)
    status, headers, body = ask("/")
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert b'src="page/app.js"' in body, "relative: it may be mounted anywhere"
    streams = json.loads(ask("/api/v1/streams", query="limit=5")[2])
    (one,) = streams["streams"]
    assert (one["pid"], one["state"]) == (os.getpid(), "stalled")
    summary = json.loads(ask("/api/v1/summary")[2])
    assert summary["recent"]["seconds"] is None
    observed.store.close_slot(slot)
    tag = ask("/page/app.js")[1]["Etag" if ask is by_asgi else "ETag"]
    assert ask("/page/app.js", tag=tag)[0] == 304


@ASKS
def test_what_it_does_not_answer(observed: Any, ask: Any) -> None:
    assert ask("/api/v1/streams", query="limit=x")[0] == 400
    assert ask("/nothing")[0] == 404
    assert ask("/", "POST")[0] == 405
    assert ask("/", "HEAD")[::2] == (200, b"")
    assert ask("/api/v1/events")[::2] == (204, b""), "an event stream would hold a worker"
    status, headers, _ = ask("")
    assert (status, headers["Location"]) == (308, "/vitals/")


@ASKS
@pytest.mark.parametrize(("root", "where"), [
    ("/ü€", "/%C3%BC%E2%82%AC/"), ("//evil.example", "/evil.example/"),
    ("/a\r\nSet-Cookie: b", "/a%0D%0ASet-Cookie%3A%20b/"),
])
def test_a_path_that_a_client_has_a_part_in_leads_nowhere_else(
    root: str, where: str, observed: Any, ask: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", root)
    assert ask("")[1]["Location"] == where


@ASKS
def test_where_nothing_is_observed_it_says_so(ask: Any) -> None:
    status, _, body = ask("/")
    assert status == 503
    assert "streamvitals.instrument()" in json.loads(body)["error"]


def test_a_forked_worker_shows_its_own_and_waits_for_no_lock(observed: Any) -> None:
    from streamvitals import page

    observed.store.open_slot(LABELS, observed.clock())
    assert json.loads(by_wsgi("/api/v1/streams")[2])["open"] == 1
    assert page._shown is not None
    with page._shown.lock:  # as if another thread were answering
        pid = os.fork()
        if pid == 0:
            os._exit(json.loads(by_wsgi("/api/v1/streams")[2])["open"])
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_anything_but_http_is_refused() -> None:
    with pytest.raises(RuntimeError, match="not websocket"):
        asyncio.run(asgi_app({"type": "websocket"}, None, None))  # type: ignore[arg-type]
