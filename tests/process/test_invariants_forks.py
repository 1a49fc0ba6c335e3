"""Invariant 7, continued: forks, while threads are in the middle of their streams or hold our locks."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from app_support import HANGS, LONG, MESSAGES, settle, until
from counting_support import counted, open_streams, within_time
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.stream.record import StreamRecord
from streamvitals.testing import RecordList, recorded

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def in_a_child(work: Callable[[], Any], fork: Callable[[], int] = os.fork, attempts: int = 3) -> Any:
    """What ``work`` returns, as JSON, in a forked child."""
    read_end, write_end = os.pipe()
    pid = fork()
    if pid == 0:
        code = 1
        os.write(write_end, b" ")
        signal.alarm(int(HANGS))  # a deadlock ends the child, not the suite
        try:
            os.write(write_end, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write_end)
    with open(read_end, "rb") as answer:
        begun = select.poll()  # select() knows no descriptor above 1023
        begun.register(answer, select.POLLIN | select.POLLHUP)
        if not begun.poll(HANGS * 1000):
            # Not even its first instruction: Python was not told of the fork, and another thread was just asking for
            # the interpreter's lock, which nobody gives back in the child.
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            assert fork is fork_unseen
            assert attempts > 1
            return in_a_child(work, fork, attempts - 1)
        told = answer.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return json.loads(told)


def fork_unseen() -> int:
    """As uWSGI's master does: Python runs none of its hooks. PyDLL keeps the interpreter's lock."""
    pid: int = ctypes.PyDLL(None).fork()
    return pid


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


def test_workers_that_python_was_not_told_of_count_their_own(config: Config, server: ThreadedFaultServer) -> None:
    """Two of them, so that they would share what both took for theirs; a stream of the parent's is open meanwhile."""
    with recorded(config) as records, openai.OpenAI(api_key="key", base_url=server.base_url) as client:
        stream = client.chat.completions.create(model="sv-ok?chunks=9", messages=MESSAGES, stream=True)
        next(stream)
        for _ in range(2):
            told = in_a_child(lambda: [stream_some(server), open_streams()], fork_unseen)
            assert told == [{"completed": 2, "truncated": 1}, 0]
        assert open_streams() == 1
        for _ in stream:
            pass
        settle()
        assert counted() == {"completed": 1}
        assert records.faults == []


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

        threads = [threading.Thread(target=work, args=(f"sv-ok?chunks={n}",), daemon=True) for n in (5, 6, 7, 8)]
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


class Blocking(RecordList):
    """A sink that stays in its first record until it is told to go on, in the process that made it."""

    def __init__(self) -> None:
        super().__init__()
        self.pid = os.getpid()
        self.entered, self.go_on = threading.Event(), threading.Event()

    def on_end(self, record: StreamRecord) -> None:
        self.append(record)
        if self.pid == os.getpid():
            self.entered.set()
            self.go_on.wait()


def test_forked_while_another_thread_tells_the_sinks(config: Config, server: ThreadedFaultServer) -> None:
    """That thread has the turn, and does not exist in the child."""
    sink = Blocking()
    lifecycle.start(config, sinks=[sink]).patch_on_import()
    try:
        thread = threading.Thread(target=stream_some, args=(server,), daemon=True)
        thread.start()
        sink.entered.wait()
        assert in_a_child(lambda: stream_some(server)) == {"completed": 2, "truncated": 1}
        sink.go_on.set()
        thread.join()
        assert counted() == {"completed": 2, "truncated": 1}
    finally:
        sink.go_on.set()
        lifecycle.stop()


def test_forked_while_another_thread_is_in_the_store(config: Config, server: ThreadedFaultServer) -> None:
    """Locks that a thread of the parent holds are held for ever in the child: none of them may be needed there."""
    with recorded(config):
        current = lifecycle.current()
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
