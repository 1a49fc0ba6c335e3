"""What an exception means, judged by class names, codes and errno along its chain, and never by its text."""

from __future__ import annotations

import asyncio
import concurrent.futures
import errno
import json
import socket
import ssl
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvitals import names
from streamvitals.outcome import ERROR_TYPES, Outcome, Verdict, classify_status, closed
from streamvitals.stream.classify import classify_exception
from streamvitals.stream.tracebacks import chain, names_of
from streamvitals.stream.vocabulary import classify_error_event

# What some are derived from: a class is known by the names of these, too.
BASES = {
    "RateLimitError": "APIStatusError", "InternalServerError": "APIStatusError",
    "AuthenticationError": "APIStatusError",
    "TransferEncodingError": "HttpProcessingError", "ContentLengthError": "HttpProcessingError",
    "BadStatusLine": "HttpProcessingError",
    "ClientPayloadError": "ClientError", "ClientResponseError": "ClientError", "ClientOSError": "ClientError",
    "ServerDisconnectedError": "ClientError", "ClientConnectorError": "ClientOSError",
    "ClientConnectorDNSError": "ClientConnectorError", "ClientConnectorCertificateError": "ClientSSLError",
    "ClientSSLError": "ClientConnectorError", "ClientProxyConnectionError": "ClientConnectorError",
    "ServerTimeoutError": "ClientError", "SocketTimeoutError": "ServerTimeoutError",
    "ConnectionTimeoutError": "ServerTimeoutError",
}


def kind(name: str) -> type[Exception]:
    return type(name, (kind(BASES[name]) if name in BASES else Exception,), {})


def named(name: str, *args: Any, **attributes: Any) -> Exception:
    """An exception of a class of this name, as the SDK and its transports have them. Without any text."""
    error = kind(name)(*args)
    vars(error).update(attributes)
    return error


def linked(*errors: BaseException, by: str = "__cause__") -> BaseException:
    for outer, inner in pairwise(errors):
        setattr(outer, by, inner)
    return errors[0]


def openai(*inner: BaseException) -> BaseException:
    return linked(named("APIConnectionError"), *inner)


def said(verdict: Verdict) -> str:
    return f"{verdict.outcome.value} {verdict.error_type}"


def aiohttp_broken(by: str) -> BaseException:
    """As litellm's transport hands it on; the wording is aiohttp's."""
    text = f"Response payload is not completed: <TransferEncodingError: 400, message='Not enough data'>{by}"
    return openai(named("ReadError"), named("ClientPayloadError", text), named("TransferEncodingError"))


def aiohttp_refused(*errors: BaseException) -> BaseException:
    """aiohttp's transport says ConnectTimeout of whatever happens before the headers."""
    return linked(named("APITimeoutError"), named("ConnectTimeout"), *errors)


def group(*errors: Exception) -> Exception:
    """As ExceptionGroup, which Python 3.10 has not."""
    error: Exception = type("ExceptionGroup", (Exception,), {"exceptions": errors})()
    return error


ABORTED = ConnectionAbortedError(errno.ECONNABORTED, "x")
RESET, REFUSED = ConnectionResetError(errno.ECONNRESET, "x"), ConnectionRefusedError(errno.ECONNREFUSED, "x")
UNREACHABLE = OSError(errno.EHOSTUNREACH, "x")

