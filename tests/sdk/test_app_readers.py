"""Streams with more than one task or thread at them: cancelled, closed or read by somebody else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest

import app_acts
from app_support import Act, App, Cases, auntil, until, verdicts
from streamvitals.faults import refused_url
from streamvitals.testing import RecordList

CLOSED, DROPPED = ("abandoned", "closed"), ("abandoned", "dropped")
CANCELLED, COMPLETED = ("cancelled", "cancelled"), ("completed", "")

CASES = Cases()
counted = CASES.counted


# -- cancellation, at three places --------------------------------------------------------------------------


@counted(CANCELLED)
async def cancelled_before_headers(app: App) -> None:
    task = asyncio.create_task(app.acreate(app_acts.LATE_HEADERS))
    # The server may know of the request before the client has come to wait for the answer.
    await auntil(lambda: "_receive_response_headers" in app_acts.awaits(task))
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

    def backs_off() -> bool:
        within = app_acts.awaits(task)
        return within[-1] == "sleep" and "send" not in within  # the transport takes its turns asleep, too

    await auntil(backs_off)
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
    except Exception as error:  # noqa: BLE001 - which one depends on where the reader stood
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


@pytest.mark.parametrize(("act", "want"), CASES.cases)
def test_act(act: Act, want: list[tuple[str, str]], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == want
