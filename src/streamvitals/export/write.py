"""Write files without losing what somebody has changed in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class WriteError(Exception):
    """A file was not written; the text names it and says why. Others may have been written before it."""


def write(files: Mapping[str, str], directory: str | Path, *, force: bool = False) -> list[Path]:
    """Write texts by their path below ``directory``, which is made if need be; return the paths in order.

    A file that is there and says something else is kept unless ``force``: nothing at all is written then.
    Raises WriteError.
    """
    targets = {Path(directory) / name: text.encode() for name, text in files.items()}
    path = Path(directory)
    try:
        for path in () if force else targets:
            if path.exists() and path.read_bytes() != targets[path]:
                raise WriteError(f"{path} is there and says something else; --force overwrites it")
        for path, content in targets.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    except OSError as error:
        raise WriteError(f"{error.filename or path}: {error.strerror}") from error
    return list(targets)