# Chains as they were read off real runs, on 3.x and before; headers had come.
MID_STREAM: list[tuple[str, BaseException, str]] = [
    ("sync reset", openai(named("ReadError"), named("ReadError"), RESET), "reset connection_reset"),
    ("async reset", openai(named("ReadError"), named("BrokenResourceError"), RESET), "reset connection_reset"),
    ("async reset, no cause", openai(named("ReadError"), named("BrokenResourceError")), "reset connection_reset"),
    ("bare httpx error", linked(named("ReadError"), RESET, by="__context__"), "reset connection_reset"),
    ("broken pipe", openai(named("WriteError"), BrokenPipeError(errno.EPIPE, "x")), "reset broken_pipe"),
    ("aborted", openai(named("ReadError"), ABORTED), "reset connection_aborted"),
    ("tls broke", openai(named("ReadError"), ssl.SSLError(1, "x")), "reset connection_aborted"),
    ("nothing known", openai(named("ReadError")), "reset other"),
    ("keep-alive timed out", openai(named("ReadError"), OSError(errno.ETIMEDOUT, "x")), "timeout other"),
    ("our side was closed", openai(named("ReadError"), OSError(errno.EBADF, "x")), "abandoned closed"),
    ("our side was closed, anyio", openai(named("ReadError"), named("ClosedResourceError")), "abandoned closed"),
    ("read after close", named("StreamClosed"), "abandoned closed"),
    ("aiohttp's transport", openai(named("ReadError"), named("TransferEncodingError")), "truncated incomplete_read"),
    ("aiohttp, closed", aiohttp_broken(""), "truncated incomplete_read"),
    ("aiohttp, reset", aiohttp_broken(f". {RESET!r}"), "reset connection_reset"),
    ("aiohttp, tls", aiohttp_broken(". SSLError(1, '[SSL] alert (_ssl.c:2580)')"), "reset connection_aborted"),
    ("tls broke, and nobody mapped it", openai(ssl.SSLError(1, "x")), "reset connection_aborted"),
    ("the same, before 3.x", ssl.SSLError(1, "x"), "reset connection_aborted"),
    ("end of stream, and nobody mapped it", openai(named("EndOfStream")), "truncated incomplete_read"),
    ("broken, and nobody mapped it", openai(named("BrokenResourceError")), "reset connection_reset"),
    ("closed, and nobody mapped it", openai(named("ClosedResourceError")), "abandoned closed"),
    ("the system's own", ConnectionResetError(errno.ECONNRESET, "x"), "reset connection_reset"),
    ("a class of the app's", openai(type("Mine", (kind("ReadTimeout"),), {})()), "timeout read_timeout"),
    ("tried again below", linked(named("RetryError"), named("ReadError"), RESET), "reset connection_reset"),
    ("a group", group(named("ReadTimeout")), "timeout read_timeout"),
    ("a length that no model can be made of", named("LengthFinishReasonError"), "length "),
    ("a filter", named("ContentFilterFinishReasonError"), "content_filter "),
    ("incomplete", openai(named("RemoteProtocolError"), named("RemoteProtocolError")), "truncated incomplete_read"),
    ("http2 reset", linked(named("RemoteProtocolError"), Exception(named("StreamReset"))), "reset stream_reset"),
    (
        "http2 goaway", linked(named("RemoteProtocolError"), Exception(named("ConnectionTerminated"))),
        "reset stream_reset",
    ),
    ("sync timeout", linked(named("APITimeoutError"), named("ReadTimeout"), TimeoutError()), "timeout read_timeout"),
    (
        "async timeout, which ends in a cancellation",
        linked(named("ReadTimeout"), TimeoutError(), asyncio.CancelledError(), by="__context__"),
        "timeout read_timeout",
    ),
    ("timeout without a known cause", named("APITimeoutError"), "timeout other"),
    ("pool", linked(named("APITimeoutError"), named("PoolTimeout")), "timeout pool_timeout"),
    ("write", linked(named("APITimeoutError"), named("WriteTimeout")), "timeout write_timeout"),
    ("json", json.JSONDecodeError("x", "x", 0), "malformed json_decode"),
    ("utf-8", UnicodeDecodeError("utf-8", b"x", 0, 1, "x"), "malformed unicode_decode"),
    ("gzip", named("DecodingError"), "malformed content_decoding"),
    ("validation", named("APIResponseValidationError", status_code=200), "malformed validation"),
    ("error event", named("APIError", code=None, type="server_error"), "api_error server_error"),
    ("error event without words", named("APIError"), "api_error other"),
    ("cancelled", asyncio.CancelledError(), "cancelled cancelled"),
    ("cancelled during a timeout", linked(asyncio.CancelledError(), named("ReadTimeout")), "cancelled cancelled"),
    ("trio", type("Cancelled", (BaseException,), {})(), "cancelled cancelled"),
    ("gevent", type("GreenletExit", (BaseException,), {})(), "cancelled cancelled"),
    ("ctrl-c", KeyboardInterrupt(), "cancelled keyboard_interrupt"),
    ("gevent's deadline", type("Timeout", (BaseException,), {})(), "cancelled deadline"),
    ("exit", SystemExit(3), "cancelled other"),
    ("another executor's", concurrent.futures.CancelledError(), "cancelled cancelled"),
    ("the app's own hook", KeyError("x"), "cancelled other"),
    ("too many redirects", openai(named("TooManyRedirects")), "cancelled other"),
]
# Before any headers.
AT_CREATE: list[tuple[str, BaseException, str]] = [
    ("refused", openai(named("ConnectError"), named("ConnectError"), REFUSED), "connect_error connection_refused"),
    (
        "refused at every address",
        openai(named("ConnectError"), named("OSError_", exceptions=(UNREACHABLE, REFUSED))),
        "connect_error connection_refused",
    ),
    ("no such host", openai(named("ConnectError"), socket.gaierror(-2, "x")), "connect_error dns"),
    ("tls", openai(named("ConnectError"), ssl.SSLCertVerificationError(1, "x")), "connect_error tls"),
    ("unreachable", openai(named("ConnectError"), UNREACHABLE), "connect_error unreachable"),
    ("proxy", openai(named("ProxyError")), "connect_error proxy"),
    ("connect, who knows", openai(named("ConnectError")), "connect_error other"),
    ("connect timeout", linked(named("APITimeoutError"), named("ConnectTimeout")), "timeout connect_timeout"),
    ("tls, and nobody mapped it", openai(ssl.SSLError(1, "x")), "reset connection_aborted"),
    ("end of stream, and nobody mapped it", openai(named("EndOfStream")), "reset server_disconnected"),
    ("socks", openai(named("ProxyConnectionError")), "connect_error proxy"),
    ("too many redirects", openai(named("TooManyRedirects")), "rejected too_many_redirects"),
    ("a header that cannot be sent", openai(named("LocalProtocolError")), "rejected other"),
    ("no such scheme", openai(named("UnsupportedProtocol")), "rejected other"),
    ("a status of the app's own exception", named("HTTPException", status_code=503), "rejected other"),
    ("refused, aiohttp", aiohttp_refused(named("ClientConnectorError"), REFUSED), "connect_error connection_refused"),
    ("dns, aiohttp", aiohttp_refused(named("ClientConnectorDNSError")), "connect_error dns"),
    ("tls, aiohttp", aiohttp_refused(named("ClientConnectorCertificateError")), "connect_error tls"),
    ("proxy, aiohttp", aiohttp_refused(named("ClientProxyConnectionError"), REFUSED), "connect_error proxy"),
    ("hung up, aiohttp", aiohttp_refused(named("ServerDisconnectedError")), "reset server_disconnected"),
    ("timeout, aiohttp", aiohttp_refused(named("ConnectionTimeoutError")), "timeout connect_timeout"),
    ("silence, aiohttp", aiohttp_refused(named("SocketTimeoutError")), "timeout read_timeout"),
    ("broken tls, aiohttp", aiohttp_refused(named("ClientOSError"), ssl.SSLError(1, "x")), "reset connection_aborted"),
    (
        "reset, aiohttp", linked(named("APITimeoutError"), named("ConnectTimeout"), named("ClientOSError"), RESET),
        "reset connection_reset",
    ),
    ("hung up", openai(named("RemoteProtocolError")), "reset server_disconnected"),
    ("reset", openai(named("ReadError"), RESET), "reset connection_reset"),
    ("429", named("RateLimitError", status_code=429), "rate_limited 429"),
    ("500", named("InternalServerError", status_code=500), "http_error 500"),
    ("599", named("InternalServerError", status_code=599), "http_error other"),
    ("302", named("APIStatusError", status_code=302), "rejected other"),
    ("401", named("AuthenticationError", status_code=401), "rejected 401"),
    ("418", named("APIStatusError", status_code=418), "rejected other"),
    ("bad arguments", TypeError("x"), "rejected other"),
    ("cancelled", asyncio.CancelledError(), "cancelled cancelled"),
]


