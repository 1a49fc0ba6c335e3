"""A record is made by place: each of its fields has to hold what its name says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from observation_support import LABELS, Host, chunk, token
from streamvitals.outcome import Outcome
from streamvitals.retries.failures import Chain, Failure, Origin
from streamvitals.stream.partial import TailReader
from streamvitals.stream.record import Attempt, RateLimit, Stall, StreamRecord, Usage
from streamvitals.stream.request import ResponseFacts

LIMITS = (RateLimit("tokens", 1.0, 2.0, 3.0),)
OTHER_LIMITS = (RateLimit("requests", 4.0),)
FACTS = {"method": "GET", "url_path": "/v1/x", "server_port": 8443, "fetch": True}


def expected(record: StreamRecord, **facts: Any) -> None:
    """Compare all fields but ``progress``, which has its own names."""
    told = record._asdict()
    told.pop("progress")
    assert told == facts


def test_each_field_of_a_stream_that_was_answered_is_what_it_is_called() -> None:
    host = Host(stall_after=5.0)
    chain, parent = Chain(1.0), object()
    chain.fail()
    failure = Failure(LABELS, "500", 990.0, 2, Origin(1), b"", span="span", retry_after=4.0, chain=chain)
    observation = host.begin(TailReader(host.begin().reader, 4, None), failure.retried(host.now), parent, **FACTS)
    observation.attempting()
    host.now += 0.5
    observation.attempts.answered(503, OTHER_LIMITS, "earlier", 9.0)
    observation.retrying(None, 0.25)
    host.now += 0.25
    observation.attempting()
    host.now += 1.0
    observation.responded(ResponseFacts(200, "text/event-stream", "request", LIMITS))
    observation.attach(SimpleNamespace(bytes_received=lambda: 77, sees_lines=True))  # type: ignore[arg-type]
    observation.event_id("event")
    host.chunk(observation, 6.0, 0.5, chunk({}))
    host.chunk(observation, 2.0, 0.25, token("told"))
    usage = SimpleNamespace(prompt_tokens=3, completion_tokens=4)
    host.chunk(observation, 1.0, 0.125, chunk({}, "strange", usage=usage))
    host.ask(observation)
    host.now += 0.5
    observation.failed(ConnectionResetError())
    expected(
        host.ended(), labels=LABELS, outcome=Outcome.RESET, error_type="connection_reset", started=1.7e9,
        duration=12.125, chunks=3, max_gap=2.0, wait=11.0, hold=0.875, stalls=1, first_chunk=7.75, first_token=10.25,
        last_chunk=11.5, bytes_received=77,
        attempts=(Attempt(1, 1000.0, 1000.5, 503, "503", 0.25), Attempt(2, 1000.75, 1012.125, 200, "connection_reset")),
        backoff=0.25, finish_reasons=("other",), response_model="told", response_id="id", request_id="request",
        usage=Usage(3, 4), rate_limits=LIMITS, http_status=200, cause_chain=("ConnectionResetError",), method="GET",
        url_path="/v1/x", server_port=8443, stall_times=(Stall(1.75, 6.0, "first_token"),), clock_origin=1000.0,
        last_event_id="event", partial="told", hints=("unknown_finish_reason",), replayed=True, retry_after=None,
        chain_attempt=3, retry_after_honored=True, chain_wait=10.0, retry_of="span", given_up=True, service_tier=None,
        system_fingerprint=None, unfinished=(), chunk_times=None, request=(), inside=None,
        trace_parent=parent, headers=1.75, max_gap_at=8.25, operation=chain, slot=host.slot, span=None,
    )


def test_each_field_of_one_that_was_not_is_what_its_last_attempt_got() -> None:
    host = Host()
    observation = host.begin()
    observation.attempting()
    host.now += 0.5
    observation.attempts.answered(429, OTHER_LIMITS, "last", 9.0)
    observation.request_failed(ConnectionResetError())
    expected(
        host.ended(), labels=LABELS, outcome=Outcome.RESET, error_type="connection_reset", started=1.7e9,
        duration=0.5, chunks=0, max_gap=0.0, wait=0.5, hold=0.0, stalls=0, first_chunk=None, first_token=None,
        last_chunk=None, bytes_received=None, attempts=(Attempt(1, 1000.0, 1000.5, 429, "connection_reset"),),
        backoff=0.0, finish_reasons=(), response_model=None, response_id=None, request_id="last", usage=None,
        rate_limits=OTHER_LIMITS, http_status=429, cause_chain=("ConnectionResetError",), method="POST", url_path="",
        server_port=None, stall_times=(), clock_origin=1000.0, last_event_id=None, partial=None, hints=(),
        replayed=False, retry_after=9.0, chain_attempt=1, retry_after_honored=None, chain_wait=0.0, retry_of=None,
        given_up=False, service_tier=None, system_fingerprint=None, unfinished=(), chunk_times=None, request=(),
        inside=None, trace_parent=None, headers=None, max_gap_at=None, operation=observation.chain, slot=host.slot,
        span=None,
    )
