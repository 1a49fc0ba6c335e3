"""The process that is counted: ``python -m bench.counted SIDE`` under callgrind reads streams, observer off, then on.

What would make two runs differ, or a run differ from what an application sees, is kept away:

- The SDK reads from memory (canned.py), chunks are built already: a socket is polled as often as the kernel likes,
  and building is the same with and without us, and several times what is looked for.
- Each way of reading runs alone some times before it is counted: caches are full, and the interpreter (3.11 and newer)
  has specialised the bytecode for it, as in any process that is older than a second.
- The cyclic collector is off while counting: a collection that falls into one count and not into the other would be
  most of the difference. What it costs is in no row.
- Our clock is canned, too: under callgrind it would be fifty times too fast. No stall, no flush and, but for "uneven",
  no gap that is longer than all before, which are rare. The event loop, whose timers go by the second, is not returned
  to.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
import warnings
from collections import deque
from collections.abc import Callable, Iterable
from itertools import accumulate, count, cycle, islice
from typing import Any

from . import observers
from .callgrind import Callgrind

SHORT, LONG = 20, 120  # chunks
STREAMS = 3  # of the short ones, counted together
ROUNDS = 2
PLAIN = ("call", "call_async")  # without a stream
# What sees the answers of those is patched with the first of them, and must not be paid for by streams before.
FAILING = ("refused", "refused_async", "limited", "limited_async", "cut", "cut_async")  # failing.py
ACTS = (
    "chat", "chat_async", "uneven", "thinking", "responses", "responses_async", "bytes", "bytes_async",
    *PLAIN, *FAILING,
)
_LOOKS = 20_000  # at the clock, at most, in each way
_EVEN = tuple(islice(count(0.008, -1e-8), _LOOKS))  # no gap is longer than all before
# Of chunks that come in bursts nearly every other gap is in another bucket than the one before.
_UNEVEN = tuple(islice(cycle([*[0.0003] * 2, 0.022, *[0.0003] * 4, 0.012, 0.0003]), _LOOKS))

_CHAT: dict[str, Any] = {"model": "gpt-4o-mini", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
_PLAIN = {name: value for name, value in _CHAT.items() if name != "stream"}
_RESPONSES: dict[str, Any] = {"model": "gpt-4o-mini", "stream": True, "input": "hi"}

Began = Callable[[], object]


class Acts:
    """Ways of reading one stream to its end; ``began`` is called with the first chunk in hand."""

    def __init__(self) -> None:
        import openai

        from . import canned, failing

        self._transports = sync, async_ = canned.Canned(), canned.AsyncCanned()
        same: dict[str, Any] = {"api_key": "k", "base_url": "http://bench.invalid/v1"}
        self._client = openai.OpenAI(http_client=canned.http.Client(transport=sync), **same)
        self._aclient = openai.AsyncOpenAI(http_client=canned.http.AsyncClient(transport=async_), **same)
        self._thinking = {**_CHAT, "model": canned.THINKING}
        self._failing = failing.Failing()
        self._errors = (openai.APIError, canned.http.HTTPError)

    def call(self, began: Began) -> None:
        self._client.chat.completions.create(**_PLAIN)

    async def call_async(self, began: Began) -> None:
        await self._aclient.chat.completions.create(**_PLAIN)

    def chat(self, began: Began) -> None:
        stream = self._client.chat.completions.create(**_CHAT)
        next(stream)
        began()
        for _ in stream:
            pass

    uneven = chat

    def thinking(self, began: Began) -> None:
        for _ in self._client.chat.completions.create(**self._thinking):
            pass

    async def chat_async(self, began: Began) -> None:
        stream = await self._aclient.chat.completions.create(**_CHAT)
        await stream.__anext__()
        began()
        async for _ in stream:
            pass

    def responses(self, began: Began) -> None:
        for _ in self._client.responses.create(**_RESPONSES):
            pass

    async def responses_async(self, began: Began) -> None:
        async for _ in await self._aclient.responses.create(**_RESPONSES):
            pass

    def bytes(self, began: Began) -> None:
        with self._client.chat.completions.with_streaming_response.create(**_CHAT) as response:
            for _ in response.iter_bytes():
                pass

    async def bytes_async(self, began: Began) -> None:
        async with self._aclient.chat.completions.with_streaming_response.create(**_CHAT) as response:
            async for _ in response.iter_bytes():
                pass

    def _fail(self, kind: str) -> None:
        """The app asks, and asks again."""
        self._failing.fail(kind)
        try:
            for _ in self._failing.client.chat.completions.create(**_CHAT):
                pass
        except self._errors:
            pass

    async def _fail_async(self, kind: str) -> None:
        self._failing.fail(kind)
        try:
            async for _ in await self._failing.async_client.chat.completions.create(**_CHAT):
                pass
        except self._errors:
            pass

    def refused(self, began: Began) -> None:
        self._fail("refused")

    async def refused_async(self, began: Began) -> None:
        await self._fail_async("refused")

    def limited(self, began: Began) -> None:
        self._fail("limited")

    async def limited_async(self, began: Began) -> None:
        await self._fail_async("limited")

    def cut(self, began: Began) -> None:
        self._fail("cut")

    async def cut_async(self, began: Began) -> None:
        await self._fail_async("cut")

    async def run(self, name: str, chunks: int, times: int, began: Began = tuple) -> None:
        """Read ``times`` streams of so many chunks in the way of this name."""
        for transport in self._transports:
            transport.chunks = chunks
        act = getattr(self, name)
        for _ in range(times):
            done = act(began)
            if done is not None:
                await done


def _clock(steps: Iterable[float]) -> Callable[[], float]:
    """What is called as time.monotonic is; a long stream lasts less than a flush's time."""
    return deque(accumulate(islice(steps, _LOOKS), initial=1000.0)).popleft