@pytest.mark.parametrize(("error", "want"), [c[1:] for c in MID_STREAM], ids=[c[0] for c in MID_STREAM])
def test_mid_stream(error: BaseException, want: str) -> None:
    verdict = classify_exception(error, headers_received=True)
    assert said(verdict) == want


@pytest.mark.parametrize(("error", "want"), [c[1:] for c in AT_CREATE], ids=[c[0] for c in AT_CREATE])
def test_before_headers(error: BaseException, want: str) -> None:
    verdict = classify_exception(error, headers_received=False)
    assert said(verdict) == want


def test_what_a_reader_gets_of_a_stream_that_the_app_has_closed_is_the_apps() -> None:
    for error in (named("ReadError"), openai(named("ReadError"), OSError(errno.EBADF, "x")), ValueError()):
        assert classify_exception(error, headers_received=True, closed_by_app=True) == (Outcome.ABANDONED, "closed")
    # What the provider had said by then is the provider's, and a cancellation is one.
    event = named("APIError", type="server_error")
    assert classify_exception(event, headers_received=True, closed_by_app=True).outcome is Outcome.API_ERROR
    cancelled = asyncio.CancelledError()
    assert classify_exception(cancelled, headers_received=True, closed_by_app=True).outcome is Outcome.CANCELLED


