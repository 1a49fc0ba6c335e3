"""The responses of one WebSocket: what belongs to which, what each waited for, and how each ended."""

from __future__ import annotations

import gc
import json
import weakref
from typing import Any

import hypothesis
import pytest
from hypothesis import strategies as st

from conversation_support import CREATE, ConnectionClosedError, ConnectionClosedOK, Talk, created, delta, done, error
from observation_support import Host
from streamvitals.outcome import Outcome
from streamvitals.stream.conversation import MAX_UNDER_WAY
from streamvitals.stream.record import RateLimit, Stall


@pytest.fixture
def host() -> Host:
    return Host()


def test_one_response_from_its_request_to_its_end(host: Host) -> None:
    talk = Talk(host)
    talk.asks()
    host.now += 1.0  # the app has not come to reading yet
    talk.hears(created(), wait=2.0, hold=0.5)
    talk.hears(delta(), wait=0.25)
    talk.hears(delta(), wait=0.25)
    talk.hears(done(usage={"input_tokens": 3, "output_tokens": 5}), wait=0.5)
    record = host.ended()
    assert (record.outcome, record.chunks) == (Outcome.COMPLETED, 4)
    assert (record.first_chunk, record.first_token) == (3.0, 3.75)
    assert (record.wait, record.hold, record.duration) == (3.0, 1.5, 4.5)
    assert record.usage is not None
    assert (record.usage.input, record.usage.output, record.response_id) == (3, 5, "r1")
    assert record.bytes_received == sum(len(json.dumps(e)) for e in (
        created(), delta(), delta(), done(usage={"input_tokens": 3, "output_tokens": 5}),
    ))


@pytest.mark.parametrize(
    ("status", "details", "told"),
    [
        ("completed", None, ("completed", "")),
        ("incomplete", {"reason": "max_output_tokens"}, ("length", "")),
        ("incomplete", {"reason": "content_filter"}, ("content_filter", "")),
        ("failed", {"error": {"code": "rate_limit_exceeded"}}, ("rate_limited", "rate_limit_exceeded")),
        ("failed", None, ("api_error", "response_failed")),
        ("cancelled", {"reason": "turn_detected"}, ("cancelled", "other")),
    ],
)
def test_the_status_of_a_realtime_response_is_how_it_finished(
    host: Host, status: str, details: Any, told: tuple[str, str]
) -> None:
    talk = Talk(host)
    talk.asks()
    talk.hears(created())
    talk.hears(done(status=status, status_details=details))
    assert talk.ended == [told]
    assert host.ended().finish_reasons == (status,)


def test_an_idle_socket_is_no_stream(host: Host) -> None:
    talk = Talk(host)
    talk.hears({"type": "session.created", "session": {}}, wait=100.0)
    talk.asks()
    talk.hears(created())
    talk.hears(done())
    talk.hears({"type": "conversation.item.done"}, wait=100.0)
    record = host.ended()
    assert (record.stalls, record.duration) == (0, 0.0)


def test_a_silence_is_of_each_response_that_waits_in_it(host: Host) -> None:
    """Whoever else speaks: what one response waited for does not end when another says something."""
    talk = Talk(host)
    talk.asks()
    talk.asks()
    talk.hears(created("r1"))
    talk.hears(created("r2"))
    for _ in range(4):
        talk.hears(delta("r2"), wait=2.0, hold=1.0)
    talk.hears(delta("r1"), wait=1.0)
    talk.hears(done("r1"))
    talk.hears(done("r2"))
    first, second = host.records
    assert (first.response_id, first.chunks, first.max_gap, first.wait, first.hold) == ("r1", 3, 9.0, 9.0, 4.0)
    assert (second.response_id, second.chunks, second.max_gap, second.wait, second.stalls) == ("r2", 6, 2.0, 9.0, 0)
    assert first.stalls == 1
    assert first.stall_times == (Stall(4.0, 9.0, "first_token"),)


def test_the_slot_tells_a_blocked_read_from_an_app_that_is_busy(host: Host) -> None:
    talk = Talk(host)
    talk.asks()
    assert talk.slots[0].state < 0
    talk.asking()
    assert talk.slots[0].state == host.now
    host.now += 1.0
    talk.received(json.dumps({"type": "session.updated"}).encode())
    assert talk.slots[0].state == -host.now
    host.now += 5.0  # the app's own
    talk.asking()
    assert talk.slots[0].state == host.now - 1.0, "it has waited for one second already"


