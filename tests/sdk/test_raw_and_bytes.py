"""Raw responses, and bodies that the app reads as bytes, text or lines without any Stream object."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from app_support import LONG, MESSAGES, App, verdicts
from streamvitals.testing import RecordList

CLOSED, COMPLETED = ("abandoned", "closed"), ("completed", "")

# What bytes say of a stream. Nothing is raised to an app that reads bytes unless the transport breaks.
BYTE_TRUTH = {
    "sv-ok": COMPLETED,
    "sv-length": ("length", ""),
    "sv-n2-one-finished": ("truncated", "missing_finish_reason"),
    "sv-crlf": COMPLETED,
    "sv-bom": COMPLETED,
    "sv-multi-line-data": COMPLETED,
    "sv-keep-alive-comments": COMPLETED,
    "sv-meta-frames": COMPLETED,
    "sv-split-writes": COMPLETED,
    "sv-one-write": COMPLETED,
    "sv-big-event": COMPLETED,
    "sv-gzip": COMPLETED,
    "sv-close-delimited": COMPLETED,
    "sv-silent-cut": ("truncated", "missing_terminal"),
    "sv-done-without-finish": ("truncated", "missing_finish_reason"),
    "sv-empty-stream": ("truncated", "empty_stream"),
    "sv-fin-in-chunk": ("truncated", "incomplete_read"),
    "sv-reset": ("reset", "connection_reset"),
    "sv-broken-json": ("malformed", "json_decode"),
    "sv-broken-utf8": ("malformed", "unicode_decode"),
    "sv-html-200": ("malformed", "unexpected_content_type"),
    "sv-json-200": ("malformed", "unexpected_content_type"),
    "sv-error-event": ("api_error", "server_error"),
    "sv-error-event-rate-limit": ("rate_limited", "rate_limit_exceeded"),
    "sv-finish-abort": ("api_error", "finish_abort"),
}
READERS = ("iter_lines", "iter_bytes", "iter_text", "read")


def streaming(app: App, model: str) -> Any:
    completions = app.client().chat.completions.with_streaming_response
    return completions.create(model=model, messages=MESSAGES, stream=True)


def astreaming(app: App, model: str) -> Any:
    completions = app.async_client().chat.completions.with_streaming_response
    return completions.create(model=model, messages=MESSAGES, stream=True)


def read_bytes(model: str, how: str) -> Callable[[App], None]:
    def act(app: App) -> None:
        parts: list[Any] = []
        with app.catching(), streaming(app, model) as response:
            if how == "read":
                parts.append(response.read())
            else:
                parts.extend(getattr(response, how)())
        # Where the network cuts the bytes is not ours to compare.
        app.saw.append(parts if how == "iter_lines" else (b"" if how != "iter_text" else "").join(parts))

    return act


def aread_bytes(model: str, how: str) -> Callable[[App], Any]:
    async def act(app: App) -> None:
        parts: list[Any] = []
        with app.catching():
            async with astreaming(app, model) as response:
                if how == "read":
                    parts.append(await response.read())
                else:
                    parts.extend([part async for part in getattr(response, how)()])
        app.saw.append(parts if how == "iter_lines" else (b"" if how != "iter_text" else "").join(parts))

    return act


@pytest.mark.parametrize("model", list(BYTE_TRUTH))
@pytest.mark.parametrize("how", READERS)
@pytest.mark.parametrize("mode", ["sync", "async"])
def test_bytes(model: str, how: str, mode: str, observe: Callable[..., RecordList]) -> None:
    make = aread_bytes if mode == "async" else read_bytes
    records = observe(make(model, how))
    assert verdicts(records) == [BYTE_TRUTH[model]]


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_bytes_count_the_events(mode: str, observe: Callable[..., RecordList]) -> None:
    make = aread_bytes if mode == "async" else read_bytes
    for model, chunks in (("sv-ok", 9), ("sv-gzip", 9), ("sv-one-write", 9), ("sv-silent-cut", 3)):
        record = observe(make(model, "iter_bytes"))[0]
        assert record.chunks == chunks
        assert sum(record.progress.gap_counts) == chunks - 1
        assert record.bytes_received
        assert record.first_token is not None


def decoding_error(app: App) -> None:
    """httpx cannot unpack the body: that is raised above the raw bytes."""
    with app.catching(), streaming(app, "sv-broken-gzip") as response:
        for line in response.iter_lines():
            app.chunk(line)


async def adecoding_error(app: App) -> None:
    with app.catching():
        async with astreaming(app, "sv-broken-gzip") as response:
            async for line in response.iter_lines():
                app.chunk(line)


def leaves_at_an_error_event(app: App) -> None:
    """The provider failed first, then the app left."""
    with app.catching(ValueError), streaming(app, "sv-error-event") as response:
        for line in response.iter_lines():
            app.chunk(line)
            if '"error"' in line:
                raise ValueError(line)


def leaves_after_the_finish(app: App) -> None:
    with streaming(app, "sv-ok") as response:
        for line in response.iter_lines():
            app.chunk(line)
            if line.endswith("[DONE]"):
                break


def leaves_early(app: App) -> None:
    """The iterator of lines dies at the break, before the block is left."""
    with streaming(app, LONG) as response:
        for line in response.iter_lines():
            app.chunk(line)
            break


async def aleaves_early(app: App) -> None:
    async with astreaming(app, LONG) as response:
        async for line in response.iter_lines():
            app.chunk(line)
            break


def reads_nothing(app: App) -> None:
    with streaming(app, LONG) as response:
        app.saw.append(response.status_code)


async def areads_nothing(app: App) -> None:
    async with astreaming(app, LONG) as response:
        app.saw.append(response.status_code)


def parses(app: App) -> None:
    with streaming(app, "sv-ok") as response:
        app.read(response.parse())


async def aparses(app: App) -> None:
    async with astreaming(app, "sv-ok") as response:
        parsed = response.parse()
        await app.aread(await parsed if inspect.isawaitable(parsed) else parsed)


def parses_and_reads_lines(app: App) -> None:
    """As other instrumentations do, which parse to look at it, and leave the lines to the app."""
    with streaming(app, "sv-ok") as response:
        parsed = response.parse()
        app.saw.extend(response.iter_lines())
        del parsed


async def aparses_and_reads_lines(app: App) -> None:
    async with astreaming(app, "sv-ok") as response:
        parsed = response.parse()
        parsed = await parsed if inspect.isawaitable(parsed) else parsed
        app.saw.extend([line async for line in response.iter_lines()])
        del parsed


def reads_twice(app: App) -> None:
    with streaming(app, "sv-ok") as response:
        app.saw.append(response.read())
        app.saw.append(response.read())


def consumed_twice(app: App) -> None:
    with streaming(app, "sv-ok") as response:
        app.saw.extend(response.iter_lines())
        with app.catching():
            app.saw.extend(response.iter_lines())


def asks_in_the_body(app: App) -> None:
    """The SDK does not know of it, but the answer is left to the app as it comes."""
    responding = app.client().chat.completions.with_streaming_response
    for model in ("sv-ok", "sv-silent-cut"):
        with responding.create(model=model, messages=MESSAGES, extra_body={"stream": True}) as response:
            app.saw.extend(response.iter_lines())


async def aasks_in_the_body(app: App) -> None:
    responding = app.async_client().chat.completions.with_streaming_response
    for model in ("sv-ok", "sv-silent-cut"):
        async with responding.create(model=model, messages=MESSAGES, extra_body={"stream": True}) as response:
            app.saw.extend([line async for line in response.iter_lines()])


@pytest.mark.parametrize("act", [asks_in_the_body, aasks_in_the_body])
def test_a_stream_that_the_sdk_does_not_know_of(act: Callable[[App], Any], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == [COMPLETED, ("truncated", "missing_terminal")]


@pytest.mark.parametrize(("act", "want"), [
    (decoding_error, ("malformed", "content_decoding")),
    (adecoding_error, ("malformed", "content_decoding")),
    (leaves_at_an_error_event, ("api_error", "server_error")),
    (leaves_after_the_finish, COMPLETED),
    (leaves_early, ("abandoned", "dropped")),
    (aleaves_early, CLOSED),
    (reads_nothing, CLOSED),
    (areads_nothing, CLOSED),
    (parses, COMPLETED),
    (aparses, COMPLETED),
    (parses_and_reads_lines, COMPLETED),
    (aparses_and_reads_lines, COMPLETED),
    (reads_twice, COMPLETED),
    (consumed_twice, COMPLETED),
], ids=lambda value: getattr(value, "__name__", ""))
def test_act(act: Callable[[App], Any], want: tuple[str, str], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == [want]