def test_an_unknown_error_is_judged_by_where_it_was_raised() -> None:
    """In a library below the app it is a reply that could not be read; anywhere else it is the app's."""
    malformed, cancelled = Outcome.MALFORMED, Outcome.CANCELLED
    for module, want in (("httpx2._models", malformed), ("pydantic.main", malformed), ("app.hooks", cancelled)):
        with pytest.raises(LookupError) as raised:
            exec("raise LookupError", {"__name__": module})  # noqa: S102
        assert classify_exception(raised.value, headers_received=True).outcome is want


def test_what_breaks_in_the_talk_with_a_socks_proxy_is_the_proxys() -> None:
    """httpcore lets socksio's errors through: https://github.com/encode/httpcore/blob/master/httpcore/_sync/socks_proxy.py"""
    with pytest.raises(LookupError) as raised:
        exec("raise LookupError", {"__name__": "socksio.socks5"})  # noqa: S102
    verdict = classify_exception(raised.value, headers_received=False)
    assert verdict == Verdict(Outcome.CONNECT_ERROR, "proxy")


@pytest.mark.parametrize(("code", "kind", "want"), [
    ("rate_limit_exceeded", "tokens", ("rate_limited", "rate_limit_exceeded")),
    (None, "insufficient_quota", ("rate_limited", "insufficient_quota")),
    ("insufficient_quota", "server_error", ("rate_limited", "insufficient_quota")),
    (429, None, ("rate_limited", "429")),
    ("429", None, ("rate_limited", "429")),
    (None, "SERVER_ERROR", ("api_error", "server_error")),
    ("context_length_exceeded", "invalid_request_error", ("api_error", "context_length_exceeded")),
    ("a word of its own", "overloaded_error", ("api_error", "overloaded_error")),
    (502, "a word of its own", ("api_error", "service_unavailable")),
    (777, "a word of its own", ("api_error", "other")),
    (None, None, ("api_error", "other")),
    ("", [], ("api_error", "other")),
])
def test_error_events(code: object, kind: object, want: tuple[str, str]) -> None:
    verdict = classify_error_event(code, kind)
    assert (verdict.outcome.value, verdict.error_type) == want


def test_a_class_of_the_app_that_comes_up_in_a_library_was_thrown_in() -> None:
    """By another thread, or by gevent: it is the app's deadline, before the headers too."""
    for kind, want in ((type("SoftLimit", (Exception,), {}), "cancelled deadline"), (LookupError, "malformed other")):
        with pytest.raises(kind) as raised:
            exec("raise error", {"__name__": "httpcore._backends.sync", "error": kind()})  # noqa: S102
        assert said(classify_exception(raised.value, headers_received=True)) == want


