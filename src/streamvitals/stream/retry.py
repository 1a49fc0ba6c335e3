"""What an observation knows of the application's own retries: what its record needs. The rest is in retries/."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Chain(Protocol):
    """The attempts of one operation that has begun to fail (retries/failures.py).

    ``number`` is its own within the process; ``kept`` is where the records of its failed attempts stand."""

    number: int
    kept: list[Any]

    @property
    def failed(self) -> bool:
        """Whether the operation has been counted as failed."""

    def overdue(self, now: float) -> bool:
        """Count the operation as failed if it has been failing for too long. True only once."""


class Retry(NamedTuple):
    """Which attempt of its chain a request is; given by retries/ when the request begins.

    ``wait`` is the number of seconds since the previous attempt failed; ``retry_after_honored``: whether the wait was
    as long as the provider had asked for, None where it asked for nothing. ``span`` is the span of the failed attempt,
    ``failure`` what retries/ knows of that attempt.
    """

    attempt: int = 1
    wait: float = 0.0
    retry_after_honored: bool | None = None
    span: object | None = None
    chain: Chain | None = None
    failure: Any = None


FIRST_ATTEMPT = Retry()
