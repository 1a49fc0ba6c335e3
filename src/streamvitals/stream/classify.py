"""What an exception that reached the app means: an outcome with its error type.

``classify_exception`` judges by the names of classes, by codes, and by the functions that raised (tracebacks.py):
message texts differ between SDK versions, and one of them is the empty string. The only text that is read is that of
an aiohttp error which keeps its cause nowhere else, and one of the interpreter's own, which has no class of its own.
"""

from __future__ import annotations

import errno
import re
from types import FrameType

from ..outcome import Outcome, Verdict, classify_status
from .tracebacks import (
    chain,
    frames_of,
    handled_above,
    in_event_hook,
    innermost,
    interrupted,
    interrupted_in,
    is_library,
    kinds_of,
    passed,
    raised_in,
    strangers_in,
    thrown_in,
)
from .vocabulary import classify_error_event

_CANCELLED = {
    "CancelledError": "cancelled",  # asyncio
    "Cancelled": "cancelled",  # trio
    "GreenletExit": "cancelled",  # gevent, eventlet
    "KeyboardInterrupt": "keyboard_interrupt",
    "Timeout": "deadline",  # gevent, eventlet
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
    "UnreadableError": "other",  # our own: sdk/helpers.py
}
# What the SDK's helpers raise where the app has asked for a structured answer and the model stopped too early.
_STOPPED = {
    "LengthFinishReasonError": Verdict(Outcome.LENGTH),
    "ContentFilterFinishReasonError": Verdict(Outcome.CONTENT_FILTER),
}
# What the websockets library raises once a connection is closed; openai 1.x to 3.x use 13 to 15 of it.
SOCKET_CLOSED = frozenset({"ConnectionClosed", "ConnectionClosedOK", "ConnectionClosedError"})
# Close codes that the websockets library sends itself (https://www.rfc-editor.org/rfc/rfc6455#section-7.4.1): when the
# app closes, when it could not read what came, and 1011 when a ping was not answered.
_CLOSED_BY_US = {
    1000: ("abandoned", "closed"),
    1001: ("abandoned", "closed"),
    1002: ("malformed", "protocol_error"),
    1007: ("malformed", "unicode_decode"),
    1009: ("malformed", "other"),
    1011: ("timeout", "read_timeout"),
}
# Modules whose RuntimeError means that the event loop is closed, or is not the one that the connection belongs to.
_LOOPS = ("asyncio.", "uvloop.", "anyio.", "aiohttp.streams", "aiohttp.connector", "aiohttp.helpers")

_CLOSED = Verdict(Outcome.ABANDONED, "closed")
_DEADLINE = Verdict(Outcome.CANCELLED, "deadline")
_PROTOCOL = Verdict(Outcome.MALFORMED, "protocol_error")
_INCOMPLETE = Verdict(Outcome.TRUNCATED, "incomplete_read")
_HUNG_UP = Verdict(Outcome.RESET, "server_disconnected")


def classify_exception(
    error: BaseException, *, headers_received: bool, closed_by_app: bool = False,
    links: list[BaseException] | None = None,
) -> Verdict:
    """What an exception that reached the app means, judged by class names, codes and frames along its chain.

    ``headers_received`` is whether the response had begun: if the peer hangs up before that, the request was reset;
    if after it, the body is incomplete. ``closed_by_app``: the app had closed the stream before. ``links`` is its
    ``chain``, of a caller who has it.
    """
    if not isinstance(error, Exception):
        return _not_an_exception(error)
    links = chain(error) if links is None else links
    if _closed_coroutine(error, links):
        return _CLOSED
    kinds = kinds_of(error)
    if "CancelledError" in kinds:  # concurrent.futures'
        return Verdict(Outcome.CANCELLED, "cancelled")
    status = getattr(error, "status_code", None)
    if isinstance(status, int) and "APIStatusError" in kinds:
        return classify_status(status)
    if type(error).__name__ == "APIError":
        return classify_error_event(error, getattr(error, "body", None))
    passed_through = [frames_of(link) for link in links]
    strange = [frames for frames in passed_through if strangers_in(frames)]
    if any(map(interrupted_in, strange)) or any(map(thrown_in, links)):
        return _DEADLINE
    if closed_by_app:
        return _CLOSED
    if not headers_received and any(map(in_event_hook, passed_through)):
        return _answered(links) or Verdict(Outcome.REJECTED, "event_hook")
    answered = None if headers_received else _answered(links)
    if answered is not None:
        return answered  # an error whose body could not be read
    for at, frames in enumerate(passed_through):
        verdict = _classify_link(links[at:], frames, headers_received)
        if verdict is not None:
            return verdict
    if "APITimeoutError" in kinds:
        return Verdict(Outcome.TIMEOUT, "other")
    if not headers_received:
        return Verdict(Outcome.REJECTED, "other")
    if is_library(innermost(passed_through[0])[0].partition(".")[0]):
        return Verdict(Outcome.MALFORMED, "other")
    return Verdict(Outcome.CANCELLED, "other")


