"""Observing the SDK's WebSockets: Responses and Realtime, wherever the installed SDK has them.

    SyncAPIResource.__init__()   a resource was made, so its module has been imported: by the app, never by us
    ...Connection.__init__()     a connection was opened: its ``send``, ``recv`` and ``close`` are watched
    ...Connection.parse_event()  a message that cannot be read is an error to the app

``send``, ``recv`` and ``close`` are watched on the connection's object of the websockets library: the SDK's events,
lanes and queues, and raw messages, all go through it. A connection that cannot be opened is no stream: nothing has
been asked for yet, and the app has its exception.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from ..stream.events import ResponsesEvents
from ..stream.observation import Observation
from ..stream.request import RequestFacts
from ..stream.request_key import digested
from ..stream.tracebacks import is_foreign
from . import facts
from .custom_labels import CustomLabels, Request
from .host import Host
from .openai_sdk import SDK
from .replacing import Replacements
from .socket_methods import Watched, unwatch, watch
from .versions import resolve

_OPERATION = "chat"


class SocketPatches:
    """Applied once, removable. What the installed SDK does not have is skipped."""

    def __init__(self, sdk: SDK, host: Host, providers: Mapping[str, str], labels: CustomLabels) -> None:
        self._sdk = sdk
        self._host = host
        self._providers = providers
        self._labels = labels
        self._active = False
        self._replaced = Replacements()
        self._seen: set[str] = set()
        self._watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self._watched_by_connection: weakref.WeakKeyDictionary[Any, Watched] = weakref.WeakKeyDictionary()

    def apply(self) -> None:
        """Patch what has been imported, and the rest when it is."""
        self._active = True
        for owner in (resolve(module, name) for module, names in self._sdk.resources.items() for name in names):
            original = getattr(owner, "__dict__", {}).get("__init__")
            if original is not None:
                self._replaced.make(owner, "__init__", self._resource_init(original))
        for module in self._sdk.socket_modules:
            if module in sys.modules:
                self._patch(module)

    def remove(self) -> None:
        """Put back what was there, on open connections too."""
        self._active = False
        self._replaced.undo()
        self._seen.clear()
        for socket in list(self._watched):
            unwatch(socket)
        self._watched.clear()

    def _resource_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_init(resource: Any, *args: Any, **kwargs: Any) -> None:
            original(resource, *args, **kwargs)
            module = type(resource).__module__
            if module in self._sdk.socket_modules and module not in self._seen and self._active:
                self._patch(module)

        return streamvitals_init

    def _patch(self, module: str) -> None:
        try:
            self._seen.add(module)
            for thing in list(vars(sys.modules[module]).values()):
                if inspect.isclass(thing) and thing.__module__ == module and "recv_bytes" in vars(thing):
                    self._replaced.make(thing, "__init__", self._connection_init(vars(thing)["__init__"]))
                    self._replaced.make(thing, "parse_event", self._parse_event(vars(thing)["parse_event"]))
        except Exception as error:
            if is_foreign(error):
                raise
            self._host.fault("patch")

    def _connection_init(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_init(connection: Any, *args: Any, **kwargs: Any) -> None:
            original(connection, *args, **kwargs)
            if self._active:
                self._watch(connection)

        return streamvitals_init

    def _parse_event(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def streamvitals_parse_event(connection: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(connection, *args, **kwargs)
            except Exception as error:
                self._unreadable(connection, error)
                raise

        return streamvitals_parse_event

    def _unreadable(self, connection: Any, error: Exception) -> None:
        try:
            watched = self._watched_by_connection.get(connection)
        except TypeError:
            return  # called with something else than a connection
        if watched is not None:
            watched.conversation.unreadable(error)

    # -- one connection

    def _watch(self, connection: Any) -> None:
        try:
            socket = connection._connection
            if not _is_known(socket):
                return
            from ..stream.conversation import Conversation  # most programs open no connection

            realtime = "Realtime" in type(connection).__name__
            request, model = facts.socket_facts(self._sdk, socket, _OPERATION, self._providers)
            conversation = Conversation(
                self._host.clock, functools.partial(self._begin, request, facts.socket_request_id(socket)),
                self._host.fault, realtime, model,
            )
            watched = self._watched_by_connection[connection] = watch(socket, conversation)
            self._watched.add(socket)
            conversation.owner = weakref.ref(watched, conversation.dropped)
            make = getattr(connection, "_make_ws", None)
            if make is not None:
                connection._make_ws = self._reconnecting(make, watched)
        except Exception as error:
            if is_foreign(error):
                raise
            self._host.fault("observe")

    def _begin(
        self, request: RequestFacts, request_id: str | None, model: str | None, body: Any, fields: Any
    ) -> Observation | None:
        if not self._active:
            return None
        if model is not None:
            request = request._replace(labels=request.labels._replace(model=model))
        if self._labels:
            # The headers are those of the connection, which are not this request's own.
            request = self._labels.put_into(request, Request((fields,), None))
        # Nothing of the message itself may be held while the response is open.
        key = digested(body) if body is not None else None
        observation = self._host.begin(request, ResponsesEvents(), key)
        observation.attempts.over_connection(request_id)
        return observation

    def _reconnecting(self, make: Callable[..., Any], watched: Watched) -> Callable[..., Any]:
        """The SDK opens another socket in place of one that was lost."""

        def hook(socket: Any) -> None:
            try:
                if self._active and _is_known(socket):
                    watched.conversation.opened_again()
                    watch(socket, watched.conversation, watched)
                    self._watched.add(socket)
            except Exception as error:
                if is_foreign(error):
                    raise
                self._host.fault("observe")

        if not inspect.iscoroutinefunction(make):

            def streamvitals_make(*args: Any, **kwargs: Any) -> Any:
                socket = make(*args, **kwargs)
                hook(socket)
                return socket

            return streamvitals_make

        async def streamvitals_make_async(*args: Any, **kwargs: Any) -> Any:
            socket = await make(*args, **kwargs)
            hook(socket)
            return socket

        return streamvitals_make_async


def _is_known(socket: Any) -> bool:
    """Whether it is the websockets library's, and not what a test or an app puts in its place."""
    return any(base.__module__.partition(".")[0] == "websockets" for base in type(socket).__mro__)
