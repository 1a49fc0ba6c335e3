"""How an observation ends: once, under one verdict, leaving nothing of itself; and what a fault of ours does."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest

from observation_support import OK, Host, chunk, finish, token
from streamvitals.outcome import Outcome, Verdict
from streamvitals.stream.chunks import ChatChunks
from streamvitals.stream.observation import Observation
from streamvitals.stream.observe import (
    streamvitals_observe,
    streamvitals_observe_async,
    streamvitals_watch_async,
)
from streamvitals.stream.record import StreamRecord
from streamvitals.stream.request import ResponseFacts

PAGE = ResponseFacts(200, "text/html")


def verdict_of(record: StreamRecord) -> tuple[str, str]:
    return record.outcome.value, record.error_type


def body(*items: Any, response: ResponseFacts = OK, done: bool = False, **facts: Any) -> tuple[str, str]:
    """The verdict of a body that consists of these chunks and then ends properly."""
    host = Host()
    observation = host.begin(**facts)
    observation.attempting()
    observation.responded(response)
    for item in items:
        host.chunk(observation, item=item)
    observation.reader.done = done
    observation.exhausted()
    return verdict_of(host.ended())


def two(*reasons: str | None) -> list[Any]:
    return [chunk({"content": "x"}, reason, index) for index, reason in enumerate(reasons)]


@pytest.mark.parametrize(("got", "want"), [
    (body(token(), finish()), ("completed", "")),
    (body(token(), finish(), done=True), ("completed", "")),
    (body(token(), finish("tool_calls")), ("completed", "")),
    (body(token(), finish("a word of its own")), ("completed", "")),
    (body(token(), finish("max_tokens")), ("length", "")),
    (body(token(), finish("content_filter")), ("content_filter", "")),
    (body(token(), finish("abort"), done=True), ("api_error", "finish_abort")),
    (body(token()), ("truncated", "missing_terminal")),
    (body(token(), done=True), ("truncated", "missing_finish_reason")),
    (body(token(), finish(""), done=True), ("truncated", "missing_finish_reason")),
    (body(done=True), ("truncated", "missing_finish_reason")),
    (body(), ("truncated", "empty_stream")),
    (body(response=PAGE), ("malformed", "unexpected_content_type")),
    (body(response=PAGE, done=True), ("truncated", "missing_finish_reason")),
    (body(token(), response=PAGE), ("truncated", "missing_terminal")),
    # Of several choices the worst counts, and one that is open means that all of it is.
    (body(*two("stop", "length")), ("length", "")),
    (body(*two("length", "content_filter")), ("content_filter", "")),
    (body(*two("content_filter", "abort")), ("api_error", "finish_abort")),
    (body(*two("stop", None)), ("truncated", "missing_finish_reason")),
    (body(*two("abort", None)), ("api_error", "finish_abort")),
    # A server that is known never to send a finish_reason: its [DONE] is believed, its silence is not.
    (body(token(), done=True, finish_optional=True), ("completed", "")),
    (body(token(), finish_optional=True), ("truncated", "missing_terminal")),
    (body(done=True, finish_optional=True), ("truncated", "missing_finish_reason")),
])
def test_what_a_body_says(got: tuple[str, str], want: tuple[str, str]) -> None:
    assert got == want


class ReadError(Exception):
    """As httpx and httpcore call it."""


ENDS: dict[str, Any] = {
    "exhausted": lambda o: o.exhausted(),
    "reset": lambda o: o.failed(ReadError()),
    "cancelled": lambda o: o.failed(asyncio.CancelledError()),
    "closed": lambda o: o.closed(),
    "closed by a cancellation": lambda o: o.closed(asyncio.CancelledError()),
    "closed by the app's own error": lambda o: o.closed(KeyError()),
    "dropped": lambda o: o.dropped(),
    "left open": lambda o: o.left_open(Verdict(Outcome.ABANDONED, "dropped")),
}


@pytest.mark.parametrize(("how", "before", "after"), [
    ("exhausted", ("truncated", "missing_terminal"), ("completed", "")),
    # An exception that reaches the app outranks any marker ...
    ("reset", ("reset", "other"), ("reset", "other")),
    # ... the app's own leaving after the marker does not.
    ("cancelled", ("cancelled", "cancelled"), ("completed", "")),
    ("closed", ("abandoned", "closed"), ("completed", "")),
    ("closed by a cancellation", ("cancelled", "cancelled"), ("completed", "")),
    ("closed by the app's own error", ("abandoned", "closed"), ("completed", "")),
    ("dropped", ("abandoned", "dropped"), ("completed", "")),
    ("left open", ("abandoned", "dropped"), ("completed", "")),
])
def test_precedence(how: str, before: tuple[str, str], after: tuple[str, str]) -> None:
    for items, want in (((token(),), before), ((token(), finish()), after)):
        host = Host()
        observation = host.streaming()
        for item in items:
            host.chunk(observation, item=item)
        ENDS[how](observation)
        assert verdict_of(host.ended()) == want


@pytest.mark.parametrize("first", list(ENDS))
@pytest.mark.parametrize("second", list(ENDS))
def test_the_first_end_counts_and_the_only_one(first: str, second: str) -> None:
    host, alone = Host(), Host()
    for each, ways in ((host, (first, second)), (alone, (first,))):
        observation = each.streaming()
        each.chunk(observation)
        for way in ways:
            ENDS[way](observation)
    assert verdict_of(host.ended()) == verdict_of(alone.ended())


def test_a_finalizer_only_defers() -> None:
    host = Host()
    observation = host.streaming()
    observation.dropped()
    assert host.records == host.progress == []
    assert len(host.deferred) == 1
    assert verdict_of(host.ended()) == ("abandoned", "never_iterated")


def test_a_stream_nobody_read_ends_with_its_headers_and_not_with_the_collector() -> None:
    host = Host()
    observation = host.begin()
    observation.attempting()
    host.now += 2.0
    observation.responded(OK)
    host.now += 3600.0
    observation.dropped()
    record = host.ended()
    assert (record.duration, record.wait, record.hold) == (2.0, 2.0, 0.0)


def test_a_hang_after_the_finish_is_a_stall_but_no_longer_the_stream() -> None:
    host = Host(stall_after=5.0)
    observation = host.streaming()
    host.chunk(observation, wait=1.0, item=finish())
    host.ask(observation)
    host.now += 60.0
    observation.exhausted()
    record = host.ended()
    assert (record.duration, record.wait, record.stalls) == (1.0, 1.0, 1)


def test_a_call_that_sent_nothing_is_no_stream() -> None:
    host = Host()
    observation = host.begin()
    observation.request_failed(TypeError("missing argument"))
    assert host.discarded == [observation]
    assert observation.ended
    assert host.records == host.faults == []


# -- our own faults, and our own weight ---------------------------------------------------------------------


class Broken(ChatChunks):
    """A reader that raises."""

    def read(self, item: Any) -> None:
        raise RuntimeError("broken on purpose")

    has_token = read


def test_a_fault_of_ours_is_counted_once_and_not_reported_as_the_providers() -> None:
    host = Host()
    observation = host.begin(reader=Broken())
    observation.attempting()
    observation.responded(OK)
    for _ in range(3):
        host.chunk(observation)
    observation.exhausted()
    assert host.faults == ["observe"]
    (record,) = host.records
    assert (record.outcome, record.chunks) == (Outcome.COMPLETED, 3)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("count", [10, 10_000])
def test_the_generators_pass_on_what_they_get(is_async: bool, count: int) -> None:
    host = Host()
    observation = host.streaming()
    items = [token() for _ in range(count)]

    async def source() -> Any:
        for item in items:
            yield item

    async def read() -> list[Any]:
        return [item async for item in streamvitals_observe_async(source(), observation)]

    got = asyncio.run(read()) if is_async else list(streamvitals_observe(iter(items), observation))
    assert all(a is b for a, b in zip(got, items, strict=True))
    assert host.ended().chunks == count


@pytest.mark.parametrize("owns_inner", [False, True])
def test_the_generator_below_is_closed_only_where_nobody_else_can(owns_inner: bool) -> None:
    host = Host()
    observation = host.streaming()
    closed: list[bool] = []

    async def source() -> Any:
        try:
            yield token()
        finally:
            closed.append(True)

    async def leave() -> None:
        inner = source()
        ours = streamvitals_watch_async(inner, observation, observation.arrived, owns_inner=owns_inner)
        await ours.__anext__()
        await ours.aclose()
        assert closed == [True] * owns_inner
        await inner.aclose()

    asyncio.run(leave())
    assert verdict_of(host.ended()) == ("abandoned", "dropped")


def memory_of(observation: Observation, host: Host, chunks: int, item: Any) -> int:
    """Bytes that this many more chunks have left allocated."""
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(chunks):
        host.ask(observation)
        observation.arrived(item)
    gc.collect()
    return tracemalloc.get_traced_memory()[0] - before


def test_memory_does_not_grow_with_the_number_of_chunks() -> None:
    """Nothing is kept of a chunk: ten thousand cost what ten cost, give or take the size of a few numbers."""
    host = Host(stall_after=0.0)  # every one of them is a stall, too
    observation, item = host.streaming(), token()
    tracemalloc.start()
    try:
        memory_of(observation, host, 100, item)
        few = memory_of(observation, host, 10, item)
        many = memory_of(observation, host, 10_000, item)
    finally:
        tracemalloc.stop()
    assert many - few < 500
