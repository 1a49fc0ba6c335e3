"""The end of the program with streams open, and programs that switch the collector off."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import openai
import pytest

from app_support import LONG, MESSAGES, VERSION, until
from streamvitals.faults import ThreadedFaultServer
from streamvitals.testing import RecordList, recorded

OPENING = """
import asyncio, gc, os, sys, threading
import openai

class Teller:
    def on_end(self, record):
        os.write(3, f"{record.outcome.value} {record.error_type}\\n".encode())
    def on_internal_error(self, where):
        os.write(3, f"fault {where}\\n".encode())
    def on_progress(self, progress): pass
    def on_retry(self, retry): pass
    def on_chain(self, chain): pass
    def on_loop_lag(self, seconds): pass

if sys.argv[2] == "observed":
    from streamvitals.process import lifecycle
    from streamvitals.config import Config
    lifecycle.start(Config(), sinks=[Teller()]).patch_on_import()

options = dict(api_key="key", base_url=sys.argv[1], max_retries=0, timeout=20)
body = dict(messages=[{"role": "user", "content": "hello"}], stream=True)
LONG = "sv-ok?chunks=500&gap=0.01"

def create(model=LONG):
    return openai.OpenAI(**options).chat.completions.create(model=model, **body)

async def acreate(model=LONG):
    return await openai.AsyncOpenAI(**options).chat.completions.create(model=model, **body)
