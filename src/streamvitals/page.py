"""The live page as an application to mount in a program that calls ``instrument()``, where there is no agent.

    from streamvitals.page import asgi_app          # FastAPI, Starlette
    app.mount("/vitals", asgi_app)

    from streamvitals.page import wsgi_app          # Flask
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/vitals": wsgi_app})

It shows the process that answers, since that began: there is no history. All is sampled in the viewer's own request,
in a few milliseconds; nothing runs between two. Mount it behind the login that your /metrics has.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from .agent.dead_incidents import overwritten
from .incidents.page import IncidentsPage, Reply
from .live.answers import API, Live, refusal
from .process import lifecycle
from .process.runtime import Runtime
from .store.incident_record import IncidentRecord

# No event stream: it would hold a worker for as long as somebody looks. The page then asks twice a second.
_NO_EVENTS = Reply(204, (("Cache-Control", "no-store"),), b"")
_NOT_OBSERVED = refusal(503, "streamvitals does not observe this process: call streamvitals.instrument() first")
# How long a request may wait for the one before it. Seconds.
_PATIENCE = 2.0


class _Shown(NamedTuple):
    """What is shown of one runtime; a process that was forked has its own, with a lock that nobody holds."""

    pid: int
    runtime: Runtime
    live: Live
    lock: threading.Lock


_shown: _Shown | None = None


def _current() -> _Shown | None:
    global _shown
    runtime = lifecycle.current()
    if runtime is None:
        return None
    shown = _shown
    if shown is None or shown.runtime is not runtime or shown.pid != os.getpid():
        incidents = IncidentsPage(functools.partial(_kept, runtime))
        live = Live(runtime.store.opened, runtime.snapshot, runtime.stall_after, incidents)
        shown = _shown = _Shown(os.getpid(), runtime, live, threading.Lock())
    return shown


def _kept(runtime: Runtime) -> tuple[list[IncidentRecord], int]:
    records = list(runtime.store.incidents.all(os.getpid(), 0))
    return records, overwritten(records)


def _reply(method: str, root: str, path: str, query: str, if_none_match: str) -> Reply:
    if method not in ("GET", "HEAD"):
        return refusal(405, "GET and HEAD are answered here", Allow="GET, HEAD")
    if not path:  # relative addresses need the slash
        # Of a path that a client has a part in: no other host, and nothing that ends a header.
        where = "/" + quote(root.lstrip("/"), errors="replace")
        return Reply(308, (("Location", f"{where.rstrip('/')}/"), ("Content-Type", "text/plain")), b"")
    shown = _current()
    if shown is None:
        return _NOT_OBSERVED
    if path == API + "events":
        return _NO_EVENTS
    if not shown.lock.acquire(timeout=_PATIENCE):
        return refusal(503, "too many look at once", Retry_After="5")
    try:
        return shown.live.answer(path, query, if_none_match) or refusal(404, "the live page is at /")
    finally:
        shown.lock.release()


def wsgi_app(
    environ: MutableMapping[str, Any], start_response: Callable[[str, list[tuple[str, str]]], object]
) -> Iterable[bytes]:
    """The page, by PEP 3333."""
    root, method = environ.get("SCRIPT_NAME", ""), environ["REQUEST_METHOD"]
    reply = _reply(
        method, root, environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", ""),
        environ.get("HTTP_IF_NONE_MATCH", ""),
    )
    start_response(f"{reply.status} {HTTPStatus(reply.status).phrase}", _headers(reply))
    return [] if method == "HEAD" else [reply.body]


async def asgi_app(
    scope: MutableMapping[str, Any], receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """The page, by ASGI 3, on any event loop."""
    if scope["type"] != "http":
        raise RuntimeError(f"the live page answers HTTP alone, not {scope['type']}")
    root, path = scope.get("root_path", ""), scope["path"]
    # Servers differ in whether the path has what it is mounted at in front.
    path = path[len(root) :] if root and path.startswith(root) else path
    headers = dict(scope["headers"])
    reply = _reply(
        scope["method"], root, path, scope.get("query_string", b"").decode("latin-1"),
        headers.get(b"if-none-match", b"").decode("latin-1"),
    )
    named = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in _headers(reply)]
    await send({"type": "http.response.start", "status": reply.status, "headers": named})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else reply.body})


def _headers(reply: Reply) -> list[tuple[str, str]]:
    bodiless = reply.status in (204, 304)
    return [*reply.headers, *([] if bodiless else [("Content-Length", str(len(reply.body)))])]
