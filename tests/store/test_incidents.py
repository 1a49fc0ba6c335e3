"""The records of streams that did not complete: whole or not there, bounded, a process's own, and never in the way."""

from __future__ import annotations

import os
import struct
import sys
import time
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

from store_support import LABELS, Processes, ended, record, segments, trace_instructions, value
from streamvitals import names
from streamvitals.agent import dead_incidents
from streamvitals.agent.tree import Tree
from streamvitals.outcome import Outcome
from streamvitals.retries.failures import Chain
from streamvitals.sinks import incidents as sink_module
from streamvitals.sinks.incidents import QUIET, IncidentSink
from streamvitals.store import incident_record, incidents, memory, segment
from streamvitals.store.incident_record import (
    ENDED,
    SLOW_FIRST_TOKEN,
    SLOW_GAP,
    IncidentRecord,
    Run,
    Tried,
    body_of,
    records,
    write,
)
from streamvitals.store.memory import HeapMemory, MappedMemory, MemoryUnavailableError
from streamvitals.store.segment import Shape
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import Attempt, ChainRecord, Stall, StreamLabels, StreamRecord

NOW = 1_700_000_000.0


def failed(number: int = 0, **facts: Any) -> StreamRecord:
    """A stream that was reset, ``number`` seconds after the first one."""
    reset = {"outcome": Outcome.RESET, "error_type": "connection_reset"}
    return record(**{"operation": Chain(0.0), **reset, "started": NOW + number, **facts})


class Keeping:
    """The sinks of a store, as they are wired."""

    def __init__(self, store: Store, unix_time: Any = time.time) -> None:
        self.keeper = IncidentSink(store, unix_time)
        self.on_chain, self.on_progress = self.keeper.on_chain, self.keeper.on_progress
        self.on_end = StoreSink(store, keeper=self.keeper).on_end


def of(store: Store, kind: str = ENDED) -> list[IncidentRecord]:
    return [one for one in store.incidents.all(10, 100) if one.kind == kind]


def number_of(found: list[IncidentRecord]) -> int:
    """How many ends a process's records of one run tell of."""
    return max(one.run_number + one.repeats for one in found)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Processes:
    (tmp_path / "d").mkdir()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return Processes(str(tmp_path / "d"), monkeypatch)


def files_of_incidents(directory: str) -> list[str]:
    return [name for name in segments(directory) if Path(directory, name).stat().st_size % segment.PAGE]


# -- the format


def test_everything_comes_back_as_it_was(store: Store) -> None:
    chain = Chain(1.0)
    labels = StreamLabels("chat", "openai", "gpt-4o", "api.example", (("tenant", "acme"), ("region", "eu")))
    Keeping(store).on_end(failed(
        labels=labels, duration=12.5, chunks=20, bytes_received=4096, last_chunk=10.0, max_gap=3.0, max_gap_at=4.0,
        headers=0.2, first_chunk=0.4, first_token=0.5, stalls=2, clock_origin=1000.0, backoff=0.75, operation=chain,
        stall_times=(Stall(2.0, 6.0, "first_token", True), Stall(4.0, 7.0, "between_chunks")),
        attempts=(Attempt(1, 1000.0, 1000.25, 503, "503", 0.75), Attempt(2, 1001.0, 1012.5, 200, "connection_reset")),
        chain_attempt=3, request_id="req_1", cause_chain=("APIConnectionError", "ReadError", "ConnectionResetError"),
        span=SimpleNamespace(trace_id=0xAB, span_id=1),
    ))
    (found,) = of(store)
    assert found._replace(id="", operation="") == IncidentRecord(
        "", ENDED, 10, labels, "reset", "connection_reset", NOW + 12.5, 12.5, 20, 4096, 2.5, 2, 3, "",
        "req_1", f"{0xAB:032x}", ("APIConnectionError", "ReadError", "ConnectionResetError"),
        0.2, 0.4, 0.5, 3.0, 4.0, 2, 13.0, 0.75,
        (Stall(2.0, 6.0, "first_token", True), Stall(4.0, 7.0, "between_chunks")),
        (Tried(0.0, 0.25, 503, "503", 0.75), Tried(1.0, 11.5, 200, "connection_reset", 0.0)),
        NOW + 12.5, 1, 0,
    )
    assert found.operation == f"10-100-{chain.number}"