def classify_close(because: BaseException | None, *, by_helper: bool = False) -> Verdict:
    """What it means that the app closed a stream that it was not reading, while it handled ``because``."""
    # Closing a generator of the app cancels nothing by itself; but the code that closed it may have been cancelled.
    while isinstance(because, GeneratorExit):
        because = because.__context__
    if because is None:
        return _CLOSED
    if by_helper or not isinstance(because, Exception):
        return classify_exception(because, headers_received=True)
    return _DEADLINE if any(map(interrupted, chain(because))) else _CLOSED


def _closed_coroutine(error: BaseException, links: list[BaseException]) -> bool:
    """Whether the app closed the coroutine of the call: something below fails then, as it cannot wait any more, or
    waits on all the same, for which Python raises around it."""
    return any(isinstance(link, GeneratorExit) for link in links) or (
        type(error) is RuntimeError and error.args == ("coroutine ignored GeneratorExit",)
    )


def _not_an_exception(error: BaseException) -> Verdict:
    if isinstance(error, GeneratorExit):
        return _CLOSED
    for link in chain(error) if hasattr(error, "exceptions") else (error,):  # a group: the errors in it
        for kind in kinds_of(link):
            if kind in _CANCELLED:
                return Verdict(Outcome.CANCELLED, _CANCELLED[kind])
    return Verdict(Outcome.CANCELLED, "other")


def _answered(links: list[BaseException]) -> Verdict | None:
    """The verdict of a status that a hook or the SDK turned into an exception, as ``raise_for_status()`` does."""
    # The context may be the status even where there is a cause: aiohttp's errors are made elsewhere.
    contexts = [link.__context__ for link in links if link.__context__ is not None]
    for link in [*links, *(one for one in contexts if one not in links and not handled_above(one))]:
        status = getattr(getattr(link, "response", None), "status_code", None)
        if isinstance(status, int) and "HTTPStatusError" in kinds_of(link):
            return classify_status(status)
    return None


def _classify_link(links: list[BaseException], frames: list[FrameType], headers_received: bool) -> Verdict | None:
    """The verdict of the first link, if it decides; wrappers such as APIConnectionError decide nothing.

    ``links`` is the chain from there on, and ``frames`` are those that the first link passed through."""
    link = links[0]
    kinds = kinds_of(link)
    if "ClientError" in kinds or "HttpProcessingError" in kinds:
        return _aiohttp(links, kinds, headers_received)
    if link.__cause__ is not None and "ClientError" in kinds_of(link.__cause__):
        return None  # aiohttp's transport raises ConnectTimeout for any failure before the headers
    for table, outcome in ((_TIMEOUTS, Outcome.TIMEOUT), (_MALFORMED, Outcome.MALFORMED)):
        for name in kinds & table.keys():
            return Verdict(outcome, table[name])
    for name in kinds & _STOPPED.keys():
        return _STOPPED[name]
    module, _ = innermost(frames)
    if not kinds.isdisjoint(_PROXY) or module.startswith("socksio."):
        return Verdict(Outcome.CONNECT_ERROR, "proxy")
    if "ConnectError" in kinds:
        return _connect(links)
    if "TooManyRedirects" in kinds:
        return _own_set_up("too_many_redirects", headers_received)
    if not kinds.isdisjoint(("StreamClosed", "StreamConsumed")):
        return _CLOSED
    if not kinds.isdisjoint(("ReadError", "WriteError", "CloseError")):
        return _broken_cause(links)
    if not kinds.isdisjoint(SOCKET_CLOSED):
        return _closed_socket(links)
    if "RemoteProtocolError" in kinds:
        return _protocol(links, headers_received)
    if passed(frames, "h2", "receive_data"):
        return _PROTOCOL  # under a LocalProtocolError, or bare
    if "RuntimeError" in kinds and module.startswith(_LOOPS):
        return _own_set_up("closed_loop", headers_received)
    if not kinds.isdisjoint(("EndOfStream", "IncompleteReadError", "IncompleteRead")):
        return _INCOMPLETE if headers_received else _HUNG_UP
    return _system(link) or _deadline(kinds, module)


_PROXY = frozenset({"ProxyError", "ProxyConnectionError", "ProxyTimeoutError"})  # the last two: python-socks


