"""Where the files are: in an installed wheel beside the code, in a checkout at its root."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
_BUILT, _CHECKOUT = _PACKAGE / "_files", _PACKAGE.parents[1]


class MissingFileError(Exception):
    """This installation has not got what it should have; the text says what, and where it was looked for."""


def read(pattern: str) -> dict[str, str]:
    """The texts of the files that a pattern such as ``alerts/runbooks/*.md`` matches, by their names, sorted.

    Raises MissingFileError where there is none.
    """
    root = _BUILT if _BUILT.is_dir() else _CHECKOUT
    found = {path.name: path.read_text(encoding="utf-8") for path in sorted(root.glob(pattern))}
    if not found:
        raise MissingFileError(f"this installation of streamvitals has no {pattern} (looked in {root})")
    return found
