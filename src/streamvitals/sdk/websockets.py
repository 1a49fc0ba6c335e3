"""Observing the SDK's WebSockets: Responses and Realtime, wherever the installed SDK has them.

    SyncAPIResource.__init__()   a resource was made, so its module has been imported: by the app, never by us
    ...Connection.__init__()     a connection was opened: its ``send``, ``recv`` and ``close`` are watched
    ...Connection.parse_event()  a message that cannot be read is an error to the app

The three are watched on the one object of the websockets library that belongs to this connection: there all ways
meet, the SDK's events, its lanes and queues as well as raw messages. A connection that cannot be opened is no
stream: nothing has been asked for yet, and the app has its exception.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from collections.abc import Callable
from typing import Any, Protocol

from ..stream.chunks import Reader
from ..stream.conversation import Conversation
from ..stream.events import ResponsesEvents
from ..stream.observation import Observation
from ..stream.request import RequestFacts
from ..stream.request_key import RequestKey, digested
from ..stream.tracebacks import is_foreign
from . import facts
from .replacing import Replacements
from .socket_methods import Watched, unwatch, watch
from .versions import resolve

# Where connections that carry responses are; of the others, such as translations, nothing begins and ends.
MODULES = (
    "openai.resources.responses.responses",
    "openai.resources.beta.responses.responses",
    "openai.resources.realtime.realtime",
    "openai.resources.beta.realtime.realtime",
)
_RESOURCES = "openai._resource"
_OPERATION = "chat"


class Watcher(Protocol):
    """What is asked of the process; process/runtime.py fulfils it."""

    clock: Callable[[], float]

    def begin_response(self, told: RequestFacts, reader: Reader, key: RequestKey | None) -> Observation | None:
        """Start observing one response; ``key`` identifies the request, None where nothing does."""

    def fault(self, where: str) -> None:
        """Count a fault of ours."""


class SocketPatches:
    """Applied once, removable. What the installed SDK does not have is skipped."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher
        self._active = False
        self._replaced = Replacements()
        self._seen: set[str] = set()
        self._watched: weakref.WeakSet[Any] = weakref.WeakSet()
        self._held: weakref.WeakKeyDictionary[Any, Watched] = weakref.WeakKeyDictionary()  # by connection

    def apply(self) -> None:
        """Patch what has been imported, and be told of the rest."""
        self._active = True
        for name in ("SyncAPIResource", "AsyncAPIResource"):
            owner = resolve(_RESOURCES, name)
            original = getattr(owner, "__dict__", {}).get("__init__")
            if original is not None:
                self._replaced.make(owner, "__init__", self._resource_init(original))
        for module in MODULES:
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
            if module in MODULES and module not in self._seen and self._active:
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
            self._watcher.fault("patch")

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
            held = self._held.get(connection)
        except TypeError:
            return  # called with something else than a connection
        if held is not None:
            held.talk.unreadable(error)

    # -- one connection

    def _watch(self, connection: Any) -> None:
        try:
            socket = connection._connection
            if not _is_known(socket):
                return
            realtime = "Realtime" in type(connection).__name__
            told, model = facts.socket_facts(socket, _OPERATION)
            talk = Conversation(
                self._watcher.clock, functools.partial(self._begin, told, facts.socket_request_id(socket)),
                self._watcher.fault, realtime, model,
            )
            held = self._held[connection] = watch(socket, talk)
            self._watched.add(socket)
            talk.owner = weakref.ref(held, talk.dropped)
            make = getattr(connection, "_make_ws", None)
            if make is not None:
                connection._make_ws = self._reconnecting(make, held)
        except Exception as error:
            if is_foreign(error):
                raise
            self._watcher.fault("observe")

    def _begin(
        self, told: RequestFacts, request_id: str | None, model: str | None, body: Any
    ) -> Observation | None:
        if not self._active:
            return None
        if model is not None:
            told = told._replace(labels=told.labels._replace(model=model))
        # Nothing of the message itself may be held while the response is open.
        key = digested(body) if body is not None else None
        observation = self._watcher.begin_response(told, ResponsesEvents(), key)
        if observation is not None:
            observation.attempts.over_connection(request_id)
        return observation

    def _reconnecting(self, make: Callable[..., Any], held: Watched) -> Callable[..., Any]:
        """The SDK opens another socket in place of one that was lost."""

        def hook(socket: Any) -> None:
            try:
                if self._active and _is_known(socket):
                    held.talk.opened_again()
                    watch(socket, held.talk, held)
                    self._watched.add(socket)
            except Exception as error:
                if is_foreign(error):
                    raise
                self._watcher.fault("observe")

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
