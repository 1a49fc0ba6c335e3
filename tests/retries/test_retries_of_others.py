"""Users who ask the same, at the same time or one after the other, do not try again for each other."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from retry_support import KINDS, App, attempts, chains
from streamvitals.testing import RecordList


@pytest.fixture(params=["no trace", "one trace"])
def trace(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """None, or one for all: a span around the whole program, or around samples that are drawn in parallel."""
    number = 7 if request.param == "one trace" else 0
    span = SimpleNamespace(get_span_context=lambda: SimpleNamespace(trace_id=number))
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", SimpleNamespace(get_current_span=lambda: span))  # type: ignore[arg-type]
    return str(request.param)


class Turns:
    """Who goes next: users' attempts in a fixed order."""

    def __init__(self) -> None:
        self._done = -1
        self._turn = threading.Condition()

    def __call__(self, number: int, act: Callable[[], None]) -> None:
        with self._turn:
            assert self._turn.wait_for(lambda: self._done == number - 1, 30)
            with contextlib.suppress(*KINDS):
                act()
            self._done = number
            self._turn.notify_all()


# One fails and waits; another one, who asks the same, fails too; each asks again and is answered.
FIRST, SECOND = ((0, "reset"), (3, "ok")), ((1, "reset"), (2, "ok"))
EACH = [("completed", 2), ("completed", 2), ("reset", 1), ("reset", 1)]


def user(app: App, turns: Turns, script: tuple[tuple[int, str], ...]) -> None:
    for number, scenario in script:
        turns(number, lambda scenario=scenario: app.ask(scenario))  # type: ignore[misc]


def test_threads(app: App, records: RecordList, trace: str) -> None:
    turns = Turns()
    threads = [threading.Thread(target=user, args=(app, turns, script)) for script in (FIRST, SECOND)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(attempts(records)) == EACH
    assert chains(records) == []


def test_a_pool_whose_results_are_waited_for_in_turn(app: App, records: RecordList, trace: str) -> None:
    turns = Turns()
    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(user, app, turns, script) for script in (FIRST, SECOND)]:
            done.result()
    assert sorted(attempts(records)) == EACH
    assert chains(records) == []


@pytest.mark.parametrize("together", ["gather", "wait", "as_completed"])
def test_tasks(together: str, app: App, records: RecordList, trace: str) -> None:
    async def one(turn: list[asyncio.Event], script: tuple[tuple[int, str], ...]) -> None:
        for number, scenario in script:
            await turn[number].wait()
            with contextlib.suppress(*KINDS):
                await app.aask(scenario)
            turn[number + 1].set()

    async def both() -> None:
        turn = [asyncio.Event() for _ in range(5)]
        turn[0].set()
        tasks = [asyncio.ensure_future(one(turn, script)) for script in (FIRST, SECOND)]
        if together == "gather":
            await asyncio.gather(*tasks)
        elif together == "wait":
            await asyncio.wait(tasks)
        else:
            for done in asyncio.as_completed(tasks):
                await done

    asyncio.run(both())
    assert sorted(attempts(records)) == EACH
    assert chains(records) == []


def test_who_gives_up_leaves_nothing_to_who_goes_on(app: App, records: RecordList, trace: str) -> None:
    """What one of two samples failed at is not tried again by the other, which asks its first question after that."""
    async def sample(begin: asyncio.Event, end: asyncio.Event, scenario: str) -> None:
        await begin.wait()
        end.set()
        await app.aask(scenario)

    async def both() -> None:
        first, second, done = (asyncio.Event() for _ in range(3))
        tasks = [asyncio.ensure_future(sample(first, done, "reset")), asyncio.ensure_future(sample(second, done, "ok"))]
        tasks[0].add_done_callback(lambda _: second.set())
        first.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(both())
    assert sorted(attempts(records)) == [("completed", 1), ("reset", 1)]
    assert records.retries == []


def test_what_is_over_is_tried_again_in_its_trace(app: App, records: RecordList, trace: str) -> None:
    """By who waited for it, in a task that nobody awaits."""
    async def run() -> None:
        with contextlib.suppress(*KINDS):
            await asyncio.ensure_future(app.aask("reset"))
        done = asyncio.Event()
        task = asyncio.ensure_future(app.aask("ok"))
        task.add_done_callback(lambda _: done.set())
        await done.wait()

    asyncio.run(run())
    assert attempts(records) == [("reset", 1), ("completed", 2 if trace == "one trace" else 1)]