async def _count(acts: Acts, callgrind: Callgrind, name: str, state: str) -> None:
    await acts.run(name, LONG, 1)
    await acts.run(name, SHORT, 5)
    if name in FAILING:
        logging.disable(logging.NOTSET)  # what has no line of its own is counted for the next one
        await acts.run(name, SHORT, 20)  # nor has each of so many that end alike a record of its own
    sizes = ((SHORT, STREAMS), (LONG, 1))[: 1 if name in (*PLAIN, *FAILING) else 2]
    for turn in range(ROUNDS + 1):
        # Of the first nobody will ask: callgrind does not know yet from where it was called, and gets lost.
        label = f"{name} {{}} {turn} {state}" if turn else ""
        for chunks, times in sizes if turn else ((SHORT, 1),):
            _clear(callgrind)
            callgrind.toggle()
            await acts.run(name, chunks, times)
            callgrind.toggle()
            callgrind.dump(label.format(chunks))
        if name.startswith("chat"):

            def began(label: str = label.format("first")) -> None:
                callgrind.toggle()
                callgrind.dump(label)

            _clear(callgrind)
            callgrind.toggle()
            await acts.run(name, SHORT, 1, began)


def _clear(callgrind: Callgrind) -> None:
    """Forget what came before: calls are counted at any time, and instructions between toggles only."""
    gc.collect()
    callgrind.dump("")


def main(side: str, names: tuple[str, ...]) -> None:
    """Write dumps named by act, chunks (or "first": until the first one), round and state."""
    warnings.simplefilter("ignore")
    logging.basicConfig(filename=os.devnull, level=logging.WARNING)
    logging.disable(logging.CRITICAL)
    callgrind, switch = Callgrind(), observers.switch(side)
    acts = Acts()
    from . import canned

    if isinstance(switch, observers.Streamvitals):
        switch.hold_budgets()
    gc.collect()
    gc.freeze()
    gc.disable()
    callgrind.start()
    with canned.prebuilt():
        for state in ("off", "on"):
            getattr(switch, state)()
            for name in names:
                if isinstance(switch, observers.Streamvitals):
                    switch.set_clock(_clock(_UNEVEN if name == "uneven" else _EVEN))
                asyncio.run(_count(acts, callgrind, name, state))
    switch.off()


if __name__ == "__main__":
    main(sys.argv[1], tuple(sys.argv[2:]) or ACTS)
