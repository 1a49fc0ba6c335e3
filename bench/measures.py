"""What is measured inside one process, each time with the observer off and on.

A measure takes a size and returns what it found for the state in which it finds the process; ``worker.py``
calls it in pairs. Times are of CPU, of the whole process, in microseconds.
"""

from __future__ import annotations

import asyncio
import gc
import os
import time
import tracemalloc
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from . import canned

T = TypeVar("T")

_ASK: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "stream": True}
_WARM, _MANY = 200, 2200


class Measures:
    """Clients, an event loop, and the measures by name."""

    def __init__(self) -> None:
        import openai

        self._openai = openai
        self._loop = asyncio.new_event_loop()
        self._transport, self._async_transport = canned.Canned(), canned.AsyncCanned()
        same: dict[str, Any] = {"api_key": "k", "base_url": "http://bench.invalid/v1"}
        self._client = openai.OpenAI(http_client=canned.http.Client(transport=self._transport), **same)
        self._async_client = openai.AsyncOpenAI(
            http_client=canned.http.AsyncClient(transport=self._async_transport), **same
        )

    def measure(self, name: str, size: int, base_url: str) -> list[float]:
        """One measurement; ``size`` as the measure's own docstring says."""
        if name.startswith("loopback"):
            with canned.prebuilt():
                return self.loopback(size, base_url, chunks=60 if name == "loopback" else 6)
        measure: Callable[[int], float] = getattr(self, name)
        if name not in _PREBUILT:
            return [measure(size)]
        with canned.prebuilt():
            return [measure(size)]

    def _open(self, chunks: int) -> Any:
        self._transport.chunks = chunks
        return self._client.chat.completions.create(**_ASK)

    async def _open_async(self, chunks: int) -> Any:
        self._async_transport.chunks = chunks
        return await self._async_client.chat.completions.create(**_ASK)

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(coroutine)

    # -- per chunk

    def chunk(self, size: int) -> float:
        """CPU per chunk, over ``size`` chunks of one stream."""
        stream = self._open(size + 1)
        next(stream)
        gc.collect()
        started = time.process_time_ns()
        for _ in stream:
            pass
        return (time.process_time_ns() - started) / 1e3 / size

    def chunk_async(self, size: int) -> float:
        """The async twin."""

        async def run() -> float:
            stream = await self._open_async(size + 1)
            await stream.__anext__()
            gc.collect()
            started = time.process_time_ns()
            async for _ in stream:
                pass
            return (time.process_time_ns() - started) / 1e3 / size

        return self._run(run())

    def chunk_responses(self, size: int) -> float:
        """The same for typed events."""
        self._transport.chunks = size + 1
        return self._rest_of(self._client.responses.create(model="gpt-4o-mini", input="hi", stream=True), size)

    def chunk_bytes(self, size: int) -> float:
        """The same for an app that reads the body's bytes itself; each event is a piece."""
        self._transport.chunks = size + 1
        with self._client.chat.completions.with_streaming_response.create(**_ASK) as response:
            return self._rest_of(response.iter_bytes(), size)

    def _rest_of(self, items: Iterator[Any], size: int) -> float:
        next(items)
        gc.collect()
        started = time.process_time_ns()
        for _ in items:
            pass
        return (time.process_time_ns() - started) / 1e3 / size

    # -- per stream

    def stream(self, size: int) -> float:
        """CPU per stream of 20 chunks, over ``size`` streams."""
        gc.collect()
        started = time.process_time_ns()
        for _ in range(size):
            for _ in self._open(20):
                pass
        return (time.process_time_ns() - started) / 1e3 / size

    def stream_async(self, size: int) -> float:
        """The async twin."""

        async def run() -> float:
            gc.collect()
            started = time.process_time_ns()
            for _ in range(size):
                async for _ in await self._open_async(20):
                    pass
            return (time.process_time_ns() - started) / 1e3 / size

        return self._run(run())

    def first(self, size: int) -> float:
        """CPU from the call to the first chunk in hand, over ``size`` streams."""
        gc.collect()
        spent = 0
        for _ in range(size):
            started = time.process_time_ns()
            stream = self._open(20)
            next(stream)
            spent += time.process_time_ns() - started
            for _ in stream:
                pass
        return spent / 1e3 / size

    def first_async(self, size: int) -> float:
        """The async twin."""

        async def run() -> float:
            gc.collect()
            spent = 0
            for _ in range(size):
                started = time.process_time_ns()
                stream = await self._open_async(20)
                await stream.__anext__()
                spent += time.process_time_ns() - started
                async for _ in stream:
                    pass
            return spent / 1e3 / size

        return self._run(run())

    # With chunks that the SDK builds itself: see _PREBUILT.
    chunk_built, stream_built = chunk, stream

    # -- memory

    def held_per_chunk(self, size: int) -> float:
        """Bytes that stay allocated for each further chunk, over ``size`` further chunks of one stream."""
        with _traced() as allocated:
            stream = self._open(_WARM + size + 10)
            for _ in range(_WARM):
                next(stream)
            before = allocated()
            for _ in range(size):
                next(stream)
            held = allocated() - before
            for _ in stream:
                pass
        return held / size

    def held_per_stream(self, size: int) -> float:
        """Bytes allocated for each stream that is open, three chunks read, over ``size`` streams; files that
        were mapped meanwhile are counted in full."""
        files = _mapped()
        with _traced() as allocated:
            before = allocated()
            streams = [iter(self._open(20)) for _ in range(size)]
            for stream in streams:
                for _ in range(3):
                    next(stream)
            held = allocated() - before + _mapped() - files
        for stream in streams:
            for _ in stream:
                pass
        return held / size

    # -- many at once

    def loopback(self, size: int, base_url: str, chunks: int) -> list[float]:
        """Chunks per second of wall time, and CPU per chunk, over ``size`` concurrent streams from a server in another
        process. The SDK's client opens 1,000 connections; what is more than that waits for one, without a limit."""

        async def run() -> list[float]:
            async with self._openai.AsyncOpenAI(api_key="k", base_url=base_url, max_retries=0, timeout=None) as client:
                gc.collect()
                started, spent = time.perf_counter(), time.process_time_ns()
                counts = await asyncio.gather(*(self._read(client, chunks) for _ in range(size)))
                wall, cpu = time.perf_counter() - started, time.process_time_ns() - spent
            return [sum(counts) / wall, cpu / 1e3 / sum(counts)]

        return self._run(run())

    async def _read(self, client: Any, chunks: int) -> int:
        count = 0
        async for _ in await client.chat.completions.create(**{**_ASK, "model": f"ok?chunks={chunks - 1}"}):
            count += 1
        return count


_PREBUILT = frozenset({
    "chunk", "chunk_async", "chunk_responses", "chunk_bytes", "stream", "stream_async", "first", "first_async",
})


class _traced:
    def __enter__(self) -> Callable[[], int]:
        gc.collect()
        tracemalloc.start()
        return self._allocated

    def _allocated(self) -> int:
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    def __exit__(self, *_: object) -> None:
        tracemalloc.stop()


def _mapped() -> int:
    directory = os.environ.get("STREAMVITALS_DIR")
    if not directory:
        return 0
    return sum(entry.stat().st_size for entry in os.scandir(directory))
