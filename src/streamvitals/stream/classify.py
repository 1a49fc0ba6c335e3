"""What an exception that reached the app means: an outcome with its error type.

``classify_exception`` judges by names and codes: message texts differ between SDK versions, and one of them is
the empty string. One text is looked at, of an error that keeps its cause nowhere else.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator

from .outcome import Outcome, Verdict, classify_status
from .vocabulary import classify_error_event


def chain(error: BaseException) -> Iterator[BaseException]:
    """The exception, then what caused it: ``__cause__`` first, else ``__context__``. Bounded, cycle-safe."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen and len(seen) < 16:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def names_of(error: BaseException) -> tuple[str, ...]:
    """Class names along the chain, outermost first: what is kept of an exception."""
    return tuple(type(link).__name__ for link in chain(error))


_CANCELLED = {
    "CancelledError": "cancelled",  # asyncio
    "Cancelled": "cancelled",  # trio
    "GreenletExit": "cancelled",  # gevent
    "KeyboardInterrupt": "keyboard_interrupt",
}
_TIMEOUTS = {
    "ReadTimeout": "read_timeout",
    "ConnectTimeout": "connect_timeout",
    "WriteTimeout": "write_timeout",
    "PoolTimeout": "pool_timeout",
}
_MALFORMED = {
    "JSONDecodeError": "json_decode",
    "UnicodeDecodeError": "unicode_decode",
    "DecodingError": "content_decoding",
    "APIResponseValidationError": "validation",
    "ValidationError": "validation",
}
# What the websockets library raises once a connection is closed; openai 1.x to 3.x use 13 to 15 of it.
SOCKET_CLOSED = frozenset({"ConnectionClosed", "ConnectionClosedOK", "ConnectionClosedError"})
# What it says itself when it closes one, by code (https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1): the
# application's own, what it could not read, and 1011 for a ping that stayed unanswered.
_CLOSED_BY_US = {
    1000: ("abandoned", "closed"),
    1001: ("abandoned", "closed"),
    1002: ("malformed", "protocol_error"),
    1007: ("malformed", "unicode_decode"),
    1009: ("malformed", "other"),
    1011: ("timeout", "read_timeout"),
}
# Libraries below the app: an unknown error that was raised in them is a reply they could not read, one
# that was raised anywhere else (a signal handler, an app's own hook) is the app's.
_LIBRARIES = frozenset({
    "openai", "httpx", "httpx2", "httpcore", "httpcore2", "h11", "h2", "hpack", "anyio", "ssl", "socket", "json",
    "pydantic", "pydantic_core", "aiohttp", "codecs", "zlib", "encodings",
})


def classify_exception(error: BaseException, *, headers_received: bool, closed_by_app: bool = False) -> Verdict:
    """What an exception that reached the app means, judged by class names, codes and errno along its chain.

    ``headers_received`` is whether the response had begun: a peer that hangs up before that has reset the
    request, after it the body is incomplete. ``closed_by_app``: the app had closed the stream before.
    """
    links = list(chain(error))
    names = [type(link).__name__ for link in links]
    outermost = names[0]
    if outermost in _CANCELLED:
        return Verdict(Outcome.CANCELLED, _CANCELLED[outermost])
    if not isinstance(error, Exception):
        return Verdict(Outcome.CANCELLED, "other")
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and outermost != "APIResponseValidationError":
        return classify_status(status)
    if outermost == "APIError":
        return classify_error_event(error, getattr(error, "body", None))
    if closed_by_app:
        return Verdict(Outcome.ABANDONED, "closed")
    for link, name in zip(links, names, strict=True):
        verdict = _classify_link(link, name, names, headers_received)
        if verdict is not None:
            return verdict
    if not headers_received:
        return Verdict(Outcome.REJECTED, "other")
    if _raised_in(error) in _LIBRARIES:
        return Verdict(Outcome.MALFORMED, "other")
    return Verdict(Outcome.CANCELLED, "deadline")


