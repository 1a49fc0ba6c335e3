"""Bodies read in unusual ways: decoders of the app's own, streams that others have wrapped, read or changed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import openai
import pytest

from app_support import MESSAGES, VERSION, App, observe, verdicts
from streamvitals.faults import ThreadedFaultServer
from streamvitals.testing import RecordList

COMPLETED, CUT, RESET = ("completed", ""), ("truncated", "missing_terminal"), ("reset", "connection_reset")

# -- the decoder --------------------------------------------------------------------------------------------


class Event:
    def __init__(self, data: str) -> None:
        self.data, self.event = data, None

    def json(self) -> Any:
        return json.loads(self.data)


class PlainDecoder:
    """No more than the SDK's protocol asks for; it swallows ids. Without an instance's dict."""

    __slots__ = ()

    def _events(self, text: str) -> Iterator[Event]:
        for block in text.split("\n\n"):
            for line in block.split("\n"):
                if line.startswith("data: "):
                    yield Event(line[6:])

    def iter_bytes(self, iterator: Any) -> Iterator[Event]:
        yield from self._events(b"".join(iterator).decode())

    async def aiter_bytes(self, iterator: Any) -> AsyncIterator[Event]:
        for event in self._events(b"".join([part async for part in iterator]).decode()):
            yield event


def decoding(decoder: Any) -> Callable[[type], type]:
    def subclass(client: type) -> type:
        return type(client.__name__, (client,), {"_make_sse_decoder": lambda self: decoder()})

    return subclass


class Overridden(openai._streaming.SSEDecoder):
    """Reads past its own ``decode``."""

    iter_bytes = PlainDecoder.iter_bytes
    aiter_bytes = PlainDecoder.aiter_bytes
    _events = PlainDecoder._events


@pytest.mark.parametrize("decoder", [PlainDecoder, Overridden])
@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(("model", "want"), [
    ("sv-ok", COMPLETED), ("sv-gzip", COMPLETED), ("sv-silent-cut", CUT),
    ("sv-done-without-finish", ("truncated", "missing_finish_reason")), ("sv-reset", RESET),
])
def test_a_decoder_that_offers_no_more_than_it_must(
    decoder: Any, mode: str, model: str, want: tuple[str, str], observe: Callable[..., RecordList]
) -> None:
    if not hasattr(openai._streaming, "SSEBytesDecoder"):
        pytest.skip("no protocol of decoders in this SDK")
    client = decoding(decoder)(openai.AsyncOpenAI if mode == "async" else openai.OpenAI)

    def act(app: App) -> None:
        made = app._made(client(**app._options()))
        with app.catching():
            app.read(made.chat.completions.create(model=model, messages=MESSAGES, stream=True))

    async def aact(app: App) -> None:
        made = app._made(client(**app._options()))
        with app.catching():
            await app.aread(await made.chat.completions.create(model=model, messages=MESSAGES, stream=True))

    assert verdicts(observe(aact if mode == "async" else act)) == [want]


# -- bodies that somebody has wrapped, or read, before us ----------------------------------------------------


def wrapping(base: type, is_async: bool, **members: Any) -> type:
    """A stream that another tool has put around httpx's, with nothing of its own in common."""

    class Wrapped(base):  # type: ignore[misc]
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        if is_async:

            async def __aiter__(self) -> AsyncIterator[bytes]:
                async for part in self.inner:
                    yield part

            async def aclose(self) -> None:
                await self.inner.aclose()

        else:

            def __iter__(self) -> Iterator[bytes]:
                yield from self.inner

            def close(self) -> None:
                self.inner.close()

    return type("Wrapped", (Wrapped,), members)


