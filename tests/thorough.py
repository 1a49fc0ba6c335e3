"""Short forms of tests that take minutes. `make test-thorough` asks for the long ones: ``THOROUGH=true``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar
from zlib import crc32

THOROUGH = os.environ.get("THOROUGH") == "true"
T = TypeVar("T")


def share(things: Sequence[T], each: int) -> Sequence[T]:
    """Every ``each``-th of the things, beginning at another one for each test; all of them in the long form."""
    if THOROUGH:
        return things
    return things[crc32(os.environ["PYTEST_CURRENT_TEST"].encode()) % each :: each]
