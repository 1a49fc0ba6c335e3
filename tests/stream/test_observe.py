"""The generators before the SDK's iterator: the quick way of the common chunk and the patient way say the same."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseTextDeltaEvent

from observation_support import Host
from streamvitals.names import GAP_EDGES
from streamvitals.stream import observe
from streamvitals.stream.chunks import ChatChunks
from streamvitals.stream.events import AgentEvents, ResponsesEvents
from streamvitals.stream.record import StreamRecord


def chunk(**changes: Any) -> ChatCompletionChunk:
    """One of the SDK's own making: a token of the only choice, or what ``changes`` make of it."""
    choice = {"index": 0, "delta": {"content": "x"}, "finish_reason": None, **changes.pop("choice", {})}
    fields = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice], **changes}
    return ChatCompletionChunk.construct(**fields)


USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
STRANGE = {
    "usage": chunk(usage=USAGE),
    "error": chunk(error={"message": "m", "type": "server_error"}),
    "error_code": chunk(error_code=17),
    "x_groq": chunk(x_groq={"error": "over capacity"}),
    "base_resp": chunk(base_resp={"status_code": 1002}),
    "error in a choice": chunk(choice={"error": {"code": 502}}),
    "usage in a choice": chunk(choice={"usage": USAGE}),
    "another choice": chunk(choice={"index": 1}),
    "two choices": ChatCompletionChunk.construct(**{**chunk().to_dict(), "choices": chunk().to_dict()["choices"] * 2}),
    "no choice": chunk(choices=[]),
    "finish": chunk(choice={"finish_reason": "stop"}),
}


@pytest.mark.parametrize("name", STRANGE)
def test_what_says_anything_is_no_common_chunk(name: str) -> None:
    reader = ChatChunks()
    reader.read(chunk())
    assert reader.is_common(chunk())
    assert not reader.is_common(STRANGE[name])


def test_a_choice_that_has_finished_is_not_common_again() -> None:
    reader = ChatChunks()
    assert not reader.is_common(chunk())  # nobody has seen this choice
    reader.read(chunk(choice={"finish_reason": "stop"}))
    assert not reader.is_common(chunk())


def test_an_event_is_common_after_one_of_its_type() -> None:
    delta = ResponseTextDeltaEvent.construct(type="response.output_text.delta", delta="x")
    reader = ResponsesEvents()
    assert not reader.is_common(delta)
    reader.read(delta)
    assert reader.is_common(delta)
    assert not reader.is_common(ResponseTextDeltaEvent.construct(type="error"))
    assert not reader.is_common(ResponseTextDeltaEvent.construct(type=None))
    agents = AgentEvents()
    agents.read(delta)
    assert not agents.is_common(delta)


FIRSTS = [
    chunk(), chunk(choice={"index": 3}), chunk(choice={"index": -1}), chunk(choice={"index": True}),
    chunk(choice={"index": "0"}), chunk(id="", model=""), chunk(id=None, model=7), chunk(id="a\nb"),
    chunk(choices=None), chunk(choice={"delta": None}), chunk(native_finish_reason="stop"), chunk(error=None),
    chunk(choice={"usage": None}), ChatCompletionChunk.construct(), chunk().to_dict(), [chunk()], None,
]


@given(st.lists(st.sampled_from([*FIRSTS, *STRANGE.values()]), max_size=4))
def test_a_stream_begins_in_the_quick_way_as_in_the_patient_way(items: list[Any]) -> None:
    quick, patient = ChatChunks(), ChatChunks()
    for item in items:
        quick.read(item)
        patient._read_patiently(item)
        for name in ChatChunks.__slots__:
            assert getattr(quick, name) == getattr(patient, name), name


class Tape:
    """An application and a provider that take turns by a host's clock, as ``steps`` say: wait, hold, chunk."""

    def __init__(self, host: Host, steps: list[tuple[float, float, Any]]) -> None:
        self.host, self.steps = host, steps

    def __iter__(self) -> Iterator[Any]:
        for wait, _, item in self.steps:
            self.host.now += wait
            yield item

    async def aiter(self) -> AsyncIterator[Any]:
        for item in self:
            yield item


def record(steps: list[tuple[float, float, Any]], way: str) -> tuple[StreamRecord, list[Any]]:
    """The record, and what was told on the way."""
    host = Host()
    observation, tape = host.streaming(), Tape(host, steps)
    holds = iter([hold for _, hold, _ in steps])
    if way == "async":
        async def read() -> None:
            async for _ in observe.streamvitals_observe_async(tape.aiter(), observation):
                host.now += next(holds)

        asyncio.run(read())
    else:
        generator = (
            observe.streamvitals_observe(iter(tape), observation)
            if way == "quick"
            else observe.streamvitals_watch(iter(tape), observation, observation.arrived)
        )
        for _ in generator:
            host.now += next(holds)
    assert not host.faults
    return host.ended()._replace(slot=None, operation=None), host.progress


TIMES = st.sampled_from([0.0, *GAP_EDGES, *(edge * 1.01 for edge in GAP_EDGES)])
STEPS = st.lists(st.tuples(TIMES, TIMES, st.sampled_from([chunk(), chunk(), chunk(), chunk(), *STRANGE.values()])))


@settings(max_examples=60)
@given(STEPS)
def test_the_quick_way_and_the_patient_way_say_the_same(steps: list[tuple[float, float, Any]]) -> None:
    patient = record(steps, "patient")
    assert record(steps, "quick") == patient
    assert record(steps, "async") == patient


def test_a_long_gap_is_a_stall_also_where_shorter_ones_of_its_bucket_are_none() -> None:
    host = Host()
    threshold = host.stall_after.between_chunks
    below = threshold * 0.999
    steps = [(gap, 0.0, chunk()) for gap in (0.1, below, threshold, below, threshold, below)]
    found, _ = record(steps, "quick")
    assert (found.stalls, found.max_gap) == (2, threshold)


def test_the_twins_differ_by_their_keywords_only() -> None:
    for name in ("streamvitals_observe", "streamvitals_watch"):
        sync, twin = (_body(getattr(observe, name + suffix)) for suffix in ("", "_async"))
        assert sync == [line for line in twin if line.strip() not in OWNING]


OWNING = ("if owns_inner and not inner.ag_running:", "await inner.aclose()")


def _body(function: Any) -> list[str]:
    source = inspect.getsource(function)
    lines = source[source.rindex('"""') + 3 :].splitlines()
    replaced = [
        line.replace("async for", "for").replace("await following()", "following(inner)")
        .replace("inner.__anext__", "next").replace("StopAsyncIteration", "StopIteration")
        for line in lines
    ]
    return [line for line in replaced if line.strip()]


def test_a_stream_that_has_ended_writes_into_no_slot() -> None:
    host = Host()
    observation = host.streaming()
    generator = observe.streamvitals_observe(iter([chunk() for _ in range(5)]), observation)
    next(generator), next(generator)
    view, at = observation.pace.view, observation.pace.at
    observation.closed()
    host.ended()
    before = list(view[at : at + 8])
    assert len(list(generator)) == 3
    assert list(view[at : at + 8]) == before
