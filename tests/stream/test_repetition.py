"""An event that repeats the one before is what json.loads makes of its bytes, whatever these are."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from streamvitals.stream import repetition
from streamvitals.stream.repetition import Parser

TEXT = st.one_of(
    st.text(max_size=6), st.sampled_from(["", "x", "content", '"', "\\", "\n", "\x7f", "é", "\ud83d", "}"])
)


def compact(event: Any) -> bytes:
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    """A chunk as providers send it, or nearly."""
    delta: Any = draw(st.dictionaries(st.sampled_from(["content", "reasoning_content", "role"]), TEXT, max_size=2))
    choice = {"index": 0, "delta": delta, "finish_reason": draw(st.sampled_from([None, None, None, "stop"]))}
    event: dict[str, Any] = {"id": "c", "choices": [choice] * draw(st.sampled_from([1, 1, 1, 1, 0, 2]))}
    event |= draw(st.sampled_from([{}, {}, {"usage": {"total_tokens": 1}}, {"error": "x"}, {"content": "y"}]))
    if draw(st.booleans()):
        event["obfuscation"] = draw(TEXT)
    if draw(st.integers(0, 9)):
        return compact(event)
    return json.dumps(event).encode()


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """Chunks, each new, or the one before with a few other bytes in one place."""
    found = [draw(chunks())]
    strange = st.sampled_from([b"", b"a", b'"', b"\\", b"\\u0022", b"\x00", b"\xc3", b'","usage":{"a":1},"b":"'])
    for _ in range(draw(st.integers(1, 5))):
        last = found[-1]
        if draw(st.booleans()) or not last:
            found.append(draw(chunks()))
        else:
            at = draw(st.integers(0, len(last)))
            found.append(last[:at] + draw(strange) + last[at + draw(st.integers(0, 3)) :])
    return found


def outcome(parse: Any, data: bytes) -> Any:
    try:
        return parse(data)
    except ValueError as error:
        return type(error)


@settings(max_examples=500)
@given(stream=streams())
@example(stream=[compact({"choices": [{"delta": {"content": "a"}}], "obfuscation": pad}) for pad in ("b", "", "c")])
def test_each_event_is_what_json_makes_of_it(stream: list[bytes]) -> None:
    parser = Parser()
    for data in stream:
        assert outcome(parser.parse, data) == outcome(json.loads, data)


def event(text: str, **more: Any) -> bytes:
    return compact({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}], **more})


A = event("a")
LONE = A[:-1] + b',"x":"\xed\xa0\xbd","obfuscation":"y"}'
WIDE = '{"choices":[{"delta":{"content":"a"}}],"\u6322\u6e6f\u6574\u746e\u3a22\u7822\u4e22":1}'
PAIRS = {
    "half a pair of surrogates": (LONE, LONE),
    "UTF-16": (WIDE.encode("utf-16-le"), WIDE.replace("\u7822", "\u7922").encode("utf-16-le")),
    "too short": (A, A.replace(b'"a"', b'"')),
    "a control character": (A, A.replace(b'"a"', b'"\x00"')),
    "half a character": (A, A.replace(b'"a"', b'"\xc3"')),
    "an escape": (A, A.replace(b'"a"', b'"\\n"')),
    "another field": (A, A.replace(b'"a"', b'"b","refusal":"c"')),
    "the name twice": (b'{"content":"x",' + A[1:], b'{"content":"y",' + A[1:]),
    "the name escaped": (
        b'{"content":"x",' + A[1:].replace(b"content", b"c\\u006fntent"),
        b'{"content":"y",' + A[1:].replace(b"content", b"c\\u006fntent"),
    ),
    "the name twice, once with a space": (
        b'{"content":"x",' + A[1:].replace(b":", b": "), b'{"content":"y",' + A[1:].replace(b":", b": "),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_looks_like_a_repetition(name: str) -> None:
    parser = Parser()
    for data in PAIRS[name]:
        assert outcome(parser.parse, data) == outcome(json.loads, data)


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """What was parsed as JSON."""
    found: list[bytes] = []

    def loads(data: bytes) -> Any:
        found.append(data)
        return json.loads(data)

    monkeypatch.setattr(repetition, "json", SimpleNamespace(loads=loads))
    return found


@pytest.mark.parametrize("more", [{}, {"usage": None, "obfuscation": "Xy"}], ids=["plain", "padded"])
def test_a_repetition_is_not_parsed_again(parsed: list[bytes], more: dict[str, Any]) -> None:
    parser, first = Parser(), event("a", **more)
    last = event("a", **more, error="x")
    for data in (first, event("b", **more), event("", **more), event("é", **more), last):
        assert parser.parse(data) == json.loads(data)
    assert parsed == [first, last]


def test_an_escape_is_parsed_and_what_follows_is_not(parsed: list[bytes]) -> None:
    parser = Parser()
    for text in ("a", "\n", "b"):
        parser.parse(event(text))
    assert parsed == [event("a"), event("\n")]


def test_a_stream_that_never_repeats_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bytes] = []
    find = repetition._pattern_of
    monkeypatch.setattr(repetition, "_pattern_of", lambda data, event: made.append(data) or find(data, event))
    parser = Parser()
    for created in range(100):
        parser.parse(event("a", created=created))
    assert len(made) == repetition._MOST_IN_VAIN


def test_events_do_not_share_what_differs() -> None:
    parser = Parser()
    texts = [parser.parse(event(text))["choices"][0]["delta"] for text in ("a", "b", "c")]
    assert texts == [{"content": "a"}, {"content": "b"}, {"content": "c"}]
