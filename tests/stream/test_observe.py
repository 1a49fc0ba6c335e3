"""The generators before the SDK's iterator: the quick way of the common chunk and the patient way say the same."""

from __future__ import annotations

import asyncio
import inspect
import operator
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta
from openai.types.responses import ResponseTextDeltaEvent

from observation_support import Host
from streamvitals.names import GAP_EDGES
from streamvitals.stream import observe
from streamvitals.stream.chunks import ChatChunks, Common
from streamvitals.stream.events import AgentEvents, ResponsesEvents
from streamvitals.stream.observation import Observation
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


# While a model thinks, and what may come among it. An answer in any field ends it.
THOUGHTS = [
    chunk(choice={"delta": {"role": "assistant", "content": ""}}),
    chunk(choice={"delta": {"reasoning_content": "x"}}), chunk(choice={"delta": {"reasoning": "x", "content": ""}}),
    chunk(choice={"delta": {"reasoning_content": "x"}}, usage=USAGE), chunk(choice={"delta": {}}),
    chunk(choice={"delta": {"reasoning_content": "x", "content": "y"}}), chunk(choice={"delta": {"images": ["x"]}}),
    chunk(choice={"delta": {"reasoning_content": "x"}, "finish_reason": ""}),
]


def patiently_read(items: list[Any], reader: Any = None) -> list[Any]:
    """The chunks of a stream that were not common."""
    found: list[Any] = []
    original = Observation.arrived

    def arrived(self: Observation, item: Any, now: float | None = None) -> Common:
        found.append(item)
        return original(self, item, now)

    observation = Host().streaming(reader=reader)
    with patch.object(Observation, "arrived", arrived):
        assert list(observe.streamvitals_observe(iter(items), observation)) == items
    return found


@pytest.mark.parametrize("name", STRANGE)
def test_what_says_anything_is_no_common_chunk(name: str) -> None:
    first, common, strange, last = chunk(), chunk(), STRANGE[name], chunk()
    found = patiently_read([first, common, strange, last])
    assert found[:2] == [first, strange]
    ended = name in ("finish", "x_groq", "error in a choice")
    assert found[2:] == ([last] if ended else [])


def test_no_chunk_is_read_patiently_for_a_word_that_says_nothing() -> None:
    items = [chunk(), *(chunk(choice={"finish_reason": word}) for word in ("", None, ""))]
    assert patiently_read(items) == items[:1]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "reasoning_text"])
def test_thoughts_are_common_until_the_answer_begins(field: str) -> None:
    role, thought = chunk(choice={"delta": {"role": "assistant"}}), chunk(choice={"delta": {field: "x"}})
    for answer in (chunk(), chunk(choice={"delta": {"tool_calls": [{"index": 0}]}})):
        items = [role, thought, thought, thought, answer, answer, thought]
        assert patiently_read(items) == [role, thought, answer]


def test_events_of_thoughts_are_common_until_the_answer_begins() -> None:
    kinds = ("response.created", *["response.reasoning_summary_text.delta"] * 3, *["response.output_text.delta"] * 2)
    events = [ResponseTextDeltaEvent.construct(type=kind, sequence_number=at) for at, kind in enumerate(kinds)]
    assert patiently_read(events, ResponsesEvents()) == [events[0], events[1], events[4]]


def test_events_are_common_after_one_of_their_type() -> None:
    delta = "response.output_text.delta"
    kinds = (delta, delta, "error", delta, None, delta, "response.function_call_arguments.delta", delta)
    events = [ResponseTextDeltaEvent.construct(type=kind, sequence_number=at) for at, kind in enumerate(kinds)]
    common = [events[at] for at in (1, 3, 5)]
    assert patiently_read(events, ResponsesEvents()) == [each for each in events if each not in common]
    assert patiently_read(events, AgentEvents()) == events


FIRSTS = [
    chunk(), chunk(choice={"index": 3}), chunk(choice={"index": -1}),
    chunk(choice={"index": "0"}), chunk(id="", model=""), chunk(id=None, model=7), chunk(id="a\nb"),
    chunk(choices=None), chunk(choice={"delta": None}), chunk(native_finish_reason="stop"), chunk(error=None),
    chunk(choice={"usage": None}), ChatCompletionChunk.construct(), chunk().to_dict(), [chunk()], None,
]


class OwnChoice(Choice):
    """What an app may declare, and the SDK's class has as an extra."""

    native_finish_reason: str | None = None
    error: Any = None
    usage: Any = None


class OwnChunk(ChatCompletionChunk):
    error: Any = None


def own(choice: type[Choice], **fields: Any) -> Choice:
    """The choice of a last chunk, of this class."""
    return choice.construct(index=0, delta=ChoiceDelta.construct(), finish_reason="stop", **fields)


