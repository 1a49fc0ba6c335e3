"""Models that think before they answer, over real sockets: what comes meanwhile, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest

from app_support import MESSAGES, Act, App, observe
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer

THOUGHT = 1.2  # seconds
# A wait of THOUGHT is too long before the first token, and none is later.
IMPATIENT = Config(stall_after=60.0, first_token_stall_after=THOUGHT / 2)
MODELS = [("thinking", True), ("thinking-in-silence", False)]


def spec(model: str) -> str:
    return f"sv-{model}?first_token={THOUGHT}"


def _create(client: Any, model: str, surface: str) -> Any:
    if surface == "chat":
        return client.chat.completions.create(model=spec(model), messages=MESSAGES, stream=True)
    return client.responses.create(model=spec(model), input="x", stream=True)


def acts(model: str, surface: str = "chat") -> dict[str, Act]:
    def act(app: App) -> None:
        app.read(_create(app.client(), model, surface))

    async def async_act(app: App) -> None:
        await app.aread(await _create(app.async_client(), model, surface))

    def bytes_act(app: App) -> None:
        completions = app.client().chat.completions.with_streaming_response
        with completions.create(model=spec(model), messages=MESSAGES, stream=True) as response:
            app.saw.append(sum(1 for line in response.iter_lines() if line))

    async def async_bytes_act(app: App) -> None:
        completions = app.async_client().chat.completions.with_streaming_response
        async with completions.create(model=spec(model), messages=MESSAGES, stream=True) as response:
            app.saw.append(len([line async for line in response.iter_lines() if line]))

    return {"sync": act, "async": async_act, "bytes": bytes_act, "async bytes": async_bytes_act}


@pytest.mark.parametrize("how", ["sync", "async", "bytes", "async bytes"])
@pytest.mark.parametrize(("model", "kept_alive"), MODELS)
def test_a_long_thought_is_a_stall_before_the_answer_and_comments_tell_it_from_silence(
    server: ThreadedFaultServer, model: str, kept_alive: bool, how: str
) -> None:
    (record,) = observe(acts(model)[how], server, IMPATIENT)
    assert record.outcome.value == "completed"
    (stall,) = record.stall_times
    assert (stall.phase, stall.keep_alive, record.stalls) == ("first_token", kept_alive, 1)


@pytest.mark.parametrize("how", ["sync", "async"])
def test_keep_alive_events_of_responses_are_seen_too_and_are_no_chunks(server: ThreadedFaultServer, how: str) -> None:
    (plain,) = observe(acts("ok", "responses")[how], server)
    (record,) = observe(acts("thinking", "responses")[how], server, IMPATIENT)
    (stall,) = record.stall_times
    assert (stall.phase, stall.keep_alive, record.stalls) == ("first_token", True, 1)
    assert (record.outcome, record.chunks) == (plain.outcome, plain.chunks)


@pytest.mark.parametrize("how", ["sync", "async", "bytes", "async bytes"])
@pytest.mark.parametrize(("model", "kept_alive"), MODELS)
def test_a_threshold_for_the_answer_is_none_for_the_thought(
    server: ThreadedFaultServer, model: str, kept_alive: bool, how: str
) -> None:
    (record,) = observe(acts(model)[how], server, Config(stall_after=0.01))
    assert [stall for stall in record.stall_times if stall.phase == "first_token"] == []
