"""How long a stream may be silent before its answer has begun and later, and what does not break the silence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from observation_support import OK, Host, chunk, finish, token
from streamvitals.store import segment
from streamvitals.stream.chunks import ChatChunks, CompletionChunks, Reader
from streamvitals.stream.events import AssistantEvents, BodyBytes, ImageEvents, ResponsesEvents, TranscriptEvents
from streamvitals.stream.observation import Observation
from streamvitals.stream.observe import streamvitals_observe
from streamvitals.stream.record import Stall
from streamvitals.stream.sse import ByteWatch, MarkWatch

THOUGHT = chunk({"reasoning_content": "hm"})
ROLE = chunk({"role": "assistant", "content": ""})


def typed(kind: str, **more: Any) -> Any:
    return SimpleNamespace(type=kind, **more)


@pytest.fixture
def host() -> Host:
    return Host(stall_after=5.0, first_token=60.0)


def answered(host: Host) -> bool:
    slot = host.slot
    return bool(slot.view[slot.at + segment.ANSWERED])


def end(host: Host, observation: Observation) -> None:
    host.ask(observation)
    observation.exhausted()


# -- the two phases


def test_a_model_may_think_before_its_answer_but_not_in_it(host: Host) -> None:
    observation = host.begin()
    observation.attempting()
    host.now += 30.0
    observation.responded(OK)
    for item in (ROLE, THOUGHT, THOUGHT, token()):
        assert not answered(host)
        host.chunk(observation, 30.0, item=item)
    assert answered(host)
    host.chunk(observation, 5.0)
    host.chunk(observation, 4.0, item=finish())
    end(host, observation)
    record = host.ended()
    assert record.stall_times == (Stall(150.0, 5.0, "between_chunks"),)
    assert record.stalls == record.progress.stalls == 1
    assert record.first_token == 90.0, "reasoning is a token, though no answer"


@pytest.mark.parametrize("what", ["headers", "role", "thought", "token"])
def test_whoever_thinks_for_too_long_is_stalled_before_the_answer(host: Host, what: str) -> None:
    observation = host.begin()
    observation.attempting()
    host.now += 60.0 if what == "headers" else 1.0
    observation.responded(OK)
    host.chunk(observation, 60.0 if what == "role" else 1.0, item=ROLE)
    host.chunk(observation, 60.0 if what == "thought" else 1.0, item=THOUGHT)
    host.chunk(observation, 60.0 if what == "token" else 1.0)
    host.chunk(observation, 1.0, item=finish())
    end(host, observation)
    assert [(stall.seconds, stall.phase) for stall in host.ended().stall_times] == [(60.0, "first_token")]


@pytest.mark.parametrize(("reader", "before", "answer"), [
    (ChatChunks, (ROLE, THOUGHT, chunk({"reasoning": "hm"})), token()),
    (ChatChunks, (ROLE,), chunk({"tool_calls": [1]})),
    (ChatChunks, (ROLE,), chunk({"refusal": "no"})),
    (CompletionChunks, (chunk(text=""),), chunk(text="x")),
    (
        ResponsesEvents,
        (
            typed("response.created"), typed("response.in_progress"), typed("response.output_item.added"),
            typed("response.reasoning_summary_text.delta", delta="hm"),
            typed("response.reasoning_text.delta", delta="hm"), typed("response.output_text.delta", delta=""),
        ),
        typed("response.output_text.delta", delta="x"),
    ),
    (ResponsesEvents, (typed("response.created"),), typed("response.function_call_arguments.delta", delta="{")),
    (ResponsesEvents, (typed("response.created"),), typed("response.output_audio.delta", delta="x")),
    (
        AssistantEvents,
        (SimpleNamespace(event="thread.run.created", data=None), SimpleNamespace(event="thread.run.queued", data=None)),
        SimpleNamespace(event="thread.message.delta", data=None),
    ),
    (ImageEvents, (), typed("image_generation.partial_image")),
    (TranscriptEvents, (), typed("transcript.text.delta", delta="x")),
    (BodyBytes, (), b"x"),
])
def test_each_surface_has_its_first_token_of_an_answer(
    host: Host, reader: type[Reader], before: tuple[Any, ...], answer: Any
) -> None:
    observation = host.begin(reader())
    observation.attempting()
    observation.responded(OK)
    for item in before:
        host.chunk(observation, item=item)
        assert not answered(host), item
    host.chunk(observation, item=answer)
    assert answered(host)


def test_of_a_body_that_cannot_be_read_everything_that_comes_is_the_answer(host: Host) -> None:
    observation = host.streaming()
    observation.mute("unread_encoding")
    assert not answered(host)
    host.chunk(observation, 30.0, item={})
    assert answered(host)
    host.chunk(observation, 5.0, item={})
    end(host, observation)
    record = host.ended()
    assert (record.first_token, record.stall_times) == (None, (Stall(30.0, 5.0, "between_chunks"),))


def test_after_a_fault_in_reading_a_chunk_the_answer_has_begun(host: Host) -> None:
    observation = host.streaming()
    host.chunk(observation, item=ROLE)
    observation.broken()
    assert answered(host)


# -- comments, which only the lines show


def comment(host: Host, observation: Observation, after: float) -> None:
    host.now += after
    observation.kept_alive()


def test_comments_tell_a_slow_answer_from_a_silent_line(host: Host) -> None:
    observation = host.streaming()
    host.ask(observation)
    for _ in range(4):
        comment(host, observation, 15.0)
    assert host.slot.view[host.slot.at + segment.KEPT_ALIVE] == host.now
    host.now += 5.0
    observation.arrived(token())
    host.chunk(observation, 8.0)
    end(host, observation)
    record = host.ended()
    assert record.stall_times == (Stall(0.0, 65.0, "first_token", True), Stall(65.0, 8.0, "between_chunks"))
    assert record.chunks == 2


@pytest.mark.parametrize(("before", "after", "kept"), [
    (8.0, 2.0, True),
    (2.0, 8.0, True),
    (9.9, 0.1, False),  # with the chunk that ends the silence
    (2.0, 61.0, False),  # one, and then nothing
])
def test_a_comment_keeps_alive_what_it_comes_in_the_midst_of(
    host: Host, before: float, after: float, kept: bool
) -> None:
    observation = host.streaming()
    host.chunk(observation)
    host.ask(observation)
    comment(host, observation, before)
    host.now += after
    observation.arrived(finish())
    end(host, observation)
    (stall,) = host.ended().stall_times
    assert stall == Stall(0.0, before + after, "between_chunks", kept)


def test_a_comment_of_an_earlier_wait_keeps_nothing_alive(host: Host) -> None:
    observation = host.streaming()
    host.ask(observation)
    comment(host, observation, 1.0)
    observation.arrived(token())
    host.chunk(observation, 6.0)
    end(host, observation)
    assert [stall.keep_alive for stall in host.ended().stall_times] == [False]


def test_a_comment_after_the_end_writes_into_no_slot(host: Host) -> None:
    observation = host.streaming()
    host.chunk(observation, item=token())
    observation.exhausted()
    host.ended()
    observation.release_slot()
    before = list(host.slot.view)
    observation.kept_alive()
    assert host.slot.view == before


# -- events that come to the app and keep the connection alive

PINGS = [
    (ChatChunks, typed("ping")),
    (ChatChunks, {"type": "keepalive"}),
    (ChatChunks, {}),
    (ResponsesEvents, typed("keepalive", sequence_number=3)),
    (ResponsesEvents, typed("response.in_progress", response=None)),
    (AssistantEvents, SimpleNamespace(event="ping", data={})),
]
ENDS = {
    ChatChunks: token(), ResponsesEvents: typed("response.output_text.delta", delta="x"),
    AssistantEvents: SimpleNamespace(event="thread.message.delta", data=None),
}


@pytest.mark.parametrize(("reader", "ping"), PINGS)
def test_pings_are_no_chunks_and_end_no_wait(host: Host, reader: type[Reader], ping: Any) -> None:
    observation = host.begin(reader())
    observation.attempting()
    observation.responded(OK)
    if reader is ResponsesEvents:
        host.chunk(observation, item=typed("response.in_progress", response=None))
    chunks = observation.chunks
    for _ in range(5):
        host.chunk(observation, 15.0, item=ping)
    assert (observation.chunks, answered(host)) == (chunks, False)
    assert host.slot.view[host.slot.at + segment.KEPT_ALIVE] == -1000.0
    host.chunk(observation, 5.0, item=ENDS[reader])
    assert host.slot.view[host.slot.at + segment.KEPT_ALIVE] == 0.0
    host.chunk(observation, 1.0, item=ENDS[reader])
    end(host, observation)
    record = host.ended()
    assert record.stall_times == (Stall(0.0, 80.0, "first_token", True),)
    assert (record.wait, record.hold, record.chunks) == (81.0, 0.0, chunks + 2)
    assert record.max_gap == (80.0 if chunks else 1.0)
    assert record.progress.gap_sum == (81.0 if chunks else 1.0)


def test_what_the_app_does_with_pings_is_its_own_time(host: Host) -> None:
    observation = host.streaming()
    host.chunk(observation)
    for _ in range(3):
        host.chunk(observation, 2.0, hold=100.0, item=typed("ping"))
    host.chunk(observation, 1.0, item=finish())
    end(host, observation)
    record = host.ended()
    assert (record.max_gap, record.wait, record.hold) == (7.0, 7.0, 300.0)
    assert [(stall.seconds, stall.keep_alive) for stall in record.stall_times] == [(7.0, True)]


@pytest.mark.parametrize("end", ["exhausted", "failed"])
def test_a_stream_that_ends_while_it_is_kept_alive_says_so(host: Host, end: str) -> None:
    observation = host.streaming()
    host.chunk(observation)
    for _ in range(3):
        host.chunk(observation, 2.0, item=typed("ping"))
    host.ask(observation)
    host.now += 1.0
    observation.exhausted() if end == "exhausted" else observation.failed(ConnectionResetError())
    record = host.ended()
    assert record.stall_times == (Stall(0.0, 7.0, "between_chunks", True),)
    assert (record.wait, record.max_gap) == (7.0, 0.0)


def test_the_generator_counts_no_ping_between_common_chunks(host: Host) -> None:
    observation = host.streaming()

    def source() -> Any:
        yield token()
        for _ in range(4):
            host.now += 3.0
            yield typed("ping")
        host.now += 1.0
        yield token()
        yield finish()

    assert len(list(streamvitals_observe(source(), observation))) == 7
    record = host.ended()
    assert (record.chunks, record.max_gap, record.stalls) == (3, 13.0, 1)


# -- bytes


def read(host: Host, observation: Observation, watch: ByteWatch, raw: bytes, wait: float) -> None:
    host.ask(observation)
    host.now += wait
    watch.arrived(raw)


def test_bytes_that_are_comments_end_no_wait(host: Host) -> None:
    observation = host.streaming()
    watch = ByteWatch(observation, "", int)
    for raw in (b": OPENROUTER PROCESSING\n\n", b":\n\n", b"data:\n\n", b"event: ping\ndata: {}\n\n"):
        read(host, observation, watch, raw, 15.0)
        assert host.slot.view[host.slot.at + segment.KEPT_ALIVE] == -1000.0, raw
    read(host, observation, watch, b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n', 5.0)
    assert answered(host)
    end(host, observation)
    record = host.ended()
    assert record.stall_times == (Stall(0.0, 65.0, "first_token", True),)
    assert (record.chunks, record.wait) == (1, 65.0)


def test_an_event_in_pieces_keeps_nothing_alive(host: Host) -> None:
    observation = host.streaming()
    watch = ByteWatch(observation, "", int)
    for raw in (b'data: {"choices": [{"del', b'ta": {"content": "x', b'"}}]}\n\n'):
        read(host, observation, watch, raw, 30.0)
    end(host, observation)
    assert host.ended().stall_times == (Stall(0.0, 90.0, "first_token"),)


def test_lines_below_a_foreign_decoder_show_comments(host: Host) -> None:
    observation = host.streaming()
    watch = MarkWatch(observation, "", int)
    host.ask(observation)
    for piece in (b": a", b" comment\n", b"\n"):
        host.now += 20.0
        watch.look(piece)
    host.now += 20.0
    observation.arrived(token())
    end(host, observation)
    assert host.ended().stall_times == (Stall(0.0, 80.0, "first_token", True),)


@pytest.mark.parametrize("sees_lines", [False, True])
@pytest.mark.parametrize("received", [0, 100])
def test_where_nobody_sees_lines_bytes_without_a_chunk_tell_it_at_the_end(
    host: Host, received: int, sees_lines: bool
) -> None:
    observation = host.streaming()
    observation.attach(SimpleNamespace(bytes_received=lambda: received, sees_lines=sees_lines))  # type: ignore[arg-type]
    host.ask(observation)
    host.now += 100.0
    observation.failed(TimeoutError())
    (stall,) = host.ended().stall_times
    assert stall.keep_alive is (received > 0 and not sees_lines)