def test_what_never_was_is_not_known_and_what_is_too_long_is_cut(store: Store) -> None:
    long = "é" * 5000
    Keeping(store).on_end(failed(
        labels=StreamLabels("chat", "openai", long, long, ((long, long),)), first_chunk=None, first_token=None,
        last_chunk=None, request_id=long, cause_chain=(long,) * 9, stalls=40,
        stall_times=tuple(Stall(float(n), 5.0, "between_chunks") for n in range(16)),
        attempts=tuple(Attempt(n, 0.0, 1.0, None, "other") for n in range(1, 9)), clock_origin=0.0,
    ))
    (found,) = of(store)
    assert (found.first_chunk, found.first_token, found.bytes, found.headers, found.trace_id) == (None,) * 5
    assert (found.silence, found.stalls, found.stalled) == (1.0, 40, None), "of sixteen the length of all is not known"
    assert len(found.first_stalls) == len(found.first_attempts) == 4
    assert found.attempts == 8
    assert found.labels.model == "é" * 64
    assert found.request_id == "é" * 40
    assert sum(map(len, found.causes)) <= 240
    assert incident_record.SIZE <= 8 * segment.INCIDENT


@pytest.mark.parametrize("changed", [0, 3, 4, 40, 47, 100, 300, 500, 520])
def test_one_with_any_byte_changed_is_not_shown(changed: int) -> None:
    form = Shape(first=False, slots=0, blocks=0, ordinal=0, incidents=3)
    view = HeapMemory().allocate(form)
    places = list(incident_record.places(form))
    for number, at in enumerate(places[:2]):
        write(view, at, body_of(failed(), ENDED, 7 + number, Run(NOW, 1), number))
    assert [one.id for one in records(view, form, 1, 2)] == ["1-2-7", "1-2-8"], "and a place without one is none"
    with view.cast("B") as raw:
        raw[8 * places[0] + changed] ^= 0x40
    assert [one.id for one in records(view, form, 1, 2)] == ["1-2-8"]


@pytest.mark.parametrize("at", [*range(21), 30, 40])
@pytest.mark.parametrize("bad", [float("inf"), -1e300, float("nan")])
def test_numbers_that_no_process_writes_harm_nobody(at: int, bad: float) -> None:
    form = Shape(first=False, slots=0, blocks=0, ordinal=0, incidents=1)
    view = HeapMemory().allocate(form)
    (place,) = incident_record.places(form)
    body = bytearray(body_of(failed(), ENDED, 7, Run(NOW, 1), 0))
    body[8 * at : 8 * at + 8] = struct.pack("<d", bad)
    write(view, place, bytes(body))
    view[place + incident_record.REPEATS] = bad
    assert len(list(records(view, form, 1, 2))) <= 1


# -- which are kept


def test_all_ends_but_completed_leave_one_and_only_the_first_makes_a_file(processes: Processes) -> None:
    store, _ = processes.start(10)
    sink = Keeping(store)
    sink.on_end(record())
    assert files_of_incidents(processes.directory) == []
    for outcome in Outcome:
        sink.on_end(failed(outcome=outcome, error_type="" if outcome.value in ("completed", "length") else "other"))
    found = processes.tree().incidents()
    assert {one.outcome for one in found.records} == {outcome.value for outcome in Outcome} - {"completed"}
    assert len(found.records) == len(Outcome) - 1
    assert len(files_of_incidents(processes.directory)) == 1


