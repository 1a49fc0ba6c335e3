"""An ordinary program with users: asks models, streams the answers, tries again, falls back. It knows of no observer.

    client.py SURFACE,... USERS_PER_SECOND TIMEOUT_SECONDS SEED MODEL=BASE_URL...
"""

from __future__ import annotations

import asyncio
import random
import sys
from contextlib import suppress
from typing import Any

import openai

TRIES = 2
# Seconds between tries of the program's own, beside those of the SDK.
BACKOFF = 0.3
# How many of the users go away in the middle, and how many ask for an answer in one piece when all else fails.
IMPATIENT, FALLING_BACK = 0.03, 0.8


def _ends(event: Any) -> bool:
    """Whether this chunk ends the answer: of a response its last event does, else a finish_reason."""
    if hasattr(event, "choices"):
        return any(choice.finish_reason for choice in event.choices)
    return event.type in ("response.completed", "response.incomplete")


class Cut(Exception):
    """The answer has no end."""


class Service:
    def __init__(self, surfaces: list[str], timeout: float, seed: int, models: dict[str, str]) -> None:
        self.random = random.Random(seed)
        self.surfaces = surfaces
        self.clients = {
            model: openai.AsyncOpenAI(base_url=url, timeout=timeout, max_retries=2) for model, url in models.items()
        }

    def ask(self, surface: str, model: str, question: str) -> Any:
        """Return a stream of events, when awaited."""
        client = self.clients[model]
        if surface == "responses":
            return client.responses.create(model=model, input=question, stream=True)
        if surface == "completions":
            return client.completions.create(
                model=model, prompt=question, stream=True, stream_options={"include_usage": True}
            )
        return client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": question}], stream=True,
            stream_options={"include_usage": True},
        )

    async def read(self, stream: Any, leave_after: int) -> None:
        finished = False
        seen = 0
        async for event in stream:
            seen += 1
            finished = finished or _ends(event)
            if seen == leave_after:
                await stream.close()
                return
        if not finished:
            raise Cut

    async def answered(self, surface: str, model: str, question: str, leave_after: int) -> bool:
        try:
            await self.read(await self.ask(surface, model, question), leave_after)
        except (openai.OpenAIError, Cut):
            return False
        return True

    async def user(self, number: int) -> None:
        model, surface = self.random.choice(list(self.clients)), self.random.choice(self.surfaces)
        question = f"What is {number} squared?"
        leave_after = self.random.randint(2, 15) if self.random.random() < IMPATIENT else 0
        for attempt in range(TRIES):
            if await self.answered(surface, model, question, leave_after):
                return
            await asyncio.sleep(BACKOFF * 2**attempt * self.random.uniform(0.5, 1.5))
        if surface == "chat" and self.random.random() < FALLING_BACK:
            with suppress(openai.OpenAIError):
                await self.clients[model].chat.completions.create(
                    model=model, messages=[{"role": "user", "content": question}]
                )

    async def open(self, per_second: float) -> None:
        users: set[asyncio.Task[None]] = set()
        number = 0
        while True:
            number += 1
            task = asyncio.create_task(self.user(number))
            users.add(task)
            task.add_done_callback(users.discard)
            await asyncio.sleep(self.random.expovariate(per_second))


if __name__ == "__main__":
    surfaces, per_second, timeout, seed, *models = sys.argv[1:]
    addresses = dict(one.split("=", 1) for one in models)
    asyncio.run(Service(surfaces.split(","), float(timeout), int(seed), addresses).open(float(per_second)))
