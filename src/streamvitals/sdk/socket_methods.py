"""Observes methods of one WebSocket. They stay methods of this one object, and no object lives longer for it.

An app holds a connection by the SDK's object, or by a method of the socket below it. All of these hold a ``Watched``,
but the socket does not: when the ``Watched`` is freed the app can no longer read, although the library may hold the
socket until the other side closes it.
"""

from __future__ import annotations

import functools
import inspect
import sys
import weakref
from types import MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..stream.conversation import Conversation

_NAMES = ("recv", "send", "close")
_KEPT = "_streamvitals"  # attribute of a socket: weakly the app's Watched, and a Watched for when that is gone
_STANDS_FOR = "_streamvitals_stands_for"  # attribute of a class of ours: the class that it replaces


class Watched:
    """Passes on what the app does with a socket of the class ``theirs``, and reports it to ``conversation``."""

    __slots__ = ("__weakref__", "conversation", "theirs")

    def __init__(self, conversation: Conversation, theirs: Any) -> None:
        self.conversation = conversation
        self.theirs = theirs

    def recv(self, socket: Any, *args: Any, **kwargs: Any) -> Any:
        self.conversation.asking()
        try:
            message = self.theirs.recv(socket, *args, **kwargs)
        except BaseException as error:
            self.conversation.read_failed(error)
            raise
        self.conversation.received(message)
        return message

    def send(self, socket: Any, message: Any, *args: Any, **kwargs: Any) -> Any:
        response = self.conversation.sending(message)
        try:
            return self.theirs.send(socket, message, *args, **kwargs)
        except BaseException as error:
            self.conversation.not_sent(response, error)
            raise

    def close(self, socket: Any, *args: Any, **kwargs: Any) -> Any:
        self.conversation.closed(sys.exc_info()[1])
        return self.theirs.close(socket, *args, **kwargs)


class AsyncWatched(Watched):
    """The async twin; the differences are the keywords."""

    __slots__ = ()

    async def recv(self, socket: Any, *args: Any, **kwargs: Any) -> Any:
        self.conversation.asking()
        try:
            message = await self.theirs.recv(socket, *args, **kwargs)
        except BaseException as error:
            self.conversation.read_failed(error)
            raise
        self.conversation.received(message)
        return message

    async def send(self, socket: Any, message: Any, *args: Any, **kwargs: Any) -> Any:
        response = self.conversation.sending(message)
        try:
            return await self.theirs.send(socket, message, *args, **kwargs)
        except BaseException as error:
            self.conversation.not_sent(response, error)
            raise

    async def close(self, socket: Any, *args: Any, **kwargs: Any) -> Any:
        self.conversation.closed(sys.exc_info()[1])
        return await self.theirs.close(socket, *args, **kwargs)


class _Method:
    """Replaces a method of the class by a descriptor that returns a bound method of a ``Watched``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, socket: Any, owner: type) -> Any:
        try:
            held, unwatched = socket.__dict__[_KEPT]
        except (AttributeError, KeyError):  # accessed on the class, or another thread is just removing us
            return getattr(super(owner, owner if socket is None else socket), self._name)
        return MethodType(getattr(held() or unwatched, self._name), socket)


@functools.cache
def _watching(theirs: type) -> type:
    """A class for observed sockets, which otherwise behaves as the class that it replaces."""
    named = {"__slots__": (), "__module__": theirs.__module__, "__qualname__": theirs.__qualname__}
    return type(theirs.__name__, (theirs,), {**named, _STANDS_FOR: theirs, **{name: _Method(name) for name in _NAMES}})


def _theirs(socket: Any) -> Any:
    return getattr(type(socket), _STANDS_FOR, type(socket))


def watch(socket: Any, conversation: Conversation, held: Watched | None = None) -> Watched:
    """Observe a socket of the websockets library.

    The app is taken to hold the socket for as long as it holds the result; ``held`` is the ``Watched`` of the socket
    whose place this one takes."""
    theirs = _theirs(socket)
    kind = AsyncWatched if inspect.iscoroutinefunction(theirs.recv) else Watched
    held = held or kind(conversation, theirs)
    vars(socket)[_KEPT] = (weakref.ref(held), kind(conversation, theirs))
    socket.__class__ = _watching(theirs)
    return held


def unwatch(socket: Any) -> None:
    """Restore the socket's own class; methods of it that the app holds still work."""
    socket.__class__ = _theirs(socket)
    vars(socket).pop(_KEPT, None)
