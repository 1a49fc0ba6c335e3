"""Invariant 1: the app sees exactly what it would see without us. Beside what every act of test_outcomes,
test_app_side and test_raw_and_bytes compares: signatures, copies, contexts, requests, and what removing leaves."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import inspect
import logging
import pickle
import sys
from collections.abc import Callable
from typing import Any

import openai
import pytest

from app_support import LONG, MESSAGES, App, run, settle, verdicts
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.sdk import versions
from streamvitals.testing import RecordList, recorded

POINTS = [(module, path) for module, paths in versions.OPENAI.patch_points.items() for path in paths]


def originals() -> dict[str, Any]:
    """What stands at each patch point now."""
    found = {}
    for module, path in POINTS:
        owner, _, name = path.rpartition(".")
        found[path] = vars(versions.resolve(module, owner))[name]
    return found


def description(function: Any) -> tuple[Any, ...]:
    return (
        inspect.signature(function), inspect.iscoroutinefunction(function), inspect.isgeneratorfunction(function),
        function.__name__, function.__qualname__, function.__module__, function.__doc__, function.__annotations__,
    )


def test_removing_puts_the_very_same_functions_back() -> None:
    before = originals()
    for _ in range(2):
        with recorded():
            assert all(originals()[path] is not before[path] for path in before)
        assert all(originals()[path] is before[path] for path in before)


def test_patched_functions_describe_themselves_as_the_originals() -> None:
    before = {path: description(function) for path, function in originals().items()}
    with recorded():
        assert {path: description(function) for path, function in originals().items()} == before


def test_no_class_gets_or_loses_anything() -> None:
    def look() -> list[Any]:
        classes = [openai.Stream, openai.AsyncStream, openai.OpenAI, openai.AsyncOpenAI]
        bases = {base for kind in classes for base in kind.__mro__ if base.__module__.startswith("openai")}
        return sorted((base.__qualname__, sorted(vars(base))) for base in bases)

    before = look()
    with recorded():
        assert look() == before


def test_what_somebody_else_patched_over_us_stays_and_ours_does_nothing(server: ThreadedFaultServer) -> None:
    before = originals()["Stream.__init__"]
    called = []
    with recorded() as records:
        ours = openai.Stream.__init__

        def theirs(*args: Any, **kwargs: Any) -> None:
            called.append(args)
            ours(*args, **kwargs)

        openai.Stream.__init__ = theirs  # type: ignore[method-assign]
        run(lambda app: app.read(app.create("sv-ok")), server)
        assert verdicts(records) == [("completed", "")]
    try:
        assert openai.Stream.__init__ is theirs
        run(lambda app: app.read(app.create("sv-ok")), server)
        assert len(called) == 2
        assert len(records) == 1
    finally:
        openai.Stream.__init__ = before  # type: ignore[method-assign]


def _by_hand(called: list[Any]) -> None:
    inner = openai.OpenAI.request

    @functools.wraps(inner)
    def theirs(client: Any, *args: Any, **kwargs: Any) -> Any:
        called.append(client)
        return inner(client, *args, **kwargs)

    openai.OpenAI.request = theirs  # type: ignore[method-assign]


def _by_wrapt(called: list[Any]) -> None:
    def theirs(wrapped: Any, client: Any, args: Any, kwargs: Any) -> Any:
        called.append(client)
        return wrapped(*args, **kwargs)

    pytest.importorskip("wrapt").wrap_function_wrapper("openai", "OpenAI.request", theirs)


@pytest.mark.parametrize("patch", [_by_hand, _by_wrapt])
def test_what_somebody_else_patched_before_us_is_called_once_and_so_are_we(
    patch: Callable[[list[Any]], None], server: ThreadedFaultServer
) -> None:
    called: list[Any] = []
    patch(called)
    theirs = vars(openai.OpenAI)["request"]
    try:
        for round_ in (1, 2):
            with recorded() as records:
                run(lambda app: app.read(app.create("sv-ok")), server)
                assert verdicts(records) == [("completed", "")]
            assert len(called) == 2 * round_ - 1
            run(lambda app: app.read(app.create("sv-ok")), server)
            assert len(called) == 2 * round_
            assert len(records) == 1
            assert all(client is not None for client in called)
        assert vars(openai.OpenAI)["request"] is theirs
    finally:
        del openai.OpenAI.request


@pytest.mark.parametrize("how", ["unknown major", "too old", "unreadable", "a point is missing"])
def test_steps_aside_on_an_sdk_that_it_does_not_know(
    how: str, server: ThreadedFaultServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if how == "a point is missing":
        monkeypatch.setitem(versions.OPENAI.patch_points, "openai._base_client", ("BaseClient._renamed",))
    else:
        told = {"unknown major": "9.1.0", "too old": "0.28.1", "unreadable": "main"}[how]
        monkeypatch.setattr(openai, "__version__", told)
    before = originals() if how != "a point is missing" else {}
    with caplog.at_level(logging.WARNING, "streamvitals"), recorded() as records:
        if before:
            assert originals() == before
        app = run(lambda app: app.read(app.create("sv-ok")), server)
        snapshot = lifecycle.current().snapshot()  # type: ignore[union-attr]
    assert len(app.saw) == 11
    assert records == []
    assert [build[2] for build in snapshot.builds] == ["false"]
    (said,) = caplog.messages
    assert said.startswith("not observing: openai")


# -- copies and pickles -------------------------------------------------------------------------------------


def copies(app: App, thing: Any) -> None:
    """What becomes of attempts to copy or pickle it."""
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        try:
            app.saw.append((attempt.__name__, type(attempt(thing)).__name__))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must be the same
            app.saw.append((attempt.__name__, type(error).__name__, str(error)))


def copying_streams(app: App) -> None:
    stream = app.create("sv-ok")
    copies(app, stream)
    app.read(stream)
    copies(app, stream)
    copies(app, stream.response)
    copies(app, stream.response.request)


def reading_a_copy(app: App) -> None:
    app.read(copy.copy(app.create("sv-ok")))


def pickling_what_was_read_as_bytes(app: App) -> None:
    completions = app.client().chat.completions.with_streaming_response
    with completions.create(model="sv-ok", messages=MESSAGES, stream=True) as response:
        app.saw.append(response.read())
    copies(app, response.http_response)
    revived = pickle.loads(pickle.dumps(response.http_response))  # noqa: S301 - our own
    app.saw.append((revived.content, sorted(vars(revived))))


@pytest.mark.parametrize("act", [copying_streams, reading_a_copy, pickling_what_was_read_as_bytes])
def test_copies_and_pickles(act: Callable[[App], None], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == [("completed", "")]


# -- what is sent, and what is not touched ------------------------------------------------------------------


def request_of(app: App) -> None:
    options = {"default_headers": {"traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "x-own": "1"}}
    stream = app.client(**options).chat.completions.create(model="sv-ok", messages=MESSAGES, stream=True)
    request = stream.response.request
    app.saw.append((sorted(request.headers.items()), request.content, str(request.url), request.method))
    app.saw.append(stream.response.is_stream_consumed)  # nothing is read before the app reads
    app.read(stream)


def test_no_header_of_the_request_is_touched(observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(request_of)) == [("completed", "")]


def other_requests(app: App) -> None:
    client = app.client()
    app.saw.append(len(client.models.list().data))
    app.chunk(client.chat.completions.create(model="sv-ok", messages=MESSAGES))
    raw = client.chat.completions.with_raw_response.create(model="sv-ok", messages=MESSAGES)
    app.chunk(raw.parse())


def test_what_does_not_stream_is_not_observed(observe: Callable[..., RecordList]) -> None:
    assert observe(other_requests) == []


def bad_arguments(app: App) -> None:
    create: Any = app.client().chat.completions.create
    bad: list[dict[str, Any]] = [{}, {"messages": MESSAGES, "unknown": 1}, {"messages": MESSAGES, "user": object()}]
    for body in bad:
        with app.catching():
            app.read(create(model="sv-ok", stream=True, **body))


def test_a_call_that_sends_nothing_is_no_stream(observe: Callable[..., RecordList]) -> None:
    assert observe(bad_arguments) == []


MINE: contextvars.ContextVar[int] = contextvars.ContextVar("mine")


def context() -> list[str]:
    return sorted(variable.name for variable in contextvars.copy_context() if variable is not MINE)


def contexts(app: App) -> None:
    app.saw.append(context())
    stream = app.create("sv-ok")
    app.saw.append(context())
    for number, _ in enumerate(stream):
        MINE.set(number)
        app.saw.append((context(), MINE.get()))


async def acontexts(app: App) -> None:
    app.saw.append(context())
    stream = await app.acreate("sv-ok")
    app.saw.append(context())
    number = 0
    async for _ in stream:
        MINE.set(number)
        app.saw.append((context(), MINE.get()))
        number += 1


@pytest.mark.parametrize("act", [contexts, acontexts])
def test_nothing_is_left_in_the_context(act: Callable[[App], Any], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == [("completed", "")]


def test_tasks_that_a_context_was_copied_for_are_not_taken_for_the_call_that_made_it(
    server: ThreadedFaultServer, records: RecordList
) -> None:
    """Calls that are under way at once, and one that is made from within another's token provider."""

    async def act(app: App) -> None:
        client = app.async_client()

        async def read(model: str) -> None:
            stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
            await app.aread(stream)

        await asyncio.gather(*(read(f"sv-ok?chunks={n}") for n in range(1, 20)))

    run(act, server)
    assert sorted(record.chunks for record in records) == [n + 1 for n in range(1, 20)]
    assert all(len(record.attempts) == 1 for record in records)


