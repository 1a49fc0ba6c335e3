"""Where the patches of any SDK want the observation of a call to be left."""

from __future__ import annotations

from typing import Protocol

from .observation import Observation
from .plain import PlainCall


class Holder(Protocol):
    """Stores an observation as soon as it exists, since an exception of the app may be raised right after that."""

    observation: Observation | PlainCall | None
