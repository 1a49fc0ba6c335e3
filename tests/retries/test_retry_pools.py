"""The application's own retries where threads meet: pools, loops of other threads, and what is none there."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any

import anyio.from_thread
import anyio.to_thread
import pytest

from retry_support import KINDS, App, attempts, chains
from streamvitals.testing import RecordList, recorded

SCENARIOS = ("reset", "429", "ok")
RETRIED = [("reset", 1), ("rate_limited", 2), ("completed", 3)]


@pytest.fixture
def pools() -> Iterator[Callable[[], Executor]]:
    """Pools of one thread each: what is asked again elsewhere is asked by another thread."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(ThreadPoolExecutor(1))


@pytest.fixture
def loop_elsewhere() -> Iterator[asyncio.AbstractEventLoop]:
    begun: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def wait() -> None:
        end = asyncio.Event()
        begun.set_result((asyncio.get_running_loop(), end))
        await end.wait()

    thread = threading.Thread(target=lambda: asyncio.run(wait()))
    thread.start()
    loop, end = begun.result()
    yield loop
    loop.call_soon_threadsafe(end.set)
    thread.join()


# -- one flow over several threads


def test_a_thread_that_waits_for_a_pool(app: App, records: RecordList, pools: Callable[[], Executor]) -> None:
    for scenario in SCENARIOS:
        with contextlib.suppress(*KINDS):
            pools().submit(app.ask, scenario).result()
    assert attempts(records) == RETRIED
    assert chains(records) == []


def test_a_task_that_waits_for_a_pool(app: App, records: RecordList, pools: Callable[[], Executor]) -> None:
    async def ask() -> None:
        for scenario in SCENARIOS:
            with contextlib.suppress(*KINDS):
                await asyncio.get_running_loop().run_in_executor(pools(), app.ask, scenario)

    asyncio.run(ask())
    assert attempts(records) == RETRIED
    assert chains(records) == []


def test_a_task_with_a_deadline_for_each_attempt_in_a_pool(
    app: App, records: RecordList, pools: Callable[[], Executor]
) -> None:
    async def ask() -> None:
        loop = asyncio.get_running_loop()
        for scenario in SCENARIOS:
            with contextlib.suppress(*KINDS):
                await asyncio.wait_for(loop.run_in_executor(pools(), app.ask, scenario), 30)

    asyncio.run(ask())
    assert attempts(records) == RETRIED


def test_a_task_that_waits_for_threads_of_anyio(app: App, records: RecordList) -> None:
    async def ask() -> None:
        for scenario in SCENARIOS:
            with contextlib.suppress(*KINDS):
                await anyio.to_thread.run_sync(app.ask, scenario)
                return
            # Whoever is idle longest gets the next, which is another one if there are two.
            async with anyio.create_task_group() as group:
                barrier = threading.Barrier(2, timeout=20)
                for _ in range(2):
                    group.start_soon(anyio.to_thread.run_sync, barrier.wait)

    asyncio.run(ask())
    assert attempts(records) == RETRIED


def test_a_thread_that_waits_for_a_loop(
    app: App, records: RecordList, loop_elsewhere: asyncio.AbstractEventLoop
) -> None:
    for scenario in SCENARIOS:
        with contextlib.suppress(*KINDS):
            asyncio.run_coroutine_threadsafe(app.aask(scenario), loop_elsewhere).result(30)
    assert attempts(records) == RETRIED
    assert chains(records) == []


def test_a_thread_of_a_pool_that_waits_for_the_loop(app: App, records: RecordList) -> None:
    """As with a synchronous program of a framework that asks in its event loop."""

    def program() -> None:
        for scenario in SCENARIOS:
            with contextlib.suppress(*KINDS):
                anyio.from_thread.run(app.aask, scenario)

    async def run() -> None:
        await anyio.to_thread.run_sync(program)

    asyncio.run(run())
    assert attempts(records) == RETRIED
    assert chains(records) == []


def test_a_loop_in_one_work_item(app: App, records: RecordList, pools: Callable[[], Executor]) -> None:
    def work() -> None:
        for scenario in SCENARIOS:
            with contextlib.suppress(*KINDS):
                app.ask(scenario)

    pools().submit(work).result()
    assert attempts(records) == RETRIED


def test_a_loop_for_each_attempt_in_a_pool(app: App, records: RecordList, pools: Callable[[], Executor]) -> None:
    for scenario in SCENARIOS:
        with contextlib.suppress(*KINDS):
            pools().submit(asyncio.run, app.aask(scenario)).result()
    assert attempts(records) == RETRIED


# -- several flows on one thread


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_is_mapped_over_a_pool_is_no_retry(
    asynchronous: bool, app: App, records: RecordList, pools: Callable[[], Executor]
) -> None:
    def ask(scenario: str) -> None:
        with contextlib.suppress(*KINDS):
            asyncio.run(app.aask(scenario)) if asynchronous else app.ask(scenario)

    list(pools().map(ask, ("reset", "ok", "reset", "ok")))
    assert {attempt for _, attempt in attempts(records)} == {1}
    assert records.retries == []


def test_what_waits_its_turn_in_a_pool_is_no_retry(
    app: App, records: RecordList, pools: Callable[[], Executor]
) -> None:
    async def fan_out() -> None:
        pool, loop = pools(), asyncio.get_running_loop()
        asks = [loop.run_in_executor(pool, app.ask, scenario) for scenario in ("reset", "ok", "reset", "ok")]
        await asyncio.gather(*asks, return_exceptions=True)

    asyncio.run(fan_out())
    assert {attempt for _, attempt in attempts(records)} == {1}
    assert records.retries == []


def test_users_of_one_thread_do_not_retry_for_each_other(
    app: App, records: RecordList, pools: Callable[[], Executor]
) -> None:
    """A server gives each request to its pool, and hears of the end by a callback."""
    pool, ended = pools(), threading.Semaphore(0)
    for scenario in ("reset", "ok"):
        handled: Future[Any] = pool.submit(app.ask, scenario)
        handled.add_done_callback(lambda _: ended.release())
        ended.acquire()
    assert {attempt for _, attempt in attempts(records)} == {1}
    assert chains(records) == [("failed", 1)]


# -- nothing else changes


def test_what_a_pool_lets_go_is_gone(app: App, pools: Callable[[], Executor]) -> None:
    """To look for who waits leaves nothing behind in anybody's frames."""

    class Held:
        pass

    def ask(held: Held, scenario: str) -> None:
        app.ask(scenario)

    def left_alive() -> list[bool]:
        references = []
        gc.collect()
        gc.disable()
        try:
            for scenario in SCENARIOS:
                held = Held()
                references.append(weakref.ref(held))
                with contextlib.suppress(*KINDS):
                    pools().submit(ask, held, scenario).result()
            del held
            return [reference() is not None for reference in references]
        finally:
            gc.enable()

    left_alive()  # the first time, others make what lasts
    bare = left_alive()
    with recorded():
        assert left_alive() == bare
    assert not all(bare)
