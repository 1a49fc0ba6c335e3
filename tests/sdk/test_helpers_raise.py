"""The SDK's helpers raise at what the provider sent: malformed, unless it is the app's own doing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pydantic
import pytest

from app_support import MESSAGES, VERSION, App, verdicts
from peer_support import CHUNKED, chunk, event, framed, peer, says
from streamvitals.testing import RecordList

pytestmark = pytest.mark.skipif(VERSION < (1, 92), reason="no such helpers before openai 1.92")

Observe = Callable[..., RecordList]
MALFORMED, CLOSED, COMPLETED = ("malformed", "other"), ("abandoned", "closed"), ("completed", "")
LATER = chunk("b") + chunk(finish="stop") + event("[DONE]")
CALL = {"id": "t", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESPONSE = {
    "id": "r", "object": "response", "created_at": 1, "model": "m", "status": "completed", "output": [], "tools": [],
    "tool_choice": "auto", "parallel_tool_calls": True,
}
COMPLETE = event({"type": "response.completed", "sequence_number": 9, "response": RESPONSE})
TEXT = event({
    "type": "response.output_text.delta", "item_id": "i", "output_index": 2, "content_index": 0, "delta": "a",
    "logprobs": [], "sequence_number": 1,
})
CHAT = {
    "a tool call without an index": chunk(delta={"tool_calls": [CALL]}) + LATER,
    "no choices": event({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}) + LATER,
    "no delta": chunk("a") + chunk(delta=None) + LATER,
}
RESPONSES = {"a text of no item": TEXT + COMPLETE, "nothing but the end": COMPLETE}


class Answer(pydantic.BaseModel):
    number: int


Each = Callable[[App, Any], None]


def reading(surface: str, mode: str, each: Each = App.chunk, **asked: Any) -> Callable[..., Any]:
    """An act that reads one helper to its end, and does ``each`` with every event."""
    asked = {"model": "m", **({"messages": MESSAGES} if surface == "chat" else {"input": "hello"}), **asked}

    def helper(client: Any) -> Any:
        return client.chat.completions.stream(**asked) if surface == "chat" else client.responses.stream(**asked)

    def act(app: App, url: str) -> None:
        with app.catching(), helper(app.client(base_url=url)) as events:
            for one in events:
                each(app, one)

    async def aact(app: App, url: str) -> None:
        with app.catching():
            async with helper(app.async_client(base_url=url)) as events:
                async for one in events:
                    each(app, one)

    return act if mode == "sync" else aact


def caught_inside(surface: str, mode: str, raises: type[Exception] | None, **asked: Any) -> Callable[..., Any]:
    """As ``reading``, but the app catches within the helper's block, and raises its own if it is told to."""
    asked = {"model": "m", **({"messages": MESSAGES} if surface == "chat" else {"input": "hello"}), **asked}

    def helper(client: Any) -> Any:
        return client.chat.completions.stream(**asked) if surface == "chat" else client.responses.stream(**asked)

    def reacts(app: App, error: Exception) -> None:
        app.saw.append(type(error).__name__)
        if raises is not None:
            raise raises from error

    def act(app: App, url: str) -> None:
        with app.catching(), helper(app.client(base_url=url)) as events:
            try:
                app.read(events)
            except Exception as error:  # noqa: BLE001 - as applications do
                reacts(app, error)

    async def aact(app: App, url: str) -> None:
        with app.catching():
            async with helper(app.async_client(base_url=url)) as events:
                try:
                    await app.aread(events)
                except Exception as error:  # noqa: BLE001 - as applications do
                    reacts(app, error)

    return act if mode == "sync" else aact


def recorded(observe: Observe, said: bytes, act: Callable[..., Any]) -> list[tuple[str, str]]:
    with peer(says({"m": CHUNKED + framed(said) + b"0\r\n\r\n"})) as url:

        async def aact(app: App) -> None:
            await act(app, url)

        is_async = act.__name__ == "aact"
        return verdicts(observe(aact if is_async else lambda app: act(app, url)))


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("what", [*CHAT, *RESPONSES])
def test_what_the_helper_cannot_read_is_malformed(what: str, mode: str, observe: Observe) -> None:
    surface = "chat" if what in CHAT else "responses"
    assert recorded(observe, {**CHAT, **RESPONSES}[what], reading(surface, mode)) == [MALFORMED]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("raises", [None, KeyError])
@pytest.mark.parametrize("what", ["no delta", "a text of no item"])
def test_so_it_is_where_the_app_catches_it_inside_the_block(
    what: str, raises: Any, mode: str, observe: Observe
) -> None:
    surface = "chat" if what in CHAT else "responses"
    assert recorded(observe, {**CHAT, **RESPONSES}[what], caught_inside(surface, mode, raises)) == [MALFORMED]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_the_apps_own_model_refused_and_the_app_caught_is_the_apps(mode: str, observe: Observe) -> None:
    said = chunk('{"number": "none"}') + chunk(finish="stop") + event("[DONE]")
    assert recorded(observe, said, caught_inside("chat", mode, None, response_format=Answer)) == [COMPLETED]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_the_app_raises_while_it_reads_a_helper_is_the_apps(mode: str, observe: Observe) -> None:
    def fails(app: App, one: Any) -> None:
        raise KeyError("the app's own")

    assert recorded(observe, chunk("a") + LATER, reading("chat", mode, fails)) == [CLOSED]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_what_a_library_raises_in_the_apps_own_code_is_the_apps(mode: str, observe: Observe) -> None:
    def fails(app: App, one: Any) -> None:
        pydantic.TypeAdapter(int).validate_python("no number")

    assert recorded(observe, chunk("a") + LATER, reading("chat", mode, fails)) == [CLOSED]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_another_helper_that_raises_inside_the_loop_is_not_this_one(mode: str, observe: Observe) -> None:
    """The inner stream is malformed; the outer one was left by the app."""
    with peer(says({"m": CHUNKED + framed(CHAT["no delta"])})) as inner_url:

        def fails(app: App, one: Any) -> None:
            with (
                openai.OpenAI(api_key="key", base_url=inner_url, max_retries=0) as client,
                client.chat.completions.stream(model="m", messages=MESSAGES) as events,
            ):
                app.read(events)

        assert recorded(observe, chunk("a") + LATER, reading("chat", mode, fails)) == [MALFORMED, CLOSED]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_an_answer_that_is_not_of_the_apps_own_model_is_the_apps(mode: str, observe: Observe) -> None:
    """The provider sent a whole stream, and said so before the app's model refused it."""
    act = reading("chat", mode, response_format=Answer)
    assert recorded(observe, chunk('{"number": "none"}') + chunk(finish="stop") + event("[DONE]"), act) == [COMPLETED]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(("finish", "want"), [("length", ("length", "")), ("content_filter", ("content_filter", ""))])
def test_a_structured_answer_that_the_model_did_not_end(
    finish: str, want: tuple[str, str], mode: str, observe: Observe
) -> None:
    act = reading("chat", mode, response_format=Answer)
    assert recorded(observe, chunk('{"numb') + chunk(finish=finish) + event("[DONE]"), act) == [want]
