"""What the app itself does to a stream: each act runs bare and observed, sees the same, and is counted once."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

import app_acts
from app_support import LONG, VERSION, App, auntil, until, verdicts
from streamvitals.demo.fault_server import refused_url
from streamvitals.testing import RecordList

CLOSED, DROPPED = ("abandoned", "closed"), ("abandoned", "dropped")
NEVER, CANCELLED = ("abandoned", "never_iterated"), ("cancelled", "cancelled")
COMPLETED = ("completed", "")

Case = Callable[[App], Any]
_CASES: list[Any] = []


def counted(*want: tuple[str, str]) -> Callable[[Case], Case]:
    def register(act: Case) -> Case:
        _CASES.append(pytest.param(act, list(want), id=act.__name__))
        return act

    return register


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


# -- cancellation, at three places --------------------------------------------------------------------------


@counted(CANCELLED)
async def cancelled_before_headers(app: App) -> None:
    task = asyncio.create_task(app.acreate(app_acts.LATE_HEADERS))
    await auntil(app.requests)
    await app_acts.cancel(app, task)


@counted(CANCELLED)
async def cancelled_in_the_loop_body(app: App) -> None:
    held = asyncio.Event()

    async def reader() -> None:
        async with await app.acreate() as stream:
            async for item in stream:
                app.chunk(item)
                held.set()
                await asyncio.Event().wait()

    task = asyncio.create_task(reader())
    await held.wait()
    await app_acts.cancel(app, task)


@counted(DROPPED)
async def cancelled_in_the_loop_body_without_with(app: App) -> None:
    """Nothing closes the stream: it was read no further, and that is all that can be known of it."""
    held = asyncio.Event()

    async def reader() -> None:
        async for item in await app.acreate():
            app.chunk(item)
            held.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(reader())
    await held.wait()
    await app_acts.cancel(app, task)
    del task
    await app_acts.collected()


@counted(CANCELLED)
async def cancelled_while_the_sdk_backs_off(app: App) -> None:
    completions = app.async_client(max_retries=5, base_url=refused_url()).chat.completions
    task = asyncio.create_task(completions.create(model="none", messages=[], stream=True))
    await auntil(lambda: app_acts.awaits(task) == "sleep")
    await app_acts.cancel(app, task)


@counted(COMPLETED)
async def cancelled_after_the_finish(app: App) -> None:
    """The marker was seen: what the app does then is no failure."""
    held = asyncio.Event()

    async def reader() -> None:
        async with await app.acreate("sv-ok") as stream:
            async for item in stream:
                app.chunk(item)
                if item.choices[0].finish_reason:
                    held.set()
                    await asyncio.Event().wait()

    task = asyncio.create_task(reader())
    await held.wait()
    await app_acts.cancel(app, task)


# -- two readers --------------------------------------------------------------------------------------------


@counted(COMPLETED)
async def two_tasks_in_turn(app: App) -> None:
    stream = await app.acreate("sv-ok?chunks=20&gap=0.001")
    lock = asyncio.Lock()

    async def reader() -> None:
        while True:
            async with lock:
                item = await anext(stream, None)
                if item is None:
                    return
                app.chunk(item)

    await asyncio.gather(reader(), reader())


@counted(CLOSED)
async def two_tasks_at_once(app: App) -> None:
    """The second one gets the interpreter's error, and the stream goes on."""
    stream = await app.acreate(app_acts.STALL)
    first = asyncio.create_task(app.aread(stream))
    await auntil(lambda: len(app.saw) == 4)
    with app.catching(RuntimeError):
        await stream.__anext__()
    assert not first.done()
    await stream.close()
    with app.catching():
        await first


@counted(COMPLETED)
def two_threads_in_turn(app: App) -> None:
    stream, lock = app.create("sv-ok?chunks=20&gap=0.001"), threading.Lock()

    def reader() -> None:
        while True:
            with lock:
                item = next(stream, None)
                if item is None:
                    return
                app.chunk(item)

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@counted(COMPLETED)
def two_threads_at_once(app: App) -> None:
    stream = app.create("sv-slow-first-chunk?first=1")
    thread = threading.Thread(target=app.read, args=(stream,))
    thread.start()
    until(lambda: len(app.saw) == 1 and app_acts.stands_in("httpcore", thread.ident))
    with app.catching(ValueError):
        next(stream)
    thread.join()


@counted(CLOSED)
def closed_by_another_thread(app: App) -> None:
    """The reader, blocked meanwhile, gets an error out of a connection that the app closed."""
    stream = app.create()
    third = threading.Event()
    closed = threading.Event()

    def close() -> None:
        third.wait()
        stream.close()
        closed.set()

    thread = threading.Thread(target=close)
    thread.start()
    try:
        for _ in range(3):
            app.chunk(next(stream))
        third.set()
        while True:
            next(stream)
    except Exception as error:
        app.saw.append(type(error).__name__)
    thread.join()


@counted(CLOSED)
async def closed_by_another_task(app: App) -> None:
    stream = await app.acreate(app_acts.STALL)
    reader = asyncio.create_task(app.aread(stream))
    await auntil(lambda: len(app.saw) == 4)
    await stream.close()
    with app.catching():
        await reader


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


@pytest.mark.parametrize(("act", "want"), _CASES)
def test_act(act: Case, want: list[tuple[str, str]], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == want
