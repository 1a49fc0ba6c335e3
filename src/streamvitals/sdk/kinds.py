"""The SDK's requests in the process's words; what those of one kind have in common is looked up once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..stream.call import Call
from ..stream.chunks import Reader
from ..stream.events import BodyBytes, SpeechEvents
from ..stream.request import RequestFacts
from ..stream.request_key import request_key_of
from . import facts
from .openai_sdk import SDK

_MAX_KINDS = 256
_made: Any = tuple.__new__  # a named tuple from all its fields: less than half of what its class takes
_Key = tuple[int, type, str, str, str]


class Kind(NamedTuple):
    """A client's requests to one path, for one model. ``url`` is the client's base URL: as it is held here, no other
    one can have its id."""

    facts: RequestFacts
    reader: type[Reader]
    url: object


class Kinds:
    """Bounded; knows no client. The settings are the user's, see ``facts.request_facts``."""

    def __init__(self, sdk: SDK, finish_optional_hosts: frozenset[str], providers: Mapping[str, str]) -> None:
        self._sdk = sdk
        self._settings = finish_optional_hosts, providers
        self._known: dict[_Key, Kind] = {}

    def call(self, client: Any, options: Any) -> Call | None:
        """Translate a streaming request; None for a surface that is not observed."""
        kind_key = _key(client, options)
        kind = self._known.get(kind_key) if kind_key is not None else None
        if kind is None:
            kind = self._look(client, options, kind_key)
            if kind is None:
                return None
        body = options.json_data
        key = None if body is None else request_key_of(body)
        call: Call = _made(Call, (kind.facts, kind.reader(), key, client._client))
        return call

    def _look(self, client: Any, options: Any, key: _Key | None) -> Kind | None:
        surface = facts.surface_of(self._sdk, options)
        if surface is None:
            return None
        operation, reader = surface
        url = client._base_url if key is not None else None
        kind = Kind(facts.request_facts(self._sdk, client, options, operation, *self._settings), reader, url)
        # Other fields of these bodies say how they are read; and a base URL may be an app's own property.
        if key is not None and reader not in (BodyBytes, SpeechEvents) and self._has_fixed_url(client):
            if len(self._known) >= _MAX_KINDS:
                self._known.clear()
            self._known[key] = kind
        return kind

    def _has_fixed_url(self, client: Any) -> bool:
        """Whether its base URL is the one that it has been given, which the SDK replaces as a whole."""
        declared = next((cls for cls in type(client).__mro__ if "base_url" in vars(cls)), object)
        return declared.__module__.partition(".")[0] == self._sdk.package and client.base_url is client._base_url


def _key(client: Any, options: Any) -> _Key | None:
    """What makes requests be of one kind; None where more than that has to be looked at."""
    fields = vars(options)  # attributes of a pydantic model are slow to ask for
    body, extra = fields.get("json_data"), fields.get("extra_json")
    if type(body) is not dict or (extra is not None and (type(extra) is not dict or "model" in extra)):
        return None
    model, url = body.get("model"), getattr(client, "_base_url", None)
    if type(model) is not str or not model or url is None:
        return None
    return id(url), type(client), fields["url"], fields["method"], model
