"""How an application can ask for each streaming surface, and in which forms it can read the answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import openai
from pydantic import BaseModel

from app_support import App, auntil

# A model's name, and where a surface has none: the scenario by any way that the fault server knows.
SPEC = object()
LATE = "ok?first_token=0.01"


class Answer(BaseModel):
    """What structured answers are parsed into."""

    text: str


@functools.cache
def any_client() -> openai.OpenAI:
    """One to look at, not to call."""
    return openai.OpenAI(api_key="none", base_url="http://localhost")


@dataclass(frozen=True)
class Call:
    """One method of the SDK. ``surface`` is the fault server's, ``operation`` what must be reported."""

    name: str
    surface: str
    method: str  # dotted, below the client
    operation: str
    arguments: dict[str, Any]
    helper: bool = False  # returns a context manager of events
    asked: bool = True  # takes `stream=True`
    bytes_only: bool = False
    structured: bool = False

    def exists(self) -> bool:
        """Whether the installed SDK has it."""
        target: Any = any_client()
        for part in self.method.split("."):
            target = getattr(target, part, None)
        takes = inspect.signature(target).parameters if callable(target) else {}
        return callable(target) and (self.helper or not self.asked or "stream" in takes)

    def keywords(self, spec: str) -> dict[str, Any]:
        """Arguments for a scenario."""
        asked = {k: f"sv-{spec}" if v is SPEC else v for k, v in self.arguments.items()}
        if SPEC not in self.arguments.values():
            asked["extra_headers"] = {"sv-scenario": spec}
        if self.asked and not self.helper:
            asked["stream"] = True
        return asked

    def bound(self, client: Any, wrapper: str = "") -> Callable[..., Any]:
        """The method of a client, or the same below ``with_raw_response`` and the like."""
        *resources, name = self.method.split(".")
        target = client
        for part in resources:
            target = getattr(target, part)
        if wrapper:
            target = getattr(target, wrapper)
        found: Callable[..., Any] = getattr(target, name)
        return found


_RUN = {"assistant_id": "asst_1", "model": SPEC}
_OUTPUTS = {"run_id": "run_1", "thread_id": "thread_1", "tool_outputs": [{"tool_call_id": "c", "output": "x"}]}
_AGENT = {"environment": {"type": "none"}, "agent": {"model": "agent-model"}, "input": "hello"}
_FILE = ("a.bin", b"not really a file")
_MESSAGES = [{"role": "user", "content": "hello"}]

CALLS = (
    Call("responses", "responses", "responses.create", "chat", {"model": SPEC, "input": "hello"}),
    Call("background", "responses", "responses.create", "chat", {"model": SPEC, "input": "hello", "background": True}),
    Call("beta responses", "responses", "beta.responses.create", "chat", {"model": SPEC, "input": "hello"}),
    Call("fetched response", "responses-fetch", "responses.retrieve", "fetch_response", {"response_id": "resp_1"}),
    Call("beta fetched response", "responses-fetch", "beta.responses.retrieve", "fetch_response",
         {"response_id": "resp_1"}),
    Call("completions", "completions", "completions.create", "text_completion", {"model": SPEC, "prompt": "hello"}),
    Call("run", "runs", "beta.threads.runs.create", "invoke_agent", {"thread_id": "thread_1", **_RUN}),
    Call("thread and run", "runs", "beta.threads.create_and_run", "invoke_agent", _RUN),
    Call("tool outputs", "runs", "beta.threads.runs.submit_tool_outputs", "invoke_agent", _OUTPUTS),
    Call("image", "images", "images.generate", "generate_content", {"model": SPEC, "prompt": "hello"}),
    Call("edited image", "images", "images.edit", "generate_content", {"model": SPEC, "prompt": "x", "image": _FILE}),
    Call("transcription", "transcriptions", "audio.transcriptions.create", "transcription",
         {"model": SPEC, "file": _FILE}),
    Call("speech", "speech", "audio.speech.create", "speech",
         {"model": SPEC, "input": "hello", "voice": "alloy"}, asked=False, bytes_only=True),
    Call("speech events", "speech-events", "audio.speech.create", "speech",
         {"model": SPEC, "input": "hello", "voice": "alloy", "extra_body": {"stream_format": "sse"}},
         asked=False, bytes_only=True),
    Call("agent's events", "agents", "beta.agents.sessions.events.stream", "invoke_agent", {"session_id": "sess_1"},
         asked=False),
    Call("agent's session", "agents", "beta.agents.sessions.create", "invoke_agent", _AGENT),
)
HELPERS = (
    Call("responses.stream", "responses", "responses.stream", "chat", {"model": SPEC, "input": "x"}, helper=True),
    Call("responses.stream parsed", "responses", "responses.stream", "chat",
         {"model": SPEC, "input": "x", "text_format": Answer}, helper=True, structured=True),
    Call("responses.stream fetched", "responses-fetch", "responses.stream", "fetch_response",
         {"response_id": "resp_1"}, helper=True),
    Call("runs.stream", "runs", "beta.threads.runs.stream", "invoke_agent",
         {"thread_id": "thread_1", **_RUN}, helper=True),
    Call("runs.create_and_stream", "runs", "beta.threads.runs.create_and_stream", "invoke_agent",
         {"thread_id": "thread_1", **_RUN}, helper=True),
    Call("create_and_run_stream", "runs", "beta.threads.create_and_run_stream", "invoke_agent", _RUN, helper=True),
    Call("submit_tool_outputs_stream", "runs", "beta.threads.runs.submit_tool_outputs_stream", "invoke_agent",
         _OUTPUTS, helper=True),
    Call("chat.stream", "chat", "chat.completions.stream", "chat", {"model": SPEC, "messages": _MESSAGES}, helper=True),
    Call("chat.stream parsed", "chat", "chat.completions.stream", "chat",
         {"model": SPEC, "messages": _MESSAGES, "response_format": Answer}, helper=True, structured=True),
    Call("beta chat.stream", "chat", "beta.chat.completions.stream", "chat",
         {"model": SPEC, "messages": _MESSAGES, "response_format": Answer}, helper=True, structured=True),
    Call("agents.stream", "agents", "beta.agents.sessions.stream", "invoke_agent",
         {"session_id": "sess_1", "input": "x"}, helper=True),
)


