"""Invariant 1, continued: our own code is broken on purpose, in each place, and the app sees nothing of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from app_support import LONG, MESSAGES, App, run, settle
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import looplag, runtime
from streamvitals.sdk import attach, bodies, closing, facts, kinds, patch, taps
from streamvitals.store import increments, store
from streamvitals.stream import attempts, chunks, classify, dispatch, observation, pace, sse, tracebacks
from streamvitals.stream.observation import Observation
from streamvitals.stream.pace import Pace
from streamvitals.testing import RecordList, recorded


class OursError(Exception):
    """What must not be seen."""


def broken(*args: Any, **kwargs: Any) -> Any:
    raise OursError("broken on purpose")


# Every function of ours that runs within a call of the app's; the places where faults are caught are left as they are.
PLACES: list[tuple[Any, str]] = [
    (facts, "surface_of"), (facts, "request_facts"), (facts, "provider_of"), (facts, "response_facts"),
    (facts, "content_encoding"), (facts, "streams"), (kinds.Kinds, "kind"), (patch, "parts_of"),
    (store.Store, "open_slot"), (store.Store, "close_slot"), (store.Store, "block"), (store.Store, "change"),
    (store.StoreSink, "on_end"), (store.StoreSink, "on_retry"), (increments, "ended"), (increments, "retried"),
    (increments, "progressed"), (increments._Histogram, "add"),
    (patch, "attach"), (taps.Taps, "tap"), (taps, "_noticing"), (attach, "read_before"), (attach, "_respond"),
    (bodies, "_read"), (bodies, "_arrived"),
    (bodies, "_reading"), (bodies, "_closing"), (bodies.Bodies, "hook"),
    (attach, "closing_of"), (closing.Closing, "add_reader"), (closing.Closing, "answer"),
    (closing.Closing, "_reading"), (closing.Closing, "noted"), (closing.Closing, "_is_read_by"),
    (closing, "_reads"), (closing, "_suspended"),
    (chunks.ChatChunks, "__init__"), (chunks.ChatChunks, "read"), (chunks.ChatChunks, "_read_quickly"),
    (chunks.ChatChunks, "_ends"), (chunks.ChatChunks, "_thinks"), (chunks.ChatChunks, "_begins"),
    (chunks.ChatChunks, "_read_patiently"), (chunks.ChatChunks, "_choice"), (chunks.ChatChunks, "has_token"),
    (chunks.ChatChunks, "has_answer"),
    (chunks.ChatChunks, "marker"), (chunks.ChatChunks, "unfinished"), (chunks.ChatChunks, "usage"),
    (observation, "classify_exception"), (observation, "names_of"), (pace, "Progress"),
    (observation, "StreamRecord"),
    (Observation, "__init__"), (Pace, "__init__"), (Pace, "arrived"), (Pace, "gap"),
    (Pace, "waited"), (Pace, "hung"), (Pace, "stalled"), (Pace, "hold"),
    (Pace, "progress"), (Pace, "flushed"), (Pace, "stop_writing"), (Observation, "flush"),
    (Observation, "_verdict_of_body"), (Observation, "end"), (Observation, "record"),
    (Observation, "release_slot"), (Observation, "_finish"), (Observation, "attach"), (Observation, "release"),
    (Pace, "token"),
    (attempts.Attempts, "__init__"), (attempts.Attempts, "begin"), (attempts.Attempts, "retry"),
    (attempts.Attempts, "answered"), (attempts.Attempts, "close"), (attempts, "classify_status"),
    (tracebacks, "chain"), (classify, "chain"), (classify, "interrupted"), (classify, "_broken_cause"),
    (classify, "classify_error_event"),
    (sse.ByteWatch, "__init__"), (sse.ByteWatch, "_read"), (sse.ByteWatch, "_event"), (sse.ByteWatch, "_line"),
    (sse, "inflater"),
    (dispatch, "_Delivery"), (dispatch.Dispatch, "_deliver"), (dispatch.Dispatch, "_delivery"),
    (dispatch.Dispatch, "needs_record"), (store.StoreSink, "needs_record"),
    (looplag.LoopLagMeter, "watch"), (looplag.LoopLagMeter, "_next_beat"),
    (runtime.Runtime, "begin"), (runtime.Runtime, "has_failures"), (runtime.Runtime, "fell_back"),
    (runtime.Runtime, "origin"), (runtime.Runtime, "_record"), (runtime.Runtime, "_recorded"),
    (runtime.Runtime, "discard"),
    (RecordList, "on_end"), (RecordList, "on_retry"), (RecordList, "on_internal_error"),
]


MODELS = (
    "sv-ok", "sv-reset", "sv-silent-cut", "sv-error-event", "sv-broken-json", "sv-503", "sv-429-then-ok?fails=1",
)


def program(app: App) -> None:
    """A bit of everything, synchronous."""
    client = app.client(max_retries=1)
    completions = client.chat.completions

    def create(model: str) -> Any:
        return completions.create(model=model, messages=MESSAGES, stream=True, user=f"{id(app)}")

    for model in MODELS:
        with app.catching():
            app.read(create(model))
    with create(LONG) as stream:
        app.chunk(next(stream))
    app.chunk(next(create(LONG)))
    app.read(completions.with_raw_response.create(model="sv-ok", messages=MESSAGES, stream=True).parse())
    for model in ("sv-ok", "sv-error-event", "sv-gzip"):
        with completions.with_streaming_response.create(model=model, messages=MESSAGES, stream=True) as response:
            app.saw.extend(response.iter_lines())
    with app.catching(TypeError):
        completions.create(stream=True)  # type: ignore[call-overload]
    app.chunk(completions.create(model="sv-ok", messages=MESSAGES))


async def aprogram(app: App) -> None:
    completions = app.async_client(max_retries=1).chat.completions

    async def create(model: str) -> Any:
        return await completions.create(model=model, messages=MESSAGES, stream=True, user=f"{id(app)}")

    for model in MODELS:
        with app.catching():
            await app.aread(await create(model))
    async with await create(LONG) as stream:
        app.chunk(await stream.__anext__())
    async with completions.with_streaming_response.create(model="sv-ok", messages=MESSAGES, stream=True) as response:
        async for line in response.iter_lines():
            app.saw.append(line)


@pytest.fixture(scope="module")
def bare(server: ThreadedFaultServer) -> dict[Callable[..., Any], list[Any]]:
    """What the programs see without us."""
    return {act: run(act, server).saw for act in (program, aprogram)}


@pytest.mark.parametrize(("place", "name"), PLACES, ids=lambda value: getattr(value, "__name__", value))
def test_broken_on_purpose(
    place: Any, name: str, bare: Any, server: ThreadedFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    logging.getLogger("streamvitals").setLevel(logging.CRITICAL)
    try:
        with recorded():
            monkeypatch.setattr(place, name, broken)
            seen = {act: run(act, server).saw for act in (program, aprogram)}
            settle()
            monkeypatch.undo()
    finally:
        logging.getLogger("streamvitals").setLevel(logging.NOTSET)
    assert seen == bare
