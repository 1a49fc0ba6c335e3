"""Retry loops as people write them, around a streamed answer; run by retry_driver.py."""

import asyncio
import time

ATTEMPTS = 3
PAUSE = 0.05  # seconds
QUESTION = [{"role": "user", "content": "hello"}]


def _ask(model):
    from openai import OpenAI

    parts = OpenAI(max_retries=0).chat.completions.create(model=model, messages=QUESTION, stream=True)
    return "".join(part.choices[0].delta.content or "" for part in parts)


async def _aask(model):
    from openai import AsyncOpenAI

    async with AsyncOpenAI(max_retries=0) as client:
        parts = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
        return "".join([part.choices[0].delta.content or "" async for part in parts])


def loop(model):
    for attempt in range(ATTEMPTS):
        try:
            return _ask(model)
        except Exception:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE)
    return ""


def aloop(model):
    async def ask():
        for attempt in range(ATTEMPTS):
            try:
                return await _aask(model)
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(PAUSE)
        return ""

    return asyncio.run(ask())


def wait_for_loop(model):
    """The same with a deadline per attempt; before Python 3.12 wait_for makes a task of each."""

    async def ask():
        for attempt in range(ATTEMPTS):
            try:
                return await asyncio.wait_for(_aask(model), 30)
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(PAUSE)
        return ""

    return asyncio.run(ask())


def run_loop(model):
    """A loop of asyncio's for each attempt."""
    for attempt in range(ATTEMPTS):
        try:
            return asyncio.run(_aask(model))
        except Exception:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE)
    return ""


def uvloop_loop(model):
    import uvloop

    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    return run_loop(model)


def trio_loop(model):
    import trio

    async def ask():
        for attempt in range(ATTEMPTS):
            try:
                return await _aask(model)
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
                await trio.sleep(PAUSE)
        return ""

    return trio.run(ask)


def gevent_loop(model):
    from gevent import monkey

    monkey.patch_all()
    import gevent

    asked = gevent.spawn(loop, model)
    asked.join()
    return asked.get()


def executor_loop(model):
    """Each attempt on whichever thread of a pool is free."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(4) as pool:
        for attempt in range(ATTEMPTS):
            try:
                return pool.submit(_ask, model).result()
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
                time.sleep(PAUSE)
    return ""


def to_thread_loop(model):
    """The synchronous client in threads of an asynchronous program."""

    async def ask():
        for attempt in range(ATTEMPTS):
            try:
                return await asyncio.to_thread(_ask, model)
            except Exception:
                if attempt == ATTEMPTS - 1:
                    raise
                await asyncio.sleep(PAUSE)
        return ""

    return asyncio.run(ask())


def threadsafe_loop(model):
    """The asynchronous client in the event loop of another thread."""
    import threading

    elsewhere = asyncio.new_event_loop()
    threading.Thread(target=elsewhere.run_forever, daemon=True).start()
    for attempt in range(ATTEMPTS):
        try:
            return asyncio.run_coroutine_threadsafe(_aask(model), elsewhere).result()
        except Exception:
            if attempt == ATTEMPTS - 1:
                raise
            time.sleep(PAUSE)
    return ""


def tenacity_sync(model):
    from tenacity import retry, stop_after_attempt, wait_fixed

    return retry(stop=stop_after_attempt(ATTEMPTS), wait=wait_fixed(PAUSE), reraise=True)(_ask)(model)


def tenacity_async(model):
    from tenacity import retry, stop_after_attempt, wait_fixed

    return asyncio.run(retry(stop=stop_after_attempt(ATTEMPTS), wait=wait_fixed(PAUSE), reraise=True)(_aask)(model))


def backoff_sync(model):
    import backoff

    return backoff.on_exception(backoff.constant, Exception, max_tries=ATTEMPTS, interval=PAUSE)(_ask)(model)


def backoff_async(model):
    import backoff

    ask = backoff.on_exception(backoff.constant, Exception, max_tries=ATTEMPTS, interval=PAUSE)(_aask)
    return asyncio.run(ask(model))


def stamina_sync(model):
    import stamina

    return stamina.retry(on=Exception, attempts=ATTEMPTS, wait_initial=PAUSE, wait_max=PAUSE)(_ask)(model)


def stamina_async(model):
    import stamina

    return asyncio.run(stamina.retry(on=Exception, attempts=ATTEMPTS, wait_initial=PAUSE, wait_max=PAUSE)(_aask)(model))
