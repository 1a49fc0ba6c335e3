"""Reads fields of what a provider sent, in any form: SDK objects, plain dicts, anything with attributes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_MAX_TEXT = 128
_NOT_PYDANTIC: Any = object()


def get(thing: Any, name: str) -> Any:
    """An attribute or a key; None where there is none."""
    if isinstance(thing, dict):
        return thing.get(name)
    own = getattr(thing, "__dict__", None)
    if own is not None:
        if name in own:
            return own[name]
        # A pydantic model takes 1.5 µs to raise AttributeError.
        extra = getattr(thing, "__pydantic_extra__", _NOT_PYDANTIC)
        if extra is not _NOT_PYDANTIC:
            return extra.get(name) if extra else None
    return getattr(thing, name, None)


class _Attributes:
    """A ``get`` method for an object that is neither a dict nor a pydantic model; see ``fields``."""

    __slots__ = ("_thing",)

    def __init__(self, thing: Any) -> None:
        self._thing = thing

    def get(self, name: str) -> Any:
        return getattr(self._thing, name, None)


def fields(thing: Any) -> Any:
    """An object whose ``.get(name)`` gives the fields of ``thing``; for one field alone use ``get``."""
    if isinstance(thing, dict):
        return thing
    try:
        own, extra = thing.__dict__, thing.__pydantic_extra__
    except AttributeError:
        return _Attributes(thing)
    return {**extra, **own} if extra else own


def has_any(thing: Any, names: frozenset[str]) -> bool:
    """Whether one of these fields has a value that is true."""
    if isinstance(thing, dict):
        return any(map(thing.get, names))
    try:
        own, extra = thing.__dict__, thing.__pydantic_extra__
    except AttributeError:
        return any(map(_Attributes(thing).get, names))
    # Most often none of the fields has, whatever its name, and that is seen sooner.
    if any(own.values()) and any(map(own.get, names)):
        return True
    return bool(extra) and not names.isdisjoint(extra) and any(map(extra.get, names))


def text(value: Any) -> str | None:
    """The printable characters of a string, bounded; None for anything else and where nothing is left.

    Control characters in a provider's name would control the terminals and logs that show it."""
    if not isinstance(value, str):
        return None
    value = value[:_MAX_TEXT]
    if not value.isprintable():
        value = "".join(filter(str.isprintable, value))
    return value or None


def identifier(value: Any) -> str | None:
    """The printable ASCII characters of an id, bounded; None for anything else and where nothing is left."""
    found = text(value)
    return found if found is None or found.isascii() else found.encode("ascii", "ignore").decode() or None


_known_words = lru_cache(256)(identifier)
_known_names = lru_cache(256)(text)


def word(value: Any) -> str | None:
    """As ``identifier``, for what is the same in one stream after another."""
    return _known_words(value) if isinstance(value, str) and len(value) <= _MAX_TEXT else identifier(value)


def model_name(value: Any) -> str | None:
    """As ``text``, for what is the same in one stream after another: all of them hold one string."""
    return _known_names(value) if isinstance(value, str) and len(value) <= _MAX_TEXT else text(value)


def count(value: Any) -> int | None:
    """A count as an int; None for anything that is no count. Cohere writes counts as 7.0
    (https://docs.cohere.com/reference/chat-stream)."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