def test_a_request_while_another_task_reads(host: Host) -> None:
    talk = Talk(host)
    talk.asking()
    host.now += 60.0
    talk.asks()
    assert talk.slots[0].state == host.now
    host.now += 2.0
    talk.received(json.dumps(created()).encode())
    talk.hears(done())
    assert host.ended().wait == 2.0


def test_what_the_server_says_unasked_begins_with_its_first_event(host: Host) -> None:
    talk = Talk(host)
    talk.hears(created(), wait=30.0)
    talk.hears(delta(), wait=0.5)
    talk.hears(done(), wait=0.5)
    record = host.ended()
    assert (record.first_chunk, record.first_token, record.duration, record.stalls) == (None, 0.5, 1.0, 0)
    assert record.progress.first_chunk is None
    assert sum(record.progress.gap_counts) == record.chunks - 1 == 2


def test_requests_are_answered_in_their_order(host: Host) -> None:
    talk = Talk(host, model=None)
    talk.hears({"type": "session.created", "session": {"model": "of the session"}})
    talk.asks(event_id="one")
    talk.asks(event_id="two")
    talk.hears(error("invalid_request_error", "conversation_already_has_active_response", "two"))
    talk.hears(created())
    talk.hears(done(status="cancelled", status_details={"reason": "turn_detected"}))
    assert talk.ended == [("api_error", "invalid_request_error"), ("cancelled", "other")]
    assert talk.models == ["of the session"] * 2
    assert talk.asked_for == [None, None], "a turn of a conversation is like any other"


@pytest.mark.parametrize(
    "about",
    [
        error("server_error", cause="another event"),
        error("invalid_request_error", "input_audio_buffer_commit_empty"),
        error("invalid_request_error", "invalid_value"),
    ],
    ids=["named", "by its code", "the caller's"],
)
def test_an_error_of_something_else_is_no_end(host: Host, about: dict[str, Any]) -> None:
    talk = Talk(host)
    talk.asks(event_id="one")
    talk.hears(created())
    talk.hears(about)
    talk.closed(None)
    assert talk.ended == [("abandoned", "closed")]


def test_an_error_of_the_server_is_the_end_of_what_says_no_more(host: Host) -> None:
    talk = Talk(host)
    talk.asks()
    talk.hears(created("r1"))
    talk.hears(error())
    talk.hears(delta("r1"))
    talk.asks()
    assert talk.ended == [], "it has gone on"
    talk.hears(error("rate_limit_error"), wait=1.0)
    assert talk.ended == [("rate_limited", "rate_limit_exceeded")], "the oldest that was not answered"
    talk.hears(error())
    talk.asks()
    assert talk.ended[1:] == [("api_error", "server_error")]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (ConnectionClosedOK(), ("truncated", "missing_terminal")),
        (ConnectionClosedError(), ("truncated", "incomplete_read")),
    ],
    ids=["a frame", "none"],
)
def test_a_socket_that_closes_ends_all_of_them(host: Host, end: Exception, told: tuple[str, str]) -> None:
    talk = Talk(host)
    talk.asks()
    talk.asks()
    talk.hears(created("r1"))
    talk.hears(created("r2"))
    talk.asking()
    host.now += 3.0
    talk.read_failed(end)
    talk.read_failed(end)
    assert talk.ended == [told, told]
    assert [record.wait for record in host.records] == [3.0, 3.0]


def test_a_frame_before_anything_was_said(host: Host) -> None:
    talk = Talk(host)
    talk.asks()
    talk.asking()
    talk.read_failed(ConnectionClosedOK())
    assert talk.ended == [("truncated", "empty_stream")]


def test_a_read_that_is_given_up_loses_nothing(host: Host) -> None:
    """``asyncio.wait_for(connection.recv(), ...)`` in a loop."""
    import asyncio

    talk = Talk(host)
    talk.asks()
    talk.hears(created())
    for _ in range(3):
        talk.asking()
        host.now += 2.0
        talk.read_failed(asyncio.CancelledError())
        host.now += 1.0
    talk.hears(delta(), wait=1.0)
    talk.hears(done())
    record = host.ended()
    assert (record.outcome, record.max_gap, record.hold, record.stalls) == (Outcome.COMPLETED, 7.0, 3.0, 1)


