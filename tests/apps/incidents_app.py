"""Four forked workers, in each of which something else happens to streams; each says when that is over."""

import asyncio
import os
import sys
import time

from openai import AsyncOpenAI, OpenAI

QUESTION = [{"role": "user", "content": "a secret question"}]


def read(model, times=1, **options):
    for _ in range(times):
        try:
            with OpenAI(**{"max_retries": 0, **options}) as client:
                chunks = list(client.chat.completions.create(model=model, messages=QUESTION, stream=True))
            if chunks and chunks[-1].choices and chunks[-1].choices[0].finish_reason:
                return
        except Exception as error:  # noqa: BLE001  the app's own way: it asks again
            print(model, type(error).__name__, flush=True)


async def aread(model):
    for _ in range(3):
        try:
            async with AsyncOpenAI(max_retries=0) as client:
                stream = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
                if [chunk async for chunk in stream][-1].choices[0].finish_reason:
                    return
        except Exception as error:  # noqa: BLE001
            print(model, type(error).__name__, flush=True)


WORK = (
    lambda: read("flaky", 3),
    lambda: asyncio.run(aread("aflaky")),
    lambda: (read("sv-reset?after=4"), read("sv-stall?after=2", timeout=60)),
    lambda: (read("sv-429", max_retries=2), read("sv-401"), [read("sv-reset?after=4") for _ in range(20)]),
)
parent = os.getpid()
for work in WORK:
    if os.fork() == 0:
        work()
        print("done", os.getpid(), flush=True)
        while os.getppid() == parent:
            time.sleep(0.05)
        sys.exit()
time.sleep(600)
