"""A program that streams chat completions: worker processes with threads and asyncio tasks in them.

It takes jobs from stdin, one JSON object a line, and prints a JSON line when one is done. A line that is only a
number starts that worker; an empty line ends a batch: the workers finish what they have and exit. It uses the
openai SDK and the standard library, and knows nothing of who runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import openai

Job = dict[str, Any]
THREADS = 16


# Jobs after which a stream is left to the collector, which then closes it. It may strike while a connection pool is
# locked, and older versions of httpcore deadlock if it is the same pool: these get one of their own.
DROPPING = ("break", "raise", "leave", "until-finished")
# What ends a response over a WebSocket.
LAST = (
    "response.done", "response.completed", "response.incomplete", "response.failed", "response.cancelled", "error",
)


class Unwanted(Exception):
    """Raised by this program when it does not like an answer."""


def say(line: dict[str, Any]) -> None:
    os.write(1, (json.dumps(line) + "\n").encode())


class Timed:
    """The result of one job, with the times that it took."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.chunks = 0
        self.first: float | None = None
        self.waits: list[float] = []
        self.held = 0.0
        self.before = 0.0
        self.started = self.asked = self.arrived = time.monotonic()

    def got(self, token: bool) -> None:
        now = time.monotonic()
        self.waits.append(now - self.asked)
        if self.chunks:
            self.held += self.asked - self.arrived
        self.arrived = now
        self.before = 0.0
        self.chunks += 1
        if self.first is None and token:
            self.first = now - self.started

    def ask_again(self) -> None:
        self.asked = time.monotonic() - self.before

    def waited(self) -> None:
        """Add a wait for something else: what is waited for has still not come."""
        self.before = time.monotonic() - self.asked

    def done(self, error: BaseException | None) -> None:
        saw = "" if error is None else type(error).__name__
        say({
            "id": self.job["id"], "pid": os.getpid(), "chunks": self.chunks, "saw": saw, "first": self.first,
            "waits": self.waits, "held": self.held,
        })


def has_token(chunk: Any) -> bool:
    return any(
        value for choice in chunk.choices for key, value in choice.delta.model_dump().items() if key != "role"
    )


def finished(chunk: Any) -> bool:
    return any(choice.finish_reason for choice in chunk.choices)


def ask(client: openai.OpenAI, job: Job, when_open: Callable[[], object] | None = None) -> None:
    """Ask for a stream from a thread, and read it the way the job says."""
    client = client.with_options(**job["options"])
    how, error = job["how"], None
    timed = Timed(job)
    try:
        stream: Any = client.chat.completions.create(**job["request"])
        if when_open:
            when_open()
        for chunk in stream if how != "leave" else ():
            timed.got(has_token(chunk))
            if job["pause"]:
                time.sleep(job["pause"])
            if timed.chunks == job["stop"]:
                if how == "raise":
                    raise Unwanted
                if how == "close":
                    stream.close()
                break
            if how == "until-finished" and finished(chunk):
                break
            timed.ask_again()
    except (Exception, KeyboardInterrupt) as caught:  # noqa: BLE001
        error = caught
    timed.done(error)


async def ask_async(client: openai.AsyncOpenAI, job: Job) -> None:
    """Do the same from a task."""
    client = client.with_options(**job["options"])
    how, error = job["how"], None
    timed = Timed(job)

    async def read(stream: Any) -> None:
        async for chunk in stream:
            timed.got(has_token(chunk))
            if job["pause"]:
                await asyncio.sleep(job["pause"])
            if timed.chunks == job["stop"]:
                if how == "raise":
                    raise Unwanted
                if how == "close":
                    await stream.close()
                break
            if how == "until-finished" and finished(chunk):
                break
            timed.ask_again()

    try:
        stream: Any = await client.chat.completions.create(**job["request"])
        if how == "deadline":
            await asyncio.wait_for(read(stream), job["seconds"])
        elif how == "cancel":
            reading = asyncio.create_task(read(stream))
            await asyncio.sleep(job["seconds"])
            reading.cancel()
            await reading
        elif how != "leave":
            await read(stream)
    except (Exception, asyncio.CancelledError) as caught:  # noqa: BLE001
        error = caught
    timed.done(error)


class Turn:
    """One response over a WebSocket: its request, which events belong to it, and the last of them."""

    def __init__(self, job: Job) -> None:
        self.timed = Timed(job)
        self._job = job
        self._realtime = job["surface"] == "realtime"
        self._begun = False

    def connect(self, client: Any) -> Any:
        url = self._job["options"]["base_url"]
        client = client.with_options(base_url=url, websocket_base_url=url.replace("http", "ws", 1))
        if self._realtime:
            return client.realtime.connect(model=self._job["request"]["model"])
        return client.responses.connect()

    def asks(self) -> Any:
        self.timed = Timed(self._job)  # what was before is the connection's
        return self._job["request"]

    def ends_with(self, event: Any) -> bool:
        # An error in the middle of a Realtime response is of the session, whose next event may go on with it.
        mine = event.type.startswith("response.") or (event.type == "error" and not (self._realtime and self._begun))
        self._begun = self._begun or event.type == "response.created"
        if mine:
            self.timed.got(event.type.endswith(".delta"))
        else:
            self.timed.waited()
        return event.type in LAST


