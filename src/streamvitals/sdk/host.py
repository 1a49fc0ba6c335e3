"""The interface that the patches on an SDK need from the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from ..stream.call import Holder
from ..stream.chunks import Reader
from ..stream.observation import Observation
from ..stream.request import Key, RequestFacts
from ..stream.request_key import Parts, RequestKey


class Host(Protocol):
    """What the patches need from the process; process/runtime.py implements it."""

    clock: Callable[[], float]

    def begin(
        self, facts: RequestFacts, reader: Reader, key: Parts | None = None, holder: Holder | None = None,
        http_client: Any = None, options: Any = None,
    ) -> Observation:
        """Start to observe one stream, and give the observation to the holder. ``reader`` is made for it alone.

        ``key`` identifies the request (None where nothing does); ``http_client`` is the httpx client that sends it, and
        ``options`` are the SDK's, if there are any: neither is kept."""

    def look_around(self, observation: Observation) -> None:
        """Look once more whether the request is made inside the inference of another instrumentation."""

    def begin_call(self, facts: RequestFacts, reader: type[Reader], holder: Holder) -> None:
        """Start to observe a call without a stream, and give it to the holder."""

    def has_failures(self) -> bool:
        """Whether a stream has failed that a call without streaming could try again."""

    def fell_back(self, named: Key | None, key: RequestKey) -> Callable[[object | None], None] | None:
        """Note that a call without streaming begins. If it tries a failed stream again, return a function to call with
        its result, or with None if it raised. ``named`` is the response that the call names, if any."""

    def fault(self, where: str) -> None:
        """Count a fault of ours."""
