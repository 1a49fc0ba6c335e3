"""Facts about a request and a response: operation, provider, model, server, limits. No content."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ..names import UNKNOWN_MODEL
from ..stream.chunks import ChatChunks, SeveralChoices
from ..stream.events import BodyBytes, SpeechEvents
from ..stream.fields import get, identifier
from ..stream.record import StreamLabels
from ..stream.request import EVENT_STREAM, Key, Place, RequestFacts, ResponseFacts
from .limits import PREFIXES, LimitHeaders
from .openai_sdk import SDK, Surface
from .providers import AZURE, provider_of

_API_VERSION = re.compile(r"v\d\w*")
_RAW_RESPONSE = "x-stainless-raw-response"


def surface_of(sdk: SDK, options: Any) -> Surface | None:
    """Operation name and reader class of a streaming request, or None for a surface not observed."""
    path, method = options.url.partition("?")[0], options.method.lower()
    found = _known(sdk, method, path) or _spelled_otherwise(sdk, method, path)
    if found is not None and found[1] is BodyBytes and _sent(options, "stream_format") == "sse":
        return found[0], SpeechEvents
    if found is not None and found[1] is ChatChunks and _sent(options, "n") not in (None, 1):
        return found[0], SeveralChoices
    return found


def _known(sdk: SDK, method: str, path: str) -> Surface | None:
    found = sdk.by_path.get((method, path))
    if found is None:
        return next((s for known, pattern, s in sdk.by_pattern if method == known and pattern.fullmatch(path)), None)
    return found


def _spelled_otherwise(sdk: SDK, method: str, url: str) -> Surface | None:
    """Find the surface of a path that the app itself passes to ``client.post()``.

    The path may lack the slash in front, have more in front, or be a whole URL. A surface's path of one word is
    recognised at the end of another path only after an API version; elsewhere the word may mean anything."""
    words = urlsplit(url).path.strip("/").split("/")
    for at in range(len(words)):
        if 0 < at == len(words) - 1 and not _API_VERSION.fullmatch(words[at - 1]):
            continue
        found = _known(sdk, method, "/".join(("", *words[at:])))
        if found is not None:
            return found
    return None


def _sent(options: Any, name: str) -> Any:
    """A field of the request's body; ``extra_body`` outranks the SDK's own arguments, as in the SDK."""
    for body in (getattr(options, "extra_json", None), options.json_data):
        if isinstance(body, dict) and name in body:
            return body[name]
    return None


def streams(sdk: SDK, options: Any) -> bool:
    """Whether a call that asks for no Stream returns its body piece by piece all the same, for the app to read."""
    if not isinstance(options.headers, Mapping):
        return False
    raw = any(k.lower() == _RAW_RESPONSE and v == "stream" for k, v in options.headers.items())
    return raw and (options.url == sdk.body_as_bytes or _sent(options, "stream") is True)


class _Endpoint(NamedTuple):
    """The parts of a client's base URL, kept because reading them from httpx's URL costs more than all the rest."""

    client_type: type
    provider: str
    host: str
    path: str
    port: int | None


_MAX_ENDPOINTS = 64
# By the URL's id, with a weak reference to it: there may be a password in a URL.
_endpoints: dict[int, tuple[Callable[[], object], _Endpoint]] = {}
_UNKNOWN: tuple[Callable[[], object], _Endpoint | None] = (lambda: None, None)


def _endpoint(sdk: SDK, client: Any) -> _Endpoint:
    url = client.base_url
    reference, known = _endpoints.get(id(url), _UNKNOWN)
    if known is not None and reference() is url and known.client_type is type(client):
        return known
    found = _endpoint_at(sdk, client, url, url.host)
    if len(_endpoints) >= _MAX_ENDPOINTS:
        _endpoints.clear()
    _endpoints[id(url)] = weakref.ref(url), found
    return found


def _endpoint_at(sdk: SDK, client: Any, url: Any, host: str) -> _Endpoint:
    port = url.port or {"https": 443, "http": 80}.get(url.scheme)
    return _Endpoint(type(client), provider_of(sdk, client, host, url.path), host, url.path.rstrip("/"), port)


def request_facts(
    sdk: SDK, client: Any, options: Any, operation: str, finish_optional_hosts: frozenset[str],
    providers: Mapping[str, str],
) -> RequestFacts:
    """Labels and span attributes of one call; ``client`` and ``options`` are the SDK's. ``providers`` is the
    user's setting, which outranks ours: provider names by host, or by host and port."""
    endpoint, path = _where(sdk, client, options)
    # In the request of an agent session the model is a field of the agent.
    model = _sent(options, "model") or get(_sent(options, "agent"), "model")
    if not isinstance(model, str) or not model:
        model = UNKNOWN_MODEL
    fetch = operation == "fetch_response"
    found = RequestFacts(
        labels=StreamLabels(operation, endpoint.provider, model, endpoint.host),
        method=options.method.upper(),
        url_path=endpoint.path + path,
        server_port=endpoint.port,
        finish_optional=endpoint.host in finish_optional_hosts,
        place=Place(endpoint.host, endpoint.port) if _nameable(sdk, operation, path or endpoint.path) else None,
        named=_named(sdk, endpoint, path, options.method),
        fetch=fetch,
        resumes=fetch and _resumes(options),
    )
    return named_by_user(found, providers) if providers else found


