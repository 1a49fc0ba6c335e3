"""The request for a stream as every SDK's side describes it to the process."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

from .chunks import Reader
from .observation import Observation
from .request import RequestFacts
from .request_key import RequestKey


class Call(NamedTuple):
    """One request for a stream. ``reader`` is a fresh one, which reads nothing else.

    ``request_key`` identifies the request, None where nothing does; ``http_client`` is httpx's, if one sends it.
    """

    facts: RequestFacts
    reader: Reader
    request_key: RequestKey | None = None
    http_client: Any = None


class Holder(Protocol):
    """Receives an observation as soon as there is one, since an exception of the app's may strike right after."""

    observation: Observation | None
