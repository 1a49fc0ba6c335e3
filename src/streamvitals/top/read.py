"""Asks agents for what the live page shows."""

from __future__ import annotations

import json
import ssl
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from ..agent.client import UnreachableError, ask, root_of

# Seconds that an agent may take, and the most bytes of an answer that are read.
PATIENCE, MOST_BYTES = 3.0, 4 * 1024 * 1024
VERSION = 1


class Seen(NamedTuple):
    """What an agent said, or why it said nothing; ``url`` is without a password."""

    url: str
    streams: dict[str, Any]
    summary: dict[str, Any]
    error: str = ""


def look(urls: Sequence[str], tls: ssl.SSLContext | None = None) -> list[Seen]:
    """Ask all agents at the same time."""
    with ThreadPoolExecutor(max_workers=min(16, len(urls))) as pool:
        return list(pool.map(lambda url: _look_at(url, tls), urls))


def _look_at(url: str, tls: ssl.SSLContext | None) -> Seen:
    try:
        return Seen(root_of(url), _get(url, "/api/v1/streams?limit=1000", tls), _get(url, "/api/v1/summary", tls))
    except UnreachableError as error:
        return Seen(root_of(url), {}, {}, f"{error} -> {error.fix}")
    except (OSError, ValueError, RecursionError) as error:
        return Seen(root_of(url), {}, {}, f"{root_of(url)} is no agent of this version: {error}")


def _constant(word: str) -> None:
    raise ValueError(f"{word} is not JSON")


def _get(url: str, path: str, tls: ssl.SSLContext | None) -> dict[str, Any]:
    with ask(url, path, tls, timeout=PATIENCE, accept="application/json") as answer:
        told = json.loads(answer.read(MOST_BYTES), parse_constant=_constant)
    if not isinstance(told, dict) or told.get("version") != VERSION:
        raise ValueError(f"no answer of version {VERSION} of the API")
    return told
