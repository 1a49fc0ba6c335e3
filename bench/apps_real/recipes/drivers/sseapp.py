"""Starlette with sse-starlette, on any loop."""
import json, os
from openai import AsyncOpenAI
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
async def pid(request): return PlainTextResponse(str(os.getpid()))
async def a(request):
    async def gen():
        async for c in await AsyncOpenAI().chat.completions.create(model=request.path_params["model"], messages=[{"role": "user", "content": "hello"}], stream=True):
            yield {"data": json.dumps({"d": c.choices[0].delta.content if c.choices else None, "pid": os.getpid()})}
        yield {"data": "[DONE]"}
    return EventSourceResponse(gen(), sep="\n")
app = Starlette(routes=[Route("/pid", pid), Route("/a/{model}", a)])
