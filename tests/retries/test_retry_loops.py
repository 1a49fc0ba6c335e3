"""The application's own retries over a real socket: loops, decorators, fallbacks, and what is none."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from retry_support import KINDS, App, attempts, chains
from streamvitals.process import lifecycle
from streamvitals.testing import RecordList


def loop(app: App, *scenarios: str) -> None:
    for scenario in scenarios:
        try:
            app.ask(scenario)
        except KINDS:
            continue
        return


def test_the_loop_of_every_error_guide(app: App, records: RecordList) -> None:
    loop(app, "reset", "broken-json", "ok")
    assert attempts(records) == [("reset", 1), ("malformed", 2), ("completed", 3)]
    assert [(r.source, r.reason) for r in records.retries] == [("app", "reset"), ("app", "malformed")]
    assert all(r.backoff >= 0 for r in records.retries)
    assert chains(records) == []


def test_silent_truncation_asked_again(app: App, records: RecordList) -> None:
    app.ask("silent-cut")
    app.ask("ok")
    assert attempts(records) == [("truncated", 1), ("completed", 2)]


def test_giving_up_is_a_chain_that_failed(app: App, records: RecordList) -> None:
    thread = threading.Thread(target=loop, args=(app, "reset", "500", "429"))
    thread.start()
    thread.join()
    assert attempts(records) == [("reset", 1), ("http_error", 2), ("rate_limited", 3)]
    assert [r.reason for r in records.retries] == ["reset", "500"]
    assert chains(records) == [("failed", 3)]


def test_asking_again_after_a_success_is_no_retry(app: App, records: RecordList) -> None:
    app.ask("ok")
    app.ask("ok")
    app.ask("length")
    app.ask("ok")
    assert {attempt for _, attempt in attempts(records)} == {1}
    assert records.retries == []


def test_a_question_of_one_user_is_no_retry_of_another_ones(app: App, records: RecordList) -> None:
    threads = [threading.Thread(target=loop, args=(app, scenario)) for scenario in ("reset", "ok", "ok")]
    for thread in threads:
        thread.start()
        thread.join()
    assert {attempt for _, attempt in attempts(records)} == {1}


def test_a_prompt_fanned_out_in_parallel_is_no_retry(app: App, records: RecordList) -> None:
    async def fan_out() -> None:
        asks = [app.aask(scenario) for scenario in ("reset", "ok?delay=0.2", "error-event", "ok?delay=0.2")]
        await asyncio.gather(*asks, return_exceptions=True)

    asyncio.run(fan_out())
    assert len(records) == 4
    assert records.retries == []


def test_tasks_that_retry_side_by_side(app: App, records: RecordList) -> None:
    async def one(*scenarios: str) -> None:
        for scenario in scenarios:
            try:
                await app.aask(scenario)
            except KINDS:
                continue
            return

    async def both() -> None:
        await asyncio.gather(one("reset", "500", "ok"), one("error-event", "ok"), one("ok"))

    asyncio.run(both())
    assert sorted(attempts(records)) == [
        ("api_error", 1), ("completed", 1), ("completed", 2), ("completed", 3), ("http_error", 2), ("reset", 1),
    ]
    assert chains(records) == []


def _in_a_task(ask: Any) -> Any:
    return asyncio.ensure_future(ask)


def _gathered(ask: Any) -> Any:
    return asyncio.gather(ask)


def _with_deadline(ask: Any) -> Any:
    return asyncio.wait_for(ask, 30)


def _two_deep(ask: Any) -> Any:
    async def outer() -> None:
        await asyncio.gather(ask)

    return asyncio.ensure_future(outer())


@pytest.mark.parametrize("arranged", [_in_a_task, _gathered, _with_deadline, _two_deep, asyncio.shield])
def test_a_task_for_each_attempt(arranged: Callable[[Any], Any], app: App, records: RecordList) -> None:
    async def retried(*scenarios: str) -> None:
        for scenario in scenarios:
            with contextlib.suppress(*KINDS):
                await arranged(app.aask(scenario))
                return

    asyncio.run(retried("reset", "429", "ok"))
    assert attempts(records) == [("reset", 1), ("rate_limited", 2), ("completed", 3)]
    assert chains(records) == []


def test_the_task_that_heard_of_the_failure_asks_itself(app: App, records: RecordList) -> None:
    async def ask_again() -> None:
        with contextlib.suppress(*KINDS):
            await asyncio.ensure_future(app.aask("reset"))
        await app.aask("ok")

    asyncio.run(ask_again())
    assert attempts(records) == [("reset", 1), ("completed", 2)]


def test_the_task_that_failed_asks_again_through_another(app: App, records: RecordList) -> None:
    async def ask_again() -> None:
        with contextlib.suppress(*KINDS):
            await app.aask("reset")
        await asyncio.ensure_future(app.aask("ok"))

    asyncio.run(ask_again())
    assert attempts(records) == [("reset", 1), ("completed", 2)]


def test_a_loop_for_each_attempt(app: App, records: RecordList) -> None:
    for scenario in ("reset", "429", "ok"):
        with contextlib.suppress(*KINDS):
            asyncio.run(app.aask(scenario))
    assert attempts(records) == [("reset", 1), ("rate_limited", 2), ("completed", 3)]
    assert chains(records) == []


class Greenlet:
    """What is known of gevent's."""

    dead = False


