"""An application that asks questions again, by a script of what goes wrong, and what is told of that."""

from __future__ import annotations

from typing import Any

import openai

from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.testing import RecordList

# Before openai 3.10 the error of httpx itself reaches the app.
KINDS = (Exception,)


class App:
    """Asks questions that are answered by a script of scenarios."""

    def __init__(self, server: ThreadedFaultServer) -> None:
        self.client = openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0)
        self.base_url = server.base_url

    def ask(self, scenario: str, question: str = "q", *, stream: bool = True) -> None:
        made: Any = self.client.chat.completions.create(**_body(scenario, question), stream=stream)
        for _ in made if stream else ():
            pass

    async def aask(self, scenario: str, question: str = "q") -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=self.base_url, max_retries=0) as client:
            made: Any = await client.chat.completions.create(**_body(scenario, question), stream=True)
            async for _ in made:
                pass


def _body(scenario: str, question: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": "m", "messages": messages, "extra_body": {"sv_scenario": scenario}}


def attempts(records: RecordList) -> list[tuple[str, int]]:
    return [(record.outcome.value, record.chain_attempt) for record in records]


def chains(records: RecordList) -> list[tuple[str, int]]:
    current = lifecycle.current()
    assert current is not None
    current.snapshot()
    return [(chain.event, chain.attempts) for chain in records.chains]