KINDS = sorted({type(link) for _, error, _ in (*MID_STREAM, *AT_CREATE) for link in chain(error)}, key=str)


def _make(kind: type[BaseException], status: Any) -> BaseException:
    error = kind.__new__(kind)
    if status is not None and issubclass(kind, Exception):
        error.status_code = status  # type: ignore[attr-defined]
    return error


STATUSES = st.none() | st.integers(-1, 999) | st.text(max_size=3)
CHAINS = st.lists(st.builds(_make, st.sampled_from(KINDS), STATUSES), min_size=1, max_size=20)
LINKS = st.sampled_from(["__cause__", "__context__"])


@given(errors=CHAINS, by=LINKS, cyclic=st.booleans(), flags=st.tuples(st.booleans(), st.booleans()))
def test_every_chain_has_a_verdict_of_the_closed_list(
    errors: list[BaseException], by: str, cyclic: bool, flags: tuple[bool, bool]
) -> None:
    error = linked(*errors, by=by)
    if cyclic:
        setattr(errors[-1], by, error)
    verdict = classify_exception(error, headers_received=flags[0], closed_by_app=flags[1])
    assert verdict.error_type in ERROR_TYPES.get(verdict.outcome, ("",))
    assert 1 <= len(names_of(chain(error))) <= 16


@given(status=st.integers(-1000, 10_000))
def test_every_status_has_a_verdict_of_the_closed_list(status: int) -> None:
    verdict = classify_status(status)
    assert verdict.error_type in ERROR_TYPES[verdict.outcome]


@given(text=st.text(max_size=30))
def test_the_text_of_an_exception_decides_nothing(text: str) -> None:
    for kind in ("ReadError", "APIConnectionError", "RemoteProtocolError", "ReadTimeout", "Whatever"):
        silent, talking = named(kind), named(kind)
        talking.args = (text,)
        assert classify_exception(silent, headers_received=True) == classify_exception(talking, headers_received=True)


def test_a_type_that_is_not_listed_is_other() -> None:
    assert closed(Outcome.HTTP_ERROR, "500") == Verdict(Outcome.HTTP_ERROR, "500")
    assert closed(Outcome.HTTP_ERROR, "555") == Verdict(Outcome.HTTP_ERROR, "other")




def test_every_outcome_that_can_be_retried_is_a_reason() -> None:
    """The SDK retries statuses and connection errors, an app whatever failed."""
    provider = set(ERROR_TYPES) - {Outcome.CANCELLED, Outcome.ABANDONED, Outcome.HTTP_ERROR, Outcome.REJECTED}
    assert {outcome.value for outcome in provider} <= set(names.RETRY_REASONS)


def socket_closed(theirs: int | None, ours: int | None, they_first: bool | None = None) -> Exception:
    """As the websockets library tells it: the codes of the frames that closed, and whose came first."""
    frames = {
        name: None if code is None else named("Close", code=code) for name, code in (("rcvd", theirs), ("sent", ours))
    }
    fine = {theirs, ours} <= {1000, 1001}
    return named("ConnectionClosedOK" if fine else "ConnectionClosedError", rcvd_then_sent=they_first, **frames)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (socket_closed(1000, 1000, True), "truncated missing_terminal"),
        (socket_closed(1011, 1011, True), "truncated missing_terminal"),
        (socket_closed(1008, None), "truncated missing_terminal"),
        (socket_closed(None, None), "truncated incomplete_read"),
        (linked(socket_closed(None, None), RESET), "reset connection_reset"),
        (linked(socket_closed(None, None), BrokenPipeError()), "reset broken_pipe"),
        (socket_closed(None, 1011), "timeout read_timeout"),
        (socket_closed(None, 1002), "malformed protocol_error"),
        (socket_closed(1007, 1007, False), "malformed unicode_decode"),
        (socket_closed(None, 1009), "malformed other"),
        (socket_closed(1000, 1000, False), "abandoned closed"),
        (socket_closed(None, 4000), "abandoned closed"),
    ],
)
def test_a_websocket_was_closed_by_whoever_said_so_first(error: BaseException, expected: str) -> None:
    assert said(classify_exception(error, headers_received=True)) == expected
