"""What is done with every streaming surface of the installed SDK, and what must be reported of it: for the tests,
and for the table of bench/surfaces.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app_support import HANGS
from streamvitals.faults.scenarios import SCENARIOS
from streamvitals.faults.surface_scenarios import scenarios_of, truth
from surface_acts import CALLS, HELPERS, Call, areading, reading
from websocket_acts import SOCKETS, SYNC_PINGS, Socket
from websocket_acts import areading as socket_areading
from websocket_acts import reading as socket_reading

CALLED = [call for call in CALLS if call.exists()]
HELPED = [call for call in HELPERS if call.exists()]
CONNECTED = [call for call in SOCKETS if call.exists()]
# Pauses that need not be as long as they are elsewhere.
_QUICK = {"stall-then-fine": "stall-then-fine?stall=0.1"}
_QUICK_SOCKET = {**_QUICK, "stall-before-first": "stall-before-first?stall=0.1"}
# A WebSocket's read has no timeout: what ends a silence is a ping that stays unanswered.
_PINGS = {"ping_interval": 0.1, "ping_timeout": 0.2, "close_timeout": 0.1}
_CHAT = tuple(name for name, scenario in SCENARIOS.items() if scenario.kind == "server")


def forms_of(call: Call | Socket) -> tuple[str, ...]:
    """In which forms the answer can be read, the usual one first."""
    if isinstance(call, Socket):
        return call.forms()
    if call.helper:
        return ("helper",)
    return ("lines", "bytes") if call.bytes_only else ("stream", "raw", "lines", "bytes")


def playable(call: Call | Socket, names: tuple[str, ...]) -> list[str]:
    """Those of these scenarios that can happen to a call."""
    known = _CHAT if call.surface == "chat" else scenarios_of(call.surface)
    return [name for name in names if name in known]


def happens(call: Call | Socket, mode: str, scenario: str) -> bool:
    """Whether a scenario that can be played comes to an end with this client."""
    return not isinstance(call, Socket) or scenario != "stall" or mode == "async" or SYNC_PINGS


def act_of(call: Call | Socket, form: str, mode: str, scenario: str) -> Callable[..., Any]:
    """Read to the end, ``mode`` "sync" or "async"."""
    if isinstance(call, Socket):
        spec, pings = _QUICK_SOCKET.get(scenario, scenario), _PINGS if scenario == "stall" else {}
        return (socket_reading if mode == "sync" else socket_areading)(call, form, spec, **pings)
    spec = _QUICK.get(scenario, scenario)
    if call.structured:
        spec += ("&" if "?" in spec else "?") + "json=1"
    make = reading if mode == "sync" else areading
    return make(call, form, spec, **_options(scenario))


def _options(scenario: str) -> dict[str, Any]:
    """What the client must be for a scenario to come about."""
    known = SCENARIOS.get(scenario)
    if known is None:
        return {"timeout": HANGS}
    return {"max_retries": known.retries, "timeout": 0.3 if known.client_timeout else HANGS}


def truth_of(call: Call | Socket, scenario: str) -> tuple[str, str]:
    """Outcome and error type that must be reported."""
    if call.surface == "chat":
        known = SCENARIOS[scenario]
        return known.outcome, known.error_type
    return truth(call.surface, scenario)
