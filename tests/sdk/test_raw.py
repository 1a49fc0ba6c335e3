"""Raw responses: parsed, parsed twice or as something else, late, in another task or thread, or never."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from app_support import LONG, MESSAGES, App, verdicts
from streamvitals.testing import RecordList

CLOSED, COMPLETED = ("abandoned", "closed"), ("completed", "")
parse_takes_to = "to" in inspect.signature(openai._legacy_response.LegacyAPIResponse.parse).parameters
needs_to = pytest.mark.skipif(not parse_takes_to, reason="no parse(to=...) in this SDK")


def raw(app: App, model: str = LONG) -> Any:
    return app.client().chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)


async def araw(app: App, model: str = LONG) -> Any:
    completions = app.async_client().chat.completions.with_raw_response
    return await completions.create(model=model, messages=MESSAGES, stream=True)


def raw_parse(app: App) -> None:
    app.read(raw(app, "sv-ok").parse())


async def araw_parse(app: App) -> None:
    await app.aread((await araw(app, "sv-ok")).parse())


def raw_parse_twice(app: App) -> None:
    response = raw(app, "sv-ok")
    app.saw.append(response.parse() is response.parse())
    app.read(response.parse())


def raw_parse_cut(app: App) -> None:
    app.read(raw(app, "sv-silent-cut").parse())


def raw_parse_left(app: App) -> None:
    with raw(app).parse() as stream:
        app.chunk(next(stream))


def raw_parse_late(app: App) -> None:
    response = raw(app, "sv-ok")
    thread = threading.Thread(target=lambda: app.read(response.parse()))
    thread.start()
    thread.join()


async def araw_parse_late(app: App) -> None:
    response = await araw(app, "sv-ok")
    await asyncio.create_task(app.aread(response.parse()))


def raw_never(app: App) -> None:
    app.saw.append(raw(app).status_code)


async def araw_never(app: App) -> None:
    app.saw.append((await araw(app)).status_code)


def raw_closed(app: App) -> None:
    raw(app).http_response.close()


def raw_refused(app: App) -> None:
    with app.catching():
        raw(app, "sv-429")


def reads_the_http_response(app: App) -> None:
    app.saw.append(b"".join(raw(app, "sv-ok").http_response.iter_raw()))


@pytest.mark.parametrize(("act", "want"), [
    (reads_the_http_response, COMPLETED),
    (raw_parse, COMPLETED),
    (araw_parse, COMPLETED),
    (raw_parse_twice, COMPLETED),
    (raw_parse_cut, ("truncated", "missing_terminal")),
    (raw_parse_left, CLOSED),
    (raw_parse_late, COMPLETED),
    (araw_parse_late, COMPLETED),
    (raw_never, ("abandoned", "never_iterated")),
    (araw_never, ("abandoned", "never_iterated")),
    (raw_closed, CLOSED),
    (raw_refused, ("rate_limited", "429")),
], ids=lambda value: getattr(value, "__name__", ""))
def test_act(act: Callable[[App], Any], want: tuple[str, str], observe: Callable[..., RecordList]) -> None:
    assert verdicts(observe(act)) == [want]


@needs_to
@pytest.mark.parametrize("first", [True, False], ids=["after a first Stream", "alone"])
def test_parse_to_makes_a_second_stream_of_one_response(first: bool, observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        response = raw(app, "sv-ok")
        if first:
            response.parse()
        app.read(response.parse(to=openai.Stream[ChatCompletionChunk]))

    record = observe(act)
    assert verdicts(record) == [COMPLETED]
    assert record[0].chunks == 9
