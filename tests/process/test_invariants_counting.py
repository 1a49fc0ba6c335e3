"""Invariants 2 and 7: every stream that starts is counted once, under one outcome, whatever happens at once: threads,
tasks, the collector inside any lock, and forks."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest

from app_acts import act_of
from app_support import LONG, MESSAGES, App, settle
from counting_support import counted, open_streams, within_time
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.faults.scenarios import SCENARIOS, Scenario
from streamvitals.process import lifecycle
from streamvitals.stream.record import StreamRecord
from streamvitals.testing import RecordList, recorded

THREADS, TASKS, ROUNDS = 6, 12, 4
# Everything that a client sees within moments, and that does not interrupt the whole process.
MIX = [
    scenario for scenario in SCENARIOS.values()
    if scenario.client_timeout is None and not scenario.async_only
    and scenario.name not in ("keyboard-interrupt", "slow-headers", "slow-first-chunk", "big-event")
]


def play_in_threads(server: ThreadedFaultServer, parts: list[list[Scenario]]) -> None:
    def work(part: list[Scenario]) -> None:
        for scenario in part:
            app = App(server)
            act = act_of(scenario, "sync")
            assert act is not None
            act(app)
            for client in app.clients:
                client.close()

    threads = [threading.Thread(target=work, args=(part,)) for part in parts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


async def play_in_tasks(server: ThreadedFaultServer, parts: list[list[Scenario]]) -> None:
    async def work(part: list[Scenario]) -> None:
        for scenario in part:
            app = App(server)
            act = act_of(scenario, "async")
            assert act is not None
            await act(app)
            for client in app.clients:
                await client.close()

    await asyncio.gather(*map(work, parts))


@pytest.mark.parametrize("seed", [1, 2])
def test_injected_is_reported(seed: int, server: ThreadedFaultServer) -> None:
    rng = random.Random(seed)
    threads = [rng.choices(MIX, k=ROUNDS * 2) for _ in range(THREADS)]
    tasks = [rng.choices(MIX, k=ROUNDS) for _ in range(TASKS)]
    injected = Counter((s.outcome, s.error_type) for part in (*threads, *tasks) for s in part)
    with recorded() as records:
        thread = threading.Thread(target=play_in_threads, args=(server, threads))
        thread.start()
        asyncio.run(play_in_tasks(server, tasks))
        thread.join()
        settle()
        reported = Counter((record.outcome.value, record.error_type) for record in records)
        by_outcome = Counter(record.outcome.value for record in records)
        assert counted() == by_outcome
        assert open_streams() == 0
    assert reported == injected
    assert records.faults == []
    assert by_outcome.total() == len(records) == THREADS * ROUNDS * 2 + TASKS * ROUNDS


# -- the collector, inside any lock -------------------------------------------------------------------------


class Locking(RecordList):
    """A sink with a plain lock, which it shares with the app."""

    def __init__(self, lock: Any) -> None:
        super().__init__()
        self.lock = lock

    def on_end(self, record: StreamRecord) -> None:
        with self.lock:
            self.append(record)


@contextmanager
def locking(lock: Any) -> Iterator[Locking]:
    sink = Locking(lock)
    started = lifecycle.start(Config(), sinks=[sink])
    started.patch_on_import()
    try:
        yield sink
    finally:
        lifecycle.stop()


def test_a_stream_that_the_collector_finds_while_the_app_holds_the_sinks_lock(server: ThreadedFaultServer) -> None:
    """The reproduction: recording in the finalizer would wait for a lock that this very thread holds."""
    lock = threading.Lock()
    with openai.OpenAI(api_key="key", base_url=server.base_url) as client, locking(lock) as sink:

        def act() -> None:
            for create in (client.chat.completions.create, client.chat.completions.with_raw_response.create):
                create(model=LONG, messages=MESSAGES, stream=True)
                with lock:
                    gc.collect()
            next(client.chat.completions.create(model=LONG, messages=MESSAGES, stream=True))
            with lock:
                gc.collect()

        within_time(act)
        settle()
        assert [record.error_type for record in sink] == ["never_iterated", "never_iterated", "dropped"]


def test_the_collector_runs_at_every_allocation_of_every_thread(server: ThreadedFaultServer) -> None:
    lock = threading.Lock()
    with openai.OpenAI(api_key="key", base_url=server.base_url) as client, locking(lock) as sink:

        def work() -> None:
            for number in range(6):
                model = LONG if number % 2 else "sv-ok?chunks=2"
                stream = client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
                for _ in stream:
                    with lock:
                        [[] for _ in range(20)]
                    if number % 2:
                        break

        def act() -> None:
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        before = gc.get_threshold()
        gc.set_threshold(1)
        try:
            within_time(act)
        finally:
            gc.set_threshold(*before)
        settle()
        assert Counter(record.outcome.value for record in sink) == {"completed": 12, "abandoned": 12}
        assert sink.faults == []
