"""Processes and agents that are killed, before any instruction or line of theirs: nothing is lost or doubled."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from store_support import (
    LABELS,
    Processes,
    assert_consistent,
    call_traced,
    check_that_nothing_fell,
    ended,
    progress,
    record,
    segments,
    total,
    trace_instructions,
)
from streamvitals import names
from streamvitals.agent import dead, reader, tree
from streamvitals.agent.tree import Tree
from streamvitals.outcome import Outcome
from streamvitals.store import increments, memory, segment, store
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.memory import MappedMemory, process_identity
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import Attempt, RateLimit, StreamLabels, Usage

# -- killed at any instruction


class Photographer:
    """Keeps what the files would say, had the process been killed before each of its instructions."""

    MODULES = (store.__name__, increments.__name__, memory.__name__, segment.__name__, "streamvitals.store.segments")

    def __init__(self, directory: str) -> None:
        self.directory = directory
        self.states: list[tuple[object, dict[str, bytes]]] = []
        self.progress: object = ("opening", 0, 0)

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_globals.get("__name__") not in self.MODULES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.shoot()
        return self

    def shoot(self) -> None:
        state = (self.progress, {n: Path(self.directory, n).read_bytes() for n in segments(self.directory)})
        if not self.states or self.states[-1] != state:
            self.states.append(state)


def everything_of(outcome: Outcome, error: str, slot: object, labels: StreamLabels) -> Any:
    gaps = tuple(range(len(names.GAP_EDGES) + 1))
    return record(
        slot, labels=labels, outcome=outcome, error_type=error, duration=3.0,
        attempts=(Attempt(1, 0.0, 1.0), Attempt(2, 1.0, 2.0)), usage=Usage(100, 20, 3, 4),
        rate_limits=(RateLimit("tokens", 5.0, 9.0),),
        progress=progress(labels, gap_counts=gaps, gap_sum=1.0, wait=2.0, hold=1.0, stalls=1, first_chunk=0.5),
    )


def test_a_process_killed_before_any_of_its_instructions_has_each_stream_counted_once(
    directory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    identity = process_identity()
    monkeypatch.setattr(memory, "process_identity", lambda: identity)
    photographer = Photographer(directory)
    other = LABELS._replace(model="another")
    plan = [
        (LABELS, Outcome.COMPLETED, ""), (LABELS, Outcome.ABANDONED, "closed"), (other, Outcome.RESET, "other"),
        (LABELS, Outcome.ABANDONED, "dropped"), (other, Outcome.COMPLETED, ""),
    ]
    opened = closed = 0
    trace_instructions(photographer)
    try:
        made = Store(MappedMemory(directory))
        sink = StoreSink(made, unix_time=lambda: 1.0)
        # The second label set needs a second file, whose making is photographed too; in the second round slots
        # are used again that held something else.
        for started in (990.0, 980.0):
            slots: list[Any] = []
            for labels, _, _ in plan:
                photographer.progress = ("opening", opened, closed)
                slots.append(made.open_slot(labels, started))
                opened += 1
            for slot, (labels, outcome, error) in zip(slots, plan, strict=True):
                photographer.progress = ("closing", opened, closed)
                sink.on_end(everything_of(outcome, error, slot, labels))
                closed += 1
            plan.reverse()
    finally:
        sys.settrace(None)
    assert len(photographer.states) > 400, "the test has looked at nothing"
    abandoned_seconds = STREAM_LAYOUT.at(names.DURATION, "left") + len(names.DURATION_EDGES) + 1
    for number, ((kind, before, done), contents) in enumerate(photographer.states):  # type: ignore[misc]
        there = tmp_path / str(number)
        there.mkdir()
        for name, content in contents.items():
            (there / name).write_bytes(content)
        snapshot = Tree(str(there), clock=lambda: 1000.0, alive=lambda _: False).snapshot()
        counts = ended(snapshot)
        in_flight = kind == "opening"
        assert before <= sum(counts.values()) <= before + in_flight, (number, kind, counts)
        assert_consistent(snapshot)
        died = total(snapshot, names.STREAM_ERRORS, "abandoned", "process_died")
        finished = sum(counts.values()) - died
        assert done <= finished <= done + (kind == "closing"), (number, counts)
        assert {*snapshot.streams} <= {LABELS, other}
        lasted = [row[abandoned_seconds] for row in snapshot.streams.values()]
        by_app = sum(total(snapshot, names.STREAMS, outcome) for outcome in ("cancelled", "abandoned")) - died
        # The first five streams were asked for 10 s before the death, the others 20 s.
        assert sum(lasted) == 3.0 * by_app + (10.0 if before <= len(plan) and done < len(plan) else 20.0) * died
        # All that belongs to one end is there or none of it is.
        assert total(snapshot, names.STALLS) == finished
        assert total(snapshot, names.WAIT) == 2.0 * finished
        assert total(snapshot, names.TIME_TO_FIRST_CHUNK) == finished
        assert total(snapshot, names.TOKENS, "input") == 100 * finished
        assert total(snapshot, names.CHUNK_GAP) == finished * sum(range(len(names.GAP_EDGES) + 1))
        shutil.rmtree(there)


def child_that_counts_until_it_is_killed(directory: str, pipe: int, seed: int) -> None:
    """Tells of every step before it and after: o opening O opened, e ending E ended."""
    chosen = random.Random(seed)
    made = Store(MappedMemory(directory))
    sink = StoreSink(made)
    open_now: list[tuple[Any, StreamLabels]] = []
    while True:
        if len(open_now) < 3 or (chosen.random() < 0.5 and len(open_now) < 60):
            labels = LABELS._replace(model=f"m{chosen.randrange(6)}")
            os.write(pipe, b"o")
            open_now.append((made.open_slot(labels, 1.0), labels))
            os.write(pipe, b"O")
        else:
            slot, labels = open_now.pop(chosen.randrange(len(open_now)))
            outcome, error, _ = chosen.choice([("completed", "", ""), *names.OUTCOME_ERRORS])
            os.write(pipe, b"e")
            sink.on_end(everything_of(Outcome(outcome), "closed" if error == "process_died" else error, slot, labels))
            os.write(pipe, b"E")


def told(pipe: int, at_least: int) -> Iterator[bytes]:
    """What a child writes, up to that much if it lives on; the rest once it is gone."""
    while at_least > 0 and (some := os.read(pipe, 65536)):
        at_least -= len(some)
        yield some


def test_sigkill_at_any_time_loses_no_stream_and_counts_none_twice(directory: str) -> None:
    # Forked from here, they are children of ours: reaped at once, so that nobody takes a zombie for alive.
    chosen, reader = random.Random(7), Tree(directory)
    opened_before = finished_before = died_before = 0.0
    last: dict[object, float] = {}
    for number in range(80):
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            try:
                os.close(reading)
                child_that_counts_until_it_is_killed(directory, writing, number)
            finally:
                os._exit(1)
        os.close(writing)
        text = b"".join(told(reading, chosen.choice([1, 50, 200, 1000]) + chosen.randrange(10)))
        if number % 3 == 0:
            # While it lives.
            check_that_nothing_fell(reader, last)
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        text += b"".join(told(reading, 10**9))
        os.close(reading)
        snapshot = check_that_nothing_fell(reader, last)
        died = total(snapshot, names.STREAM_ERRORS, "abandoned", "process_died")
        every = sum(ended(snapshot).values())
        assert text.count(b"O") <= every - opened_before <= text.count(b"o"), number
        finished = every - died
        assert text.count(b"E") <= finished - finished_before <= text.count(b"e"), number
        assert_consistent(snapshot)
        assert total(snapshot, names.STALLS) == finished
        opened_before, finished_before, died_before = every, finished, died
    assert died_before > 80
    assert snapshot.active == {}
    assert segments(directory) == []
    assert Tree(directory).snapshot() == snapshot


# -- the agent killed at any line


class Crash(BaseException):
    """The agent is no more."""


class CrashAt:
    """Ends the agent before the nth line of its own that it runs."""

    MODULES = (tree.__name__, dead.__name__, reader.__name__)

    def __init__(self, left: int) -> None:
        self.left = left
        self.crashed = False

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_globals.get("__name__") not in self.MODULES:
            return None
        if event == "line":
            self.left -= 1
            if self.left < 0 and not self.crashed:
                self.crashed = True
                raise Crash
        return self


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # of the agents that crashed
def test_an_agent_killed_before_any_of_its_lines_neither_loses_nor_doubles_a_process(
    directory: str, tmp_path: Path, processes: Processes
) -> None:
    for pid in (10, 11, 12):
        made, sink = processes.start(pid)
        for _ in range(pid):
            sink.on_end(record(made.open_slot(LABELS, 990.0)))
        made.open_slot(LABELS, 990.0)
        if pid == 10:
            # So that there is a sum already.
            processes.die(10)
            processes.tree().snapshot()
    processes.die(11)
    pristine = tmp_path / "pristine"
    shutil.copytree(directory, pristine)
    steps = 0
    while True:
        crash = CrashAt(steps)
        with suppress(Crash):
            call_traced(crash, lambda: processes.tree().snapshot())
        if not crash.crashed:
            break
        for again in (processes.tree(), processes.tree()):
            snapshot = again.snapshot()
            assert ended(snapshot) == {"completed": 33, "abandoned": 2}, steps
            assert snapshot.active == {LABELS: 1}, steps
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        shutil.copytree(pristine, directory, dirs_exist_ok=True)
        steps += 1
    assert steps > 100, "the test has looked at nothing"


def test_what_a_killed_agent_left_half_written_is_nothing(processes: Processes) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    processes.die(10)
    processes.tree().snapshot()
    aside = Path(processes.directory, f".{dead.NAME}.tmp")
    aside.write_bytes(Path(processes.directory, dead.NAME).read_bytes()[:100])
    assert ended(processes.tree().snapshot()) == {"completed": 1}
