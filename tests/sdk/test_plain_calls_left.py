"""Calls without a stream that an application ends, interrupts, or leaves hanging."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import threading
from pathlib import Path
from typing import Any

import openai
import pytest

import streamvitals
from app_acts import stands_in
from app_support import HANGS, App, auntil, observe, until
from interrupts import interrupt_at
from plain_support import counted, ends, open_calls
from streamvitals import names
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.testing import recorded
from thorough import share

OURS = str(Path(streamvitals.__file__).parent) + "/"
MOST_PLACES = 5000

HANGING = "sv-stall-before-headers?stall=600"


def test_a_cancelled_call_and_one_past_its_deadline(server: ThreadedFaultServer) -> None:
    async def act(app: App) -> None:
        client = app.async_client()
        asked = len(app.requests())
        task = asyncio.create_task(client.embeddings.create(model=HANGING, input="hello"))
        await auntil(lambda: len(app.requests()) > asked)
        task.cancel()
        with app.catching(asyncio.CancelledError):
            await task
        with app.catching(asyncio.TimeoutError):
            await asyncio.wait_for(client.embeddings.create(model=HANGING, input="hello"), 0.2)

    found = observe(act, server)
    assert ends(found.calls) == [("cancelled", "cancelled")] * 2
    assert {call.result for call in found.calls} == {"left"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # httpx leaves its socket open
def test_an_interrupted_call(server: ThreadedFaultServer) -> None:
    with recorded() as records:
        client, main = App(server).client(), threading.get_ident()

        def handler(*_: object) -> None:
            raise KeyboardInterrupt

        def interrupt() -> None:
            until(lambda: open_calls() == 1 and stands_in("httpcore", main))
            signal.pthread_kill(main, signal.SIGUSR2)

        before = signal.signal(signal.SIGUSR2, handler)
        thread = threading.Thread(target=interrupt)
        thread.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                client.embeddings.create(model=HANGING, input="hello")
        finally:
            thread.join()
            signal.signal(signal.SIGUSR2, before)
        client.close()
        assert ends(records.calls) == [("cancelled", "keyboard_interrupt")]
        assert open_calls() == 0


@pytest.mark.parametrize("loop_runs", [True, False])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # httpx cannot close its socket there
def test_a_coroutine_that_the_app_closes_is_one_that_it_left(loop_runs: bool, server: ThreadedFaultServer) -> None:
    """Its end may come from the garbage collector, where no sink may run; the next look counts it."""

    async def act() -> Any:
        client = App(server).async_client()
        await client.embeddings.create(model="sv-ok", input="hello")  # what the SDK waits for once, before it sends
        call: Any = client.embeddings.create(model=HANGING, input="hello")
        call.send(None)
        if loop_runs:
            call.close()
        return call

    with recorded() as records:
        with contextlib.suppress(RuntimeError):  # of what waits for the connection's end while it is closed
            asyncio.run(act()).close()
        gc.collect()
        assert open_calls() == 0
        assert ends(records.calls) == [("completed", ""), ("abandoned", "closed")]


def test_a_hanging_call_is_seen_while_it_hangs(server: ThreadedFaultServer) -> None:
    with recorded() as records:
        current = lifecycle.current()
        assert current is not None
        now = current.clock()
        client = App(server).client(timeout=1.0)

        def work() -> None:
            with contextlib.suppress(openai.APIError):
                client.embeddings.create(model=HANGING, input="hello")

        thread = threading.Thread(target=work)
        thread.start()
        until(lambda: open_calls() == 1)
        store, after = current.store, names.CALL_STALLED_AFTER
        assert sum(store.snapshot(now + after - 1.0).stalled.values()) == 0, "long after a stream would be stalled"
        assert sum(store.snapshot(now + after + HANGS).stalled.values()) == 1
        assert records.calls == []
        thread.join()
        assert ends(records.calls) == [("timeout", "read_timeout")]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # httpx leaves its socket open
def test_an_interrupt_at_any_place_neither_loses_nor_doubles_a_call(server: ThreadedFaultServer) -> None:
    app = App(server)
    client = app.client()

    def call() -> None:
        client.embeddings.create(model="sv-ok", input="hello")

    wrong: list[str] = []
    with recorded() as records:
        call()
        for number in share(range(1, MOST_PLACES), each=5):
            before, asked = counted(names.CALLS), len(app.requests())
            struck = interrupt_at(number, call, OURS, KeyboardInterrupt())
            if not struck.line:
                break
            call()
            # The undisturbed one, and the other; that may be counted, too, if it was about to be sent.
            counts, sent = counted(names.CALLS) - before, len(app.requests()) - asked
            if not sent <= counts <= 2 or open_calls():
                wrong.append(f"{counts} counted, {sent} sent, {open_calls()} open: {struck.line}")
        else:
            pytest.fail("never came to the end")
        assert records.faults == []
    client.close()
    assert wrong == []
    assert number > 50, "the test has looked at nothing"
