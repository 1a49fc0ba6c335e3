"""The kinds of the SDK's requests: facts that those of one kind share are looked up once."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any

from ..stream.chunks import Reader
from ..stream.events import BodyBytes, SpeechEvents
from ..stream.request import RequestFacts
from . import facts
from .openai_sdk import SDK

_MAX_KINDS = 256
_Key = tuple[int, type, str, str, str, int | None]


def _no_url() -> None:
    return None


class Kind:
    """A client's requests to one path, for one model and so many choices.

    ``url`` refers to the client's base URL, by whose id the kind is known, weakly: there may be a password in it."""

    __slots__ = ("facts", "reader", "url")

    def __init__(self, facts: RequestFacts, reader: type[Reader]) -> None:
        self.facts = facts
        self.reader = reader
        self.url: Callable[[], object] = _no_url


class Kinds:
    """The kinds of requests seen so far: bounded, holds no client. For the settings see ``facts.request_facts``."""

    def __init__(self, sdk: SDK, finish_optional_hosts: frozenset[str], providers: Mapping[str, str]) -> None:
        self._sdk = sdk
        self._settings = finish_optional_hosts, providers
        self._known: dict[_Key | None, Kind] = {}

    def kind(self, client: Any, options: Any) -> Kind | None:
        """The kind of a request; None for a surface that is not observed."""
        key = _key(client, options)
        kind = self._known.get(key)
        if kind is None or kind.url() is not client._base_url:  # else another URL has got the id of one that is gone
            kind = self._new_kind(client, options, key)
        return kind

    def _new_kind(self, client: Any, options: Any, key: _Key | None) -> Kind | None:
        surface = facts.surface_of(self._sdk, options)
        if surface is None:
            return None
        operation, reader = surface
        kind = Kind(facts.request_facts(self._sdk, client, options, operation, *self._settings), reader)
        # The reader of these two kinds depends on other fields of the body; an app's client may compute its URL; and
        # in a path of the app's own, with a host or a query, there may be a secret.
        plain = ":" not in options.url and "?" not in options.url
        if key is not None and plain and reader not in (BodyBytes, SpeechEvents) and self._has_fixed_url(client):
            if len(self._known) >= _MAX_KINDS:
                self._known.clear()
            kind.url = weakref.ref(client._base_url)
            self._known[key] = kind
        return kind

    def _has_fixed_url(self, client: Any) -> bool:
        """Whether the client's base URL is a plain attribute, which the SDK only ever replaces as a whole."""
        declared = next((cls for cls in type(client).__mro__ if "base_url" in vars(cls)), object)
        return declared.__module__.partition(".")[0] == self._sdk.package and client.base_url is client._base_url


def _key(client: Any, options: Any) -> _Key | None:
    """The key of a request's kind; None where the kind does not decide everything."""
    try:
        fields = options.__dict__  # attributes of a pydantic model are slow to read
        body, extra, url = fields["json_data"], fields["extra_json"], client._base_url
    except (AttributeError, KeyError):
        return None  # an app's own client or options, or fields that nobody has set
    if type(body) is not dict or (extra is not None and (type(extra) is not dict or "model" in extra or "n" in extra)):
        return None
    model, choices = body.get("model"), body.get("n")
    if type(model) is not str or not model or (choices is not None and type(choices) is not int):
        return None
    return id(url), type(client), fields["url"], fields["method"], model, choices
