"""Bytes into events: however the network cuts them, and whatever they are."""

from __future__ import annotations

import gzip
import json
import zlib
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observation_support import OK, Host
from streamvitals.faults import payloads
from streamvitals.stream import repetition, sse
from streamvitals.stream.partial import TailReader
from streamvitals.stream.record import StreamRecord
from streamvitals.stream.sse import ByteWatch

LINE_ENDS = ("\n", "\r\n", "\r")


def event(delta: Any = None, finish: str | None = None, **extra: Any) -> str:
    return json.dumps(payloads.chunk("model", [payloads.choice(delta or {"content": "x"}, finish)], **extra))


LINES = st.sampled_from([
    "data: " + event(), "data:" + event(), "data: " + event({}, "stop"), "data: [DONE]", "data: [DONE] and more",
    "data: {", "data", "data:", "data: ", "data:  ", ": comment", "event: ping", "id: 1", "retry: x", "nonsense",
    "", "", "", "\ufeffdata: {}", 'data: {"error": {"type": "server_error"}}', 'data: {"error": 7}', "data: \ud83d",
    "data: 7", "data: null", "data: []",
])
BODIES = st.lists(st.tuples(LINES, st.sampled_from(LINE_ENDS)), max_size=25).map(
    lambda lines: "".join(a + b for a, b in lines).encode("utf-8", "surrogatepass")
)

PLACES = st.lists(st.integers(0, 10_000), max_size=12)


def watched(pieces: list[bytes], encoding: str = "") -> StreamRecord:
    """What is recorded of a body that comes in these pieces and then ends."""
    host = Host()
    observation = host.begin()
    observation.attempting()
    observation.responded(OK)
    watch = ByteWatch(observation, encoding, int)
    host.ask(observation)
    for piece in pieces:
        watch.arrived(piece)
        host.ask(observation)
    observation.exhausted()
    return host.ended()


def facts(record: StreamRecord) -> tuple[Any, ...]:
    return record.outcome, record.error_type, record.chunks, record.finish_reasons, record.usage


def cut(body: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[a:b] for a, b in pairwise(edges)]


@given(body=BODIES, places=PLACES)
def test_any_cut_of_the_same_bytes_gives_the_same(body: bytes, places: list[int]) -> None:
    assert facts(watched(cut(body, places))) == facts(watched([body]))


@given(body=BODIES)
def test_byte_by_byte(body: bytes) -> None:
    assert facts(watched([bytes([b]) for b in body])) == facts(watched([body]))


@given(lines=st.lists(LINES, min_size=1, max_size=8))
def test_event_by_event(lines: list[str]) -> None:
    """As servers send them, each in a piece of its own."""
    pieces = [f"{line}\n\n".encode("utf-8", "surrogatepass") for line in lines]
    assert facts(watched(pieces)) == facts(watched([bytes([b]) for piece in pieces for b in piece]))


@given(body=BODIES, places=PLACES, encoding=st.sampled_from(["gzip", "deflate", "raw"]))
def test_compressed_or_not(body: bytes, places: list[int], encoding: str) -> None:
    packer = zlib.compressobj(wbits={"gzip": 31, "deflate": 15, "raw": -15}[encoding])
    packed = packer.compress(body) + packer.flush()
    told = watched(cut(packed, places), "gzip" if encoding == "gzip" else "deflate")
    assert facts(told) == facts(watched([body]))


@given(pieces=st.lists(st.binary(max_size=200)), encoding=st.sampled_from(["", "gzip", "deflate", "br", "x"]))
def test_no_bytes_make_it_raise_or_count_a_fault(pieces: list[bytes], encoding: str) -> None:
    watched(pieces, encoding)


def test_a_line_feed_after_a_carriage_return_alone() -> None:
    r"""The pieces are \r, \n, \n: an end of line in two pieces, then an empty line."""
    body = b"data: " + event().encode() + b"\r\n\r\n"
    assert watched([body[:-4], b"\r", b"\n", b"\r", b"\n"]).chunks == 1
    body = b"data: " + event().encode() + b"\r\n\n"
    assert watched([body[:-3], b"\r", b"\n", b"\n"]).chunks == 1