def test_a_read_that_is_given_up_for_good(host: Host) -> None:
    import asyncio

    talk = Talk(host)
    talk.asks()
    talk.hears(created())
    talk.asking()
    talk.read_failed(asyncio.CancelledError())
    talk.dropped()
    assert host.records == []
    assert host.ended().outcome is Outcome.CANCELLED


def test_two_readers_at_once_are_the_librarys_to_refuse(host: Host) -> None:
    class ConcurrencyError(Exception):
        pass

    talk = Talk(host)
    talk.asks()
    talk.asking()
    host.now += 1.0
    talk.asking()
    talk.read_failed(ConcurrencyError())
    assert talk.slots[0].state == 1000.0
    host.now += 1.0
    talk.received(json.dumps(created()).encode())
    talk.hears(done())
    assert host.ended().wait == 2.0


def test_a_connection_that_goes_together_with_all_that_belongs_to_it(host: Host) -> None:
    """As when an event loop was closed: then what is to tell of it must be held by what is still open."""

    class Connection:
        talk: Talk

        def __init__(self) -> None:
            self.resources = self  # which hold their connection

    connection = Connection()
    talk = connection.talk = Talk(host)
    talk.owner = weakref.ref(connection, talk.dropped)
    talk.asks()
    open_one = talk._responses()[0].observation
    del connection, talk
    gc.collect()
    assert host.ended().outcome is Outcome.ABANDONED
    assert open_one.ended


@pytest.mark.parametrize("message", [b"audio", '{"type": "input_audio_buffer.append"}', "[]", "{", 7, None])
def test_what_is_no_request(host: Host, message: Any) -> None:
    talk = Talk(host)
    talk.sending(message)
    assert talk.slots == []
    assert host.faults == []


def test_a_type_that_does_not_stand_in_front(host: Host) -> None:
    talk = Talk(host, realtime=False)
    talk.sending(json.dumps({"input": [{"type": "message"}], "type": "response.create", "model": "m"}))
    talk.hears({"response": {"id": "r1"}, "type": "response.created"})
    talk.hears({"item": {"type": "response.completed"}, "type": "response.output_item.added"})
    talk.hears({"sequence_number": 3, "type": "response.completed", "response": {"id": "r1"}})
    assert talk.ended == [("completed", "")]
    assert host.ended().chunks == 3
    assert talk.models == ["m"]


def test_a_request_that_could_not_be_sent(host: Host) -> None:
    talk = Talk(host)
    response = talk.sending(json.dumps(CREATE))
    talk.not_sent(response, TypeError())
    talk.hears(created("of another"))
    assert len(host.discarded) == 1
    assert len(talk.slots) == 2
    talk.not_sent(None, ConnectionClosedOK())
    assert talk.ended == [("truncated", "missing_terminal")]


def test_a_request_on_a_socket_that_the_app_has_closed(host: Host) -> None:
    talk = Talk(host)
    talk.closed(None)
    talk.not_sent(talk.sending(json.dumps(CREATE)), ConnectionClosedOK())
    assert talk.ended == [("abandoned", "closed")]


def test_there_is_a_bound(host: Host) -> None:
    talk = Talk(host)
    for _ in range(MAX_UNDER_WAY + 2):
        talk.asks()
    assert talk.ended == [("abandoned", "never_iterated")] * 2


def test_limits(host: Host) -> None:
    talk = Talk(host)
    talk.asks()
    talk.hears(created())
    limits = [
        {"name": "requests", "limit": 1000, "remaining": 999, "reset_seconds": 60},
        {"name": "tokens", "limit": "many", "remaining": -1}, {"name": "cups"}, 7,
    ]
    talk.hears({"type": "rate_limits.updated", "rate_limits": limits})
    talk.hears(done())
    assert host.ended().rate_limits == (RateLimit("requests", 999.0, 1000.0, 60.0), RateLimit("tokens"))


@pytest.mark.parametrize("realtime", [True, False])
def test_the_end_of_one_that_has_ended_otherwise_is_not_the_next_ones(host: Host, realtime: bool) -> None:
    talk = Talk(host, realtime)
    talk.asks(model="m")
    talk.hears(created("r1"))
    talk.unreadable(json.JSONDecodeError("", "", 0))
    talk.asks(model="m")
    talk.hears(done("r1"))
    assert talk.ended == [("malformed", "json_decode")]
    talk.hears(done("r2", status="failed"))
    assert talk.ended[1:] == [("api_error", "response_failed")], "though its beginning was not said"


