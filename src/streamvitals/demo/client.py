"""A program that streams chat completions: worker processes with threads and asyncio tasks in them.

It takes jobs from stdin, one JSON object a line, and prints a JSON line when one is done. An empty line ends a
batch: the workers finish what they have and exit, and the next batch gets new ones. It uses the openai SDK and
the standard library, and knows nothing of who runs it.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import openai

Job = dict[str, Any]
THREADS = 16


class Unwanted(Exception):
    """What this program raises when it does not like an answer."""


def say(line: dict[str, Any]) -> None:
    os.write(1, (json.dumps(line) + "\n").encode())


def done(job: Job, chunks: int, error: BaseException | None = None) -> None:
    saw = "" if error is None else type(error).__name__
    say({"id": job["id"], "pid": os.getpid(), "chunks": chunks, "saw": saw})


def finished(chunk: Any) -> bool:
    return any(choice.finish_reason for choice in chunk.choices)


def ask(client: openai.OpenAI, job: Job) -> None:
    """Ask for a stream from a thread, and read it the way the job says."""
    client = client.with_options(**job["options"])
    chunks, how, error = 0, job["how"], None
    try:
        stream = client.chat.completions.create(**job["request"])
        for chunk in stream if how != "leave" else ():
            chunks += 1
            if job["pause"]:
                time.sleep(job["pause"])
            if chunks == job["stop"]:
                if how == "raise":
                    raise Unwanted
                if how == "close":
                    stream.close()
                break
            if how == "until-finished" and finished(chunk):
                break
    except (Exception, KeyboardInterrupt) as caught:
        error = caught
    done(job, chunks, error)


async def ask_async(client: openai.AsyncOpenAI, job: Job) -> None:
    """The same from a task."""
    client = client.with_options(**job["options"])
    chunks, how, error = 0, job["how"], None

    async def read() -> None:
        nonlocal chunks
        stream = await client.chat.completions.create(**job["request"])
        if how == "leave":
            return
        async for chunk in stream:
            chunks += 1
            if job["pause"]:
                await asyncio.sleep(job["pause"])
            if chunks == job["stop"]:
                if how == "raise":
                    raise Unwanted
                if how == "close":
                    await stream.close()
                break
            if how == "until-finished" and finished(chunk):
                break

    try:
        if how == "deadline":
            await asyncio.wait_for(read(), job["seconds"])
        elif how == "cancel":
            reading = asyncio.create_task(read())
            await asyncio.sleep(job["seconds"])
            reading.cancel()
            await reading
        else:
            await read()
    except (Exception, asyncio.CancelledError) as caught:
        error = caught
    done(job, chunks, error)


def interrupted(client: openai.OpenAI, job: Job) -> None:
    """Somebody types Ctrl-C while the main thread reads."""
    typing = threading.Timer(job["seconds"], os.kill, (os.getpid(), signal.SIGINT))
    typing.start()
    ask(client, job)
    typing.join()


def killed(client: openai.OpenAI, job: Job, together: threading.Barrier) -> None:
    """The process is killed, for want of memory say, while its threads read."""
    stream = client.with_options(**job["options"]).chat.completions.create(**job["request"])
    together.wait()
    threading.Timer(job["seconds"], os.kill, (os.getpid(), signal.SIGKILL)).start()
    for _ in stream:
        time.sleep(job["pause"])


def work(jobs: Any) -> None:
    """A worker process: jobs for threads, for tasks and for the main thread, until there are no more."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    client = openai.OpenAI(api_key=os.environ["DEMO_API_KEY"])
    loop = asyncio.new_event_loop()
    async_client = openai.AsyncOpenAI(api_key=os.environ["DEMO_API_KEY"])
    tasks: list[Future[None]] = []
    together: threading.Barrier | None = None
    looping = threading.Thread(target=loop.run_forever)
    looping.start()
    with ThreadPoolExecutor(THREADS) as threads:
        for job in iter(jobs.get, None):
            if job["how"] == "interrupt":
                interrupted(client, job)
            elif job["how"] == "crash":
                together = together or threading.Barrier(job["together"])
                threads.submit(killed, client, job, together)
            elif job["mode"] == "thread":
                threads.submit(ask, client, job)
            else:
                tasks.append(asyncio.run_coroutine_threadsafe(ask_async(async_client, job), loop))
    for task in tasks:
        task.result()
    asyncio.run_coroutine_threadsafe(async_client.close(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    looping.join()
    loop.close()
    client.close()


def main() -> None:
    processes = multiprocessing.get_context("spawn")
    workers: dict[int, tuple[Any, Any]] = {}
    for line in sys.stdin:
        if line.strip():
            job = json.loads(line)
            if job["worker"] not in workers:
                jobs = processes.SimpleQueue()
                worker = processes.Process(target=work, args=(jobs,))
                worker.start()
                workers[job["worker"]] = worker, jobs
            workers[job["worker"]][1].put(job)
        else:
            for _, jobs in workers.values():
                jobs.put(None)
            for worker, _ in workers.values():
                worker.join()
            say({"batch": [worker.exitcode for worker, _ in workers.values()]})
            workers.clear()


if __name__ == "__main__":
    main()