def _own_set_up(error_type: str, headers_received: bool) -> Verdict:
    """The verdict where the app's own set-up broke the request, or ended a stream that had begun."""
    return Verdict(Outcome.CANCELLED, "other") if headers_received else Verdict(Outcome.REJECTED, error_type)


def _deadline(kinds: frozenset[str], module: str) -> Verdict | None:
    """The verdict of a timeout that is not the transport's: a scope's around the read, or a socket's."""
    if "TimeoutError" not in kinds:
        return None
    if module.partition(".")[0] in ("asyncio", "anyio", "trio", "async_timeout"):
        return _DEADLINE
    return Verdict(Outcome.TIMEOUT, "other")


def _protocol(links: list[BaseException], headers_received: bool) -> Verdict:
    """Tell broken HTTP from a connection that was closed too early, by the functions that raised."""
    for link in links:
        if not {"StreamReset", "ConnectionTerminated"}.isdisjoint(type(arg).__name__ for arg in link.args):
            return Verdict(Outcome.RESET, "stream_reset")  # HTTP/2
        frames = frames_of(link)
        module, function = innermost(frames)
        if module.partition(".")[0] == "h11" and not _at_the_end(link, function):
            return _PROTOCOL
        if passed(frames, "h2", "receive_data") or (not headers_received and _no_status_line(frames)):
            return _PROTOCOL
    return _INCOMPLETE if headers_received else _HUNG_UP


def _no_status_line(frames: list[FrameType]) -> bool:
    """Whether the peer hung up after bytes that are no status line, such as the greeting of another protocol.
    httpcore raises the same exception for a peer that has sent nothing."""
    module, function = innermost(frames)
    if function != "_receive_event" or module.partition(".")[0] not in ("httpcore", "httpcore2"):
        return False
    parser = getattr(frames[-1].f_locals.get("self"), "_h11_state", None)
    sent = getattr(parser, "trailing_data", (b"",))[0][:5]
    return sent != b"HTTP/"[: len(sent)]


def _at_the_end(error: BaseException, function: str) -> bool:
    """Whether h11 raised because the connection ended. ``next_event`` also raises for a header that is too long, with
    the hint 431 (https://h11.readthedocs.io/en/latest/api.html#h11.ProtocolError.error_status_hint)."""
    if function == "next_event":
        return getattr(error, "error_status_hint", None) != 431
    return function == "read_eof"


def _aiohttp(links: list[BaseException], kinds: frozenset[str], headers_received: bool) -> Verdict | None:
    """Classify aiohttp's errors: https://docs.aiohttp.org/en/stable/client_reference.html#client-exceptions"""
    if not kinds.isdisjoint(("ClientSSLError", "ServerFingerprintMismatch")):
        return Verdict(Outcome.CONNECT_ERROR, "tls")
    if not kinds.isdisjoint(("ClientProxyConnectionError", "ClientHttpProxyError")):
        return Verdict(Outcome.CONNECT_ERROR, "proxy")
    if "ClientConnectorError" in kinds:
        return _connect(links)
    if "SocketTimeoutError" in kinds:
        return Verdict(Outcome.TIMEOUT, "read_timeout")
    if "ServerTimeoutError" in kinds:
        waited = any(passed(frames_of(link), "aiohttp", "_wait_for_available_connection") for link in links)
        return Verdict(Outcome.TIMEOUT, "pool_timeout" if waited else "connect_timeout")
    if "ServerDisconnectedError" in kinds:
        return _INCOMPLETE if headers_received else _HUNG_UP
    if not kinds.isdisjoint(("ClientOSError", "ClientConnectionError")):
        return _broken_cause(links)
    if "ClientPayloadError" in kinds:
        return _broken_by(str(links[0])) or _payload(links)
    if "TooManyRedirects" in kinds:
        return _own_set_up("too_many_redirects", headers_received)
    if "HttpProcessingError" in kinds:
        return _payload(links)
    return None


def _payload(links: list[BaseException]) -> Verdict:
    """Classify a body that aiohttp could not read to its end: it was broken, or the connection was lost."""
    for link in links:
        if "ContentEncodingError" in kinds_of(link):
            return Verdict(Outcome.MALFORMED, "content_decoding")
        module, function = raised_in(link)
        if function != "feed_eof" and module in ("aiohttp._http_parser", "aiohttp.http_parser"):
            return _PROTOCOL
    return _INCOMPLETE


# aiohttp chains a framing error to the error that it found. The error that broke a connection it keeps only as a repr,
# at the end of the text: this is the only text that is ever read.
_AIOHTTP_BROKEN = re.compile(r">\. (\w+)\(.*\)$", re.DOTALL)
_BROKEN_BY = {
    "ConnectionResetError": "connection_reset",
    "BrokenPipeError": "broken_pipe",
    "ConnectionAbortedError": "connection_aborted",
}


