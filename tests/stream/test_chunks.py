"""What a reader of chat chunks understands, and that nothing a provider may send makes it raise or grow."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletionChunk

from observation_support import chunk, finish, token
from streamvitals.outcome import ERROR_TYPES, Outcome, Verdict
from streamvitals.sdk.openai_sdk import OPENAI
from streamvitals.stream import vocabulary
from streamvitals.stream.chunks import ChatChunks, CompletionChunks

SURFACES = (*OPENAI.by_path.values(), *(surface for *_, surface in OPENAI.by_pattern))
READERS = sorted({reader for _, reader in SURFACES}, key=lambda reader: reader.__name__)
WORDS = [
    "id", "model", "choices", "index", "finish_reason", "delta", "content", "usage", "error", "type", "response",
    "status", "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "event", "data",
    "text", "tool_calls", "incomplete_details", "reason", "code", "response.completed", "stop", "length",
]
NAMES = st.sampled_from(WORDS) | st.text(max_size=3)
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5)
    | st.sampled_from([10**400, "x" * 100_000, b"bytes", (), frozenset(), object()])
)
GARBAGE = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5), max_leaves=25
)


def as_object(value: Any) -> Any:
    """The same with attributes in place of keys, as the SDK builds what it has not validated."""
    if isinstance(value, dict):
        return SimpleNamespace(**{str(k): as_object(v) for k, v in value.items()})
    return [as_object(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("make", READERS)
@given(items=st.lists(GARBAGE, max_size=6), objects=st.booleans())
def test_no_reader_raises_on_garbage(make: Any, items: list[Any], objects: bool) -> None:
    reader = make()
    for item in items:
        told = as_object(item) if objects else item
        assert reader.has_token(told) in (True, False)
        reader.read(told)
    marker = reader.marker()
    if marker is not None:
        assert marker.error_type in ERROR_TYPES.get(marker.outcome, ("",))
    assert reader.unfinished() in ERROR_TYPES[Outcome.TRUNCATED]
    usage = reader.usage()
    assert usage is None or all(n is None or (isinstance(n, int) and n >= 0) for n in usage)
    for text in (*reader.finish_reasons, reader.response_id or "", reader.response_model or ""):
        assert len(text) <= 128
    assert {*reader.finish_reasons} <= {*vocabulary.REPORTED, *END_WORDS}


END_WORDS = ("completed", "incomplete", "length", "failed", "cancelled", "error")


def test_garbage_where_choices_should_be_a_list() -> None:
    """A dict of one choice, which has a length and cannot be indexed."""
    reader = ChatChunks()
    reader.read(SimpleNamespace(choices={"a": 1}, usage=None))
    assert reader.marker() is None


@given(indexes=st.lists(st.integers(-5, 10**6), max_size=300))
def test_a_hostile_number_of_choices_is_not_remembered(indexes: list[int]) -> None:
    reader = ChatChunks()
    for index in indexes:
        reader.read(chunk({"content": "x"}, index=index))
    assert len(reader._seen) <= 128


@pytest.mark.parametrize(("delta", "told"), [
    ({"content": "x"}, True),
    ({"content": ""}, False),
    ({"content": None}, False),
    ({"role": "assistant"}, False),
    ({}, False),
    ({"reasoning_content": "x"}, True),
    ({"reasoning": "x"}, True),
    ({"refusal": "x"}, True),
    ({"tool_calls": [{"index": 0}]}, True),
    ({"tool_calls": []}, False),
    ({"function_call": {"name": "f"}}, True),
    ({"audio": {"id": "x"}}, True),
])
def test_what_counts_as_a_token(delta: dict[str, Any], told: bool) -> None:
    as_dict = {"choices": [{"index": 0, "delta": delta}]}
    for item in (chunk(delta), as_dict):
        assert ChatChunks().has_token(item) is told


MISTRALS = {"type": "thinking", "thinking": [{"type": "text", "text": "x"}]}


@pytest.mark.parametrize(("delta", "answers"), [
    ({"content": [MISTRALS]}, False),
    ({"content": [MISTRALS, {"type": "text", "text": "x"}]}, True),
    ({"content": [MISTRALS], "tool_calls": [{"index": 0}]}, True),
    ({"content": [{"type": "text", "text": "x"}]}, True),
    ({"reasoning_content": "x"}, False),
])
def test_what_counts_as_an_answer(delta: dict[str, Any], answers: bool) -> None:
    """A list of thoughts is no answer: https://github.com/BerriAI/litellm/issues/16272"""
    as_dict = {"choices": [{"index": 0, "delta": delta}]}
    built = ChatCompletionChunk.construct(**as_dict)
    for item in (chunk(delta), as_dict, built):
        assert ChatChunks().has_token(item)
        assert ChatChunks().has_answer(item) is answers
    assert ChatChunks._thinks(built.choices[0]) is not answers


