"""Find the shipped files that are no code: in a wheel beside the package, in a checkout at its root."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_BUILT, _CHECKOUT = _PACKAGE / "_files", _PACKAGE.parents[1]


class MissingFileError(Exception):
    """A shipped file is missing in this installation; the text says which, and where it was looked for."""


def read(pattern: str) -> dict[str, str]:
    """Read the files that a pattern such as ``alerts/runbooks/*.md`` matches: texts by name, sorted.

    Raises MissingFileError where there is none.
    """
    root = _BUILT if _BUILT.is_dir() else _CHECKOUT
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted(root.glob(pattern))}
    if not found:
        raise MissingFileError(f"this installation of streamvitals has no {pattern} (looked in {root})")
    return found