"""

PROGRAMS = {
    "held": ("stream = create(); next(stream)", ["abandoned dropped"]),
    "never iterated": ("stream = create()", ["abandoned never_iterated"]),
    "finished": ("for chunk in create('sv-ok'): pass", ["completed "]),
    "exits in the loop": ("for chunk in create(): sys.exit(7)", ["abandoned dropped"]),
    "dies in the loop": ("for chunk in create(): raise KeyError('the app')", ["abandoned dropped"]),
    "interrupted in the loop": ("for chunk in create(): raise KeyboardInterrupt", ["cancelled keyboard_interrupt"]),
    "held by a frame of the traceback": (
        "def main():\n    stream = create()\n    next(stream)\n    raise KeyboardInterrupt\nmain()",
        ["cancelled keyboard_interrupt"],
    ),
    "collector off": (
        "gc.disable()\nfor _ in range(2):\n    for chunk in create(): break",
        ["abandoned dropped", "abandoned dropped"],
    ),
    "task left when main returns": (
        """
        async def read(first):
            async for chunk in await acreate():
                first.set()
        async def main():
            first = asyncio.Event()
            task = asyncio.create_task(read(first))
            await first.wait()
        asyncio.run(main())
        """,
        ["cancelled cancelled"],
    ),
    "held across the loop's end": (
        """
        async def main():
            stream = await acreate()
            await stream.__anext__()
            return stream
        kept = asyncio.run(main())
        """,
        ["abandoned dropped"],
    ),
    "daemon thread that reads": (
        """
        first = threading.Event()
        def read():
            for chunk in create("sv-stall?stall=60"):
                first.set()
        threading.Thread(target=read, daemon=True).start()
        first.wait()
        """,
        ["abandoned dropped"],
    ),
}


def run_program(program: str, url: str, mode: str) -> tuple[list[str], int, list[str]]:
    """What was recorded, the exit code, and stderr without the frames of tracebacks."""
    code = OPENING + textwrap.dedent(program)
    read_end, write_end = os.pipe()
    # The child's descriptor 3 whatever the number here. A client that is never closed warns if the collector comes
    # by before the exit, which is chance.
    start = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3); sys.argv[1:2] = [];"
        "exec(compile(sys.argv.pop(1), 'program', 'exec'))"
    )
    prefix = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", start]
    with open(read_end) as told:
        with subprocess.Popen(
            [*prefix, str(write_end), code, url, mode], pass_fds=[write_end], stderr=subprocess.PIPE, text=True
        ) as child:
            os.close(write_end)
            assert child.stderr is not None
            complaints = child.stderr.read()
        records = told.read().splitlines()
    # Which of the SDK's generators the loop finds running when it closes them all at its end is chance, and so
    # is whether one of them was being closed when it complained.
    chance = (" ", "Traceback", "During handling of the above", "GeneratorExit")
    lines = [line for line in complaints.splitlines() if line and not line.startswith(chance)]
    complained = {line for line in lines if "async" not in line}
    return records, child.returncode, sorted(complained)


@pytest.mark.parametrize(("program", "want"), list(PROGRAMS.values()), ids=list(PROGRAMS))
def test_exit_with_open_streams(program: str, want: list[str], server: ThreadedFaultServer) -> None:
    bare = run_program(program, server.base_url, "bare")
    observed = run_program(program, server.base_url, "observed")
    assert observed[0] == want
    assert bare[0] == []
    if bare[1] == -signal.SIGSEGV:
        pytest.skip("this Python crashes at its end, without us")
    # From 3.14 on the SDK's own generator may be closed when no module can be imported any more, and complain. Observed
    # it need not; but it does not complain where it would not have without us.
    without = [line for line in bare[2] if not ("Stream.__stream__" in line or "is likely shutting down" in line)]
    assert observed[1] == bare[1]
    assert observed[2] in (bare[2], without)


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[str]:
    """The base URL of a fault server in a process of its own, whose garbage is not ours to count."""
    command = [sys.executable, "-m", "streamvitals", "faults"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def read_all(completions: Any, model: str) -> None:
    with suppress(Exception):
        for _ in completions.create(model=model, messages=MESSAGES, stream=True):
            pass


def close_early(completions: Any, model: str) -> None:
    stream = completions.create(model=model, messages=MESSAGES, stream=True)
    next(stream)
    stream.close()


def drop(completions: Any, model: str) -> None:
    next(completions.create(model=model, messages=MESSAGES, stream=True))


def parse_raw(completions: Any, model: str) -> None:
    for _ in completions.with_raw_response.create(model=model, messages=MESSAGES, stream=True).parse():
        pass


def read_lines(completions: Any, model: str) -> None:
    with suppress(Exception):  # noqa: SIM117
        with completions.with_streaming_response.create(model=model, messages=MESSAGES, stream=True) as response:
            for _ in response.iter_lines():
                pass


def drop_lines(completions: Any, model: str) -> None:
    with completions.with_streaming_response.create(model=model, messages=MESSAGES, stream=True) as response:
        for _ in response.iter_lines():
            break


ACTS = [
    (read_all, "sv-ok"), (read_all, "sv-reset"), (read_all, "sv-silent-cut"), (read_all, "sv-500"),
    (read_all, "sv-error-event"), (read_all, "sv-broken-json"), (close_early, LONG), (parse_raw, "sv-ok"),
    (read_lines, "sv-ok"), (read_lines, "sv-reset"), (drop_lines, LONG),
]


def uncollected(act: Callable[[Any, str], None], model: str, url: str, observed: bool) -> tuple[int, int, int, int]:
    """Of three runs of an act with the collector off: connections left open, garbage that a collection then
    finds, connections left open after it, and how many records there are."""
    with openai.OpenAI(api_key="key", base_url=url, max_retries=0, timeout=20) as client:
        completions = client.chat.completions
        with recorded() if observed else nullcontext(RecordList()) as records:
            act(completions, model)  # what is made once is made
            gc.collect()
            gc.disable()
            try:
                before, counted = open_files(), len(records)
                for _ in range(3):
                    act(completions, model)
                held = open_files() - before
                garbage = gc.collect()
                return held, garbage, open_files() - before, len(records) - counted
            finally:
                gc.enable()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


MOST_IN_A_TRACEBACK = 20  # objects: generator, observation, and what only these hold


@pytest.mark.skipif(VERSION < (3, 0), reason="every response of httpx is a reference cycle of its own")
@pytest.mark.skipif(sys.version_info < (3, 11), reason="every stream of the SDK is garbage there without us, too")
@pytest.mark.parametrize(("act", "model"), ACTS)
def test_a_finished_stream_leaves_nothing_for_the_collector(act: Any, model: str, elsewhere: str) -> None:
    uncollected(act, model, elsewhere, observed=False)
    held, garbage, files, _ = uncollected(act, model, elsewhere, observed=False)
    observed = uncollected(act, model, elsewhere, observed=True)
    assert (observed[0], *observed[2:]) == (held, files, 3)
    # From 3.12 on an exception of the SDK's is garbage with all of its traceback, and so with our frame in it.
    assert observed[1] <= garbage + (MOST_IN_A_TRACEBACK * 3 if garbage else 0)


@pytest.mark.parametrize(("act", "model"), [*ACTS, (drop, LONG)])
def test_connections_are_freed_no_later_than_without_us(act: Any, model: str, elsewhere: str) -> None:
    bare = uncollected(act, model, elsewhere, observed=False)
    observed = uncollected(act, model, elsewhere, observed=True)
    assert observed[0] == bare[0]
    assert observed[2] == bare[2] == 0


def test_the_peer_sees_the_connection_close_when_the_collector_finds_the_stream(server: ThreadedFaultServer) -> None:
    """The connection of a dropped stream, by the peer's own account: open until the collection, then gone."""
    with openai.OpenAI(api_key="key", base_url=server.base_url, max_retries=0) as client, recorded() as records:
        gc.collect()
        gc.disable()
        drop(client.chat.completions, "sv-stall?stall=60")
        asked = server.log[-1]
        assert asked.ended == ""
        gc.collect()
        until(lambda: asked.ended)
        assert asked.ended == "client_gone"
        gc.enable()
        assert records == []  # a finalizer may only leave word: the next ordinary event tells the sinks
        read_all(client.chat.completions, "sv-ok")
        assert [record.error_type for record in records] == ["dropped", ""]