LASTS = [
    *(ChatCompletionChunk.construct(**{**chunk().__dict__, "choices": [own(OwnChoice, **fields)]}) for fields in (
        {}, {"native_finish_reason": "MAX_TOKENS"}, {"error": {"code": 429}}, {"usage": USAGE},
    )),
    OwnChunk.construct(**{**chunk().__dict__, "choices": [own(Choice)], "error": {"code": 502}}),
    *(chunk(choice={"finish_reason": word, "delta": {}}) for word in (
        "stop", "length", "tool_calls", "content_filter", "error", "STOP", "null", "gave_up", "s\ntop", ["stop"], 7,
    )),
    chunk(choice={"finish_reason": "stop"}), chunk(choice={"finish_reason": "length", "index": 1}),
    chunk(choice={"finish_reason": "stop", "delta": None}), chunk(choice={"finish_reason": "stop"}, usage=USAGE),
    chunk(choice={"finish_reason": "stop", "native_finish_reason": "MAX_TOKENS"}),
    chunk(choice={"finish_reason": "stop", "provider_specific_fields": {"native_finish_reason": "SAFETY"}}),
    chunk(choice={"finish_reason": "stop", "stop_reason": None, "content_filter_results": {}}),
    chunk(choice={"finishReason": "MAX_TOKENS"}), chunk(choice={"finish_reason": "stop", "error": {"code": 502}}),
]


def check_that_both_ways_read_the_same(items: list[Any]) -> None:
    quick, patient = ChatChunks(), ChatChunks()
    for item in items:
        quick.read(item)
        patient._read_patiently(item)
        for name in ChatChunks.__slots__:
            assert getattr(quick, name) == getattr(patient, name), name


@pytest.mark.parametrize("last", LASTS)
def test_a_last_chunk_is_read_in_the_quick_way_as_in_the_patient_way(last: ChatCompletionChunk) -> None:
    check_that_both_ways_read_the_same([chunk(), last])
    check_that_both_ways_read_the_same([last])


@given(st.lists(st.sampled_from([*FIRSTS, *STRANGE.values(), *THOUGHTS, *LASTS]), max_size=5))
def test_a_chunk_is_read_in_the_quick_way_as_in_the_patient_way(items: list[Any]) -> None:
    check_that_both_ways_read_the_same(items)


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


def record(
    steps: list[tuple[float, float, Any]], way: str, reader: type[Any] = ChatChunks
) -> tuple[StreamRecord, list[Any]]:
    """The record, and what was told on the way."""
    host = Host()
    observation, tape = host.streaming(reader=reader()), Tape(host, steps)
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
ANY = st.one_of(st.just(chunk()), st.sampled_from(THOUGHTS), st.sampled_from([*STRANGE.values()]))
STEPS = st.lists(st.tuples(TIMES, TIMES, ANY))
THOUGHT_STEPS = st.lists(st.tuples(TIMES, TIMES, st.sampled_from(THOUGHTS)))


@settings(max_examples=100)
@given(st.builds(operator.add, THOUGHT_STEPS, STEPS))
def test_the_quick_way_and_the_patient_way_say_the_same(steps: list[tuple[float, float, Any]]) -> None:
    patient = record(steps, "patient")
    assert record(steps, "quick") == patient
    assert record(steps, "async") == patient


KINDS = st.sampled_from([
    "response.created", "response.in_progress", "keepalive", "response.reasoning_summary_text.delta",
    "response.reasoning_summary_text.delta", "response.output_item.added", "response.output_text.delta", None,
])
EVENTS = st.builds(
    lambda kind, text: ResponseTextDeltaEvent.construct(type=kind, delta=text), KINDS, st.sampled_from(["x", "x", ""])
)
EVENT_STEPS = st.lists(st.tuples(TIMES, TIMES, EVENTS))


@settings(max_examples=100)
@given(EVENT_STEPS)
def test_the_quick_way_and_the_patient_way_say_the_same_of_events(steps: list[tuple[float, float, Any]]) -> None:
    patient = record(steps, "patient", ResponsesEvents)
    assert record(steps, "quick", ResponsesEvents) == patient
    assert record(steps, "async", ResponsesEvents) == patient


def test_a_long_gap_is_a_stall_also_where_shorter_ones_of_its_bucket_are_none() -> None:
    host = Host()
    threshold = host.stall_after.between_chunks
    below = threshold * 0.999
    steps = [(gap, 0.0, chunk()) for gap in (0.1, below, threshold, below, threshold, below)]
    found, _ = record(steps, "quick")
    assert (found.stalls, found.max_gap) == (2, threshold)


def test_a_gap_is_a_stall_of_the_answer_though_one_as_long_was_none_while_the_model_thought() -> None:
    host = Host(stall_after=5.0, first_token=60.0)
    observation = host.streaming()
    thought = chunk(choice={"delta": {"reasoning_content": "x"}})
    steps = [(0.1, 0.0, thought), (8.0, 0.0, thought), (0.1, 0.0, chunk()), (7.0, 0.0, chunk()), (7.0, 0.0, chunk())]
    for _ in observe.streamvitals_observe(iter(Tape(host, steps)), observation):
        pass
    assert host.ended().stalls == 2


def test_a_stream_that_is_read_on_after_its_end_reports_nothing_more() -> None:
    host = Host(flush_every=10.0)
    observation = host.streaming()
    generator = observe.streamvitals_observe(iter(Tape(host, [(4.0, 0.0, chunk())] * 9)), observation)
    for _ in range(4):
        next(generator)
    observation.closed()
    host.ended()
    told = len(host.progress)
    assert told
    assert len(list(generator)) == 5
    assert len(host.progress) == told


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