def _classify_link(link: BaseException, name: str, names: list[str], headers_received: bool) -> Verdict | None:
    """The verdict of the first link that decides; wrappers such as APIConnectionError decide nothing."""
    if name == "ConnectTimeout" and type(link.__cause__).__name__ == "ClientOSError":
        return _broken_cause(link)  # the aiohttp transport says so of whatever the system said
    if name in _TIMEOUTS:
        return Verdict(Outcome.TIMEOUT, _TIMEOUTS[name])
    if name in _MALFORMED:
        return Verdict(Outcome.MALFORMED, _MALFORMED[name])
    if name == "ProxyError":
        return Verdict(Outcome.CONNECT_ERROR, "proxy")
    if name == "ConnectError":
        return Verdict(Outcome.CONNECT_ERROR, _connect_cause(link))
    if name in ("StreamClosed", "StreamConsumed"):
        return Verdict(Outcome.ABANDONED, "closed")
    if name in ("ReadError", "WriteError", "CloseError"):
        return _broken_cause(link)
    if name in SOCKET_CLOSED:
        return _closed_socket(link)
    if name == "RemoteProtocolError":
        arguments = (type(arg).__name__ for cause in chain(link) for arg in cause.args)
        if not {"StreamReset", "ConnectionTerminated"}.isdisjoint(arguments):  # HTTP/2
            return Verdict(Outcome.RESET, "stream_reset")
        if headers_received:
            return Verdict(Outcome.TRUNCATED, "incomplete_read")
        return Verdict(Outcome.RESET, "server_disconnected")
    if name == "APITimeoutError" and not any(n in _TIMEOUTS for n in names):
        return Verdict(Outcome.TIMEOUT, "other")
    return None


def _connect_cause(error: BaseException) -> str:
    for link in chain(error):
        name = type(link).__name__
        if isinstance(link, ConnectionRefusedError):
            return "connection_refused"
        if name == "gaierror":
            return "dns"
        if name.startswith("SSL") or name == "CertificateError":
            return "tls"
        if isinstance(link, OSError) and link.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return "unreachable"
        for inner in getattr(link, "exceptions", ()):  # several addresses tried: an exception group
            if isinstance(inner, ConnectionRefusedError):
                return "connection_refused"
    return "other"


# aiohttp raises its complaint of the framing from what it found there, and keeps the error that broke the
# connection only as its repr, at the end of the text: no other text is ever looked at.
_AIOHTTP_RESET = re.compile(r"\. ConnectionResetError\([^()]*\)$")


def _broken_cause(error: BaseException) -> Verdict:
    for link in chain(error):
        name = type(link).__name__
        code = link.errno if isinstance(link, OSError) else None
        if name == "ClosedResourceError" or code == errno.EBADF:
            return Verdict(Outcome.ABANDONED, "closed")
        if isinstance(link, ConnectionResetError) or code == errno.ECONNRESET:
            return Verdict(Outcome.RESET, "connection_reset")
        if isinstance(link, BrokenPipeError):
            return Verdict(Outcome.RESET, "broken_pipe")
        if isinstance(link, ConnectionAbortedError) or name.startswith("SSL"):
            return Verdict(Outcome.RESET, "connection_aborted")
        if code == errno.ETIMEDOUT:
            return Verdict(Outcome.TIMEOUT, "other")
        if name == "ClientPayloadError" and _AIOHTTP_RESET.search(str(link)):
            return Verdict(Outcome.RESET, "connection_reset")
        if name in ("TransferEncodingError", "ContentLengthError"):
            return Verdict(Outcome.TRUNCATED, "incomplete_read")
    return Verdict(Outcome.RESET, "connection_reset" if "BrokenResourceError" in names_of(error) else "other")


def _closed_socket(error: BaseException) -> Verdict:
    """Who closed a WebSocket: the first frame that says so, or the system."""
    theirs, ours = getattr(error, "rcvd", None), getattr(error, "sent", None)
    if theirs is not None and (ours is None or getattr(error, "rcvd_then_sent", True)):
        return Verdict(Outcome.TRUNCATED, "missing_terminal")
    if ours is not None:
        outcome, error_type = _CLOSED_BY_US.get(ours.code, ("abandoned", "closed"))
        return Verdict(Outcome(outcome), error_type)
    if any(isinstance(link, OSError) for link in chain(error)):
        return _broken_cause(error)
    return Verdict(Outcome.TRUNCATED, "incomplete_read")


def _raised_in(error: BaseException) -> str:
    """The top-level package of the frame that raised."""
    trace = error.__traceback__
    module = ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__") or ""
        trace = trace.tb_next
    return module.partition(".")[0]
