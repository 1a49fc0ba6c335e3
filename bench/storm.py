"""The process of an outage: ``python -m bench.storm``. Many tasks ask, fail and ask again, observer off and on.

One JSON object per line: ``{"measure": name, "kind": kind, "tasks": n, "requests": n, "pairs": n, "alike": whether all
ask the same}`` in, pairs of what was found without and with the observer out, each a list of figures.
"""

from __future__ import annotations

import asyncio
import cProfile
import gc
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

from . import observers
from .canned import AsyncCanned, http, prebuilt

KINDS = ("good", "refused", "status", "cut")
_BUSY = b'{"error": {"message": "busy", "type": "server_error", "code": null, "param": null}}'


class _Cut(http.AsyncByteStream):  # type: ignore[misc]
    """A body that breaks after some pieces, as a connection that is reset does."""

    def __init__(self, body: Any) -> None:
        self._body = body

    async def __aiter__(self) -> Any:
        left = 4
        async for piece in self._body:
            if not left:
                raise http.ReadError("reset") from ConnectionResetError(104, "Connection reset by peer")
            left -= 1
            yield piece


class Outage(AsyncCanned):
    """Answers as ``kind`` says, when all others have asked."""

    kind = "good"

    async def handle_async_request(self, request: Any) -> Any:
        await asyncio.sleep(0)
        if self.kind == "refused":
            raise http.ConnectError("refused") from ConnectionRefusedError(111, "Connection refused")
        if self.kind == "status":
            return http.Response(503, headers={"content-type": "application/json"}, content=_BUSY)
        answer = await super().handle_async_request(request)
        if self.kind == "cut":
            answer.stream = _Cut(answer.stream)
        return answer


