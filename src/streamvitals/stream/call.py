"""What the patches of any SDK hand to the process with a request for a stream."""

from __future__ import annotations

from typing import Protocol

from .observation import Observation
from .plain import PlainCall


class Holder(Protocol):
    """Stores an observation as soon as it exists, since an exception of the app may be raised right after that."""

    observation: Observation | PlainCall | None
