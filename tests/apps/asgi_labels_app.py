"""An ASGI app whose middleware labels every request by its path, and streams in tasks, in threads and in generators."""

import asyncio
import contextlib

from openai import AsyncOpenAI, OpenAI

import streamvitals

client, blocking = AsyncOpenAI(max_retries=0), OpenAI(max_retries=0)
ASKED = {"model": "sv-ok?chunks=3&gap=0.005", "messages": [], "stream": True}


def read():
    for _ in blocking.chat.completions.create(**ASKED, metadata={"tenant": "unused"}):
        pass


async def generate(path):
    """As a framework's streaming response does: read by whoever, and never to the end."""
    with streamvitals.labels(how="generator"):
        stream = await client.chat.completions.create(**ASKED, extra_headers={"x-path": path})
        async for _ in stream:
            yield b"."


async def answer(scope, send):
    path = scope["path"]
    if path.startswith("/thread"):
        await asyncio.to_thread(read)
    elif path.startswith("/generator"):
        chunks = generate(path)
        await anext(chunks)
        # Abandoned: it is closed by the garbage collector, in no context of ours.
    else:
        async for _ in await client.chat.completions.create(**ASKED, extra_headers={"x-path": path}):
            await asyncio.sleep(0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        with contextlib.suppress(asyncio.CancelledError):
            while (await receive())["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
        return
    with streamvitals.labels(path=scope["path"]):
        await answer(scope, send)
