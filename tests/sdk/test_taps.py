"""What the SDK's decoder of lines drops is noticed, and what it does with lines is as without us."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai._streaming import SSEDecoder

from observation_support import Host
from streamvitals.sdk import taps

LONG = "x" * 99
LINES = st.sampled_from([
    "", "", "data: {}", "data:{}", "data:  two", "data", "data:", "data: ", "data: [DONE]", "data:[DONE]",
    "data: " + LONG, "event: error", "event:error", "event:", "event", "event: " + LONG, "id: 7", "id:", "id: a\0b",
    "id: " + LONG, "retry: 5", "retry: x", "retry:", ":", ": ping", ":" + LONG, " data: {}", "Data: {}", "dat",
    "other: 1", "\ufeffdata: {}", "data: \ufeff", "event : x",
])


@pytest.fixture
def tapped() -> Iterator[taps.Taps]:
    found = taps.Taps("openai")
    yield found
    found.remove()


def state(decoder: SSEDecoder, event: Any) -> Any:
    kept = {name: value for name, value in vars(decoder).items() if not name.startswith("_streamvitals")}
    return kept, event and (event.event, event.data, event.id, event.retry)


@given(st.lists(LINES, max_size=12))
def test_lines_are_decoded_as_without_us(lines: list[str]) -> None:
    decode, noticing = SSEDecoder.decode, taps._noticing(SSEDecoder.decode)
    bare, ours = SSEDecoder(), SSEDecoder()
    for line in lines:
        assert state(ours, noticing(ours, line)) == state(bare, decode(bare, line)), line


def test_what_the_sdk_drops_is_noticed(tapped: taps.Taps) -> None:
    host, decoder = Host(), SSEDecoder()
    observation = host.streaming()
    assert tapped.tap(decoder, observation)
    for line in ("data: {}", "", "id: 7", "data: {}", ""):
        decoder.decode(line)
    assert (observation.last_event_id, observation.reader.done) == ("7", False)
    host.now += 3.0
    decoder.decode(": ping")
    assert host.slot.view[host.slot.at + 7] == host.now
    decoder.decode("data: [DONE]")
    assert observation.reader.done


@pytest.mark.parametrize("line", ["data:[DONE]", "data:  [DONE]", "data: [DONE] "])
def test_the_end_is_noticed_however_it_is_written(tapped: taps.Taps, line: str) -> None:
    decoder = SSEDecoder()
    observation = Host().streaming()
    tapped.tap(decoder, observation)
    decoder.decode(line)
    assert observation.reader.done


def test_a_decoder_without_an_observation_decodes(tapped: taps.Taps) -> None:
    tapped.tap(SSEDecoder(), Host().streaming())
    decoder = SSEDecoder()
    for line in (": ping", "id: 7", "data: [DONE]"):
        assert decoder.decode(line) is None
    event = decoder.decode("")
    assert event is not None
    assert (event.data, event.id) == ("[DONE]", "7")


def test_nothing_of_ours_stays_in_the_class() -> None:
    original = SSEDecoder.decode
    found = taps.Taps("openai")
    found.tap(SSEDecoder(), Host().streaming())
    assert SSEDecoder.decode is not original
    found.remove()
    assert SSEDecoder.decode is original


def test_a_subclass_of_the_apps_is_left_alone() -> None:
    class Decoder(SSEDecoder):
        """The app's."""

    assert not taps.Taps("openai").tap(Decoder(), Host().streaming())
