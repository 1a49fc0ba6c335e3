"""What ends a choice: of several finishes the last, and none after which content has come.

Gateways to Gemini put a finish_reason on every chunk: https://github.com/BerriAI/litellm/issues/12240. A stream is
written here as its chunks: "a" has content, "a!stop" content and a finish, "!stop" a finish alone, "." neither.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

import bodies
import observation_support
from app_support import App, verdicts
from bodies import DONE
from streamvitals.stream.chunks import ChatChunks, CompletionChunks, SeveralChoices
from streamvitals.testing import RecordList
from surface_acts import SPEC, Call, areading, reading

CHAT = Call("chat", "chat", "chat.completions.create", "chat", {"model": SPEC, "messages": []})

# The chunks, whether [DONE] follows, outcome and error type, the words that are told.
CASES: list[tuple[str, bool, str, str]] = [
    ("a b !stop", True, "completed", "stop"),
    ("a b !stop", False, "completed", "stop"),  # [DONE] missing after it is harmless
    ("a b!stop", False, "completed", "stop"),
    ("a b!stop . .", False, "completed", "stop"),
    ("a b", True, "truncated missing_finish_reason", ""),
    ("a b", False, "truncated missing_terminal", ""),
    # one on every chunk
    ("a!stop", False, "completed", "stop"),  # nobody can know
    ("a!stop b!stop c!stop", False, "truncated missing_terminal", ""),
    ("a!stop b!stop c!stop", True, "completed", "stop"),
    ("a!stop b!stop !stop", False, "completed", "stop"),
    ("a!stop b!stop !stop", True, "completed", "stop"),
    ("a!stop b c", False, "truncated missing_terminal", ""),
    ("a!stop b c", True, "completed", "stop"),
    ("a!stop b!stop c!length", True, "length", "length"),
    ("a!stop b!stop c!length", False, "truncated missing_terminal", ""),
    ("a!stop b!stop !length", False, "length", "length"),
    ("a!stop b!stop !length", True, "length", "length"),
    ("a!stop b!stop !content_filter", False, "content_filter", "content_filter"),
    ("a!stop b!stop !content_filter", True, "content_filter", "content_filter"),
    ("a!stop b!stop !error", True, "api_error finish_error", "error"),
    ("a!stop b!stop !stop c!stop", False, "truncated missing_terminal", ""),
    ("a !stop b", False, "truncated missing_terminal", ""),
    ("a !stop b", True, "completed", "stop"),
    ("a !stop b !length", False, "length", "length"),
    # the last one counts
    ("a !stop !content_filter", False, "content_filter", "content_filter"),
    ("a !stop !content_filter", True, "content_filter", "content_filter"),
    ("a b!stop !content_filter", False, "content_filter", "content_filter"),
    ("a !tool_calls !stop", True, "completed", "stop"),
    ("a !stop !error", False, "api_error finish_error", "error"),
    # words that say that it goes on
    ("a!null b!null !stop", True, "completed", "stop"),
    ("a!null b!null", False, "truncated missing_terminal", ""),
    ("a!null b!null", True, "truncated missing_finish_reason", ""),
]


def cut(chunks: str) -> list[tuple[str, str | None]]:
    return [(text.strip("."), finish or None) for text, _, finish in (c.partition("!") for c in chunks.split())]


def told(reader: ChatChunks) -> str:
    marker = reader.marker()
    if marker is None:
        return f"truncated {reader.unfinished()}"
    return f"{marker.outcome.value} {marker.error_type}".strip()


def as_object(text: str, finish: str | None, index: int) -> Any:
    return observation_support.chunk({"content": text}, finish, index)


def as_dict(text: str, finish: str | None, index: int) -> Any:
    return {"choices": [{"index": index, "delta": {"content": text}, "finish_reason": finish}]}


def as_legacy(text: str, finish: str | None, index: int) -> Any:
    return {"choices": [{"index": index, "text": text, "finish_reason": finish}]}


FORMS: dict[Any, type[ChatChunks]] = {as_object: ChatChunks, as_dict: ChatChunks, as_legacy: CompletionChunks}


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize(("chunks", "done", "want", "words"), CASES, ids=[f"{c}{' [DONE]' * d}" for c, d, *_ in CASES])
def test_what_ends_a_choice(chunks: str, done: bool, want: str, words: str, form: Any) -> None:
    reader = FORMS[form]()
    for text, finish in cut(chunks):
        reader.read(form(text, finish, 0))
    reader.done = done
    assert told(reader) == want
    assert " ".join(reader.finish_reasons) == words


def read(*chunks: tuple[int, str, str | None], done: bool = False) -> str:
    reader = ChatChunks()
    for index, text, finish in chunks:
        reader.read(as_object(text, finish, index))
    reader.done = done
    return told(reader)


def test_the_content_of_another_choice_is_not_content_after_a_finish() -> None:
    assert read((0, "a", None), (0, "b", "stop"), (1, "a", None), (1, "b", "length")) == "length"


def test_a_choice_whose_finish_was_none_makes_those_of_all_choices_doubtful() -> None:
    every = (0, "a", "stop"), (1, "a", "stop"), (0, "b", "stop")
    assert read(*every) == "truncated missing_terminal"
    assert read(*every, (0, "", "stop")) == "truncated missing_terminal", "the other one has not ended"
    assert read(*every, (0, "", "stop"), (1, "", "length")) == "length"
    assert read(*every, done=True) == "completed"


def test_a_choice_without_any_finish_stays_unfinished_behind_done() -> None:
    assert read((0, "a", "stop"), (0, "b", "stop"), (1, "a", None), done=True) == "truncated missing_finish_reason"


@pytest.mark.parametrize("count", [1, 2, 5, 127, 128, 129, 300])
@pytest.mark.parametrize("first", [0, 1])
def test_indexes_of_chunks_are_none_of_choices(count: int, first: int) -> None:
    chunks = [(first + number, "a", None) for number in range(count)]
    assert read(*chunks) == "truncated missing_terminal"
    assert read(*chunks, (first + count, "", "stop")) == "completed"
    assert read(*chunks, (first + count, "a", "length"), done=True) == "length"


BESIDE = [
    [[(0, "a", None)], [(1, "b", "stop")]],
    [[(0, "a", None)], [(1, "", "content_filter")]],
    [[(0, "a", None)], [(1, "b", None)], [(2, "b", "stop")]],
    [[(0, "a", None), (1, "b", "stop")]],
    [[(0, "a", None)], [(2, "a", None)], [(3, "", "stop")]],
    [[(0, "a", "stop")], [(1, "a", None)], [(2, "", "stop")]],
    [[(0, "a", None)], [(10**15, "", "stop")]],
]


@pytest.mark.parametrize("chunks", BESIDE)
@pytest.mark.parametrize("kind", [SeveralChoices, CompletionChunks])
def test_a_choice_whose_only_chunk_ends_it_hides_no_other(kind: type[ChatChunks], chunks: list[Any]) -> None:
    reader = kind()
    for each in chunks:
        reader.read({"choices": [as_dict(text, finish, index)["choices"][0] for index, text, finish in each]})
    reader.done = True
    assert told(reader) == "truncated missing_finish_reason"


@pytest.mark.parametrize("chunks", BESIDE[3:])
def test_indexes_that_count_no_chunks_are_of_choices_though_one_was_asked_for(chunks: list[Any]) -> None:
    reader = ChatChunks()
    for each in chunks:
        reader.read({"choices": [as_dict(text, finish, index)["choices"][0] for index, text, finish in each]})
    reader.done = True
    assert told(reader) == "truncated missing_finish_reason"


def test_usage_reported_after_the_end_opens_nothing() -> None:
    reader = ChatChunks()
    for item in (as_object("a", None, 0), as_object("", "stop", 0), {"choices": [], "usage": {"prompt_tokens": 1}}):
        reader.read(item)
    assert told(reader) == "completed"


def test_tool_calls_and_reasoning_are_content() -> None:
    for delta in ({"tool_calls": [{"index": 0}]}, {"reasoning_content": "x"}):
        reader = ChatChunks()
        for finish in ("stop", "stop"):
            reader.read(observation_support.chunk(delta, finish))
        assert told(reader) == "truncated missing_terminal"


# -- through the SDK, over a socket


def body(chunks: str, done: bool) -> list[bytes]:
    return [*(bodies.chunk(text, finish) for text, finish in cut(chunks)), *([DONE] if done else [])]


OVER_A_SOCKET = [
    ("a!stop b!stop c!stop", False), ("a!stop b!stop c!stop", True), ("a!stop b!stop !length", True),
    ("a!stop b!stop !content_filter", False), ("a !stop !content_filter", True), ("a b !stop", False),
]


@pytest.mark.parametrize("form", ["sync", "async", "lines", "bytes"])
@pytest.mark.parametrize(("chunks", "done"), OVER_A_SOCKET)
def test_over_a_socket(
    chunks: str, done: bool, form: str, monkeypatch: pytest.MonkeyPatch, observe: Callable[..., RecordList]
) -> None:
    want = next(want for known, d, want, _ in CASES if (known, d) == (chunks, done))
    spec = bodies.play(monkeypatch, "finishes", body(chunks, done))
    if form == "async":
        records = observe(areading(CHAT, "stream", spec))
    else:
        records = observe(reading(CHAT, "stream" if form == "sync" else form, spec))
    assert verdicts(records) == [(want.partition(" ")[0], want.partition(" ")[2])]


@pytest.mark.parametrize("several", [{"n": 2}, {"extra_body": {"n": 2}}], ids=["n", "extra_body"])
def test_indexes_are_of_choices_where_several_were_asked_for(
    several: dict[str, Any], monkeypatch: pytest.MonkeyPatch, observe: Callable[..., RecordList]
) -> None:
    spec = bodies.play(monkeypatch, "indexes", [bodies.chunk("a"), bodies.chunk("", "stop", 1), DONE])

    def act(app: App) -> None:
        client = app.client()
        for asked in ({}, several, {"n": 1}):
            app.read(client.chat.completions.create(model=f"sv-{spec}", messages=[], stream=True, **asked))  # type: ignore[call-overload]

    assert verdicts(observe(act)) == [("completed", ""), ("truncated", "missing_finish_reason"), ("completed", "")]


def leaving(spec: str, after: int, close: bool) -> Callable[[App], None]:
    """An app that stops reading after so many chunks."""

    def act(app: App) -> None:
        stream = app.client().chat.completions.create(model=f"sv-{spec}", messages=[], stream=True)  # type: ignore[call-overload]
        for _ in range(after):
            app.saw.append(next(stream).choices[0].finish_reason)
        if close:
            stream.close()
        del stream
        gc.collect()

    return act


@pytest.mark.parametrize(
    ("chunks", "after", "close", "want"),
    [
        ("a b !stop .", 3, False, ("completed", "")),  # at the first finish_reason of an ordinary stream
        ("a b!stop .", 2, True, ("completed", "")),
        ("a!stop b!stop c!stop !stop", 2, False, ("abandoned", "dropped")),
        ("a!stop b!stop c!stop !stop", 2, True, ("abandoned", "closed")),
        ("a!stop b!stop c!stop !stop .", 4, True, ("completed", "")),
        ("a !stop !content_filter .", 3, True, ("content_filter", "")),
    ],
)
def test_an_app_that_leaves_early(
    chunks: str, after: int, close: bool, want: tuple[str, str], monkeypatch: pytest.MonkeyPatch,
    observe: Callable[..., RecordList],
) -> None:
    spec = bodies.play(monkeypatch, "finishes", body(chunks, done=True))
    assert verdicts(observe(leaving(spec, after, close))) == [want]
