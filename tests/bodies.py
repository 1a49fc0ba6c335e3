"""Bodies of a test's own, played by the fault server, and the chunks that they are made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from streamvitals.faults import plays, routes
from streamvitals.faults.scenarios import SCENARIOS, Scenario
from streamvitals.faults.steps import Send

DONE = b"data: [DONE]\n\n"


def play(monkeypatch: pytest.MonkeyPatch, name: str, events: Sequence[bytes]) -> str:
    """Makes the fault server send ``events`` to whoever asks for ``name``, on any surface."""
    monkeypatch.setitem(SCENARIOS, name, Scenario(name, "completed", "", "a body of a test's own"))
    body = plays.stream(lambda ask: (Send(event, "chunk") for event in events))
    for known in (plays.PLAYS, *(route.plays for route in routes._ROUTES)):
        monkeypatch.setitem(known, name, body)  # type: ignore[arg-type]  they are dicts
    return name


def event(data: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(data)}\n\n".encode()


def chunk(text: str = "", finish: str | None = None, index: int = 0, beside: Any = None, **more: Any) -> bytes:
    """``more`` is within the choice, ``beside`` beside the choices."""
    choice = {"index": index, "delta": {"content": text} if text else {}, "finish_reason": finish, **more}
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return event({**head, "choices": [choice], **(beside or {})})
