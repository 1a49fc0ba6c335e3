"""A service with users of several models, for the live page: each user reads streams, one after another.

    python demo/live_app.py gpt-4o=6 gpt-4o-mini=4
"""

from __future__ import annotations

import asyncio
import random
import sys
from typing import Any

import openai

import streamvitals

QUESTION: Any = [{"role": "user", "content": "hello"}]


async def user(client: openai.AsyncOpenAI, model: str, number: int) -> None:
    lots = random.Random(f"{model} {number}")  # noqa: S311  nobody is to guess it
    with streamvitals.labels(tenant=("acme", "globex", "initech")[number % 3]):
        while True:
            await asyncio.sleep(lots.uniform(0.1, 1.5))
            try:
                stream = await client.chat.completions.create(model=model, messages=QUESTION, stream=True)
                async for _ in stream:
                    pass
            except openai.APIError:
                await asyncio.sleep(lots.uniform(0.2, 1.0))
            except Exception:  # noqa: BLE001  what older versions of the SDK let through from below
                await asyncio.sleep(1.0)


async def main(wanted: list[str]) -> None:
    client = openai.AsyncOpenAI(max_retries=1)
    counts = ((model, int(count)) for model, _, count in (text.rpartition("=") for text in wanted))
    await asyncio.gather(*(user(client, model, number) for model, count in counts for number in range(count)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
