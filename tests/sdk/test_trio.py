"""The asynchronous client on trio, through anyio."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from app_acts import STALL
from app_support import LONG, App, settle, verdicts
from streamvitals.faults import ThreadedFaultServer
from streamvitals.testing import RecordList, recorded

trio = pytest.importorskip("trio")


async def reads(app: App, model: str) -> None:
    with app.catching():
        await app.aread(await app.acreate(model))


async def cancelled_while_reading(app: App, model: str) -> None:
    stream = await app.acreate(model)

    async def read() -> None:
        with app.catching(trio.Cancelled):
            await app.aread(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        while len(app.saw) < 4:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def deadline(app: App, model: str) -> None:
    stream = await app.acreate(model)
    with trio.move_on_after(0.05) as scope:
        await app.aread(stream)
    app.saw.append(scope.cancelled_caught)


async def leaves_with(app: App, model: str) -> None:
    async with await app.acreate(model) as stream:
        async for item in stream:
            app.chunk(item)
            break


async def drops(app: App, model: str) -> None:
    async for item in await app.acreate(model):
        app.chunk(item)
        break
    gc.collect()


def run(act: Callable[[App], Awaitable[None]], server: ThreadedFaultServer) -> list[Any]:
    app = App(server)

    async def main() -> None:
        try:
            await act(app)
        finally:
            for client in app.clients:
                await client.close()

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        trio.run(main)
        gc.collect()
    # trio complains of every generator that the SDK leaves to the collector; where the app drops a stream there
    # is one more of ours among a dozen, and that is all.
    texts = {str(complaint.message).split("'")[1] for complaint in complaints if "'" in str(complaint.message)}
    app.saw.append(sorted(text for text in texts if "streamvitals" not in text))
    return app.saw


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("act", "model", "want"), [
    (reads, "sv-ok", ("completed", "")),
    (reads, "sv-reset", ("reset", "connection_reset")),
    (reads, "sv-fin-in-chunk", ("truncated", "incomplete_read")),
    (reads, "sv-silent-cut", ("truncated", "missing_terminal")),
    (reads, "sv-503", ("http_error", "503")),
    (cancelled_while_reading, STALL, ("cancelled", "cancelled")),
    (deadline, STALL, ("cancelled", "cancelled")),
    (leaves_with, LONG, ("abandoned", "closed")),
    (drops, LONG, ("abandoned", "dropped")),
], ids=lambda value: getattr(value, "__name__", None) or (value if isinstance(value, str) else ""))
def test_on_trio(act: Any, model: str, want: tuple[str, str], server: ThreadedFaultServer) -> None:
    bare = run(partial(act, model=model), server)
    with recorded() as records:
        observed = run(partial(act, model=model), server)
        settle()
        told: RecordList = records
    assert observed == bare
    assert verdicts(told) == [want]
    assert told.faults == []
    assert told.lags == []  # there is no asyncio loop to be late


def test_a_loop_is_a_retry_and_a_neighbour_is_none(server: ThreadedFaultServer) -> None:
    app = App(server)

    async def main() -> None:
        await reads(app, "sv-reset")
        await reads(app, "sv-reset")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reads, app, "sv-reset")
        for client in app.clients:
            await client.close()

    with recorded() as records, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trio.run(main)
        gc.collect()
    assert [record.chain_attempt for record in records] == [1, 2, 1]
