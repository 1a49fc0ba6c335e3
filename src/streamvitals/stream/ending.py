"""How a stream ended, as it is queued until the record of it is made."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

from ..outcome import Verdict


class Reference(weakref.ref):  # type: ignore[type-arg]
    """A weak reference to what the app reads a stream from; queued as an ending when that is garbage-collected."""

    __slots__ = ("observation",)
    observation: Any


class Ending(NamedTuple):
    """How a stream ended, as seen where it ended; ``at`` is on the observation's clock. ``complete``: the verdict is
    what the last chunk said."""

    verdict: Verdict
    at: float
    causes: tuple[str, ...] = ()
    complete: bool = False
