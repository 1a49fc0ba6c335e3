"""What an app does with streams, and what each shows it. Imports nothing of streamvitals.

ACTS are (name, model, synchronous act, asynchronous act); what they must be reported as is in expected.py.
"""

import asyncio
import re

import openai

MESSAGES = [{"role": "user", "content": "hello"}]
VOLATILE = re.compile(r"req_\d+|0x[0-9a-f]+|\b[0-9a-f]{8,}\b|chatcmpl-\w+|resp_\w+|\d+\.\d+")


def same(text):
    return VOLATILE.sub("*", text)


class View:
    """What one act shows the app."""

    def __init__(self):
        self.saw = []

    def stream(self, stream):
        response = getattr(stream, "response", None)
        self.saw.append([
            type(stream).__qualname__, isinstance(stream, (openai.Stream, openai.AsyncStream)),
            [name for name in ("close", "__enter__", "__aenter__", "__next__", "__anext__") if hasattr(stream, name)],
            getattr(response, "status_code", None), getattr(response, "is_closed", None),
        ])
        return stream

    def item(self, item):
        self.saw.append([type(item).__name__, same(item.model_dump_json()) if hasattr(item, "model_dump_json") else ""])

    def closed(self, stream):
        self.saw.append(["closed", getattr(getattr(stream, "response", None), "is_closed", None)])

    def error(self, error):
        while error is not None:
            self.saw.append([f"{type(error).__module__}.{type(error).__qualname__}", same(str(error))])
            error = error.__cause__ or error.__context__


def create(client, model):
    return client.chat.completions.create(model=model, messages=MESSAGES, stream=True)


def responses(client, model):
    return client.responses.create(model=model, input="hello", stream=True)


def read(view, client, model, make=create):
    for item in view.stream(make(client, model)):
        view.item(item)


async def aread(view, client, model, make=create):
    async for item in view.stream(await make(client, model)):
        view.item(item)


def read_responses(view, client, model):
    read(view, client, model, responses)


async def aread_responses(view, client, model):
    await aread(view, client, model, responses)


def read_with(view, client, model):
    with create(client, model) as stream:
        for item in view.stream(stream):
            view.item(item)
    view.closed(stream)


async def aread_with(view, client, model):
    async with await create(client, model) as stream:
        async for item in view.stream(stream):
            view.item(item)
    view.closed(stream)


def read_helper(view, client, model):
    with client.chat.completions.stream(model=model, messages=MESSAGES) as stream:
        for event in stream:
            view.saw.append(event.type)


async def aread_helper(view, client, model):
    async with client.chat.completions.stream(model=model, messages=MESSAGES) as stream:
        async for event in stream:
            view.saw.append(event.type)


def read_raw(view, client, model):
    raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)
    view.saw.append([type(raw).__name__, hasattr(raw, "parse"), getattr(raw, "status_code", None)])
    for item in view.stream(raw.parse()):
        view.item(item)


async def aread_raw(view, client, model):
    raw = await client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True)
    view.saw.append([type(raw).__name__, hasattr(raw, "parse"), getattr(raw, "status_code", None)])
    async for item in view.stream(raw.parse()):
        view.item(item)


def read_lines(view, client, model):
    streaming = client.chat.completions.with_streaming_response
    with streaming.create(model=model, messages=MESSAGES, stream=True) as response:
        view.saw += [same(line) for line in response.iter_lines()]


async def aread_lines(view, client, model):
    streaming = client.chat.completions.with_streaming_response
    async with streaming.create(model=model, messages=MESSAGES, stream=True) as response:
        view.saw += [same(line) async for line in response.iter_lines()]


def break_(view, client, model):
    for item in create(client, model):
        view.item(item)
        break


async def abreak(view, client, model):
    async for item in await create(client, model):
        view.item(item)
        break


def close(view, client, model):
    stream = view.stream(create(client, model))
    view.item(next(stream))
    stream.close()
    view.closed(stream)


async def aclose(view, client, model):
    stream = view.stream(await create(client, model))
    view.item(await stream.__anext__())
    await stream.close()
    view.closed(stream)


def raise_(view, client, model):
    for item in create(client, model):
        view.item(item)
        raise KeyError("the app's own")


async def cancelled(view, client, model):
    async def reader():
        async for item in await create(client, model):
            view.item(item)
            started.set()

    started = asyncio.Event()
    task = asyncio.ensure_future(reader())
    await started.wait()
    task.cancel()
    await task


async def deadline(view, client, model):
    await asyncio.wait_for(aread(view, client, model), 1.0)


# One chunk and no more, so that how many were read before the end is not left to chance.
LONG, HANGS = "sv-ok?chunks=300&gap=0.02", "sv-stall?after=1&stall=60"
ACTS = (
    *(
        (f"{what} {name}", f"sv-{name}", act, a_act)
        for what, act, a_act in (
            ("create", read, aread), ("with", read_with, aread_with), ("helper", read_helper, aread_helper),
            ("raw", read_raw, aread_raw), ("lines", read_lines, aread_lines),
            ("responses", read_responses, aread_responses),
        )
        for name in ("ok", "reset", "silent-cut", *(("broken-json", "429") if what == "create" else ()))
    ),
    ("break", LONG, break_, abreak),
    ("close", LONG, close, aclose),
    ("exception", LONG, raise_, None),
    ("cancelled", HANGS, None, cancelled),
    ("deadline", HANGS, None, deadline),
)
