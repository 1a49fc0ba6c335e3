"""What the app itself does to a stream: each act runs bare and observed, sees the same, and is counted once."""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import app_acts
from app_support import LONG, VERSION, Act, App, Cases, settle, verdicts
from streamvitals.testing import RecordList

CLOSED, DROPPED = ("abandoned", "closed"), ("abandoned", "dropped")
NEVER, COMPLETED = ("abandoned", "never_iterated"), ("completed", "")

CASES = Cases()
counted = CASES.counted


# -- leaving early ------------------------------------------------------------------------------------------


@counted(CLOSED)
def break_in_with(app: App) -> None:
    with app.create() as stream:
        for item in app.stream(stream):
            app.chunk(item)
            break


@counted(CLOSED)
async def break_in_async_with(app: App) -> None:
    async with await app.acreate() as stream:
        async for item in app.stream(stream):
            app.chunk(item)
            break


@counted(CLOSED)
def exception_in_with(app: App) -> None:
    with app.catching(KeyError), app.create() as stream:
        for item in stream:
            app.chunk(item)
            raise KeyError("the app's own")


@counted(CLOSED)
async def exception_in_async_with(app: App) -> None:
    with app.catching(KeyError):
        async with await app.acreate() as stream:
            async for item in stream:
                app.chunk(item)
                raise KeyError("the app's own")


def in_a_signal_handler(app: App, close: Callable[[Any], Callable[..., Any]]) -> None:
    """The handler runs while the SDK's code reads: the close is the app's all the same."""
    other = app.create()
    next(other)
    before = signal.signal(signal.SIGALRM, close(other))
    try:
        read = app.create("sv-ok?chunks=3&gap=0.4")
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        app.read(read)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@counted(CLOSED, COMPLETED)
def close_another_in_a_signal_handler(app: App) -> None:
    in_a_signal_handler(app, lambda other: lambda *_: other.close())


@counted(CLOSED, COMPLETED)
def close_anothers_transport_in_a_signal_handler(app: App) -> None:
    in_a_signal_handler(app, lambda other: lambda *_: other.response.stream.close())


@counted(CLOSED, COMPLETED)
def close_anothers_transport_from_the_sdks_own_frame(app: App) -> None:
    """As a handler does that runs right there: nothing of a library's is in between."""
    other = app.create()
    next(other)

    def within(*_: Any) -> None:
        sys.settrace(before)
        other.response.stream.close()

    def trace(frame: Any, *_: Any) -> Any:
        return within if frame.f_code.co_name == "__stream__" else None

    read, before = app.create("sv-ok?chunks=3"), sys.gettrace()
    sys.settrace(trace)
    app.read(read)


@counted(CLOSED, COMPLETED)
def leave_another_in_a_signal_handler_of_the_sdks_own(app: App) -> None:
    in_a_signal_handler(app, lambda other: partial(other.__exit__, None))


@counted(CLOSED)
def close_before_reading(app: App) -> None:
    stream = app.create()
    stream.close()
    with app.catching():
        app.read(stream)


@counted(CLOSED)
def close_twice(app: App) -> None:
    stream = app.create()
    app.chunk(next(stream))
    stream.close()
    stream.close()
    with app.catching():
        app.chunk(next(stream))


@counted(CLOSED)
def close_the_response(app: App) -> None:
    stream = app.create()
    app.chunk(next(stream))
    stream.response.close()


@counted(CLOSED)
async def close_the_async_response(app: App) -> None:
    stream = await app.acreate()
    app.chunk(await stream.__anext__())
    await stream.response.aclose()


@counted(COMPLETED)
def close_after_the_end(app: App) -> None:
    with app.create("sv-ok") as stream:
        app.read(stream)
    with app.catching(StopIteration):
        next(stream)


@counted(DROPPED)
def dropped_on_another_thread(app: App) -> None:
    box = [app.create()]
    app.chunk(next(box[0]))

    def drop() -> None:
        box.clear()
        gc.collect()

    thread = threading.Thread(target=drop)
    thread.start()
    thread.join()


@counted(DROPPED)
def dropped_while_its_response_is_held(app: App) -> None:
    stream = app.create()
    app.chunk(next(stream))
    app.clients.append(stream.response)  # closed with the clients, after everything else
    del stream
    gc.collect()
    settle()


@counted(NEVER, COMPLETED)
def never_iterated_then_another(app: App) -> None:
    app.create()
    gc.collect()
    app.read(app.create("sv-ok"))


# -- next() and iter() --------------------------------------------------------------------------------------


@counted(COMPLETED)
def next_by_next(app: App) -> None:
    stream = app.create("sv-ok")
    while (item := next(stream, None)) is not None:
        app.chunk(item)


@counted(COMPLETED)
def leave_the_loop_and_come_back(app: App) -> None:
    stream = app.create("sv-ok")
    for item in stream:
        app.chunk(item)
        break
    app.read(stream)


@counted(COMPLETED)
async def leave_the_async_loop_and_come_back(app: App) -> None:
    stream = await app.acreate("sv-ok")
    async for item in stream:
        app.chunk(item)
        break
    await app.aread(stream)


@counted(COMPLETED)
def slow_consumer(app: App) -> None:
    for item in app.create("sv-ok"):
        app.chunk(item)
        threading.Event().wait(0.01)


# -- the helpers --------------------------------------------------------------------------------------------

needs_helper = pytest.mark.skipif(VERSION < (1, 92), reason="no chat.completions.stream() before openai 1.92")


@needs_helper
@pytest.mark.parametrize(("model", "want"), [
    ("sv-ok", COMPLETED),
    ("sv-tool-calls", COMPLETED),
    ("sv-length", ("length", "")),
    ("sv-reset", ("reset", "connection_reset")),
    ("sv-silent-cut", ("truncated", "missing_terminal")),
])
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_helper(model: str, want: tuple[str, str], mode: str, observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        with (
            app.catching(),
            app.client().chat.completions.stream(model=model, messages=app_acts.MESSAGES) as events,
        ):
            app.read(events)
            app.chunk(events.get_final_completion())

    async def aact(app: App) -> None:
        completions = app.async_client().chat.completions
        with app.catching():
            async with completions.stream(model=model, messages=app_acts.MESSAGES) as events:
                await app.aread(events)
                app.chunk(await events.get_final_completion())

    assert verdicts(observe(aact if mode == "async" else act)) == [want]


@needs_helper
def test_helper_left_early(observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        with app.client().chat.completions.stream(model=LONG, messages=app_acts.MESSAGES) as events:
            for event in events:
                app.chunk(event)
                break

    assert verdicts(observe(act)) == [CLOSED]


@pytest.mark.parametrize(("act", "want"), CASES.cases)
def test_act(act: Act, want: list[tuple[str, str]], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == want