@pytest.mark.parametrize("end", LINE_ENDS)
def test_events_with_every_kind_of_line_end(end: str) -> None:
    lines = ["data: " + event(), "", "data: " + event({}, "stop"), "", "data: [DONE]", "", ""]
    record = watched([end.join(lines).encode()])
    assert (record.outcome.value, record.chunks) == ("completed", 2)


def test_one_event_on_several_lines_is_joined_with_line_feeds() -> None:
    lines = json.dumps(json.loads(event({}, "stop")), indent=1).splitlines()
    body = "".join(f"data: {line}\n" for line in lines) + "\n"
    assert watched([body.encode()]).outcome.value == "completed"


@pytest.mark.parametrize("line", [b"x" * 1000, b"data: " + b"x" * 1000 + b"\n"], ids=["a line", "an event"])
def test_what_never_ends_is_not_kept_and_stops_the_reading(monkeypatch: pytest.MonkeyPatch, line: bytes) -> None:
    monkeypatch.setattr(sse, "_MAX_EVENT", 10_000)
    host = Host()
    observation = host.streaming()
    watch = ByteWatch(observation, "", int)
    for _ in range(100):
        watch.arrived(line)
        assert held(watch) <= 11_000
    watch.arrived(b"\n\ndata: " + event({}, "length").encode() + b"\n\n")
    observation.exhausted()
    record = host.ended()
    assert (record.outcome.value, record.finish_reasons) == ("completed", ())
    assert record.hints == ("inflate_limit",)


def held(watch: ByteWatch) -> int:
    return sum(map(len, watch._data)) + sum(map(len, watch._lines._begun))


def test_nesting_that_json_cannot_follow_is_malformed_and_no_fault_of_ours() -> None:
    record = watched([b"data: " + b"[" * 200_000 + b"\n\n"])
    assert (record.outcome.value, record.error_type) == ("malformed", "json_decode")


def test_what_is_not_gzip_is_malformed_and_no_fault_of_ours() -> None:
    head = gzip.compress(b"data: " + event().encode() + b"\n\n")[:-8]
    record = watched([head, b"\xff" * 64, b"more"], "gzip")
    assert (record.outcome.value, record.error_type) == ("malformed", "content_decoding")


def test_an_encoding_that_cannot_be_read_is_no_accusation_and_no_praise() -> None:
    record = watched([b"\x8b\x00", b"\x80"], "gzip, br")
    assert (record.outcome.value, record.chunks, record.hints) == ("completed", 2, ("unread_encoding",))
    record = watched([], "gzip, br")
    assert (record.outcome.value, record.error_type) == ("truncated", "empty_stream")


@pytest.mark.parametrize("leave", ["closed", "dropped"])
def test_an_early_leave_is_one_whether_or_not_the_bytes_can_be_read(leave: str) -> None:
    for encoding in ("", "gzip, br"):
        host = Host()
        observation = host.streaming()
        ByteWatch(observation, encoding, int).arrived(b"data: 1\n\n")
        getattr(observation, leave)()
        record = host.ended()
        assert (record.outcome.value, record.error_type) == ("abandoned", leave)


def test_a_word_that_httpx_passes_over_is_no_encoding() -> None:
    body = b"data: " + event({}, "length").encode() + b"\n\n"
    assert watched([body], "utf-8").outcome.value == "length"


def test_bytes_that_begin_inside_an_event_do_not_make_it_malformed() -> None:
    """Somebody else has read the beginning."""
    host = Host()
    observation = host.streaming()
    host.chunk(observation)
    body = (f"data: {event()}\n\n" * 2 + f"data: {event({}, 'stop')}\n\n").encode()
    watch = ByteWatch(observation, "", int, begun=True)
    for piece in (body[30:500], body[500:]):
        host.ask(observation)
        watch.arrived(piece)
    observation.exhausted()
    record = host.ended()
    assert (record.outcome.value, record.chunks) == ("completed", 3)


