"""Parses what a request asks the fault server for: a scenario, with parameters."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import parse_qsl

from .scenarios import ALIASES, SCENARIOS
from .surface_scenarios import ONLY_SURFACES

MAX_SECONDS = 86_400
MAX_COUNT = 10_000_000


class BadAsk(ValueError):
    """An unknown scenario, or a parameter that makes no sense; the text goes to the client."""


@dataclass(frozen=True)
class Params:
    chunks: int = 8  # tokens of a whole answer
    after: int = 3  # tokens before the fault
    fails: int = 2  # failed attempts before one succeeds
    gap: float = 0.0  # seconds between chunks
    delay: float = 0.0  # before the headers
    first: float = 0.0  # between headers and first chunk
    first_token: float = 0.0  # between a first chunk that carries nothing and the first token
    stall: float = 30.0  # how long the silences last
    grace: float = 0.05  # before a RST: it may throw away what the client has not read yet
    json: int = 0  # 1: the tokens make up a JSON object with a string `text`
    code: int = 1000  # of the frame that closes a WebSocket
    plain: int = 0  # 1: a request without a stream is played this, too


@dataclass(frozen=True)
class Ask:
    scenario: str
    params: Params
    model: str = ""  # echoed in the answer
    stream: bool = True
    include_usage: bool = False
    failed_before: int = 0  # attempts that scenarios which fail and then work have failed already
    background: bool = False  # a response that is made in the background
    kind: str = ""  # how a surface's events are named, where one vocabulary serves two of them
    chosen: bool = False  # by the server: the request named no scenario


def parse_spec(spec: str) -> tuple[str, Params]:
    """Read `name`, `sv-name` or `name?after=5&gap=0.02`."""
    name, _, query = spec.partition("?")
    name = name.removeprefix("sv-")
    name = ALIASES.get(name, name)
    scenario = SCENARIOS.get(name)
    if name not in ONLY_SURFACES and (scenario is None or scenario.kind != "server"):
        raise BadAsk(f"unknown scenario {spec[:80]!r}; GET /v1/models and `streamvitals faults --list` list them")
    defaults = dict(scenario.defaults) if scenario is not None else {}
    given: dict[str, Any] = {**defaults, **_numbers(parse_qsl(query, keep_blank_values=True))}
    return name, Params(**given)


_INTEGERS = {one.name: one.type == "int" for one in fields(Params)}


def _numbers(given: list[tuple[str, str]]) -> dict[str, int | float]:
    read: dict[str, int | float] = {}
    for key, text in given:
        if key not in _INTEGERS:
            raise BadAsk(f"unknown parameter {key[:40]!r}; known are {', '.join(_INTEGERS)}")
        try:
            value: int | float = int(text) if _INTEGERS[key] else float(text)
        except ValueError:
            value = -1
        kind, most = ("an integer", MAX_COUNT) if _INTEGERS[key] else ("seconds", MAX_SECONDS)
        if not math.isfinite(value) or not 0 <= value <= most:
            raise BadAsk(f"parameter {key}={text[:40]!r} must be {kind} from 0 to {most}")
        read[key] = value
    return read
