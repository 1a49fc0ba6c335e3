"""Invariants 2 and 7: every stream that starts is counted once, under one outcome, whatever happens at once: threads,
tasks, the collector inside any lock, and forks."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from app_acts import act_of
from app_support import HANGS, LONG, MESSAGES, App, settle, until
from store_support import assert_consistent, ended
from streamvitals import runtime
from streamvitals.config import Config
from streamvitals.demo.fault_server import ThreadedFaultServer
from streamvitals.demo.scenarios import SCENARIOS, Scenario
from streamvitals.stream.record import StreamRecord
from streamvitals.testing import RecordList, recorded

THREADS, TASKS, ROUNDS = 6, 12, 4
# Everything that a client sees within moments, and that does not interrupt the whole process.
MIX = [
    scenario for scenario in SCENARIOS.values()
    if scenario.client_timeout is None and not scenario.async_only
    and scenario.name not in ("keyboard-interrupt", "slow-headers", "slow-first-chunk", "big-event")
]
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def counted() -> dict[str, int]:
    """Streams by outcome, as the store has them, which must be consistent in itself."""
    current = runtime.current()
    assert current is not None
    snapshot = current.snapshot()
    assert_consistent(snapshot)
    return {outcome: int(count) for outcome, count in ended(snapshot).items() if count}


def open_streams() -> int:
    current = runtime.current()
    assert current is not None
    return sum(current.snapshot().active.values())


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


def within_time(act: Callable[[], Any]) -> None:
    """Run in a thread of its own: a deadlock fails the test and does not hang the suite."""
    failures: list[BaseException] = []

    def work() -> None:
        try:
            act()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(HANGS)
    assert not thread.is_alive(), "deadlock"
    assert failures == []


@contextmanager
def locking(lock: Any) -> Iterator[Locking]:
    sink = Locking(lock)
    started = runtime.start(Config(), sinks=[sink])
    started.patch_on_import()
    try:
        yield sink
    finally:
        runtime.stop()


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


# -- forks --------------------------------------------------------------------------------------------------


def in_a_child(work: Callable[[], Any]) -> Any:
    """What ``work`` returns, as JSON, in a forked child."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.write(write_end, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    with open(read_end, "rb") as answer:
        told = answer.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return json.loads(told)


@pytest.fixture(params=["heap", "files"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    return Config(directory=str(tmp_path) if request.param == "files" else "")


def stream_some(server: ThreadedFaultServer) -> dict[str, int]:
    """What a child does: streams of its own, and nothing else is counted there."""
    with openai.OpenAI(api_key="key", base_url=server.base_url, max_retries=0) as client:
        for model in ("sv-ok", "sv-ok", "sv-silent-cut"):
            for _ in client.chat.completions.create(model=model, messages=MESSAGES, stream=True):
                pass
    settle()
    return counted()


def test_a_child_counts_its_own_and_the_parent_loses_nothing(config: Config, server: ThreadedFaultServer) -> None:
    """Forked while four threads of the parent are in the middle of their streams."""
    with recorded(config) as records:
        reading, go_on = threading.Semaphore(0), threading.Event()

        def work(model: str) -> None:
            with openai.OpenAI(api_key="key", base_url=server.base_url, max_retries=0) as client:
                stream = client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
                next(stream)
                reading.release()
                go_on.wait()
                for _ in stream:
                    pass

        threads = [threading.Thread(target=work, args=(f"sv-ok?chunks={n}",)) for n in (5, 6, 7, 8)]
        for thread in threads:
            thread.start()
        for _ in threads:
            reading.acquire()
        assert open_streams() == 4
        for _ in range(2):
            assert in_a_child(lambda: [stream_some(server), open_streams()]) == [{"completed": 2, "truncated": 1}, 0]
        assert open_streams() == 4
        go_on.set()
        for thread in threads:
            thread.join()
        settle()
        assert counted() == {"completed": 4}
        assert sorted(record.chunks for record in records) == [6, 7, 8, 9]
        assert records.faults == []


def test_a_child_that_reads_on_its_parents_stream_counts_nothing(config: Config, server: ThreadedFaultServer) -> None:
    """The stream is the parent's, whoever reads from its socket."""
    with recorded(config), openai.OpenAI(api_key="key", base_url=server.base_url) as client:
        stream = client.chat.completions.create(model=LONG, messages=MESSAGES, stream=True)
        next(stream)

        def child() -> list[Any]:
            next(stream)
            stream.close()
            settle()
            return [counted(), open_streams()]

        assert in_a_child(child) == [{}, 0]
        assert open_streams() == 1
        stream.close()
        assert counted() == {"abandoned": 1}


def test_forked_while_another_thread_is_in_the_store(config: Config, server: ThreadedFaultServer) -> None:
    """Locks that a thread of the parent holds are held for ever in the child: none of them may be needed there."""
    with recorded(config):
        current = runtime.current()
        assert current is not None
        held, leave = threading.Event(), threading.Event()

        def hold() -> None:
            with current.store._segments.lock:
                held.set()
                leave.wait()

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait()
        children: list[Any] = []
        try:
            within_time(lambda: children.append(in_a_child(lambda: stream_some(server))))
        finally:
            leave.set()
            thread.join()
        assert children == [{"completed": 2, "truncated": 1}]
        until(lambda: open_streams() == 0)