def test_bytes_that_are_no_event_belong_to_the_wait_for_the_next_one() -> None:
    host = Host(stall_after=5.0)
    observation = host.streaming()
    watch = ByteWatch(observation, "", int)
    body = b"data: " + event().encode() + b"\n\n"
    for piece in (body, b": keep-alive\n\n", b": keep-alive\n\n", body):
        host.ask(observation)
        host.now += 4.0
        watch.arrived(piece)
        host.now += 1.0
    observation.closed()
    record = host.ended()
    assert (record.chunks, record.max_gap, record.stalls) == (2, 12.0, 1)
    assert record.wait + record.hold == record.duration


def test_data_without_anything_is_no_event() -> None:
    """A sign of life (https://html.spec.whatwg.org/multipage/server-sent-events.html#dispatchMessage)."""
    record = watched([f"data:\n\ndata: {event({}, 'stop')}\n\ndata\n\ndata: [DONE]\n\n".encode()])
    assert (record.outcome.value, record.chunks) == ("completed", 1)


def piece(text: str = "x", finish: str | None = None, index: int = 0, **extra: Any) -> bytes:
    choices = [{"index": index, "delta": {"content": text}, "finish_reason": finish}]
    body = {"id": "c", "choices": choices, "usage": None, **extra}
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


USED = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
PIECES = st.sampled_from([
    *[piece(text) for text in ("a", "b", "", "é")] * 4,
    piece("\n"), piece('"'), piece("\\"), piece("\u200b"), piece(index=1), piece("", "stop"), piece("x", "stop"),
    piece(obfuscation="ab"), piece(obfuscation="c"), piece("yes", obfuscation=""), piece(usage=USED),
    piece(error="bad"), piece(x_groq={"error": "over capacity"}), piece().replace(b"data: ", b"data:"),
    piece().replace(b"\n", b"\r\n"), piece() + piece(), piece() + b": ping\n\n", piece()[:20], piece()[20:],
    piece()[:-1], b"\n", b": ping\n\n",
    b'data: {"type": "ping"}\n\n', b"id: 7\n" + piece(), b"data: [DONE]\n\n", b"data: {\n\n",
    b"\xef\xbb\xbf" + piece(), piece().replace(b'"x"', b'"\xc3"'), piece().replace(b'"x"', b'"\x01"'),
])
TIMES = st.sampled_from([0.0, 0.0005, 0.004, 0.012, 0.012, 0.3, 7.0, 40.0])


def paced(steps: list[tuple[float, bytes]], capture: bool) -> tuple[StreamRecord, list[Any]]:
    """The record of a body that comes at such times, and what was reported before."""
    host = Host(flush_every=30.0, first_token=20.0)
    observation = host.streaming()
    if capture:
        observation.reader = TailReader(observation.reader, 100)
    watch = ByteWatch(observation, "", int)
    for wait, raw in steps:
        host.ask(observation)
        host.now += wait
        watch.arrived(raw)
    host.ask(observation)
    observation.exhausted()
    return host.ended()._replace(slot=None, operation=None), host.progress


@settings(max_examples=400)
@given(steps=st.lists(st.tuples(TIMES, PIECES), max_size=14), capture=st.booleans())
def test_a_repeated_piece_is_counted_as_one_that_is_parsed(steps: list[tuple[float, bytes]], capture: bool) -> None:
    quick = paced(steps, capture)
    with patch.object(repetition.Parser, "frame", lambda *given: None):
        assert paced(steps, capture) == quick


def test_a_repeated_piece_is_not_parsed() -> None:
    steps = [(0.01, piece(text)) for text in ("a", "b", "\n", "c", "é")]
    with patch.object(repetition.Parser, "parse", autospec=True, side_effect=repetition.Parser.parse) as parse:
        record, _ = paced(steps, False)
    assert (record.chunks, parse.call_count) == (5, 2)
