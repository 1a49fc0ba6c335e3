"""What the SDK's side asks of the process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ..stream.call import Call, Holder
from ..stream.observation import Observation
from ..stream.request import Key
from ..stream.request_key import RequestKey


class Host(Protocol):
    """What the patches ask of the process; process/runtime.py fulfils it."""

    clock: Callable[[], float]

    def begin(self, call: Call, holder: Holder | None = None) -> Observation:
        """Start observing one stream, and leave its observation with the holder."""

    def has_failures(self) -> bool:
        """Whether anything has failed that a call without streaming could try again."""

    def fell_back(self, named: Key | None, key: RequestKey) -> Callable[[object | None], None] | None:
        """A call that does not stream begins. If it tries a failed stream again, what is to be called with its result,
        None if it raised. ``named`` is the response that it names, if it does."""

    def fault(self, where: str) -> None:
        """Count a fault of ours."""
