"""The patches on the SDK: which calls are observed, and how an observation travels with its request.

    request()          one logical call: begins an observation and leaves it in a context variable
    _build_request()   one attempt: puts the observation into ``request.extensions``, which httpx passes on unchanged
    _should_retry(), _calculate_retry_timeout()   why and for how long the SDK waits before the next attempt
    _process_response()   the headers of the answer to a call without a stream
    Stream.__init__()  finds it at ``stream.response.request`` and wraps the stream's iterator

WebSockets have patches of their own (websockets.py).

All of it fails open: a fault of ours is counted, and the call goes on unobserved. Names of inner functions
begin with ``streamvitals`` because they show in the app's tracebacks.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from types import FrameType
from typing import Any, ClassVar

from ..stream.observation import Observation
from ..stream.plain import PlainCall
from ..stream.request import RequestFacts
from ..stream.request_key import parts_of, request_key_of
from ..stream.tracebacks import is_foreign
from . import facts
from .attach import ClassHooks, attach, watch
from .bodies import Bodies
from .custom_labels import CustomLabels, Declared, Request
from .host import Host
from .kinds import Kinds
from .openai_sdk import OPENAI, SDK
from .replacing import Replacements, same_parameters
from .taps import Taps
from .versions import resolve
from .websockets import SocketPatches

EXTENSION = "streamvitals"
_MAX_WRAPPERS = 8  # most wrappers around one function that are followed


# The request that this context is sending.
_current: ContextVar[_Request | None] = ContextVar("streamvitals_request", default=None)


class _Request:
    """One call of a client's ``request``.

    What is known of the call is stored here at once, since an exception of the app may be raised between any two
    instructions; ``on_result`` is called with the result of a fallback."""

    __slots__ = ("client", "entered", "observation", "on_result", "previous")

    def __init__(self, client: Any) -> None:
        self.client = id(client)
        self.observation: Observation | PlainCall | None = None
        self.on_result: Callable[[object | None], None] | None = None
        self.previous: _Request | None = None
        self.entered = False

    def is_running(self) -> bool:
        """Whether this call is one of those that led here: one that was interrupted may be in the context for good."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:
            if frame.f_code.co_name == "streamvitals_request" and frame.f_locals.get("request") is self:
                return True
            frame = frame.f_back
        return False

    def leave(self) -> None:
        """Restore the context to what it was before the call."""
        if self.entered:
            _current.set(self.previous)
            # A task that was started in the call has a copy of its context, which would keep it.
            self.previous, self.entered = None, False


def _observation_of(client: Any) -> Observation | PlainCall | None:
    request = _current.get()
    return request.observation if request is not None and request.client == id(client) else None


def _wrapped_before(owner: type, original: Any) -> Iterator[tuple[type, Any, Any]]:
    """Find clients whose own ``request`` wraps the function that is replaced now, with the innermost of such wrappers.

    Another instrumentation has put the wrappers there before: they would go on calling the original, not ours."""
    clients: list[type] = owner.__subclasses__()
    for client in clients:
        theirs = link = vars(client).get("request")
        for _ in range(_MAX_WRAPPERS):
            inner = getattr(link, "__wrapped__", None)
            if inner is original:
                yield client, theirs, link
            link = inner
        yield from _wrapped_before(client, original)


