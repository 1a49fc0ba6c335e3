"""The last trace of each bucket: bounded, in the files that the agent reads, and never half of one."""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import time
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from store_support import LABELS, Processes, ended, progress, record, segments, trace_instructions, value
from streamvitals import names
from streamvitals.agent.tree import Tree
from streamvitals.outcome import Outcome
from streamvitals.store import exemplars, memory, segment, store
from streamvitals.store.exemplars import Exemplars
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.measured import measured
from streamvitals.store.memory import HeapMemory, MappedMemory, MemoryUnavailableError
from streamvitals.store.segment import Placed, shape
from streamvitals.store.snapshot import Exemplar, ExemplarKey, Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import Usage


def span(number: int) -> Any:
    """A span whose ids and, below, whose stream's value and time are all made of one number."""
    return SimpleNamespace(trace_id=(number << 64) + number, span_id=number)


def ids(number: int) -> tuple[str, str]:
    return f"{(number << 64) + number:032x}", f"{number:016x}"


def first_chunk(bucket: int, labels: Any = LABELS) -> ExemplarKey:
    return ExemplarKey("streamvitals.time_to_first_chunk", labels, (), bucket)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    (tmp_path / "d").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return Processes(str(tmp_path / "d"), monkeypatch)


def keeping(made: Store, at: float = 42.0) -> StoreSink:
    return StoreSink(made, exemplars=True, unix_time=lambda: at)


def files_of_exemplars(directory: str) -> list[str]:
    """The files with the bit of exemplars in their head."""
    return [name for name in segments(directory) if Path(directory, name).read_bytes()[20] & 2]


def test_they_are_kept_per_bucket_and_only_when_asked_for(store: Store) -> None:
    def kept() -> dict[ExemplarKey, Exemplar]:
        return store.snapshot(1000.0).exemplars

    StoreSink(store).on_end(record(span=span(1)))
    assert kept() == {}
    sink = keeping(store)
    sink.on_end(record())
    assert kept() == {}, "without a trace there is nothing to lead to"
    sink.on_end(record(span=span(7), first_chunk=0.0042))
    assert {key.metric for key in kept()} == {
        "streamvitals.time_to_first_chunk", "streamvitals.time_to_first_token", "streamvitals.stream_duration"
    }
    assert kept()[first_chunk(0)] == (42.0, 0.0042, *ids(7))
    sink.on_end(record(span=span(8), first_chunk=0.0043))
    assert kept()[first_chunk(0)] == (42.0, 0.0043, *ids(8)), "the last one"
    sink.on_end(record(span=span(9), first_chunk=1e9))
    assert kept()[first_chunk(len(names.FIRST_EDGES))] == (42.0, 1e9, *ids(9)), "past the last edge"
    assert kept()[first_chunk(0)].trace_id == ids(8)[0]


def test_the_agent_shows_what_the_process_kept_and_of_two_processes_the_newer(processes: Processes) -> None:
    tree = processes.tree()
    for pid, at in ((10, 42.0), (11, 41.0)):
        made, _ = processes.start(pid)
        keeping(made, at).on_end(record(made.open_slot(LABELS, 990.0), span=span(pid)))
        failed = record(
            made.open_slot(LABELS, 990.0), span=span(100 + pid), duration=float(pid), outcome=Outcome.RESET,
            error_type="other", first_chunk=None, first_token=None,
        )
        keeping(made, at).on_end(failed)
        if pid == 10:
            assert tree.snapshot() == made.snapshot(processes.now), "the same as the process says of itself"
    found = tree.snapshot().exemplars
    assert found[first_chunk(7)] == (42.0, 0.5, *ids(10))
    durations = {key.bucket: one for key, one in found.items() if key.metric == "streamvitals.stream_duration"}
    assert {one.trace_id for one in durations.values()} == {ids(10)[0], ids(110)[0]}, "10 s and 11 s are one bucket"
    assert len(found) == 4


def test_those_of_a_process_that_is_gone_stay_until_there_are_newer_ones(processes: Processes) -> None:
    tree = processes.tree()
    made, _ = processes.start(10)
    keeping(made).on_end(record(made.open_slot(LABELS, 990.0), span=span(1)))
    processes.die(10)
    before = tree.snapshot().exemplars
    assert before[first_chunk(7)].trace_id == ids(1)[0]
    assert segments(processes.directory) == []
    assert tree.snapshot().exemplars == before
    made, _ = processes.start(11)
    keeping(made, 43.0).on_end(record(made.open_slot(LABELS, 990.0), span=span(2)))
    assert tree.snapshot().exemplars[first_chunk(7)].trace_id == ids(2)[0]


