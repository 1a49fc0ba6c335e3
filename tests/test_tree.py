"""What the agent makes of the files of all processes, whoever dies and whenever."""

from __future__ import annotations

import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from store_support import (
    LABELS,
    OTHER_SET,
    Processes,
    assert_consistent,
    counting_numbers,
    ended,
    progress,
    record,
    total,
    value,
)
from streamvitals import names
from streamvitals.agent import liveness, mapped, retired, tree
from streamvitals.agent.tree import Tree
from streamvitals.sinks import memory, segment, store
from streamvitals.sinks.layout import STREAM_LAYOUT
from streamvitals.sinks.memory import MappedMemory, process_identity
from streamvitals.sinks.store import Store, StoreSink
from streamvitals.stream.outcome import Outcome
from streamvitals.stream.record import Attempt, RateLimit, RetryRecord, StreamLabels, Usage


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "d").mkdir()
    return str(tmp_path / "d")


@pytest.fixture
def processes(directory: str, monkeypatch: pytest.MonkeyPatch) -> Processes:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return Processes(directory, monkeypatch)


def segments(directory: str) -> list[str]:
    return sorted(name for name in os.listdir(directory) if name.endswith(".sv"))


# -- the living


def test_an_empty_directory_or_none_is_a_snapshot_of_nothing(directory: str) -> None:
    for where in (directory, directory + "/not there"):
        snapshot = Tree(where).snapshot()
        assert snapshot.streams == snapshot.active == snapshot.builds == {}
        assert not any(snapshot.process)


def test_processes_add_up(processes: Processes) -> None:
    reader = processes.tree()
    for pid in (10, 11, 12):
        made, sink = processes.start(pid)
        made.set_build("1", "2", "true" if pid < 12 else "false")
        sink.on_end(record(made.open_slot(LABELS, 990.0)))
        sink.on_loop_lag(0.1)
        stalled = made.open_slot(LABELS, 1000.0 - pid)
        stalled.view[stalled.at] = 990.0 if pid == 11 else -990.0
        snapshot = reader.snapshot()
    assert ended(snapshot) == {"completed": 3}
    assert snapshot.active == {LABELS: 3}
    assert snapshot.stalled == {LABELS: 1}
    assert snapshot.oldest == {LABELS: 12.0}
    assert value(snapshot, names.LOOP_LAG) == 3
    assert snapshot.builds == {("1", "2", "true"): 2, ("1", "2", "false"): 1}
    assert set(reader.builds().values()) == {("1", "2", "true"), ("1", "2", "false")}


def test_what_is_new_in_a_known_process_is_seen(processes: Processes) -> None:
    made, sink = processes.start(10)
    reader = processes.tree()
    for i in range(60):
        labels = LABELS._replace(model=f"m{i}")
        sink.on_end(record(made.open_slot(labels, 990.0), labels=labels))
        for _ in range(10):
            made.open_slot(labels, 990.0)
        snapshot = reader.snapshot()
        assert ended(snapshot) == {"completed": i + 1}
        assert sum(snapshot.active.values()) == 10 * (i + 1)
    assert snapshot == made.snapshot(processes.now, 5.0), "the same as the process says of itself"


# -- the dead


def test_open_streams_of_a_process_that_died_are_abandoned_once(processes: Processes) -> None:
    made, sink = processes.start(10)
    for _ in range(3):
        sink.on_end(record(made.open_slot(LABELS, 990.0)))
    for i in range(2):
        slot = made.open_slot(LABELS, 960.0 + 30 * i)
        slot.view[slot.at + segment.CHUNKS] = 7.0 + i
    reader = processes.tree()
    assert reader.snapshot().active == {LABELS: 2}
    processes.die(10)
    for look in (reader, reader, processes.tree(), reader):
        snapshot = look.snapshot()
        assert ended(snapshot) == {"completed": 3, "abandoned": 2}
        assert value(snapshot, names.STREAM_ERRORS, "abandoned", "process_died") == 2
        assert value(snapshot, names.CHUNKS, "abandoned") == 15
        at = STREAM_LAYOUT.at(names.DURATION, "abandoned")
        durations = snapshot.streams[LABELS][at : at + len(names.DURATION_EDGES) + 2]
        assert durations[names.DURATION_EDGES.index(15.0)] == durations[names.DURATION_EDGES.index(60.0)] == 1
        assert durations[-1] == 50.0
        assert_consistent(snapshot)
        assert snapshot.active == snapshot.stalled == snapshot.oldest == snapshot.builds == {}
        processes.now += 1000.0
    assert segments(processes.directory) == []