def talk(client: openai.OpenAI, job: Job) -> None:
    """Ask for a response over a WebSocket, from a thread."""
    turn, error = Turn(job), None
    try:
        with turn.connect(client) as connection:
            connection.send(turn.asks())
            for event in connection:
                if turn.ends_with(event):
                    break
                turn.timed.ask_again()
    except Exception as caught:  # noqa: BLE001
        error = caught
    turn.timed.done(error)


async def talk_async(client: openai.AsyncOpenAI, job: Job) -> None:
    """Do the same from a task."""
    turn, error = Turn(job), None
    try:
        async with turn.connect(client) as connection:
            await connection.send(turn.asks())
            async for event in connection:
                if turn.ends_with(event):
                    break
                turn.timed.ask_again()
    except Exception as caught:  # noqa: BLE001
        error = caught
    turn.timed.done(error)


def interrupted(client: openai.OpenAI, job: Job) -> None:
    """Send SIGINT, as Ctrl-C does, while the main thread reads."""
    typing = threading.Timer(job["seconds"], os.kill, (os.getpid(), signal.SIGINT))
    ask(client, job, typing.start)


def killed(client: openai.OpenAI, job: Job, together: threading.Barrier) -> None:
    """Kill the process while its threads read, as for want of memory."""
    stream = client.with_options(**job["options"]).chat.completions.create(**job["request"])
    together.wait()
    threading.Timer(job["seconds"], os.kill, (os.getpid(), signal.SIGKILL)).start()
    for _ in stream:
        time.sleep(job["pause"])


async def close(client: openai.AsyncOpenAI) -> None:
    await client.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}  # the loop's own, for what was left half read
    await asyncio.gather(*others, return_exceptions=True)


def warm_up(client: openai.OpenAI) -> None:
    """Import what the SDK imports at first use of WebSockets: done later it would delay streams."""
    for resource in (getattr(client, "realtime", None), client.responses if hasattr(client, "responses") else None):
        if hasattr(resource, "connect"):
            with contextlib.suppress(ImportError):
                importlib.import_module("websockets")
            module = vars(sys.modules[type(resource).__module__])
            connection = module.get("RealtimeConnection") or module["ResponsesConnection"]
            connection.parse_event(None, json.dumps({"type": "response.created", "response": {}}))


def work(jobs: Any) -> None:
    """Run a worker process: jobs for threads, for tasks and for the main thread, until there are no more."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    client = openai.OpenAI(api_key=os.environ["DEMO_API_KEY"])
    loop = asyncio.new_event_loop()
    async_client = openai.AsyncOpenAI(api_key=os.environ["DEMO_API_KEY"])
    warm_up(client)
    say({"ready": os.getpid(), "asks": type(client.chat.completions).__name__})
    tasks: list[Future[None]] = []
    together: threading.Barrier | None = None
    clients = [client]
    looping = threading.Thread(target=loop.run_forever)
    looping.start()
    with ThreadPoolExecutor(THREADS) as threads:
        for job in iter(jobs.get, None):
            if job["how"] == "interrupt":
                interrupted(client, job)
            elif job["how"] == "crash":
                together = together or threading.Barrier(job["together"])
                threads.submit(killed, client, job, together)
            elif job["how"] == "talk":
                if job["mode"] == "thread":
                    threads.submit(talk, client, job)
                else:
                    tasks.append(asyncio.run_coroutine_threadsafe(talk_async(async_client, job), loop))
            elif job["mode"] == "thread":
                if job["how"] in DROPPING:
                    clients.append(openai.OpenAI(api_key=os.environ["DEMO_API_KEY"]))
                threads.submit(ask, clients[-1] if job["how"] in DROPPING else client, job)
            else:
                tasks.append(asyncio.run_coroutine_threadsafe(ask_async(async_client, job), loop))
    for task in tasks:
        task.result()
    asyncio.run_coroutine_threadsafe(close(async_client), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    looping.join()
    loop.close()
    for client in clients:
        client.close()


class Workers:
    def __init__(self) -> None:
        self._processes = multiprocessing.get_context("spawn")
        self._running: dict[int, tuple[Any, Any]] = {}

    def start(self, number: int) -> None:
        jobs = self._processes.SimpleQueue()
        worker = self._processes.Process(target=work, args=(jobs,))
        worker.start()
        self._running[number] = worker, jobs

    def give(self, job: Job) -> None:
        self._running[job["worker"]][1].put(job)

    def finish(self) -> None:
        if not self._running:
            return
        for _, jobs in self._running.values():
            jobs.put(None)
        for worker, _ in self._running.values():
            worker.join()
        say({"batch": [worker.exitcode for worker, _ in self._running.values()]})
        self._running.clear()


def main() -> None:
    workers = Workers()
    for line in map(str.strip, sys.stdin):
        if line.isdigit():
            workers.start(int(line))
        elif line:
            workers.give(json.loads(line))
        else:
            workers.finish()
    workers.finish()


if __name__ == "__main__":
    main()
