"""Refuses a file of OTEL_CONFIG_FILE that would hold up the app's start, before the loader reads it.

The loader has no limits. A few lines of YAML whose aliases name each other stand for billions of values, each of which
is then held against the schema; a file of /proc may never end, or never begin.
"""

from __future__ import annotations

import os
import stat

# The largest example of OpenTelemetry's own, with every setting there is and comments, has 50 kB and 1,100 values.
MOST_BYTES = 131072
MOST_IN_A_VALUE = 16384
MOST_VALUES = 5000
MOST_DEEP = 60


class TooMuchError(Exception):
    """Why the file is not read."""


def check(path: str) -> None:
    """Read the file, never waiting for it. Raises TooMuchError, OSError, and what YAML raises."""
    text = _read(path)
    if path.lower().endswith(".json"):
        _check_json(text)
    elif path.lower().endswith((".yaml", ".yml")):
        _check_yaml(text)


def _read(path: str) -> str:
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise TooMuchError("path is not a file")
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        content = file.read(MOST_BYTES + 1)
    if content is None or len(content) > MOST_BYTES:
        raise TooMuchError(f"it has more than {MOST_BYTES} bytes")
    return content.decode()


def _check_json(text: str) -> None:
    deep = deepest = values = 0
    for character in text:
        if character in "[{":
            deep += 1
            deepest = max(deepest, deep)
        elif character in "]}":
            deep -= 1
        values += character in "[{,:"
    _bound(values, deepest)


def _check_yaml(text: str) -> None:
    """Count the values as they will be with every alias in place of what it names."""
    import yaml  # type: ignore[import-untyped, unused-ignore]

    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []  # of each, its anchor, and how many values came before it
    values = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            # One that names a node around it has no end. The loader names one that names nothing.
            values += sizes.get(str(event.anchor), 1)
            if any(anchor == event.anchor for anchor, _ in open_nodes):
                raise TooMuchError("an alias in it names what it stands in")
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            if event.anchor is not None:
                sizes[event.anchor] = 1
            if len(event.value) > MOST_IN_A_VALUE:  # as a number it would take the square of that in time
                raise TooMuchError(f"a value in it has more than {MOST_IN_A_VALUE} characters")
        elif isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor is not None:
                sizes[anchor] = values - before
        _bound(values, len(open_nodes))


def _bound(values: int, deep: int) -> None:
    if values > MOST_VALUES:
        raise TooMuchError(f"it stands for more than {MOST_VALUES} values")
    if deep > MOST_DEEP:
        raise TooMuchError(f"it is nested more than {MOST_DEEP} deep")