def test_the_model_stays_known_where_no_chunk_has_an_id() -> None:
    reader = ChatChunks()
    for item in ({"model": "m", "choices": [{"index": 0, "delta": {"content": "x"}}]}, {"choices": []}):
        reader.read(item)
    assert reader.response_model == "m"


def test_a_chunk_without_choices_carries_no_token_and_no_finish() -> None:
    reader = ChatChunks()
    for item in (SimpleNamespace(choices=[], usage=None), {"choices": []}, {"choices": None}, {}, None, "text"):
        assert not reader.has_token(item)
        reader.read(item)
    assert reader.marker() is None
    reader.read(token())
    reader.read(finish())
    assert reader.marker() == Verdict(Outcome.COMPLETED)


@pytest.mark.parametrize(("reason", "verdict"), [
    ("stop", Verdict(Outcome.COMPLETED)),
    ("tool_calls", Verdict(Outcome.COMPLETED)),
    ("function_call", Verdict(Outcome.COMPLETED)),
    ("end_turn", Verdict(Outcome.COMPLETED)),
    ("length", Verdict(Outcome.LENGTH)),
    ("max_tokens", Verdict(Outcome.LENGTH)),
    ("model_length", Verdict(Outcome.LENGTH)),
    ("content_filter", Verdict(Outcome.CONTENT_FILTER)),
    ("error", Verdict(Outcome.API_ERROR, "finish_error")),
    ("abort", Verdict(Outcome.API_ERROR, "finish_abort")),
    ("insufficient_system_resource", Verdict(Outcome.API_ERROR, "finish_insufficient_system_resource")),
    ("", None),
    (None, None),
    (7, None),
])
def test_finish_reasons(reason: Any, verdict: Verdict | None) -> None:
    for item in (chunk({}, reason), {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}):
        reader = ChatChunks()
        reader.read(token())
        reader.read(item)
        assert reader.marker() == verdict


def test_an_error_object_in_a_choice() -> None:
    for reason in (None, "stop", "error"):
        reader = ChatChunks()
        reader.read(chunk({}, reason, error={"code": 502}))
        assert reader.marker() == Verdict(Outcome.API_ERROR, "finish_error")


def test_a_choice_that_begins_after_another_has_finished_opens_the_stream_again() -> None:
    reader = ChatChunks()
    reader.read(finish())
    assert reader.marker() == Verdict(Outcome.COMPLETED)
    reader.read(chunk({"content": "x"}, index=1))
    assert reader.marker() is None
    reader.read(chunk({}, "length", index=1))
    assert reader.marker() == Verdict(Outcome.LENGTH)


def test_the_providers_own_words_are_not_repeated() -> None:
    reader = ChatChunks()
    reader.read(chunk({}, "the weather in Paris"))
    assert reader.finish_reasons == ("other",)
    assert reader.marker() == Verdict(Outcome.COMPLETED)


def test_ids_and_models_are_those_of_the_first_chunk_and_bounded() -> None:
    reader = ChatChunks()
    reader.read(SimpleNamespace(id="x" * 1000, model="m" * 1000, choices=[], usage=None))
    reader.read(SimpleNamespace(id="other", model="other", choices=[], usage=None))
    assert (reader.response_id, reader.response_model) == ("x" * 128, "m" * 128)


@pytest.mark.parametrize(("told", "kept"), [
    ("chatcmpl-1", "chatcmpl-1"),
    ("a\x1b[2J\r\nb\x00", "a[2Jb"),
    ("\u202eid\u200b", "id"),
    ("caf\xe9", "caf"),
    ("\x00\x1b", None),
    ("\ud800x", "x"),
])
def test_ids_are_printable_ascii_and_models_printable(told: str, kept: str | None) -> None:
    reader = ChatChunks()
    reader.read({"id": told, "model": f"{told}模型", "choices": []})
    assert reader.response_id == kept
    assert reader.response_model is not None
    assert reader.response_model.isprintable()
    assert reader.response_model.endswith("模型")


def test_legacy_completions_have_their_text_in_the_choice() -> None:
    reader = CompletionChunks()
    assert reader.has_token({"choices": [{"index": 0, "text": "x"}]})
    assert not reader.has_token({"choices": [{"index": 0, "text": ""}]})
    assert not reader.has_token({"choices": 7})
