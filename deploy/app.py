"""An ordinary service whose users ask models all day: it uses the openai package, and knows of nobody who watches."""

from __future__ import annotations

import asyncio
import os
import random
from contextlib import suppress

from openai import AsyncOpenAI, OpenAIError

# Whom to ask for which model; the second provider is another address of the same interface.
HOSTED = {"gpt-4o": 4, "gpt-4o-mini": 6}
OWN = {"llama-3.3-70b": 3}
TRIES = 2
# How long a user waits for a model to go on. Seconds.
PATIENCE = 20.0


class Service:
    """``draw`` decides who asks what when, ``pace`` how much faster than in life."""

    def __init__(self, draw: random.Random, pace: float) -> None:
        self._draw = draw
        self._pace = pace
        self._hosted = AsyncOpenAI(timeout=PATIENCE, max_retries=2)
        self._own = AsyncOpenAI(timeout=PATIENCE, max_retries=2, base_url=os.environ["OWN_MODELS_URL"])

    async def user(self, number: int) -> None:
        """Asks, reads the answer, thinks, asks again."""
        models = {**HOSTED, **OWN}
        while True:
            await asyncio.sleep(self._draw.expovariate(self._pace / 3.0))
            (model,) = self._draw.choices(list(models), list(models.values()))
            question = f"user {number}: what is {self._draw.randrange(1000)} squared?"
            # Every third has an app that can do without a stream.
            await self._ask(model, question, in_one_piece=number % 3 == 0)

    async def _ask(self, model: str, question: str, *, in_one_piece: bool) -> None:
        """Tries again when a stream breaks, and then gives up, or asks for the answer in one piece."""
        client = self._own if model in OWN else self._hosted
        for number in range(TRIES):
            if await self._read(client, model, question):
                return
            await asyncio.sleep(0.5 * 2**number / self._pace)
        if in_one_piece:
            with suppress(OpenAIError):
                await client.chat.completions.create(model=model, messages=[{"role": "user", "content": question}])

    async def _read(self, client: AsyncOpenAI, model: str, question: str) -> bool:
        """Whether the answer came."""
        # Some have read enough before the end.
        enough = self._draw.randrange(5, 20) if self._draw.random() < 0.03 else -1
        try:
            stream = await client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": question}],
                stream=True, stream_options={"include_usage": True},
            )
            async with stream:
                read = 0
                async for _ in stream:
                    read += 1
                    if read == enough:
                        break
        except OpenAIError:
            return False
        return True


async def main() -> None:
    seed = os.environ.get("SEED", "1")
    service = Service(random.Random(seed), float(os.environ.get("PACE", "1")))
    users = int(os.environ.get("USERS", "8"))
    await asyncio.gather(*(service.user(number) for number in range(users)))


if __name__ == "__main__":
    asyncio.run(main())
