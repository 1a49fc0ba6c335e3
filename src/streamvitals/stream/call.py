"""The request for a stream, as the patches of any SDK describe it to the process."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from .chunks import Reader
from .observation import Observation
from .plain import PlainCall
from .request import RequestFacts
from .request_key import RequestKey


class Call(NamedTuple):
    """One request for a stream. ``reader`` is made for this stream alone.

    ``request_key`` identifies the request (None where nothing does); ``http_client`` is the httpx client that sends it,
    and ``options`` are the SDK's, if there are any: neither is kept.
    """

    facts: RequestFacts
    reader: Reader
    request_key: RequestKey | None = None
    http_client: Any = None
    options: Any = None


class Holder(Protocol):
    """Stores an observation as soon as it exists, since an exception of the app may be raised right after that."""

    observation: Observation | PlainCall | None
