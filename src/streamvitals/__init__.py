"""streamvitals shows whether LLM token streams are alive.

``streamvitals run -- python app.py`` needs no change in the program; ``instrument()`` does the same from
within it. For tests there are ``streamvitals.testing`` and ``streamvitals.faults``, and fixtures for pytest.

PYTEST_DONT_REWRITE: an observed program has this loaded before pytest, which would warn that it comes too late.
"""

from __future__ import annotations

from ._version import __version__

# Not from `typing`: this runs before run/entry.py has an import path of our own, and `typing` may be anybody's.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .outcome import Outcome
    from .process.instrument import flush, instrument, uninstrument
    from .stream.code_labels import labels
    from .stream.record import StreamRecord

__all__ = ["Outcome", "StreamRecord", "__version__", "flush", "instrument", "labels", "uninstrument"]

# Where each name lives: imported when it is asked for, since `streamvitals run` needs none of them.
_HOMES = {
    "Outcome": ".outcome",
    "StreamRecord": ".stream.record",
    "flush": ".process.instrument",
    "instrument": ".process.instrument",
    "labels": ".stream.code_labels",
    "uninstrument": ".process.instrument",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    # Found without this function from now on: `labels` may stand around every request.
    value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return value