# -- reading, in every form -----------------------------------------------------------------------------------


@contextlib.contextmanager
def opened(call: Call, form: str, client: Any, spec: str) -> Iterator[Any]:
    """What is iterated over. Forms: stream, raw (parsed later), lines and bytes (never parsed), helper."""
    asked = call.keywords(spec)
    if call.helper:
        with call.bound(client)(**asked) as events:
            yield events
    elif form == "stream":
        yield call.bound(client)(**asked)
    elif form == "raw":
        yield call.bound(client, "with_raw_response")(**asked).parse()
    else:
        with call.bound(client, "with_streaming_response")(**asked) as response:
            yield response.iter_lines() if form == "lines" else response.iter_bytes()


@contextlib.asynccontextmanager
async def aopened(call: Call, form: str, client: Any, spec: str) -> AsyncIterator[Any]:
    asked = call.keywords(spec)
    if call.helper:
        async with call.bound(client)(**asked) as events:
            yield events
    elif form == "stream":
        yield await call.bound(client)(**asked)
    elif form == "raw":
        response = await call.bound(client, "with_raw_response")(**asked)
        parsed = response.parse()
        yield await parsed if hasattr(parsed, "__await__") else parsed
    else:
        async with call.bound(client, "with_streaming_response")(**asked) as response:
            yield response.iter_lines() if form == "lines" else response.iter_bytes()


def _seen(item: Any) -> Any:
    """What of an item is compared: pydantic warns when it dumps a parsed answer."""
    return item.to_dict(warnings=False) if hasattr(item, "to_dict") else item


def client(app: App, **options: Any) -> Any:
    return app.client(**options)


def async_client(app: App, **options: Any) -> Any:
    return app.async_client(**options)


def reading(call: Call, form: str, spec: str, **options: Any) -> Callable[[App], None]:
    """Read to the end, or to the error."""

    def act(app: App) -> None:
        with app.catching(), opened(call, form, client(app, **options), spec) as events:
            for item in events:
                app.saw.append(_seen(item))

    return act


def areading(call: Call, form: str, spec: str, **options: Any) -> Callable[[App], Any]:
    async def act(app: App) -> None:
        with app.catching():
            async with aopened(call, form, async_client(app, **options), spec) as events:
                async for item in events:
                    app.saw.append(_seen(item))

    return act


# -- ends of the app's own ------------------------------------------------------------------------------------

ABANDONS = {
    "break": ("abandoned", "dropped"),
    "close": ("abandoned", "closed"),
    "never": ("abandoned", "never_iterated"),
    "cancel": ("cancelled", "cancelled"),
}
LONG = "ok?chunks=500&gap=0.01"


def abandoning(call: Call, how: str) -> Callable[[App], None]:
    """Read two items at most, then leave."""

    def act(app: App) -> None:
        stream = call.bound(client(app))(**call.keywords(LONG))
        if how != "never":
            app.saw.append(_seen(next(stream)))
        if how == "close":
            stream.close()
            app.saw.append(stream.response.is_closed)
        del stream
        gc.collect()

    return act


async def _cancelled(app: App, stream: Any) -> None:
    """Cancel the task that reads, once it has read something."""
    begun = asyncio.Event()

    async def read() -> None:
        async for _ in stream:
            begun.set()

    task = asyncio.ensure_future(read())
    await begun.wait()
    task.cancel()
    with app.catching(asyncio.CancelledError):
        await task


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """A dropped async stream leaves a dozen generators, and asyncio closes them in the order in which they are found.
    Collections while it lived change that order, and in some of them asyncio says that a generator "is already
    running": with the bare SDK too, by chance."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def aabandoning(call: Call, how: str) -> Callable[[App], Any]:
    async def act(app: App) -> None:
        with _no_collection():
            await abandoned(app)

    async def abandoned(app: App) -> None:
        stream = await call.bound(async_client(app))(**call.keywords(LONG))
        if how != "never":
            app.saw.append(_seen(await stream.__anext__()))
        if how == "close":
            await stream.close()
            app.saw.append(stream.response.is_closed)
        if how == "cancel":
            await _cancelled(app, stream)
        alive = weakref.ref(stream)
        del stream
        # While the server's thread collects, our collection does nothing. What was found is then closed by tasks
        # of the loop, which are made in its next turn; the loop must not end before they do.
        await auntil(lambda: gc.collect() >= 0 and alive() is None)
        await asyncio.sleep(0)
        await auntil(lambda: len(asyncio.all_tasks()) == 1)

    return act


# Leaving the `with` block of a helper, or of a body that is read as bytes, closes the stream.
LEFT = ("abandoned", "closed")


def leaving(call: Call, form: str) -> Callable[[App], None]:
    """Read one item, then leave the `with` block."""

    def act(app: App) -> None:
        with opened(call, form, client(app), LONG) as events:
            app.saw.append(bool(next(iter(events))))

    return act


def aleaving(call: Call, form: str) -> Callable[[App], Any]:
    async def act(app: App) -> None:
        async with aopened(call, form, async_client(app), LONG) as events:
            async for item in events:
                app.saw.append(bool(item))
                break

    return act