def test_an_outage_costs_little_keeps_its_beginning_and_pushes_nothing_out(store: Store) -> None:
    sink = Keeping(store)
    sink.on_end(failed(outcome=Outcome.REJECTED, error_type="401"))
    for number in range(3000):
        sink.on_end(failed(labels=LABELS._replace(model="loud"), started=NOW + number / 100))
    loud = [one for one in of(store) if one.labels.model == "loud"]
    assert 16 <= len(loud) <= 16 + 30 / 2 + 1, "sixteen at once, then one every two seconds"
    assert number_of(loud) == 3000, "those without a record are counted in the last one that has"
    assert min(one.run_since for one in loud) == NOW + 1.5
    assert max(one.last_repeat or 0.0 for one in loud) == NOW + 29.99 + 1.5
    assert [one.outcome for one in of(store) if one not in loud] == ["rejected"]


def test_the_ring_keeps_the_last_ones_and_says_how_many_are_gone(store: Store) -> None:
    sink = Keeping(store)
    for number in range(1000):
        sink.on_end(failed(labels=LABELS._replace(model=f"m{number}"), started=NOW + number))
    found = of(store)
    assert len(found) == incidents.MOST
    assert {one.labels.model for one in found} == {f"m{number}" for number in range(1000 - incidents.MOST, 1000)}
    assert dead_incidents.overwritten(found) == 1000 - incidents.MOST


def test_after_a_pause_the_next_of_a_kind_begins_another_run(store: Store) -> None:
    sink = Keeping(store)
    for at in (0, 10, 20 + QUIET, 30 + QUIET):
        sink.on_end(failed(int(at)))
    assert [(one.run_since - NOW, one.run_number) for one in of(store)] == [
        (1.5, 1), (1.5, 2), (21.5 + QUIET, 1), (21.5 + QUIET, 2),
    ]
    sink.on_end(failed(-100_000))
    assert of(store)[-1].run_number == 1, "and a clock that was set back harms nobody"


def test_the_kinds_that_are_remembered_are_bounded(store: Store) -> None:
    sink = Keeping(store)
    for number in range(2000):
        sink.on_end(failed(labels=LABELS._replace(model=f"m{number}")))
    assert len(sink.keeper._runs) == sink_module._MOST_KINDS