def test_files_do_not_pile_up_as_processes_come_and_go(processes: Processes) -> None:
    reader = processes.tree()
    for pid in range(10, 60):
        made, sink = processes.start(pid)
        sink.on_end(record(made.open_slot(LABELS, 990.0)))
        made.open_slot(LABELS, 990.0)
        reader.sweep()
        processes.die(pid)
        assert ended(reader.snapshot()) == {"completed": pid - 9, "abandoned": pid - 9}
    assert len(os.listdir(processes.directory)) <= 2
    assert not reader._files


def test_a_file_that_a_process_made_between_the_look_at_the_directory_and_its_death_counts(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    other = LABELS._replace(model="another")

    def last_act(identity: segment.Identity) -> bool:
        if processes.living:
            for _ in range(500):
                sink.on_end(record(made.open_slot(other, 990.0), labels=other))
                made.open_slot(LABELS, 990.0)
            processes.die(10)
        return False

    reader = Tree(processes.directory, clock=lambda: 1000.0, alive=last_act)
    assert ended(reader.snapshot()) == {"completed": 501, "abandoned": 500}
    assert segments(processes.directory) == []


def test_a_directory_that_is_swept_away_under_a_living_process_loses_nothing(processes: Processes) -> None:
    made, sink = processes.start(10)
    slot = made.open_slot(LABELS, 990.0)
    reader = processes.tree()
    reader.snapshot()
    shutil.rmtree(processes.directory)
    sink.on_end(record(slot))
    made.open_slot(LABELS, 990.0)
    assert ended(reader.snapshot()) == {"completed": 1}
    processes.die(10)
    for _ in range(2):
        assert ended(reader.snapshot()) == {"completed": 1, "abandoned": 1}


def test_the_streams_of_a_program_that_was_execed_away_ended_with_it(processes: Processes) -> None:
    before, sink = processes.start(10, image=1)
    sink.on_end(record(before.open_slot(LABELS, 990.0)))
    before.open_slot(LABELS, 990.0)
    reader = processes.tree()
    assert reader.snapshot().active == {LABELS: 1}
    after, _ = processes.start(10, image=2)
    after.open_slot(LABELS, 995.0)
    snapshot = reader.snapshot()
    assert ended(snapshot) == {"completed": 1, "abandoned": 1}
    assert snapshot.active == {LABELS: 1}
    # The new program takes the first free name, which may be the old one's.
    for i in range(40):
        after.open_slot(LABELS._replace(model=f"m{i}"), 995.0)
    assert sum(reader.snapshot().active.values()) == 41
    assert sum(processes.tree().snapshot().active.values()) == 41


def test_two_stores_of_one_program_are_two(processes: Processes) -> None:
    for _ in range(2):
        made, sink = processes.start(10)
        made.open_slot(LABELS, 990.0)
        sink.on_end(record(made.open_slot(LABELS._replace(model="b"), 990.0), labels=LABELS._replace(model="b")))
    reader = processes.tree()
    assert reader.snapshot().active == {LABELS: 2}
    processes.die(10)
    assert ended(reader.snapshot()) == {"abandoned": 2, "completed": 2}


# -- killed at any instruction


class Photographer:
    """Keeps what the files would say, had the process been killed before each of its instructions."""

    MODULES = (store.__name__, memory.__name__, segment.__name__, "streamvitals.sinks.segments")

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
        attempts=(Attempt(0, 0.0, 1.0), Attempt(1, 1.0, 2.0)), usage=Usage(100, 20, 3, 4),
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
    sys.settrace(photographer)
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
    abandoned_seconds = STREAM_LAYOUT.at(names.DURATION, "abandoned") + len(names.DURATION_EDGES) + 1
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
        by_app = total(snapshot, names.STREAMS, "abandoned") - died
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
    chosen = random.Random(seed)  # noqa: S311
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
            outcome, error = chosen.choice([("completed", ""), *names.OUTCOME_ERRORS])
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
    chosen, reader = random.Random(7), Tree(directory)  # noqa: S311
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


def check_that_nothing_fell(reader: Tree, last: dict[object, float]) -> Any:
    snapshot = reader.snapshot()
    for key, number in counting_numbers(snapshot):
        assert number >= last.get(key, 0.0), key
        last[key] = number
    return snapshot


# -- the agent killed at any line


class Crash(BaseException):
    """The agent is no more."""


class CrashAt:
    """Ends the agent before the nth line of its own that it runs."""

    MODULES = (tree.__name__, retired.__name__, mapped.__name__)

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


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of the agents that crashed
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
        sys.settrace(crash)
        try:
            processes.tree().snapshot()
        except Crash:
            pass
        finally:
            sys.settrace(None)
        if not crash.crashed:
            break
        for reader in (processes.tree(), processes.tree()):
            snapshot = reader.snapshot()
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
    aside = Path(processes.directory, f".{retired.NAME}.tmp")
    aside.write_bytes(Path(processes.directory, retired.NAME).read_bytes()[:100])
    assert ended(processes.tree().snapshot()) == {"completed": 1}


# -- several readers, and none that can write


def test_two_readers_at_once_agree_and_count_once(processes: Processes) -> None:
    readers = [processes.tree() for _ in range(2)]
    stop = threading.Event()
    falls: list[object] = []

    def read(reader: Tree) -> None:
        last: dict[object, float] = {}
        try:
            while not stop.is_set():
                check_that_nothing_fell(reader, last)
        except BaseException as error:  # noqa: BLE001 - to be seen in the test's own thread
            falls.append(error)

    threads = [threading.Thread(target=read, args=(reader,)) for reader in readers]
    for thread in threads:
        thread.start()
    try:
        for pid in range(10, 90):
            made, sink = processes.start(pid)
            for _ in range(3):
                sink.on_end(record(made.open_slot(LABELS, 990.0), duration=pid / 7))
            made.open_slot(LABELS, 990.0)
            processes.die(pid)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert falls == []
    one, two = (reader.snapshot() for reader in readers)
    assert ended(one) == {"completed": 240, "abandoned": 80}
    assert one.streams == two.streams
    assert segments(processes.directory) == []


def test_a_reader_notices_that_another_one_folded_in_the_middle_of_its_look(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    one, two = processes.tree(), processes.tree()
    look_at_directory = one._scan

    def scan_after_the_other() -> None:
        processes.die(10)
        two.snapshot()
        look_at_directory()

    monkeypatch.setattr(one, "_scan", scan_after_the_other)
    assert ended(one.snapshot()) == {"completed": 1}


def test_a_reader_adds_to_the_sum_as_it_is_when_it_has_the_lock(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes.start(10)[0].open_slot(LABELS, 990.0)
    one, two = processes.tree(), processes.tree()
    one.snapshot()
    processes.die(10)
    find_dead = one._find_dead

    def find_dead_before_the_other() -> Any:
        dead = find_dead()
        processes.start(11)[0].open_slot(LABELS, 990.0)
        processes.die(11)
        two.snapshot()
        return dead

    monkeypatch.setattr(one, "_find_dead", find_dead_before_the_other)
    one.snapshot()
    assert ended(processes.tree().snapshot()) == {"abandoned": 2}


def test_while_another_reader_folds_the_dead_count_as_they_are(processes: Processes) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    made.open_slot(LABELS, 990.0)
    one, two = processes.tree(), processes.tree()
    one.snapshot()
    processes.die(10)
    with two._directory_lock() as ours:
        assert ours
        snapshot = one.snapshot()
        assert ended(snapshot) == {"completed": 1}
        assert snapshot.active == {}
    assert ended(one.snapshot()) == {"completed": 1, "abandoned": 1}


def test_a_sum_that_cannot_be_written_is_kept_in_memory_and_written_later(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    made.open_slot(LABELS, 990.0)
    reader = processes.tree()
    processes.die(10)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(retired.os, "rename", full)
    for _ in range(3):
        snapshot = reader.snapshot()
        assert ended(snapshot) == {"completed": 1, "abandoned": 1}
        assert value(snapshot, names.INTERNAL_ERRORS, "agent") == 1
        processes.now += 100
    assert segments(processes.directory) != []
    monkeypatch.undo()
    assert ended(reader.snapshot()) == {"completed": 1, "abandoned": 1}
    assert segments(processes.directory) == []
    again = Tree(processes.directory)
    assert ended(again.snapshot()) == {"completed": 1, "abandoned": 1}
    at = STREAM_LAYOUT.at(names.DURATION, "abandoned")
    assert again.snapshot().streams[LABELS][at + len(names.DURATION_EDGES) + 1] == 10.0, "as first noticed"


def test_nothing_falls_between_two_looks_whatever_happens_in_between(processes: Processes) -> None:
    chosen = random.Random(3)  # noqa: S311
    stores: dict[int, tuple[Store, StoreSink, list[Any]]] = {}
    readers = [processes.tree(), processes.tree()]
    lasts: list[dict[object, float]] = [{}, {}]
    for step in range(600):
        act = chosen.random()
        if act < 0.1 or not stores:
            stores[step + 10] = (*processes.start(step + 10), [])
        elif act < 0.2:
            pid = chosen.choice(list(stores))
            processes.die(pid)
            del stores[pid]
        elif act < 0.25:
            which = chosen.randrange(2)
            readers[which].close()
            readers[which] = processes.tree()
        else:
            made, sink, open_now = chosen.choice(list(stores.values()))
            labels = LABELS._replace(model=f"m{chosen.randrange(5)}")
            open_now.append(made.open_slot(labels, processes.now))
            sink.on_retry(RetryRecord(labels, "sdk", "429", chosen.random()))
            if chosen.random() < 0.7:
                slot = open_now.pop()
                spent = chosen.random() * 10
                sink.on_end(record(slot, labels=labels, duration=spent, progress=progress(labels, wait=spent / 3)))
        processes.now += chosen.random()
        which = chosen.randrange(2)
        check_that_nothing_fell(readers[which], lasts[which])


# -- bounds and strangers


def test_label_sets_are_bounded_over_the_whole_tree_and_who_is_in_stays_in(processes: Processes) -> None:
    reader = processes.tree()
    admitted: set[StreamLabels] = set()
    for pid in range(10, 20):
        made, sink = processes.start(pid)
        for i in range(60):
            labels = LABELS._replace(model=f"{pid}-{i}", server=f"host{i}")
            sink.on_end(record(made.open_slot(labels, 990.0), labels=labels))
        if pid % 2:
            processes.die(pid)
        snapshot = reader.snapshot()
        assert admitted <= set(snapshot.streams)
        admitted = set(snapshot.streams)
        assert ended(snapshot) == {"completed": 60 * (pid - 9)}
    assert len(admitted) <= names.MAX_LABEL_SETS + 1
    assert len({labels.model for labels in admitted} - {"other"}) <= names.MAX_MODELS
    assert len({labels.server for labels in admitted} - {"other"}) <= names.MAX_SERVERS
    assert any("other" in labels for labels in admitted)


def test_who_came_first_is_let_in_first(processes: Processes) -> None:
    for pid in (30, 20, 10):
        made, _ = processes.start(pid)
        for i in range(names.MAX_MODELS // 2):
            made.open_slot(LABELS._replace(model=f"{pid}-{i}"), 990.0)
    models = {labels.model.split("-")[0] for labels in processes.tree().snapshot().streams}
    assert models == {"30", "20", "other"}


@pytest.mark.parametrize("content", [
    b"", b"x", bytes(4096), b"SVITALS1" + bytes(8192), os.urandom(12288),
    struct.pack("<8sIIII", b"SVITALS1", 1, 2, 3, 4) * 500,
])
def test_a_file_that_is_none_of_ours_is_skipped_and_counted_once(processes: Processes, content: bytes) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    Path(processes.directory, "11-100.0.sv").write_bytes(content)
    reader = processes.tree()
    for _ in range(3):
        snapshot = reader.snapshot()
        assert ended(snapshot) == {"completed": 1}
        assert value(snapshot, names.INTERNAL_ERRORS, "agent") == 1


def test_a_file_of_another_version_is_skipped(processes: Processes) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(STREAM_LAYOUT, "fingerprint", 1)
        processes.start(10)[0].open_slot(LABELS, 990.0)
    processes.start(11)[0].open_slot(LABELS, 990.0)
    reader = processes.tree()
    for _ in range(2):
        assert reader.snapshot().active == {LABELS: 1}
        assert value(reader.snapshot(), names.INTERNAL_ERRORS, "agent") == 1
    processes.die(10, 11)
    assert ended(reader.snapshot()) == {"abandoned": 1}


def test_a_file_that_was_cut_is_skipped(processes: Processes) -> None:
    processes.start(10)[0].open_slot(LABELS, 990.0)
    (name,) = segments(processes.directory)
    os.truncate(os.path.join(processes.directory, name), segment.PAGE)
    snapshot = processes.tree().snapshot()
    assert snapshot.active == {}
    assert value(snapshot, names.INTERNAL_ERRORS, "agent") == 1


def test_links_are_not_followed_and_other_files_left_alone(processes: Processes, tmp_path: Path) -> None:
    processes.start(10)[0].open_slot(LABELS, 990.0)
    (name,) = segments(processes.directory)
    os.rename(os.path.join(processes.directory, name), tmp_path / "elsewhere")
    os.symlink(tmp_path / "elsewhere", os.path.join(processes.directory, "12-100.0.sv"))
    Path(processes.directory, "10-100.proc").write_text("python 3.11")
    Path(processes.directory, "agent.json").write_text("{}")
    processes.die(10)
    snapshot = processes.tree().snapshot()
    assert snapshot.active == {}
    assert ended(snapshot) == {}
    assert {"10-100.proc", "agent.json"} < set(os.listdir(processes.directory))


def test_a_file_that_cannot_be_read_now_is_read_later(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    processes.start(10)[0].open_slot(LABELS, 990.0)
    reader = processes.tree()
    real = os.open

    def no_descriptors(path: Any, *rest: Any) -> int:
        if str(path).endswith(".sv"):
            raise OSError(24, "Too many open files")
        return real(path, *rest)

    monkeypatch.setattr(mapped.os, "open", no_descriptors)
    for _ in range(3):
        assert value(reader.snapshot(), names.INTERNAL_ERRORS, "agent") == 1
    monkeypatch.undo()
    assert reader.snapshot().active == {LABELS: 1}


def test_a_damaged_sum_is_counted_and_the_living_still_seen(processes: Processes) -> None:
    processes.start(10)[0].open_slot(LABELS, 990.0)
    Path(processes.directory, retired.NAME).write_bytes(b"SVRETIR1 and nothing that fits")
    snapshot = processes.tree().snapshot()
    assert snapshot.active == {LABELS: 1}
    assert value(snapshot, names.INTERNAL_ERRORS, "agent") == 1


def test_no_mapping_is_kept_of_what_is_gone(processes: Processes) -> None:
    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count(processes.directory)

    reader = processes.tree()
    stores = [processes.start(pid)[0] for pid in range(10, 15)]
    for made in stores:
        made.open_slot(LABELS, 990.0)
    before = mappings()
    reader.snapshot()
    assert mappings() == before + 5
    processes.die(*range(10, 15))
    reader.snapshot()
    assert mappings() == before


# -- who is alive


def spawn(script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", textwrap.dedent(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def identity_of(pid: int) -> segment.Identity:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
    return segment.Identity(pid, int(fields[19]), int(fields[25]), namespace, 0)


def test_a_process_is_alive_until_it_is_a_zombie() -> None:
    with spawn("print(flush=True); input()") as child:
        assert child.stdout is not None
        child.stdout.readline()
        identity = identity_of(child.pid)
        assert liveness.alive(identity)
        assert not liveness.alive(identity._replace(start=identity.start + 1)), "the pid is another's now"
        assert not liveness.alive(identity._replace(image=identity.image ^ 4096)), "another program by now"
        assert liveness.alive(identity._replace(image=0))
        assert liveness.alive(identity._replace(start=0))
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        assert not liveness.alive(identity)
    assert not liveness.alive(identity)
    assert not liveness.alive(identity._replace(start=0))


def test_a_process_whose_main_thread_has_gone_is_alive_while_others_run() -> None:
    script = """
        import ctypes, os, threading
        def rest():
            print("ready", flush=True)
            os.read(0, 1)
            os._exit(0)
        threading.Thread(target=rest).start()
        ctypes.CDLL(None).pthread_exit(None)
        """
    with spawn(script) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        assert child.stdout.readline() == "ready\n"
        identity = identity_of(child.pid)
        state = ""
        while state != "Z":
            state = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[0]
        assert liveness.alive(identity)
        child.stdin.write("x")
        child.stdin.close()
    assert not liveness.alive(identity)


def test_an_exec_makes_another_program_of_a_process() -> None:
    script = """
        import os, sys
        if "again" not in sys.argv:
            print("here", flush=True)
            input()
            os.execv(sys.executable, [sys.executable, "-c", "print('there', flush=True); input()", "again"])
        """
    with spawn(script) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        identity = identity_of(child.pid)
        assert liveness.alive(identity)
        child.stdin.write("go\n")
        child.stdin.flush()
        assert child.stdout.readline() == "there\n"
        assert not liveness.alive(identity)
        assert liveness.alive(identity_of(child.pid))
        child.kill()


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare")
def test_a_process_in_another_pid_namespace_is_alive_though_its_pid_means_another_here(directory: str) -> None:
    script = f"""
        import sys
        sys.path[:0] = {sys.path!r}
        from store_support import LABELS
        from streamvitals.sinks.memory import MappedMemory
        from streamvitals.sinks.store import Store
        store = Store(MappedMemory({directory!r}))
        store.open_slot(LABELS, 1.0)
        print("ready", flush=True)
        input()
        """
    command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    command += [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:  # noqa: S603
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            pytest.skip("may not make a pid namespace")
        reader = Tree(directory)
        assert segments(directory)[0].startswith("1-")
        assert reader.snapshot().active == {LABELS: 1}
        child.communicate("\n")
    assert ended(reader.snapshot()) == {"abandoned": 1}


def test_labels_of_slots_whose_block_cannot_be_read_are_other(processes: Processes) -> None:
    made, _ = processes.start(10)
    slot = made.open_slot(LABELS, 990.0)
    slot.view[slot.at + segment.ORDINAL] = 77.0
    processes.die(10)
    snapshot = processes.tree().snapshot()
    assert value(snapshot, names.STREAMS, "abandoned", labels=OTHER_SET) == 1