def _broken_by(text: str) -> Verdict | None:
    found = _AIOHTTP_BROKEN.search(text)
    name = found[1] if found else ""
    if name.startswith("SSL"):
        return Verdict(Outcome.RESET, "connection_aborted")
    return Verdict(Outcome.RESET, _BROKEN_BY[name]) if name in _BROKEN_BY else None


# Of the app's machine: descriptors, buffers, memory or ports are used up, or its own rules allow no such connection.
_OWN_LIMITS = frozenset({
    errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL, errno.EACCES, errno.EPERM,
})


def _connect(links: list[BaseException]) -> Verdict:
    """Tell a server that could not be reached from a connection that this machine could not even begin."""
    every = (one for link in links for one in (link, *getattr(link, "exceptions", ())))
    if any(getattr(one, "errno", None) in _OWN_LIMITS and "SSLError" not in kinds_of(one) for one in every):
        return _own_set_up("other", headers_received=False)
    return Verdict(Outcome.CONNECT_ERROR, _connect_cause(links))


def _connect_cause(links: list[BaseException]) -> str:
    for link in links:
        kinds = kinds_of(link)
        if "ConnectionRefusedError" in kinds:
            return "connection_refused"
        if "gaierror" in kinds or "ClientConnectorDNSError" in kinds:
            return "dns"
        if not kinds.isdisjoint(("SSLError", "CertificateError")):
            return "tls"
        # Several addresses tried: an exception group.
        if any(isinstance(inner, ConnectionRefusedError) for inner in getattr(link, "exceptions", ())):
            return "connection_refused"
        if isinstance(link, OSError) and link.errno in (errno.ENETUNREACH, errno.EHOSTUNREACH):
            return "unreachable"
    return "other"


def _broken_cause(links: list[BaseException]) -> Verdict:
    """Find what broke a connection, in the first link of the chain that shows it."""
    for at, link in enumerate(links):
        verdict = _system(link)
        if verdict is not None:
            return verdict
        if "ClientPayloadError" in kinds_of(link):
            return _broken_by(str(link)) or _payload(links[at:])
        if "HttpProcessingError" in kinds_of(link):
            return _payload(links[at:])
    return Verdict(Outcome.RESET, "other")


def _system(link: BaseException) -> Verdict | None:
    """Classify an error of the system, of TLS or of the event loop."""
    kinds = kinds_of(link)
    code = link.errno if isinstance(link, OSError) else None
    if "ClosedResourceError" in kinds or code == errno.EBADF:
        return _CLOSED
    if "BrokenResourceError" in kinds:  # anyio and trio give no detail beyond the cause
        causes = filter(None, map(_system, chain(link)[1:]))
        return next(causes, Verdict(Outcome.RESET, "connection_reset"))
    if "SSLError" in kinds:
        if "SSLCertVerificationError" in kinds or raised_in(link)[1] == "do_handshake":
            return Verdict(Outcome.CONNECT_ERROR, "tls")
        return Verdict(Outcome.RESET, "connection_aborted")
    if "ConnectionResetError" in kinds or code == errno.ECONNRESET:
        return Verdict(Outcome.RESET, "connection_reset")
    if "BrokenPipeError" in kinds:
        return Verdict(Outcome.RESET, "broken_pipe")
    if "ConnectionAbortedError" in kinds:
        return Verdict(Outcome.RESET, "connection_aborted")
    if "ConnectionRefusedError" in kinds:
        return Verdict(Outcome.CONNECT_ERROR, "connection_refused")
    if "gaierror" in kinds:
        return Verdict(Outcome.CONNECT_ERROR, "dns")
    if code in (errno.ENETUNREACH, errno.EHOSTUNREACH):
        return Verdict(Outcome.CONNECT_ERROR, "unreachable")
    if code == errno.ETIMEDOUT:
        return Verdict(Outcome.TIMEOUT, "other")
    return None


def _closed_socket(links: list[BaseException]) -> Verdict:
    """Classify the end of a WebSocket by the first close frame, else by the system's error."""
    error = links[0]
    theirs, ours = getattr(error, "rcvd", None), getattr(error, "sent", None)
    if theirs is not None and (ours is None or getattr(error, "rcvd_then_sent", True)):
        return Verdict(Outcome.TRUNCATED, "missing_terminal")
    if ours is not None:
        outcome, error_type = _CLOSED_BY_US.get(ours.code, ("abandoned", "closed"))
        return Verdict(Outcome(outcome), error_type)
    if any(isinstance(link, OSError) for link in links):
        return _broken_cause(links)
    return _INCOMPLETE