def test_without_memory_nothing_is_kept_and_streams_are_counted(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = processes.start(10)
    slots = [store.open_slot(LABELS, 990.0) for _ in range(3)]

    def none(*_: object) -> None:
        raise MemoryUnavailableError("ENOSPC")

    monkeypatch.setattr(MappedMemory, "allocate", none)
    sink = Keeping(store)
    for slot in slots:
        sink.on_end(failed(slot=slot))
        sink.on_end(record(max_gap=50.0))
    assert ended(processes.tree().snapshot()) == {"reset": 3, "completed": 3}
    assert processes.tree().incidents() == ([], 0)
    assert value(store.snapshot(1000.0), names.INTERNAL_ERRORS, "store") == 1, "tried, and counted, once"


def test_a_fault_of_ours_costs_the_record_and_is_counted_and_no_stream_is_lost(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = Keeping(store)
    with monkeypatch.context() as patch:
        patch.setattr(sink_module, "body_of", None)
        for _ in range(5):
            sink.on_end(failed())
    sink.on_end(failed())
    assert ended(store.snapshot(1000.0)) == {"reset": 6}
    assert value(store.snapshot(1000.0), names.INTERNAL_ERRORS, "sink") == 3, "then it is switched off"
    assert of(store) == []


# -- what becomes of an operation


def test_a_later_attempt_that_works_marks_all_that_failed_before(store: Store) -> None:
    sink, chain, other = Keeping(store, lambda: NOW + 99), Chain(0.0), Chain(0.0)
    sink.on_end(failed(operation=chain))
    sink.on_end(failed(1, operation=other))
    sink.on_end(failed(2, operation=chain, chain_attempt=2))
    assert [one.recovered for one in of(store)] == [None] * 3, "not yet"
    sink.on_chain(ChainRecord(LABELS, "fallback", 2, chain))
    assert [one.recovered for one in of(store)] == [None] * 3, "nor yet"
    sink.on_end(record(operation=chain, started=NOW + 3))
    assert [one.recovered for one in of(store)] == [NOW + 4.5, None, NOW + 4.5]
    sink.on_chain(ChainRecord(LABELS, "failed", 1, other))
    assert [one.given_up for one in of(store)] == [None, NOW + 99, None]
    sink.on_chain(ChainRecord(LABELS, "recovered", 1, other))
    assert (of(store)[1].given_up, of(store)[1].recovered) == (None, NOW + 99), "late, but it did"


def test_an_operation_without_a_record_of_its_own_is_counted_as_recovered(store: Store) -> None:
    sink, chains = Keeping(store), [Chain(0.0) for _ in range(40)]
    for chain in chains:
        sink.on_end(failed(operation=chain))
    for chain in chains:
        sink.on_end(record(operation=chain))
    found = of(store)
    assert sum((one.recovered is not None) + one.recovered_repeats for one in found) == number_of(found) == 40


def test_operations_without_records_of_their_own_hold_nothing_of_their_own(store: Store) -> None:
    sink, chains = Keeping(store), [Chain(0.0) for _ in range(40)]
    for chain in chains:
        sink.on_end(failed(operation=chain))
    kept = [chain.kept[0] for chain in chains[-20:]]
    assert all(one is kept[0] for one in kept)


def test_a_record_that_was_overwritten_is_not_marked_for_another(store: Store) -> None:
    sink, chain = Keeping(store), Chain(0.0)
    sink.on_end(failed(operation=chain))
    for number in range(incidents.MOST):
        sink.on_end(failed(labels=LABELS._replace(model=f"m{number}")))
    sink.on_end(record(operation=chain))
    assert not any(one.recovered for one in of(store))


# -- the slowest


def test_the_slowest_that_completed_are_kept_for_an_hour(store: Store) -> None:
    now = [NOW]
    sink = Keeping(store, lambda: now[0])
    for seconds in (0.9, 3.0, 9.0, 2.0, 5.0, 4.0, 8.0, 1.5):
        sink.on_end(record(started=now[0], first_token=seconds, max_gap=seconds / 2))
    assert sorted(one.first_token for one in of(store, SLOW_FIRST_TOKEN)) == [4.0, 5.0, 8.0, 9.0]  # type: ignore[type-var]
    assert sorted(one.longest_gap for one in of(store, SLOW_GAP)) == [2.0, 2.5, 4.0, 4.5]
    assert of(store) == []
    sink.on_end(failed(first_token=60.0, max_gap=60.0))
    assert max(one.longest_gap for one in of(store, SLOW_GAP)) == 4.5, "a stream that did not complete is no slow one"
    now[0] += 4000
    sink.on_progress(record().progress)
    sink.on_end(record(started=now[0], first_token=1.2))
    assert 1.2 in [one.first_token for one in of(store, SLOW_FIRST_TOKEN)], "what was slow an hour ago makes room"


# -- whose they are


def test_a_forked_child_neither_writes_to_its_parents_nor_has_them(processes: Processes) -> None:
    store, _ = processes.start(10)
    sink, chain = Keeping(store), Chain(0.0)
    sink.on_end(failed(operation=chain))
    (name,) = files_of_incidents(processes.directory)
    parents = Path(processes.directory, name).read_bytes()
    store.reset_after_fork()  # as in a child: the mapping of its parent is not to be touched any more
    assert of(store) == []
    sink.on_end(record(operation=chain))
    sink.on_end(failed(1))
    assert [one.run_number for one in of(store)] == [1]
    assert Path(processes.directory, name).read_bytes() == parents


def test_the_agent_reads_all_processes_and_keeps_those_of_the_dead(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_incidents, "MOST", 50)
    tree = processes.tree()
    for pid in (10, 11, 12):
        store, _ = processes.start(pid)
        Keeping(store).on_end(failed(pid))
    assert {one.pid for one in tree.incidents().records} == {10, 11, 12}
    stalled, answered = store.open_slot(LABELS, 940.0), store.open_slot(LABELS, 990.0)
    answered.view[answered.at] = -995.0
    answered.view[answered.at + segment.CHUNKS] = 7.0
    processes.die(10, 12)
    died = [one for one in tree.incidents().records if one.error_type == "process_died"]
    assert sorted((one.pid, one.chunks, one.seconds, one.silence) for one in died) == [
        (12, 0, 60.0, 60.0), (12, 7, 10.0, None),
    ]
    assert stalled.labels == died[0].labels
    assert number_of(died) == 2
    assert segments(processes.directory) != []
    processes.die(11)
    assert {one.pid for one in tree.incidents().records if one.outcome == "reset"} == {10, 11, 12}
    assert segments(processes.directory) == []
    assert tree.incidents() == tree.incidents()


def test_of_the_dead_the_newest_are_kept() -> None:
    kept = dead_incidents.DeadIncidents(most=5)
    for number in range(20):
        kept.keep([IncidentRecord(f"1-1-{number}", ENDED, 1, LABELS, "reset", "other", float(number), 1.0, 1)])
    assert [one.time for one in kept.with_living([]).records] == [15.0, 16.0, 17.0, 18.0, 19.0]
    assert kept.with_living([]).lost == 15


# -- killed, or interrupted, while it is written


def whole(found: list[IncidentRecord]) -> int:
    """How many there are; all numbers of each must be of the same stream."""
    for one in found:
        number = int(one.labels.model[1:])
        assert (one.chunks, one.seconds, one.request_id) == (number, float(number), f"req_{number}")
        assert one.recovered in (None, NOW + number)
        assert one.repeats in (0, 1)
    return len(found)


def told(number: int, **facts: Any) -> StreamRecord:
    labels = LABELS._replace(model=f"m{number}")
    return failed(labels=labels, duration=float(number), chunks=number, request_id=f"req_{number}", **facts)


def test_a_process_killed_before_any_of_its_instructions_shows_whole_ones_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(incidents, "FIRST", 3)
    monkeypatch.setattr(incidents, "MOST", 4)
    identity = memory.process_identity()
    monkeypatch.setattr(memory, "process_identity", lambda: identity)
    directory = tmp_path / "d"
    directory.mkdir()
    modules = {module.__name__ for module in (memory, incidents, incident_record, sink_module)}
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

    trace_instructions(photograph)
    try:
        sink = Keeping(Store(MappedMemory(str(directory))))
        monkeypatch.setitem(sink_module._BUDGETS, Outcome.RESET, (1.0, 1e6))
        for number in range(1, 8):
            chain = Chain(0.0)
            sink.on_end(told(number, operation=chain))
            sink.on_end(told(number))  # a repeat
            sink.on_end(record(operation=chain, started=NOW, duration=float(number)))
    finally:
        sys.settrace(None)
    assert len(states) > 40, "the test has looked at nothing"
    most = 0
    for at, contents in enumerate(states):
        there = tmp_path / str(at)
        there.mkdir()
        for name, content in contents.items():
            (there / name).write_bytes(content)
        for dead in (False, True):
            tree = Tree(str(there), alive=lambda _, dead=dead: not dead)  # type: ignore[misc]
            most = max(most, whole(tree.incidents().records))
            tree.close()
    assert most == 4


def test_an_interrupt_at_any_instruction_neither_loses_nor_doubles_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The dispatch hands the record over again; what one does between two instructions is not undone."""
    code = {IncidentSink._keep.__code__, incidents.Incidents.write.__code__, incidents.Incidents.next.__code__}
    at, done = 0, False
    while not done:
        at += 1
        sink = Keeping(store := Store(HeapMemory()))
        left = at

        def interrupt(frame: FrameType, event: str, _: object) -> Any:
            nonlocal left
            if frame.f_code not in code:
                return None
            frame.f_trace_opcodes = False
            if event == "line":
                left -= 1
                if left == 0:
                    raise KeyboardInterrupt
            return interrupt

        first, second = failed(1), failed(2)
        sys.settrace(interrupt)
        try:
            sink.on_end(first)
            done = True
        except KeyboardInterrupt:
            sys.settrace(None)
            sink.on_end(first)
        finally:
            sys.settrace(None)
        sink.on_end(second)
        assert [one.time for one in of(store)] == [NOW + 2.5, NOW + 3.5], at
    assert at > 20
