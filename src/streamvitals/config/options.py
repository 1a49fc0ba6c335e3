"""The options of streamvitals in a file of OpenTelemetry's declarative configuration: one for each of its variables.

    instrumentation/development:
      python:
        streamvitals:
          stall_seconds: 10
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, make_dataclass
from typing import Any

from .problems import INNER, OURS, known_variables

NAMES = tuple(sorted(
    name.removeprefix(OURS).lower() for name in known_variables() if name.startswith(OURS) and name not in INNER
))
_Fields: Any = make_dataclass("_Fields", [
    *((name, Any, field(default=None)) for name in NAMES), ("unknown_options", Any, field(default=None)),
])


class Options(_Fields):  # type: ignore[misc]
    """What OpenTelemetry's loader makes of the options; it calls ``instrument()`` with those that are not None.

    Each is named like its variable, without STREAMVITALS_ and in lower case."""

    def __init__(self, **given: Any) -> None:
        # An option that is not known must not keep the program from being observed, as a TypeError would.
        known = {name: value for name, value in given.items() if name in NAMES}
        super().__init__(**known, unknown_options=sorted(given.keys() - known.keys()) or None)


def unknown(names: list[str]) -> Iterator[str]:
    """What is said of options that are not known."""
    from difflib import get_close_matches

    for name in names:
        close = get_close_matches(name, NAMES, 1)
        what = f"did you mean {close[0]}?" if close else f"the options are {', '.join(NAMES)}"
        yield f"{name[:60]!r} is not an option of streamvitals -> {what}"