def test_a_socket_in_place_of_another_is_open(host: Host) -> None:
    talk = Talk(host)
    talk.closed(None)
    talk.opened_again()
    talk.asks()
    talk.asking()
    talk.read_failed(ConnectionClosedOK())
    assert talk.ended == [("truncated", "empty_stream")]


# -- lanes


def test_lanes(host: Host) -> None:
    talk = Talk(host, realtime=False)
    for lane in ("a", "b", None):
        talk.asks(model="m", **({"stream_id": lane} if lane else {}))
    talk.hears(created("rb", stream_id="b"))
    talk.hears(created("ra", stream_id="a"))
    talk.hears(created("rn"))
    for lane in ("a", "b", "b"):
        talk.hears({"type": "response.output_text.delta", "delta": 'says "stream_id":"a"', "stream_id": lane})
    talk.hears({"type": "response.output_text.delta", "delta": "x"})
    talk.hears({"type": "response.completed", "response": {"id": "rb"}, "stream_id": "b"})
    talk.hears({"type": "error", "status": 400, "error": {"type": "server_error"}, "stream_id": "a"})
    talk.hears({"type": "response.incomplete", "response": {"incomplete_details": {"reason": "max_output_tokens"}}})
    assert [(r.response_id, r.outcome.value, r.chunks) for r in host.records] == [
        ("rb", "completed", 4), ("ra", "api_error", 3), ("rn", "length", 3),
    ]


def test_a_successor_on_the_lane_ends_what_was_not_ended(host: Host) -> None:
    """Steering: the first says that it is incomplete, the second begins by itself; and if the first says nothing."""
    talk = Talk(host, realtime=False)
    talk.asks(model="m")
    talk.hears(created("r1"))
    talk.hears({"type": "response.steer.accepted"})
    talk.hears({"type": "response.incomplete", "response": {"incomplete_details": {"reason": "steered"}}})
    talk.hears(created("r2"))
    talk.hears(created("r3"))
    talk.hears({"type": "response.failed", "response": {"error": {"code": "server_error"}}})
    assert [(r.response_id, r.outcome.value, r.chunks) for r in host.records] == [
        ("r1", "completed", 2), ("r2", "truncated", 1), ("r3", "api_error", 2),
    ]


# -- whatever a server says

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 3) | st.sampled_from(["", "r1", "token", "failed", "\ud800"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "status", "code"]), inner),
    max_leaves=3,
)
_FIELDS = ("response", "response_id", "stream_id", "error", "delta", "session", "rate_limits", "event_id")
_TYPES = st.sampled_from([
    "response.created", "response.done", "response.completed", "response.failed", "response.output_text.delta",
    "response.steer.accepted", "error", "session.created", "rate_limits.updated", "response.",
])
_EVENTS = st.fixed_dictionaries({"type": _TYPES | _JSON}, optional=dict.fromkeys(_FIELDS, _JSON))


@hypothesis.given(events=st.lists(_EVENTS | _JSON | st.binary(max_size=4), max_size=12), realtime=st.booleans())
def test_nothing_that_is_said_is_a_fault_and_everything_ends_once(events: list[Any], realtime: bool) -> None:
    host = Host()
    talk = Talk(host, realtime)
    talk.asks(model="m")
    for number, event in enumerate(events):
        talk.asking()
        talk.received(event if isinstance(event, bytes) else json.dumps(event).encode())
        if number == 5:
            talk.asks(model="m", stream_id="r1")
    talk.closed(None)
    assert host.faults == []
    assert len(host.records) == len(talk.slots)


# -- a fault of ours


def test_a_fault_is_counted_and_the_end_given_the_benefit_of_the_doubt(host: Host, monkeypatch: Any) -> None:
    talk = Talk(host)
    talk.asks()
    talk.hears(created())

    def fail(raw: bytes) -> None:
        raise AssertionError

    with monkeypatch.context() as broken:
        broken.setattr(talk, "_read", fail)
        talk.hears(delta())
    talk.hears(done(status="failed"))
    assert host.faults == ["observe"]
    assert [record.outcome for record in host.records] == [Outcome.COMPLETED]