class Storm:
    """The measures by name."""

    def __init__(self) -> None:
        import openai

        self._errors = (openai.APIError, http.HTTPError)
        self._transport = Outage()
        self._client = openai.AsyncOpenAI(
            api_key="k", base_url="http://bench.invalid/v1", max_retries=0,
            http_client=http.AsyncClient(transport=self._transport),
        )
        self._questions = count()
        self.alike = False  # whether all tasks ask the same

    async def _ask(self, question: str) -> None:
        message = {"role": "user", "content": question}
        stream = await self._client.chat.completions.create(model="gpt-4o-mini", messages=[message], stream=True)
        async for _ in stream:
            pass

    async def _task(self, requests: int) -> None:
        """One user's question, asked again and again."""
        question = "the same" if self.alike else f"question {next(self._questions)}"
        for _ in range(requests):
            with suppress(*self._errors):
                await self._ask(question)
            await asyncio.sleep(0)

    async def _tasks(self, tasks: int, requests: int) -> None:
        await asyncio.gather(*(self._task(requests) for _ in range(tasks)))

    def cpu(self, kind: str, tasks: int, requests: int) -> float:
        """Microseconds of CPU per request."""
        self._transport.kind = kind
        gc.collect()
        began = time.process_time_ns()
        asyncio.run(self._tasks(tasks, requests))
        return (time.process_time_ns() - began) / 1e3 / (tasks * requests)

    def calls(self, kind: str, tasks: int, requests: int) -> float:
        """Calls of functions, of Python's and of C's, per request: what no noise changes."""
        self._transport.kind = kind
        asyncio.run(self._tasks(min(tasks, 100), 2))
        profile = cProfile.Profile()
        profile.enable()
        asyncio.run(self._tasks(tasks, requests))
        profile.disable()
        return sum(entry.callcount for entry in profile.getstats()) / (tasks * requests)

    def garbage(self, kind: str, tasks: int, requests: int) -> float:
        """Objects per request that only the cyclic collector frees."""
        self._transport.kind = kind
        asyncio.run(self._tasks(tasks, requests))
        gc.collect()
        gc.disable()
        try:
            asyncio.run(self._tasks(tasks, requests))
            return gc.collect() / (tasks * requests)
        finally:
            gc.enable()

    def held(self, kind: str, tasks: int, requests: int) -> float:
        """Objects that the collector looks at, for each task that has failed and will ask again."""
        self._transport.kind = kind
        observers.forget_failures()
        found: list[int] = []

        async def run() -> None:
            gate = asyncio.Event()

            async def one() -> None:
                await self._task(1)
                await gate.wait()

            gc.collect()
            before = len(gc.get_objects())
            asking = [asyncio.ensure_future(one()) for _ in range(tasks)]
            for _ in range(200):
                await asyncio.sleep(0)
            gc.collect()
            found.append(len(gc.get_objects()) - before)
            gate.set()
            await asyncio.gather(*asking)

        asyncio.run(run())
        return found[0] / tasks

    def tracked(self, kind: str, tasks: int, requests: int) -> float:
        """Objects that the collector looks at, for each stream that is open with a chunk in hand."""
        self._transport.kind = "good"

        async def run() -> float:
            await self._opened(1)
            gc.collect()
            before = len(gc.get_objects())
            streams = await self._opened(tasks)
            gc.collect()
            return (len(gc.get_objects()) - before) / len(streams)

        return asyncio.run(run())

    def collections(self, kind: str, tasks: int, requests: int) -> list[float]:
        """How often the collector ran, of the youngest generation and of the oldest, per 1,000 requests."""
        self._transport.kind = kind
        asyncio.run(self._tasks(tasks, 1))
        gc.collect()
        before = [one["collections"] for one in gc.get_stats()]
        asyncio.run(self._tasks(tasks, requests))
        after = [one["collections"] for one in gc.get_stats()]
        times = [1e3 * (now - then) / (tasks * requests) for now, then in zip(after, before, strict=True)]
        return [times[0], times[-1]]

    async def _opened(self, streams: int) -> list[Any]:
        message = {"role": "user", "content": "hi"}
        opened = [
            await self._client.chat.completions.create(model="gpt-4o-mini", messages=[message], stream=True)
            for _ in range(streams)
        ]
        for stream in opened:
            await stream.__anext__()
        return opened

    def fork(self, kind: str, tasks: int, requests: int) -> list[float]:
        """With so many streams open, microseconds of CPU: of the parent in fork(); of the child until fork() returns in
        it; of its first stream, and of its second."""
        self._transport.kind = "good"

        async def run() -> list[float]:
            streams = await self._opened(tasks)
            found = self._fork()
            for stream in streams:
                async for _ in stream:
                    pass
            return found

        return asyncio.run(run())

    def _fork(self) -> list[float]:
        reader, writer = os.pipe()
        before = time.process_time_ns()
        pid = os.fork()
        if not pid:
            spent = [time.process_time_ns()]
            asyncio.events._set_running_loop(None)  # which is the parent's
            for _ in range(2):
                asyncio.run(self._ask("hi"))
                spent.append(time.process_time_ns())
            os.write(writer, json.dumps(spent).encode())
            os._exit(0)
        parents = time.process_time_ns() - before
        os.waitpid(pid, 0)
        os.close(writer)
        with os.fdopen(reader, "rb") as file:
            spent = json.loads(file.read())
        return [one / 1e3 for one in (parents, spent[0], spent[1] - spent[0], spent[2] - spent[1])]


def main() -> None:
    # What the observer logs must not get between our lines, nor be cheaper than where somebody reads it.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    logging.basicConfig(filename=os.devnull, level=logging.WARNING)
    warnings.simplefilter("ignore")
    switch = observers.switch("streamvitals")
    storm = Storm()
    gc.collect()
    gc.freeze()
    turn = 0
    with prebuilt():
        for line in sys.stdin:
            asked = json.loads(line)
            measure: Callable[..., float | list[float]] = getattr(storm, asked["measure"])
            storm.alike = asked["alike"]
            pairs = []
            for _ in range(asked["pairs"]):
                found = {}
                for state in ((False, True), (True, False))[turn]:
                    (switch.on if state else switch.off)()
                    figures = measure(asked["kind"], asked["tasks"], asked["requests"])
                    found[state] = figures if isinstance(figures, list) else [figures]
                    switch.off()
                pairs.append([found[False], found[True]])
                turn = 1 - turn
            answers.write(json.dumps(pairs) + "\n")


if __name__ == "__main__":
    main()
