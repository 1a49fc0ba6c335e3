"""What an observation knows of the application's own retries: as much as its record says. The rest is retries/'."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol


class Chain(Protocol):
    """The attempts of one operation that has begun to fail (retries/failures.py)."""

    @property
    def failed(self) -> bool:
        """Whether it has been counted as failed."""

    def overdue(self, now: float) -> bool:
        """Count it as failed if it has been failing for too long. True once."""


class Retry(NamedTuple):
    """Which attempt of its chain a request is, handed over by retries/ when it begins.

    ``wait`` is in seconds since the attempt before it failed; ``retry_after_honored``: whether that was as long as the
    provider had asked for, None where it asked for nothing. ``span`` is the failed attempt's, ``failure`` what retries/
    knows of it.
    """

    attempt: int = 1
    wait: float = 0.0
    retry_after_honored: bool | None = None
    span: object | None = None
    chain: Chain | None = None
    failure: Any = None


FIRST_ATTEMPT = Retry()
