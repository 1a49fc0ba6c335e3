"""The list of scenarios, for people."""

from __future__ import annotations

from dataclasses import fields

from .ask import Params
from .scenarios import ALIASES, SCENARIOS, Scenario
from .surface_scenarios import ONLY_SURFACES, SURFACES, scenarios_of

# What each parameter of a scenario does.
PARAMETERS: dict[str, str] = {
    "chunks": "tokens of a whole answer",
    "after": "tokens before the fault",
    "fails": "failed attempts before one succeeds",
    "gap": "seconds between chunks",
    "delay": "seconds before the headers",
    "first": "seconds between the headers and the first chunk",
    "first_token": "seconds between a first chunk without content and the first token",
    "stall": "seconds that a silence lasts",
    "grace": "seconds before a RST, which may throw away what the client has not read yet",
    "json": "1: the tokens make up a JSON object with a string `text`",
    "code": "of the frame that closes a WebSocket",
    "plain": "1: a request without a stream gets this body, too, and not a whole answer",
}


def played() -> list[Scenario]:
    """The scenarios that a request can name."""
    return [scenario for scenario in SCENARIOS.values() if scenario.kind == "server"]


def short_names(scenario: Scenario) -> list[str]:
    """Other names for a scenario."""
    return [short for short, name in ALIASES.items() if name == scenario.name]


def reported(outcome: str, error_type: str) -> str:
    """The outcome that streamvitals reports, and the error type if there is one."""
    return f"{outcome} ({error_type})" if error_type else outcome


def surfaces_of(name: str) -> str:
    """The surfaces beside chat that have a scenario."""
    return ", ".join(surface for surface in SURFACES if name in scenarios_of(surface))


def defaults() -> list[tuple[str, str, str]]:
    """Every parameter with its default and what it does."""
    return [(one.name, f"{one.default:g}", PARAMETERS[one.name]) for one in fields(Params)]


def text() -> str:
    """All scenarios, one a line, and the parameters."""
    lines = []
    for scenario in played():
        name = ", ".join([scenario.name, *short_names(scenario)])
        lines.append(_line(name, reported(scenario.outcome, scenario.error_type), scenario.description))
    lines += ["", "Not on chat, but on:"]
    lines += [_line(name, reported(*truth), surfaces_of(name)) for name, truth in ONLY_SURFACES.items()]
    lines += ["", "Parameters, as in reset?after=5&gap=0.02 (default):"]
    lines += [f"  {name:<12} {does} ({default})" for name, default, does in defaults()]
    return "\n".join(lines)


def _line(name: str, how: str, what: str) -> str:
    return f"{name:<36} {how:<48} {what}"
