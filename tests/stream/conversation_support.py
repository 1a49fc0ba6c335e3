"""A conversation over a WebSocket whose clock only the test moves, and what a server says in it."""

from __future__ import annotations

import json
from typing import Any

from observation_support import LABELS, Host, Slot
from streamvitals.stream.conversation import Conversation
from streamvitals.stream.events import ResponsesEvents
from streamvitals.stream.observation import Observation
from streamvitals.stream.request import RequestFacts

CREATE: dict[str, Any] = {"type": "response.create"}


class ConnectionClosedOK(Exception):
    """By its name, as the websockets library's."""


class ConnectionClosedError(Exception):
    rcvd = sent = None


class Talk(Conversation):
    """A conversation whose clock only the test moves."""

    def __init__(self, host: Host, realtime: bool = True, model: str | None = "model") -> None:
        self.host = host
        self.slots: list[Slot] = []
        self.models: list[str | None] = []
        self.asked_for: list[Any] = []
        super().__init__(host.clock, self.begin, host.fault, realtime, model)

    def begin(self, model: str | None, asks: Any, fields: Any = None) -> Observation:
        self.models.append(model)
        self.asked_for.append(asks)
        slot = Slot()
        slot.view[slot.at] = self.host.now  # as the store opens it
        self.slots.append(slot)
        return Observation(self.host, RequestFacts(LABELS), ResponsesEvents(), self.slots[-1], self.host.now, 1.7e9)

    def asks(self, **more: Any) -> None:
        self.sending(json.dumps({**CREATE, **more}))

    def hears(self, event: dict[str, Any], wait: float = 0.0, hold: float = 0.0) -> None:
        """The app asks, the server speaks ``wait`` seconds later, the app works ``hold`` seconds on it."""
        self.asking()
        self.host.now += wait
        self.received(json.dumps(event).encode())
        self.host.now += hold

    @property
    def ended(self) -> list[tuple[str, str]]:
        assert self.host.faults == []
        return [(record.outcome.value, record.error_type) for record in self.host.records]


def created(name: str = "r1", **more: Any) -> dict[str, Any]:
    return {"type": "response.created", "response": {"id": name}, **more}


def delta(name: str = "r1", text: str = "token", **more: Any) -> dict[str, Any]:
    return {"type": "response.output_text.delta", "response_id": name, "delta": text, **more}


def done(name: str = "r1", status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": "response.done", "response": {"id": name, "status": status, **more}}


def error(kind: str = "server_error", code: str | None = None, cause: str | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "code": code, "event_id": cause}, **more}