class Patches:
    """The patches on one SDK: applied once, removable. For the settings see ``facts.request_facts``.

    ``labels`` are the custom labels that are declared. ``plain``: calls without a stream are observed, too."""

    def __init__(
        self, host: Host, finish_optional_hosts: frozenset[str], providers: Mapping[str, str], sdk: SDK = OPENAI,
        labels: Declared = (), *, plain: bool = True,
    ) -> None:
        self._host = host
        self._sdk = sdk
        self._active = False
        self._sees_answers = False
        self._outside = False  # of another instrumentation's wrapper, whose inference begins after we have looked
        self._replaced = Replacements()
        self._labels = CustomLabels(labels)
        self._is_labelled = bool(self._labels)
        self._kinds = Kinds(sdk, finish_optional_hosts, providers)
        # The same machinery, with another table of surfaces.
        self._plain_kinds = (
            Kinds(sdk._replace(by_path=sdk.plain, by_pattern=()), finish_optional_hosts, providers) if plain else None
        )
        self._sockets = SocketPatches(sdk, host, providers, self._labels)
        self._hooks = ClassHooks(Bodies(host.fault), Taps(sdk.package))

    def apply(self, module: Any) -> list[str]:
        """Patch all points of the SDK's module or none. Returns what prevented it, in words."""
        if self._active:
            return []
        found = self._sdk.versions.problems(module)
        if found:
            return found
        self._active = True
        for module_name, paths in self._sdk.versions.patch_points.items():
            for path in paths:
                owner = resolve(module_name, path.rpartition(".")[0])
                name = path.rpartition(".")[2]
                original = vars(owner)[name]
                ours = self._WRAPPERS[path](self, original)
                self._replaced.make(owner, name, ours)
                if name == "request":
                    self._join(owner, original, ours, path)
        self._sockets.apply()
        return []

    def _see_answers(self) -> None:
        """Patch what gets every response, for the headers; where a version has no such methods there are no limits.

        The first call without a stream asks for it: it costs a stream something, too."""
        self._sees_answers = True
        for path in self._sdk.answered:
            owner, _, name = path.rpartition(".")
            client = resolve(self._sdk.requests, owner)
            original = vars(client).get(name) if client is not None else None
            if original is not None:
                self._replaced.make(client, name, self._process_response(original))

    def _join(self, owner: type, original: Any, ours: Callable[..., Any], path: str) -> None:
        for client, theirs, innermost in _wrapped_before(owner, original):
            if hasattr(innermost, "_self_wrapper"):  # wrapt's: it calls its current __wrapped__
                self._replaced.make(innermost, "__wrapped__", ours)
            else:
                self._outside = True
                self._replaced.make(client, "request", self._WRAPPERS[path](self, theirs))

    def remove(self) -> None:
        """Restore the originals. Where another patch is over ours, ours stays underneath and does nothing."""
        self._active = self._sees_answers = self._outside = False
        self._replaced.undo()
        self._sockets.remove()
        self._hooks.bodies.remove()
        self._hooks.taps.remove()

    def _enter(self, request: _Request, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Begin a call: observe it if it streams, or if it tries a failed stream again without streaming."""
        if not self._active:
            return
        try:
            client, options = args[0], kwargs["options"] if "options" in kwargs else args[2]
            if kwargs.get("stream") or facts.streams(self._sdk, options):
                self._begin(request, client, options)
            elif self._plain_kinds is not None:
                self._begin_plain(self._plain_kinds, request, client, options)
            if type(request.observation) is not Observation and self._host.has_failures():
                request.on_result = self._fallback(client, options)
        except Exception as error:
            if is_foreign(error):
                raise
            self._host.fault("observe")
        request.previous = previous = _current.get()
        if request.observation is not None:
            request.entered = True
            _current.set(request)
        elif request.on_result is not None or previous is not None:
            request.entered = True
            _current.set(None)

    def _begin(self, request: _Request, client: Any, options: Any) -> None:
        kind = self._kinds.kind(client, options)
        if kind is not None:
            found = self._labelled(kind.facts, options) if self._is_labelled else kind.facts
            body = options.json_data
            key = None if body is None else parts_of(body)
            self._host.begin(found, kind.reader(), key, request, client._client, options)

    def _begin_plain(self, kinds: Kinds, request: _Request, client: Any, options: Any) -> None:
        outer = _current.get()
        if outer is not None and outer.observation is not None and outer.is_running():
            return  # sent by the HTTP client of an observed call, say: it is part of that one
        kind = kinds.kind(client, options)
        if kind is not None:
            if not self._sees_answers:
                self._see_answers()
            found = self._labelled(kind.facts, options) if self._labels else kind.facts
            self._host.begin_call(found, kind.reader, request)

    def _labelled(self, found: RequestFacts, options: Any) -> RequestFacts:
        request = Request((getattr(options, "extra_json", None), options.json_data), options.headers)
        return self._labels.put_into(found, request)

    def _fallback(self, client: Any, options: Any) -> Callable[[object | None], None] | None:
        named = facts.named_by(self._sdk, client, options)
        if named is None and facts.surface_of(self._sdk, options) is None:
            return None
        return self._host.fell_back(named, request_key_of(options.json_data))

    def _returned(self, request: _Request, result: Any, is_async: bool) -> None:
        if request.on_result is not None:
            self._fallback_ended(request.on_result, result)
        observation = request.observation
        if type(observation) is PlainCall:
            observation.returned(result)
        elif isinstance(observation, Observation) and observation.hooks is None:
            watch(result, observation, is_async, self._hooks)

    def _raised(self, request: _Request, error: BaseException) -> None:
        if request.observation is not None:
            self._failed(request.observation, error)
        if request.on_result is not None:
            self._fallback_ended(request.on_result, None)

    def _fallback_ended(self, on_result: Callable[[object | None], None], result: object | None) -> None:
        try:
            on_result(result)
        except Exception as error:
            if is_foreign(error):
                raise
            self._host.fault("observe")

    def _request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_request(*args: Any, **kwargs: Any) -> Any:
            request = _Request(args[0])
            try:
                self._enter(request, args, kwargs)
                result = original(*args, **kwargs)
                self._returned(request, result, False)
                return result
            except BaseException as error:
                self._raised(request, error)
                raise
            finally:
                request.leave()

        return streamvitals_request

    def _async_request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def streamvitals_request(*args: Any, **kwargs: Any) -> Any:
            request = _Request(args[0])
            try:
                self._enter(request, args, kwargs)
                result = await original(*args, **kwargs)
                self._returned(request, result, True)
                return result
            except BaseException as error:
                self._raised(request, error)
                raise
            finally:
                request.leave()

        return streamvitals_request

    def _build_request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def streamvitals_build_request(client: Any, options: Any, *, retries_taken: int = 0) -> Any:
            request = original(client, options, retries_taken=retries_taken)
            self._built(client, request)
            return request

        if not same_parameters(streamvitals_build_request, original):
            return self._build_any_request(original)
        return functools.wraps(original)(streamvitals_build_request)

    def _build_any_request(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_build_request(*args: Any, **kwargs: Any) -> Any:
            request = original(*args, **kwargs)
            self._built(args[0], request)
            return request

        return streamvitals_build_request

    def _built(self, client: Any, request: Any) -> None:
        observation = _observation_of(client)
        if observation is None:
            return
        try:
            observation.attempting()
            if type(observation) is Observation:
                request.extensions[EXTENSION] = observation
                if self._outside:
                    self._host.look_around(observation)
        except Exception as error:
            if is_foreign(error):
                raise
            self._host.fault("observe")

    def _should_retry(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_should_retry(client: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
            observation = _observation_of(client)
            if observation is not None:
                self._answered(observation, response)
            return original(client, response, *args, **kwargs)

        return streamvitals_should_retry

    def _failed(self, observation: Observation | PlainCall, error: BaseException) -> None:
        if hasattr(error, "status_code") and hasattr(error, "response"):
            # The answer to the last attempt; the answers before it passed through _should_retry.
            self._answered(observation, error.response)
        observation.request_failed(error)

    def _answered(self, observation: Observation | PlainCall, response: Any) -> None:
        try:
            observation.answered(facts.response_facts(response.status_code, response.headers, time.time()))
        except Exception as error:
            if is_foreign(error):
                raise
            self._host.fault("observe")

    def _retry_timeout(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_retry_timeout(client: Any, *args: Any, **kwargs: Any) -> Any:
            backoff = original(client, *args, **kwargs)
            observation = _observation_of(client)
            if observation is not None:
                # The SDK calls this in its except block: the exception that is handled there is the reason.
                observation.retrying(sys.exc_info()[1], backoff)
            return backoff

        return streamvitals_retry_timeout

    def _process_response(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_process_response(client: Any, *args: Any, **kwargs: Any) -> Any:
            call = _observation_of(client)
            if type(call) is PlainCall and "response" in kwargs:
                self._answered(call, kwargs["response"])
            return original(client, *args, **kwargs)  # for an async client, its coroutine

        return streamvitals_process_response

    def _stream_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return self._init(original, is_async=False)

    def _async_stream_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        return self._init(original, is_async=True)

    def _init(self, original: Callable[..., Any], is_async: bool) -> Callable[..., Any]:
        def streamvitals_init(stream: Any, *, cast_to: Any, response: Any, client: Any, options: Any = None) -> None:
            original(stream, cast_to=cast_to, response=response, client=client, options=options)
            self._attach(stream, is_async)

        if not same_parameters(streamvitals_init, original):
            return self._init_of_any(original, is_async)
        return functools.wraps(original)(streamvitals_init)

    def _init_of_any(self, original: Callable[..., Any], is_async: bool) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_init(*args: Any, **kwargs: Any) -> None:
            original(*args, **kwargs)
            self._attach(args[0], is_async)

        return streamvitals_init

    def _attach(self, stream: Any, is_async: bool) -> None:
        try:
            # A hand-made Response has no request, and its `request` property raises.
            request = getattr(stream.response, "_request", None)
            observation = request.extensions.get(EXTENSION) if request is not None else None
            if observation is None:
                # The HTTP client's authentication, for example, has sent a request that it has made itself.
                observation = _observation_of(stream._client)
            if isinstance(observation, Observation) and self._active:
                attach(stream, observation, is_async, self._hooks)
        except Exception as error:
            if is_foreign(error):
                raise
            self._host.fault("observe")

    _WRAPPERS: ClassVar[dict[str, Callable[[Patches, Any], Any]]] = {
        "Stream.__init__": _stream_init,
        "AsyncStream.__init__": _async_stream_init,
        "SyncAPIClient.request": _request,
        "AsyncAPIClient.request": _async_request,
        "BaseClient._build_request": _build_request,
        "BaseClient._calculate_retry_timeout": _retry_timeout,
        "BaseClient._should_retry": _should_retry,
    }