def test_how_many_the_agent_keeps_of_the_dead_is_bounded(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamvitals.agent.tree._MOST_EXEMPLARS", 5)
    tree = processes.tree()
    for pid in range(10, 20):
        made, _ = processes.start(pid)
        labels = LABELS._replace(model=f"m{pid}")
        keeping(made, float(pid)).on_end(record(made.open_slot(labels, 990.0), labels=labels, span=span(pid)))
        processes.die(pid)
        tree.snapshot()
    found = tree.snapshot().exemplars
    assert len(found) == 5
    assert {one.time for one in found.values()} == {18.0, 19.0}, "the newest"


def test_a_process_without_spans_has_not_a_byte_for_them(processes: Processes) -> None:
    made, plain = processes.start(10)
    for sink in (plain, keeping(made)):
        sink.on_end(record(made.open_slot(LABELS, 990.0)))
    before = segments(processes.directory)
    assert files_of_exemplars(processes.directory) == []
    keeping(made).on_end(record(made.open_slot(LABELS, 990.0), span=span(1)))
    (name,) = files_of_exemplars(processes.directory)
    assert {*segments(processes.directory)} - {*before} == {name}
    assert Path(processes.directory, name).stat().st_size == segment.PAGE


def test_they_are_bounded_and_the_one_that_was_not_renewed_for_longest_goes(processes: Processes) -> None:
    made, _ = processes.start(10)
    sink = keeping(made)
    edges = [*names.DURATION_EDGES, 1e6]
    models = [LABELS._replace(model=f"m{number // 10}", server=f"s{number % 10}") for number in range(100)]
    for round_ in range(2):
        for number, labels in enumerate(models):
            for bucket, duration in enumerate(edges):
                one = record(
                    made.open_slot(labels, 990.0), labels=labels, duration=duration, first_chunk=None, first_token=None,
                    span=span(1 + round_ * 10_000 + number * 100 + bucket),
                )
                sink.on_end(one)
    files = files_of_exemplars(processes.directory)
    size = sum(Path(processes.directory, name).stat().st_size for name in files)
    assert 64 * exemplars.MOST <= size <= 64 * exemplars.MOST + len(files) * segment.PAGE + 4096
    assert len(files) <= 6
    found = processes.tree().snapshot().exemplars
    assert len(found) == exemplars.MOST
    kept = {int(one.span_id, 16) for one in found.values()}
    last = [1 + 10_000 + number * 100 + bucket for number in range(100) for bucket in range(len(edges))]
    assert kept == {*last[-exemplars.MOST :]}


def test_a_child_neither_writes_to_its_parents_nor_has_them(processes: Processes) -> None:
    made, _ = processes.start(10)
    sink = keeping(made)
    sink.on_end(record(made.open_slot(LABELS, 990.0), span=span(1)))
    (name,) = files_of_exemplars(processes.directory)
    parents = Path(processes.directory, name).read_bytes()
    # As in a child: the mapping of its parent is not to be touched any more.
    made.reset_after_fork()
    assert made.snapshot(1000.0).exemplars == {}
    sink.on_end(record(made.open_slot(LABELS, 990.0), span=span(2)))
    assert len(made.snapshot(1000.0).exemplars) == 3
    assert Path(processes.directory, name).read_bytes() == parents


def test_without_memory_for_them_streams_are_counted_all_the_same(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, _ = processes.start(10)
    slots = [made.open_slot(LABELS, 990.0) for _ in range(3)]

    def none(*_: object) -> None:
        raise MemoryUnavailableError("ENOSPC")

    monkeypatch.setattr(MappedMemory, "allocate", none)
    for slot in slots:
        keeping(made).on_end(record(slot, span=span(1)))
    snapshot = processes.tree().snapshot()
    assert (ended(snapshot), snapshot.exemplars) == ({"completed": 3}, {})
    assert value(snapshot, names.INTERNAL_ERRORS, "store") == 1, "tried, and counted, once"


@pytest.mark.parametrize("changed", range(0, 56, 4))
def test_one_with_any_bytes_changed_is_not_shown(changed: int) -> None:
    form = shape(first=False, slots=3, blocks=0, ordinal=0, exemplars=True)
    view = HeapMemory().allocate(form)
    written = [Placed(number, 1, 0.5, 42.0, bytes(16), bytes([number]) * 8) for number in (1, 2)]
    for number, placed in enumerate(written):
        segment.write_exemplar(view, form.slots_at + segment.SLOT * number, *placed)
    assert list(segment.exemplars(view, form)) == written, "and a place without one is none"
    with view.cast("B") as raw:
        raw[8 * form.slots_at + changed] ^= 0x40
    assert list(segment.exemplars(view, form)) == written[1:]


@pytest.mark.parametrize("placed", [
    Placed(10**9, 1, 0.5, 42.0, bytes(16), bytes(8)),
    Placed(STREAM_LAYOUT.at(names.STREAMS, "completed", "completed"), 1, 0.5, 42.0, bytes(16), bytes(8)),
    Placed(STREAM_LAYOUT.at(names.TIME_TO_FIRST_CHUNK) + len(names.FIRST_EDGES) + 1, 1, 0.5, 42.0, bytes(16), bytes(8)),
    Placed(STREAM_LAYOUT.at(names.TIME_TO_FIRST_CHUNK), 99, 0.5, 42.0, bytes(16), bytes(8)),
    Placed(STREAM_LAYOUT.at(names.TIME_TO_FIRST_CHUNK), 1, math.nan, 42.0, bytes(16), bytes(8)),
    Placed(STREAM_LAYOUT.at(names.TIME_TO_FIRST_CHUNK), 1, 0.5, math.inf, bytes(16), bytes(8)),
], ids=["no series", "a counter's", "a sum's", "no such block", "no number", "no time"])
def test_what_is_that_of_no_bucket_is_not_shown(placed: Placed) -> None:
    assert exemplars.shown(placed, {1: LABELS}) is None
    good = placed._replace(bucket=STREAM_LAYOUT.at(names.TIME_TO_FIRST_CHUNK), ordinal=1, value=0.5, time=42.0)
    assert exemplars.shown(good, {1: LABELS}) == (first_chunk(0), (42.0, 0.5, "0" * 32, "0" * 16))


@pytest.mark.parametrize("facts", [
    {}, {"first_chunk": None, "first_token": None}, {"usage": Usage(1, 30, None, None)},
    {"outcome": Outcome.RESET, "error_type": "other", "usage": Usage(1, 30, None, None)}, {"duration": 1e9},
    {"usage": Usage(None, None, None, None)}, {"first_chunk": 0.005, "first_token": 0.35},
    *({"outcome": Outcome(outcome), "error_type": error} for outcome, error, _ in names.OUTCOME_ERRORS),
])
def test_they_are_of_the_buckets_in_which_the_stream_is_counted(processes: Processes, facts: Any) -> None:
    made, _ = processes.start(10)
    one = record(made.open_slot(LABELS, 990.0), span=span(1), **facts)
    told = progress(first_chunk=one.first_chunk, first_token=one.first_token)
    keeping(made).on_end(one._replace(progress=told))
    snapshot = made.snapshot(1000.0)
    (row,) = snapshot.streams.values()
    counted = {
        (series.metric.otel, series.values, bucket)
        for series in STREAM_LAYOUT.series if series.metric.kind == "histogram"
        for bucket in range(series.width - 1) if row[series.start + bucket]
    }
    assert {(key.metric, key.values, key.bucket) for key in snapshot.exemplars} == counted
    values = {(metric.otel, own): value for metric, own, value in measured(one)}
    assert {(key.metric, key.values): kept.value for key, kept in snapshot.exemplars.items()} == values


# -- killed while it is written


def whole(snapshot: Snapshot) -> int:
    """How many there are; value, time and ids of each must be of the same stream."""
    for key, one in snapshot.exemplars.items():
        number = int(one.span_id, 16)
        assert (one.trace_id, one.span_id) == ids(number)
        assert one.time == float(number)
        edges = names.FIRST_EDGES if key.metric != "streamvitals.stream_duration" else names.DURATION_EDGES
        assert key.bucket == 0 or edges[key.bucket - 1] < one.value
        assert one.value == float(number) / 1000
    return len(snapshot.exemplars)


def stream_of(number: int, slot: Any, labels: Any) -> Any:
    seconds = number / 1000
    return record(slot, labels=labels, duration=seconds, first_chunk=seconds, first_token=seconds, span=span(number))


def test_a_process_killed_before_any_of_its_instructions_shows_whole_ones_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    identity = memory.process_identity()
    monkeypatch.setattr(memory, "process_identity", lambda: identity)
    directory = tmp_path / "d"
    directory.mkdir()
    modules = {module.__name__ for module in (store, memory, segment, exemplars)} | {"streamvitals.store.segments"}
    states: list[dict[str, bytes]] = []

    def photograph(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_globals.get("__name__") not in modules:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            state = {name: Path(directory, name).read_bytes() for name in segments(str(directory))}
            if not states or states[-1] != state:
                states.append(state)
        return photograph

    numbers = iter(range(1, 1000))
    trace_instructions(photograph)
    try:
        made = Store(MappedMemory(str(directory)))
        sink = StoreSink(made, exemplars=True, unix_time=lambda: float(number))
        for number in numbers:
            if number > 12:
                break
            labels = LABELS._replace(model=f"m{number % 2}")
            sink.on_end(stream_of(number, made.open_slot(labels, 990.0), labels))
    finally:
        sys.settrace(None)
    assert len(states) > 100, "the test has looked at nothing"
    most = 0
    for at, contents in enumerate(states):
        there = tmp_path / str(at)
        there.mkdir()
        for name, content in contents.items():
            (there / name).write_bytes(content)
        for dead in (False, True):
            most = max(most, whole(Tree(str(there), alive=lambda _, dead=dead: not dead).snapshot()))  # type: ignore[misc]
    assert most > 6


def writes_until_it_is_killed(directory: str, seed: int) -> None:
    chosen, number = random.Random(seed), 1
    made = Store(MappedMemory(directory))
    sink = StoreSink(made, exemplars=True, unix_time=lambda: float(number))
    while True:
        number = chosen.randrange(1, 600_000)
        labels = LABELS._replace(model=f"m{chosen.randrange(3)}")
        sink.on_end(stream_of(number, made.open_slot(labels, 990.0), labels))


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_whenever_one_looks_and_whenever_it_is_killed_there_are_whole_ones_only(tmp_path: Path) -> None:
    reader, looks, seen = Tree(str(tmp_path)), 0, 0
    for seed in range(8):
        pid = os.fork()
        if pid == 0:
            try:
                writes_until_it_is_killed(str(tmp_path), seed)
            finally:
                os._exit(1)
        try:
            until = looks + 150
            deadline = time.monotonic() + 60.0
            while looks < until or not seen:
                assert time.monotonic() < deadline
                seen = whole(reader.snapshot())
                looks += 1
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        assert whole(reader.snapshot()) >= seen > 0


def test_half_of_a_new_one_over_an_old_one_is_none(processes: Processes) -> None:
    """As the kernel may leave it: some words of a write are there, the others not yet."""
    made, _ = processes.start(10)
    sink = StoreSink(made, exemplars=True, unix_time=lambda: 1.0)
    sink.on_end(stream_of(1, made.open_slot(LABELS, 990.0), LABELS))
    (name,) = files_of_exemplars(processes.directory)
    file = Path(processes.directory, name)
    old = file.read_bytes()
    sink = StoreSink(made, exemplars=True, unix_time=lambda: 2.0)
    sink.on_end(stream_of(2, made.open_slot(LABELS, 990.0), LABELS))
    new = file.read_bytes()
    words = [at for at in range(0, len(old), 8) if old[at : at + 8] != new[at : at + 8]]
    assert len(words) > 9
    assert whole(processes.tree().snapshot()) == 3
    for cut in words[:-1]:
        file.write_bytes(new[: cut + 8] + old[cut + 8 :])
        assert whole(processes.tree().snapshot()) in (2, 3)


def test_keeping_one_needs_no_room_of_its_own_once_there_is_a_place() -> None:
    calls: list[int] = []

    def allocate(count: int) -> Any:
        calls.append(count)
        form = shape(first=False, slots=count, blocks=0, ordinal=0, exemplars=True)
        return HeapMemory().allocate(form), form

    kept = Exemplars(allocate)
    for number in range(10_000):
        kept.keep([(number % 3, float(number))], 1, 1.0, bytes(16), bytes(8))
    assert calls == [exemplars.FIRST]
    assert [placed.value for placed in kept.all()] == [9999.0, 9997.0, 9998.0]