@pytest.fixture(params=["plain", "slots", "delegates"])
def wrapped(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def hooked_client(app: App, kind: str, is_async: bool) -> Any:
    httpx: Any = pytest.importorskip("httpx2" if VERSION >= (3, 0) else "httpx")

    def wrap(response: Any) -> None:
        members: dict[str, Any] = {"__slots__": ()} if kind == "slots" else {}
        if kind == "delegates":
            members["__getattr__"] = lambda self, name: getattr(self.inner, name)
        base = httpx.AsyncByteStream if is_async else httpx.SyncByteStream
        response.stream = wrapping(base, is_async, **members)(response.stream)

    async def awrap(response: Any) -> None:
        wrap(response)

    if is_async:
        return app.async_client(http_client=httpx.AsyncClient(event_hooks={"response": [awrap]}))
    return app.client(http_client=httpx.Client(event_hooks={"response": [wrap]}))


@pytest.mark.parametrize("form", ["raw", "streaming", "stream"])
@pytest.mark.parametrize(("model", "want"), [("sv-ok", COMPLETED), ("sv-silent-cut", CUT), ("sv-reset", RESET)])
def test_a_body_that_another_tool_has_wrapped(
    wrapped: str, form: str, model: str, want: tuple[str, str], observe: Callable[..., RecordList]
) -> None:
    def act(app: App) -> None:
        completions = hooked_client(app, wrapped, is_async=False).chat.completions
        ask: dict[str, Any] = {"model": model, "messages": MESSAGES, "stream": True}
        with app.catching():
            if form == "stream":
                app.saw.extend(completions.create(**ask).response.iter_lines())
            elif form == "raw":
                app.saw.extend(completions.with_raw_response.create(**ask).http_response.iter_lines())
            else:
                with completions.with_streaming_response.create(**ask) as response:
                    app.saw.extend(response.iter_lines())

    records = observe(act)
    assert verdicts(records) == [want]
    assert records[0].hints == ()


@pytest.mark.parametrize(("model", "want"), [("sv-ok", COMPLETED), ("sv-silent-cut", CUT), ("sv-reset", RESET)])
def test_an_async_body_that_another_tool_has_wrapped(
    wrapped: str, model: str, want: tuple[str, str], observe: Callable[..., RecordList]
) -> None:
    async def act(app: App) -> None:
        completions = hooked_client(app, wrapped, is_async=True).chat.completions
        with app.catching():
            response = await completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)
            app.saw.extend([line async for line in response.http_response.aiter_lines()])

    assert verdicts(observe(act)) == [want]


@pytest.mark.parametrize(("model", "want"), [("sv-ok", COMPLETED), ("sv-silent-cut", CUT)])
def test_a_body_that_an_event_hook_has_read(
    model: str, want: tuple[str, str], observe: Callable[..., RecordList]
) -> None:
    def act(app: App) -> None:
        httpx: Any = pytest.importorskip("httpx2" if VERSION >= (3, 0) else "httpx")
        client = app.client(http_client=httpx.Client(event_hooks={"response": [lambda response: response.read()]}))
        ask: dict[str, Any] = {"model": model, "messages": MESSAGES, "stream": True}
        app.saw.extend(client.chat.completions.with_raw_response.create(**ask).http_response.iter_lines())
        with client.chat.completions.with_streaming_response.create(**ask) as response:
            app.saw.extend(response.iter_lines())
        app.read(client.chat.completions.create(**ask))

    assert verdicts(observe(act)) == [want] * 3


# -- what the app sees of the transport's stream --------------------------------------------------------------


def test_the_transports_stream_is_the_apps_to_change(observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        for form in ("raw", "stream"):
            completions = app.client().chat.completions
            ask: dict[str, Any] = {"model": "sv-ok", "messages": MESSAGES, "stream": True}
            if form == "raw":
                response: Any = completions.with_raw_response.create(**ask).http_response
            else:
                response = completions.create(**ask).response
            bound = response.stream
            body = bound._stream
            read: list[int] = []

            def reader(inner: Any, read: list[int] = read) -> Iterator[bytes]:
                for part in inner:
                    read.append(1)
                    yield part

            app.saw += [type(bound), type(body), type(body).__mro__, bound.__class__, body.__class__]
            app.saw += [sorted(vars(body)), dir(body), hasattr(body, "nothing")]
            body._httpcore_stream = reader(body._httpcore_stream)
            body.note = 1
            app.saw += [body.note, vars(body)["note"]]
            del body.note
            app.saw.append(hasattr(body, "note"))
            app.saw.extend(response.iter_lines())
            app.saw.append(bool(read))

    assert verdicts(observe(act)) == [COMPLETED, COMPLETED]


def test_classes_of_streams_are_put_back(server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        stream = app.create("sv-ok")
        kinds.append(type(stream.response.stream))
        app.read(stream)

    kinds: list[type] = []
    observe(act, server)
    assert "streamvitals" not in kinds[0].__iter__.__code__.co_name  # type: ignore[attr-defined]