def _where(sdk: SDK, client: Any, options: Any) -> tuple[_Endpoint, str]:
    """The endpoint that a request goes to, and its path there."""
    path = options.url.partition("?")[0]
    if "://" in path:  # a whole URL from the app, which outranks the client's
        url = urlsplit(path)
        return _endpoint_at(sdk, client, url, url.hostname or ""), ""
    return _endpoint(sdk, client), path if path.startswith("/") else f"/{path}"


def _nameable(sdk: SDK, operation: str, path: str) -> bool:
    """Whether another request can name the response to this one."""
    operations, end = sdk.nameable
    return operation in operations or path.rstrip("/").endswith(end)


def _named(sdk: SDK, endpoint: _Endpoint, path: str, method: str) -> Key | None:
    found = sdk.named.fullmatch(endpoint.path + path) if method.lower() == "get" else None
    name = identifier(unquote(next(filter(None, found.groups())))) if found is not None else None
    return Place(endpoint.host, endpoint.port).key(name) if name is not None else None


def _resumes(options: Any) -> bool:
    """Whether a request asks only for the events after a certain one."""
    params = options.params
    if isinstance(params, Mapping) and params.get("starting_after") is not None:
        return True
    return "starting_after" in parse_qs(options.url.partition("?")[2])


def named_by(sdk: SDK, client: Any, options: Any) -> Key | None:
    """The key of the response, session or run that a request names."""
    return _named(sdk, *_where(sdk, client, options), options.method) if options.method.lower() == "get" else None


def named_by_user(facts: RequestFacts, providers: Mapping[str, str]) -> RequestFacts:
    """Put the user's name for the provider into facts, if the host and port, or the host, has one."""
    host = facts.labels.server
    provider = providers.get(f"{host}:{facts.server_port}") or providers.get(host)
    return facts._replace(labels=facts.labels._replace(provider=provider)) if provider else facts


def socket_facts(
    sdk: SDK, socket: Any, operation: str, providers: Mapping[str, str]
) -> tuple[RequestFacts, str | None]:
    """Facts about the other end of a WebSocket, without a model, and the model that its URL names."""
    protocol = socket.protocol
    uri = getattr(protocol, "uri", None) or protocol.wsuri  # `wsuri` before websockets 15
    query = parse_qs(uri.query)
    # The Azure client's own form of URL; the host does not show it where a gateway is in front.
    azure = "deployment" in query and "api-version" in query
    model = (query.get("model") or query.get("deployment") or [None])[0]
    provider = AZURE if azure else provider_of(sdk, socket, uri.host, uri.path)
    labels = StreamLabels(operation, provider, UNKNOWN_MODEL, uri.host)
    place = Place(uri.host, uri.port) if _nameable(sdk, operation, uri.path) else None
    found = RequestFacts(labels, method="GET", url_path=uri.path, server_port=uri.port, place=place)
    return named_by_user(found, providers) if providers else found, model


def socket_request_id(socket: Any) -> str | None:
    """The id of the request that opened a connection."""
    response = getattr(socket, "response", None)
    headers = response.headers if response is not None else {}
    found = headers.get("x-request-id") or headers.get("apim-request-id")
    return identifier(found)


def response_facts(status: int, headers: Any, unix: float) -> ResponseFacts:
    """The status and the few headers that are used, read in one pass since look-ups are slow in httpx.

    ``unix`` is when they came."""
    content_type = ""
    request_id = None
    limits: LimitHeaders | None = None
    for raw_name, value in headers.raw:
        use = _uses.get(raw_name)
        if use is None:
            use = _learn_use(raw_name)
        if not use:
            continue
        if use == "type":
            content_type = _content_type(value)
        elif use == "id":
            request_id = identifier(value.decode("latin-1"))
        else:
            limits = limits or LimitHeaders(unix)
            limits.note(raw_name.lower(), value)
    if limits is None:
        return ResponseFacts(status, content_type, request_id)
    return ResponseFacts(status, content_type, request_id, limits.limits(), limits.retry_after)


_MAX_NAMES = 1024
_MAX_NAME = 64  # longest name of a header, in bytes, that is remembered
# What a header is used for ("" for nothing) by its name as sent: a server sends the same names every time.
_uses: dict[bytes, str] = {}


def _learn_use(raw_name: bytes) -> str:
    name, use = raw_name.lower(), ""
    if name == b"content-type":
        use = "type"
    elif name in (b"x-request-id", b"apim-request-id"):
        use = "id"
    elif name.startswith(PREFIXES):
        use = "limits"
    if len(_uses) < _MAX_NAMES and len(raw_name) <= _MAX_NAME:
        _uses[raw_name] = use
    return use


@lru_cache(maxsize=64)  # nearly always the same text, which then is not kept once per open stream
def _content_type(value: bytes) -> str:
    kind = value.partition(b";")[0].strip().lower()
    return EVENT_STREAM if kind == b"text/event-stream" else kind.decode("latin-1")


def content_encoding(response: Any) -> str:
    """The body's encoding, lower case; "" for none."""
    return str(response.headers.get("content-encoding", "")).strip().lower()
