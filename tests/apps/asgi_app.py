"""An ASGI app for uvicorn: /stream/MODEL passes a stream on, /pid says who answers."""

import os

from openai import AsyncOpenAI

client = AsyncOpenAI(max_retries=0)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return
    headers = [(b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    path = scope["path"]
    if path.startswith("/stream/"):
        model = path.removeprefix("/stream/") + "?" + scope["query_string"].decode()
        question = [{"role": "user", "content": "hello"}]
        stream = await client.chat.completions.create(
            model=model.removesuffix("?"), messages=question, stream=True
        )
        async for _ in stream:
            await send({"type": "http.response.body", "body": b".", "more_body": True})
    await send({"type": "http.response.body", "body": f"\n{os.getpid()}\n".encode()})
