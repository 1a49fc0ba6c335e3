"""YAML as text, for what rules and manifests are made of: mappings, lists and scalars.

Written here because it is a few lines. Reading YAML is left to a library.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

# A key that is a string to every reader without quotes: YAML 1.1 takes some words for true and false.
_PLAIN_KEY = re.compile(r"(?!(?i:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z_][\w./-]*")


def to_yaml(value: Mapping[str, Any]) -> str:
    """Write a mapping in block style, in which no mapping or list is empty.

    Strings are in double quotes (JSON's are YAML's), or blocks where they have several lines.
    """
    return "\n".join(_lines(value)) + "\n"


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _entry(f"{indent}{_key(key)}:", inner, indent + "  ")
    else:
        for inner in value:
            deeper = indent + "  "
            first, *more = _lines(inner, deeper) if isinstance(inner, Mapping) else _entry("", inner, deeper)
            yield f"{indent}- {first.lstrip()}"
            yield from more


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, str) and _is_block(value):
        yield f"{head} |" + ("" if value.endswith("\n") else "-")
        yield from (f"{indent}{line}".rstrip() for line in value.removesuffix("\n").split("\n"))
    elif isinstance(value, (Mapping, list, tuple)):
        yield head
        yield from _lines(value, indent)
    else:
        yield f"{head} {json.dumps(value, ensure_ascii=False)}"


def _is_block(text: str) -> bool:
    """Whether the text has several lines, and a block keeps them exactly."""
    lines = text.removesuffix("\n").split("\n")
    return len(lines) > 1 and text[0].strip() != "" and lines[-1] != "" and all(line == line.rstrip() for line in lines)


def _key(key: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else json.dumps(key)
