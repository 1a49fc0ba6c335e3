"""What applications do to streams: each of these runs bare and observed. Named by catalogue entry, or alone."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from app_support import HANGS, MESSAGES, App, until
from streamvitals.faults import connect_timeout_url, dns_failure_url, refused_url, tls_failure_url
from streamvitals.faults.scenarios import Scenario

_BEFORE_STALL = 3  # chunks
STALL = f"sv-stall?after={_BEFORE_STALL}&stall=60"
LATE_HEADERS = "sv-slow-headers?delay=60"
# The catalogue's own pauses are for the demo's picture; what is reported does not depend on them.
QUICKER = {"stall-then-fine": "?stall=0.2", "heartbeat-only-then-ok": "?gap=0.01"}


# -- reading to the end -------------------------------------------------------------------------------------


def _asked(app: App, scenario: Scenario) -> tuple[dict[str, Any], dict[str, Any]]:
    """Client options and the model with body, as the catalogue says the client must have them."""
    url = {
        "refused": refused_url,
        "dns-failure": dns_failure_url,
        "tls-failure": lambda: tls_failure_url(app.server.base_url),
        "connect-timeout": connect_timeout_url,
    }.get(scenario.name, lambda: app.server.base_url)()
    options = {"base_url": url, "max_retries": scenario.retries, "timeout": scenario.client_timeout or HANGS}
    body: dict[str, Any] = {"model": scenario.model + QUICKER.get(scenario.name, "")}
    if scenario.n > 1:
        body["n"] = scenario.n
    if scenario.include_usage:
        body["extra_body"] = {"stream_options": {"include_usage": True}}
    # Of scenarios that fail and then work, every run must have a count of its own.
    body["user"] = str(id(app))
    return options, body


def read_all(scenario: Scenario) -> Callable[[App], None]:
    def act(app: App) -> None:
        options, body = _asked(app, scenario)
        with app.catching():
            app.read(app.client(**options).chat.completions.create(messages=MESSAGES, stream=True, **body))

    return act


def aread_all(scenario: Scenario) -> Callable[[App], Any]:
    async def act(app: App) -> None:
        options, body = _asked(app, scenario)
        completions = app.async_client(**options).chat.completions
        with app.catching():
            await app.aread(await completions.create(messages=MESSAGES, stream=True, **body))

    return act


# -- the app's own ends, synchronous ------------------------------------------------------------------------


def break_(app: App) -> None:
    stream = app.create()
    for item in app.stream(stream):
        app.chunk(item)
        break
    del stream
    gc.collect()


def close(app: App) -> None:
    stream = app.create()
    app.chunk(next(stream))
    stream.close()
    app.saw.append(stream.response.is_closed)


def exception(app: App) -> None:
    def loop() -> None:
        for item in app.create():
            app.chunk(item)
            raise KeyError("the app's own")

    with app.catching(KeyError):
        loop()
    gc.collect()


def never_iterated(app: App) -> None:
    app.stream(app.create())
    gc.collect()


def keyboard_interrupt(app: App) -> None:
    stream = app.create(STALL)
    with interrupted_in("httpcore", app), app.catching(KeyboardInterrupt):
        app.read(stream)


@contextmanager
def interrupted_in(where: str, app: App) -> Iterator[None]:
    """Send SIGINT once the app has its chunks, and the main thread is blocked in a file whose path contains
    ``where``: on a slow machine it is blocked there before the headers, too."""
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        until(lambda: sum(isinstance(seen, dict) for seen in app.saw) >= _BEFORE_STALL and stands_in(where, main))
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        try:
            yield
        finally:
            thread.join()
    except KeyboardInterrupt:
        # It would end the whole run.
        raise AssertionError("the interrupt came when nobody was reading any more") from None


def stands_in(where: str, ident: int | None) -> bool:
    """Whether the thread was found at the same instruction, in such a file, at 20 looks on end."""
    places = set()
    for _ in range(20):
        frame = sys._current_frames()[ident or 0]
        places.add((id(frame), frame.f_lasti))
        if len(places) > 1 or where not in frame.f_code.co_filename:
            return False
        threading.Event().wait(0.002)
    return True


def break_after_finish(app: App) -> None:
    with app.create("sv-ok") as stream:
        for item in stream:
            app.chunk(item)
            if item.choices[0].finish_reason:
                break


# -- and asynchronous ---------------------------------------------------------------------------------------


async def abreak(app: App) -> None:
    stream = await app.acreate()
    async for item in app.stream(stream):
        app.chunk(item)
        break
    del stream
    await collected()


async def collected() -> None:
    """Asynchronous generators that the collector finds are closed by tasks of the loop."""
    gc.collect()
    for _ in range(20):
        await asyncio.sleep(0)
    gc.collect()


async def aclose(app: App) -> None:
    stream = await app.acreate()
    app.chunk(await stream.__anext__())
    await stream.close()
    app.saw.append(stream.response.is_closed)


async def aexception(app: App) -> None:
    async def loop() -> None:
        async for item in await app.acreate():
            app.chunk(item)
            raise KeyError("the app's own")

    with app.catching(KeyError):
        await loop()
    await collected()


async def anever_iterated(app: App) -> None:
    app.stream(await app.acreate())
    gc.collect()


async def cancelled(app: App) -> None:
    stream = await app.acreate(STALL)
    third = asyncio.Event()

    async def reader() -> None:
        async for item in app.stream(stream):
            app.chunk(item)
            if len(app.saw) == 4:
                third.set()

    task = asyncio.create_task(reader())
    await third.wait()
    await cancel(app, task)


async def cancel(app: App, task: asyncio.Task[Any]) -> None:
    task.cancel()
    with app.catching(asyncio.CancelledError):
        await task


def awaits(task: asyncio.Task[Any]) -> list[str]:
    """The coroutines that a task is suspended in, the innermost one last."""
    waiting: Any = task.get_coro()
    names = [str(waiting.__name__)]
    while (waiting := getattr(waiting, "cr_await", None)) is not None and hasattr(waiting, "cr_await"):
        names.append(str(waiting.__name__))
    return names


async def deadline(app: App) -> None:
    """Counts from the third chunk on, so that the deadline always falls into the silence."""
    stream = await app.acreate(STALL)
    for _ in range(3):
        app.chunk(await stream.__anext__())
    with app.catching(TimeoutError, asyncio.TimeoutError):
        if sys.version_info >= (3, 11):
            async with asyncio.timeout(0.05):
                await app.aread(stream)
        else:
            await asyncio.wait_for(app.aread(stream), 0.05)


def akeyboard_interrupt(app: App) -> None:
    """What asyncio makes of Ctrl-C: the main task is cancelled, and run() raises KeyboardInterrupt."""

    async def main() -> None:
        try:
            with app.catching(asyncio.CancelledError):
                await app.aread(await app.acreate(STALL))
        finally:
            await app.clients.pop().close()

    with interrupted_in("selectors", app), app.catching(KeyboardInterrupt):
        asyncio.run(main())


async def abreak_after_finish(app: App) -> None:
    async with await app.acreate("sv-ok") as stream:
        async for item in stream:
            app.chunk(item)
            if item.choices[0].finish_reason:
                break


# By catalogue entry: synchronous, asynchronous; what the entry says is true of both unless noted in test_outcomes.
APP_ACTS: dict[str, tuple[Callable[[App], Any] | None, Callable[[App], Any]]] = {
    "break": (break_, abreak),
    "close": (close, aclose),
    "exception": (exception, aexception),
    "never-iterated": (never_iterated, anever_iterated),
    "cancelled": (None, cancelled),
    "deadline": (None, deadline),
    "keyboard-interrupt": (keyboard_interrupt, akeyboard_interrupt),
    "break-after-finish": (break_after_finish, abreak_after_finish),
}


def act_of(scenario: Scenario, mode: str) -> Callable[[App], Any] | None:
    """What plays a catalogue entry; None where it exists only asynchronously."""
    if scenario.kind == "app":
        return APP_ACTS[scenario.name][mode == "async"]
    return aread_all(scenario) if mode == "async" else read_all(scenario)
