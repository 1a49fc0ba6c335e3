"""Apps that ask for a Stream and then read below it: the outcome is the bytes', and each event is counted once."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest

import app_acts
from app_support import LONG, MESSAGES, Act, App, Cases, observe, verdicts
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.testing import RecordList

CLOSED, DROPPED, COMPLETED = ("abandoned", "closed"), ("abandoned", "dropped"), ("completed", "")
CUT, RESET = ("truncated", "missing_terminal"), ("reset", "connection_reset")

CASES = Cases()
counted = CASES.counted

TRUTH = {
    "sv-ok": (COMPLETED, 9),
    "sv-gzip": (COMPLETED, 9),
    "sv-length": (("length", ""), None),
    "sv-silent-cut": (CUT, 3),
    "sv-fin-in-chunk": (("truncated", "incomplete_read"), 3),
    "sv-reset": (RESET, 3),
    "sv-stall": (("timeout", "read_timeout"), 3),
    "sv-broken-json": (("malformed", "json_decode"), None),
    "sv-html-200": (("malformed", "unexpected_content_type"), None),
    "sv-error-event": (("api_error", "server_error"), None),
}


def parts_of(stream: Any, how: str) -> Any:
    """What an app iterates."""
    if how == "events":
        return stream._iter_events()
    if how == "stream":
        return stream.response.stream
    if how == "decoder":
        decoder, response = stream._decoder, stream.response
        if not hasattr(decoder, "iter_bytes"):
            pytest.skip("no decoder of bytes in this SDK")
        if isinstance(stream, openai.AsyncStream):
            return decoder.aiter_bytes(response.aiter_bytes())
        return decoder.iter_bytes(response.iter_bytes())
    return getattr(stream.response, how)()


HOWS = ("iter_lines", "iter_bytes", "iter_raw", "iter_text", "read", "events", "stream", "decoder")


def reads_below(model: str, how: str) -> Act:
    def act(app: App) -> None:
        client = app.client(timeout=0.3 if model == "sv-stall" else 20)
        stream = client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        with app.catching():
            if how == "read":
                app.saw.append(len(stream.response.read()))
            else:
                app.saw.append(sum(1 for _ in parts_of(stream, how)) and "read")

    return act


def areads_below(model: str, how: str) -> Act:
    how = "a" + how if how.startswith(("iter", "read")) else how

    async def act(app: App) -> None:
        client = app.async_client(timeout=0.3 if model == "sv-stall" else 20)
        stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        with app.catching():
            if how == "aread":
                app.saw.append(len(await stream.response.aread()))
            else:
                app.saw.append(len([part async for part in parts_of(stream, how)]) and "read")

    return act


@pytest.mark.parametrize("model", list(TRUTH))
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_whatever_is_read(model: str, how: str, mode: str, observe: Callable[..., RecordList]) -> None:
    make = areads_below if mode == "async" else reads_below
    records = observe(make(model, how))
    want, chunks = TRUTH[model]
    assert verdicts(records) == [want]
    assert chunks is None or records[0].chunks == chunks
    assert records[0].hints == ()


# -- mixtures -----------------------------------------------------------------------------------------------


@counted(COMPLETED)
def chunks_then_the_transports_stream(app: App) -> None:
    """httpx refuses a second reading of a response; its stream does not."""
    stream = app.create("sv-ok?chunks=50&gap=0.002")
    for _ in range(3):
        app.chunk(next(stream))
    for _ in stream.response.stream:
        pass


@counted(COMPLETED)
def lines_then_lines_again(app: App) -> None:
    """The second iterator is refused, and the first one goes on."""
    stream = app.create("sv-ok")
    lines = stream.response.iter_lines()
    app.saw.append(next(lines))
    with app.catching():
        app.saw.append(next(stream.response.iter_lines()))
    app.saw.extend(lines)


# The Stream is refused; newer SDKs close the response then, and the lines break off with it.
REFUSED = CLOSED if "response.close" in inspect.getsource(openai.Stream.__stream__) else COMPLETED
SLOW = "sv-ok?chunks=20&gap=0.01"


@counted(REFUSED)
def lines_then_chunks_then_lines(app: App) -> None:
    stream = app.create(SLOW)
    lines = stream.response.iter_lines()
    app.saw.append(next(lines))
    with app.catching():
        app.chunk(next(stream))
    with app.catching():
        app.saw.append(len(list(lines)))


@counted(REFUSED)
async def alines_then_chunks_then_lines(app: App) -> None:
    stream = await app.acreate(SLOW)
    lines = stream.response.aiter_lines()
    app.saw.append(await lines.__anext__())
    with app.catching():
        app.chunk(await stream.__anext__())
    with app.catching():
        app.saw.append(len([line async for line in lines]))


@counted(COMPLETED)
def the_whole_body_then_chunks(app: App) -> None:
    stream = app.create("sv-ok")
    app.saw.append(len(stream.response.read()))
    app.read(stream)


@counted(CLOSED)
def chunks_then_lines_that_are_refused(app: App) -> None:
    with app.create() as stream:
        app.chunk(next(stream))
        with app.catching():
            app.saw.append(next(stream.response.iter_lines()))


@counted(REFUSED)
def lines_of_a_raw_response_then_its_stream(app: App) -> None:
    response = app.client().chat.completions.with_raw_response.create(model=SLOW, messages=MESSAGES, stream=True)
    lines = response.http_response.iter_lines()
    app.saw.append(next(lines))
    with app.catching():
        app.read(response.parse())
    with app.catching():
        app.saw.append(len(list(lines)))


# -- leaving early ------------------------------------------------------------------------------------------


@counted(DROPPED)
def breaks_off_the_lines(app: App) -> None:
    for line in app.create().response.iter_lines():
        app.saw.append(line)
        break


@counted(CLOSED)
def closes_between_the_lines(app: App) -> None:
    with app.create() as stream:
        lines = stream.response.iter_lines()
        app.saw.append(next(lines))


@counted(CLOSED)
async def acloses_between_the_lines(app: App) -> None:
    async with await app.acreate() as stream:
        async for line in stream.response.aiter_lines():
            app.saw.append(line)
            break


@counted(("abandoned", "never_iterated"))
def never_begins(app: App) -> None:
    app.saw.append(app.create().response.status_code)
    gc.collect()


@counted(("cancelled", "cancelled"))
async def is_cancelled_between_the_lines(app: App) -> None:
    stream, begun = await app.acreate(app_acts.STALL), asyncio.Event()

    async def read() -> None:
        async for _ in stream.response.aiter_lines():
            begun.set()  # how many lines have come by then is chance

    task = asyncio.create_task(read())
    await begun.wait()
    await app_acts.cancel(app, task)


# -- generators of the app's around the stream --------------------------------------------------------------


@counted(CLOSED, CLOSED, CLOSED)
def generators_are_closed(app: App) -> None:
    """As a server does when the browser has gone. Nobody cancelled anything."""

    def in_a_block() -> Iterator[Any]:
        with app.create() as stream:
            yield from stream

    def finally_closed() -> Iterator[Any]:
        stream = app.create()
        try:
            yield from stream
        finally:
            stream.close()

    def lines_held() -> Iterator[Any]:
        completions = app.client().chat.completions.with_streaming_response
        with completions.create(model=LONG, messages=MESSAGES, stream=True) as response:
            lines = response.iter_lines()
            while True:
                yield next(lines)

    for made in (in_a_block, finally_closed, lines_held):
        parts: Any = made()
        app.chunk(next(parts))
        parts.close()


@counted(CLOSED)
async def an_async_generator_is_closed(app: App) -> None:
    async def parts() -> AsyncIterator[Any]:
        async with await app.acreate() as stream:
            async for part in stream:
                yield part

    made: Any = parts()
    app.chunk(await made.__anext__())
    await made.aclose()


@counted(("cancelled", "keyboard_interrupt"), ("cancelled", "other"))
def a_generator_is_closed_because_of_an_interrupt(app: App) -> None:
    """Who closes it was interrupted: as without the generator."""

    def parts() -> Iterator[Any]:
        with app.create() as stream:
            yield from stream

    for interruption in (KeyboardInterrupt, SystemExit):
        made: Any = parts()
        app.chunk(next(made))
        with app.catching(interruption):
            try:
                raise interruption
            finally:
                made.close()


@counted(CLOSED)
async def a_generator_is_closed_by_a_task_that_was_cancelled_before(app: App) -> None:
    async def parts() -> AsyncIterator[Any]:
        async with await app.acreate() as stream:
            async for part in stream:
                yield part

    made: Any = parts()
    app.chunk(await made.__anext__())
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    await app_acts.cancel(app, task)
    await made.aclose()


@pytest.mark.parametrize(("act", "want"), CASES.cases)
def test_act(act: Act, want: list[tuple[str, str]], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == want


class Passes:
    """An app's own readers, with names of httpx's."""

    def iter_raw(self, stream: Any) -> Iterator[Any]:
        with stream:
            yield from stream


def iter_raw(stream: Any) -> Iterator[Any]:
    with stream:
        yield from stream


def aiter_raw() -> Iterator[Any]:
    stream = yield
    with stream:
        yield from stream


@pytest.mark.parametrize("name", ["method", "function", "no argument"])
def test_a_generator_with_a_name_of_httpxs_is_told_of_at_once(name: str, server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        made: Any = {"method": Passes().iter_raw, "function": iter_raw, "no argument": lambda _: aiter_raw()}[name](
            stream := app.create()
        )
        first = next(made)
        app.chunk(made.send(stream) if first is None else first)
        gc.disable()
        try:
            made.close()
            told.append(open_streams())
        finally:
            gc.enable()

    told: list[int] = []
    assert verdicts(observe(act, server)) == [CLOSED]
    assert told == [0, 0]


def open_streams() -> int:
    current = lifecycle.current()
    return len(list(current._open)) if current is not None else 0