def test_generator_semantics(observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        for model in ("sv-ok", "sv-error-event"):
            stream = app.create(model)
            with app.catching():
                for item in stream:
                    app.chunk(item)
            for _ in range(2):
                with app.catching(StopIteration):
                    next(stream)
            app.saw.append(list(stream))

    assert verdicts(observe(act)) == [("completed", ""), ("api_error", "server_error")]


def test_nothing_is_printed_or_logged_where_nothing_failed(
    server: ThreadedFaultServer, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "streamvitals"), recorded():
        run(lambda app: app.read(app.create("sv-ok")), server)
        run(lambda app: app.create(LONG).close(), server)
        settle()
    assert capfd.readouterr() == ("", "")
    assert [record for record in caplog.records if record.name.startswith("streamvitals")] == []


def test_an_app_without_logging_gets_no_line_for_a_failure(
    server: ThreadedFaultServer, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    with recorded() as records:
        run(lambda app: app.read(app.create("sv-silent-cut")), server)
    assert len(records) == 1
    assert capfd.readouterr() == ("", "")


def test_observing_starts_no_thread_and_imports_nothing_of_anybody() -> None:
    import threading

    before = set(threading.enumerate()), {name.partition(".")[0] for name in sys.modules}
    with recorded():
        assert (set(threading.enumerate()), {name.partition(".")[0] for name in sys.modules}) == before
