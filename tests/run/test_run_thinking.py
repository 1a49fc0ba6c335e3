"""What the agent shows of a stream that waits, while it waits: thinking, kept alive, or hanging in its answer."""

from __future__ import annotations

import pytest

from run_support import environment, eventually, python, started, total
from streamvitals import names

CODE = """
import asyncio, sys, openai
ask = dict(model=sys.argv[2], messages=[{"role": "user", "content": "x"}], stream=True)

async def main():
    async for chunk in await openai.AsyncOpenAI(max_retries=0).chat.completions.create(**ask):
        pass

if sys.argv[1] == "async":
    asyncio.run(main())
else:
    for chunk in openai.OpenAI(max_retries=0).chat.completions.create(**ask):
        pass
"""


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize(("model", "phase"), [
    ("sv-thinking?first_token=12", "keep_alive"),
    ("sv-thinking-in-silence?first_token=600", "first_token"),
    ("sv-stall-before-headers?stall=600", "first_token"),
    ("sv-stall?after=3&stall=600", "between_chunks"),
])
def test_a_stream_that_waits_is_shown_in_its_phase(server, model, phase, mode):
    env = environment(
        server.base_url, STREAMVITALS_STALL_SECONDS="0.3", STREAMVITALS_FIRST_TOKEN_STALL_SECONDS="0.2"
    )
    with started(python("-c", CODE, mode, model), env) as app:
        app.wait_for_agent()

        def shown():
            samples = app.samples()
            return {p: total(samples, "streamvitals_streams_stalled", phase=p) for p in names.PHASES}

        eventually(lambda: shown() == {**dict.fromkeys(names.PHASES, 0), phase: 1})


@pytest.mark.parametrize("mode", ["sync", "async"])
def test_one_that_thinks_is_not_held_to_the_threshold_of_an_answer(server, mode):
    env = environment(server.base_url, STREAMVITALS_STALL_SECONDS="0.01")
    models = "sv-thinking-in-silence?first_token=600"
    with started(python("-c", CODE, mode, models), env) as app:
        app.wait_for_agent()
        eventually(lambda: total(app.samples(), "streamvitals_streams_active") == 1)
        open_for = [app.samples() for _ in range(5)]
        assert [total(samples, "streamvitals_streams_stalled") for samples in open_for] == [0] * 5