def test_greenlets_do_not_retry_for_each_other(
    app: App, records: RecordList, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, another = Greenlet(), Greenlet()
    for current, scenario in ((one, "reset"), (another, "ok"), (one, "ok")):
        monkeypatch.setitem(sys.modules, "gevent", SimpleNamespace(getcurrent=lambda current=current: current))
        loop(app, scenario)
        assert chains(records) == []
    assert attempts(records) == [("reset", 1), ("completed", 1), ("completed", 2)]
    loop(app, "reset")
    one.dead = True
    assert chains(records) == [("failed", 1)]


def test_tasks_that_wait_their_turn_retry_nothing(app: App, records: RecordList) -> None:
    """The second begins after the first has failed, and nobody has heard of that yet."""
    async def fan_out(gather: Callable[..., Any]) -> None:
        turn = asyncio.Semaphore(1)

        async def wait_and_ask(scenario: str) -> None:
            async with turn:
                await app.aask(scenario)

        await gather(*[asyncio.ensure_future(wait_and_ask(s)) for s in ("reset", "ok", "error-event", "ok")])

    async def gathered(*tasks: Any) -> None:
        await asyncio.gather(*tasks, return_exceptions=True)

    async def first_of_several(*tasks: Any) -> None:
        left = set(tasks)
        while left:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.exception()

    asyncio.run(fan_out(gathered))
    asyncio.run(fan_out(first_of_several))
    assert {attempt for _, attempt in attempts(records)} == {1}
    assert records.retries == []


def test_users_of_a_server_do_not_retry_for_each_other(app: App, records: RecordList) -> None:
    async def serve() -> None:
        handled: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
        for scenario in ("reset", "ok"):
            handler = asyncio.ensure_future(asyncio.wait_for(app.aask(scenario), 30))
            handler.add_done_callback(handled.put_nowait)
            (await handled.get()).exception()

    asyncio.run(serve())
    assert {attempt for _, attempt in attempts(records)} == {1}
    assert chains(records) == [("failed", 1)]


def test_a_fallback_that_works(app: App, records: RecordList) -> None:
    with contextlib.suppress(*KINDS):
        app.ask("reset")
    app.ask("ok", stream=False)
    assert chains(records) == [("fallback", 1), ("recovered", 1)]
    assert len(records) == 1


def test_a_fallback_that_fails_too(app: App, records: RecordList) -> None:
    def ask_twice() -> None:
        for stream in (True, False):
            with contextlib.suppress(*KINDS):
                app.ask("500", stream=stream)

    thread = threading.Thread(target=ask_twice)
    thread.start()
    thread.join()
    assert chains(records) == [("fallback", 1), ("failed", 2)]


def test_numbers_in_the_snapshot(app: App, records: RecordList) -> None:
    from streamvitals import names
    from streamvitals.store.layout import STREAM_LAYOUT

    loop(app, "reset", "ok")
    current = lifecycle.current()
    assert current is not None
    (row,) = current.snapshot().streams.values()
    at: Callable[..., int] = STREAM_LAYOUT.at
    assert row[at(names.RETRIES, "app", "reset")] == 1
    assert row[at(names.RECOVERIES, "app")] == 1
    assert row[at(names.RECOVERIES, "sdk")] == 0
    assert row[at(names.OPERATIONS_FAILED)] == 0
    assert row[at(names.BACKOFF, "app")] >= 0


def test_nothing_of_the_question_is_kept_once_it_is_answered(app: App, records: RecordList) -> None:
    app.ask("ok", "a secret question")
    current = lifecycle.current()
    assert current is not None
    assert not current.retries.failures
    assert current._open == {}
