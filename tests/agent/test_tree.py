"""What the agent makes of the files of all processes, whoever dies and whenever."""

from __future__ import annotations

import os
import random
import shutil
import struct
import threading
from pathlib import Path
from typing import Any

import pytest

from store_support import (
    LABELS,
    OTHER_SET,
    Processes,
    assert_consistent,
    check_that_nothing_fell,
    ended,
    progress,
    record,
    segments,
    value,
)
from streamvitals import names
from streamvitals.agent import dead
from streamvitals.agent.tree import Tree
from streamvitals.store import segment
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import RetryRecord, StreamLabels

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
        stalled.view[stalled.at + segment.ANSWERED] = 1.0
        stalled.view[stalled.at + segment.KEPT_ALIVE] = -989.0 if pid == 11 else 0.0
        snapshot = reader.snapshot()
    assert ended(snapshot) == {"completed": 3}
    assert snapshot.active == {LABELS: 3}
    assert snapshot.stalled == {(LABELS, "keep_alive"): 1}
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
    assert snapshot == made.snapshot(processes.now), "the same as the process says of itself"


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
        assert value(snapshot, names.CHUNKS, "left") == 15
        at = STREAM_LAYOUT.at(names.DURATION, "left")
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

    monkeypatch.setattr(dead.os, "rename", full)
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
    at = STREAM_LAYOUT.at(names.DURATION, "left")
    assert again.snapshot().streams[LABELS][at + len(names.DURATION_EDGES) + 1] == 10.0, "as first noticed"


def test_nothing_falls_between_two_looks_whatever_happens_in_between(processes: Processes) -> None:
    chosen = random.Random(3)
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
], ids=["empty", "a byte", "zeros", "a name and zeros", "noise", "a head again and again"])
def test_a_file_that_is_none_of_ours_is_skipped_and_counted_once(processes: Processes, content: bytes) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    Path(processes.directory, "11-100.0.sv").write_bytes(content)
    reader = processes.tree()
    for _ in range(3):
        snapshot = reader.snapshot()
        assert ended(snapshot) == {"completed": 1}
        assert sum(value(snapshot, names.INTERNAL_ERRORS, where) for where in ("agent", "layout")) == 1


def test_a_pipe_does_not_hold_the_agent_up(processes: Processes) -> None:
    processes.start(10)[0].open_slot(LABELS, 990.0)
    os.mkfifo(os.path.join(processes.directory, "11-100.0.sv"))
    assert processes.tree().snapshot().active == {LABELS: 1}


def test_a_file_that_was_cut_is_skipped(processes: Processes) -> None:
    processes.start(10)[0].open_slot(LABELS, 990.0)
    (name,) = segments(processes.directory)
    os.truncate(os.path.join(processes.directory, name), segment.PAGE)
    snapshot = processes.tree().snapshot()
    assert snapshot.active == {}
    assert value(snapshot, names.INTERNAL_ERRORS, "layout") == 1


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

    monkeypatch.setattr(os, "open", no_descriptors)
    for _ in range(3):
        assert value(reader.snapshot(), names.INTERNAL_ERRORS, "agent") == 1
    monkeypatch.undo()
    assert reader.snapshot().active == {LABELS: 1}


def test_a_damaged_sum_is_counted_and_the_living_still_seen(processes: Processes) -> None:
    processes.start(10)[0].open_slot(LABELS, 990.0)
    Path(processes.directory, dead.NAME).write_bytes(b"SVRETIR1 and nothing that fits")
    snapshot = processes.tree().snapshot()
    assert snapshot.active == {LABELS: 1}
    assert value(snapshot, names.INTERNAL_ERRORS, "agent") == 1


def test_nothing_is_kept_open_of_what_is_gone(processes: Processes) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    reader = processes.tree()
    stores = [processes.start(pid)[0] for pid in range(10, 15)]
    for made in stores:
        made.open_slot(LABELS, 990.0)
    before = opened()
    reader.snapshot()
    assert opened() == before + 5
    processes.die(*range(10, 15))
    reader.snapshot()
    assert opened() == before


def test_labels_of_slots_whose_block_cannot_be_read_are_other(processes: Processes) -> None:
    made, _ = processes.start(10)
    slot = made.open_slot(LABELS, 990.0)
    slot.view[slot.at + segment.ORDINAL] = 77.0
    processes.die(10)
    snapshot = processes.tree().snapshot()
    assert value(snapshot, names.STREAMS, "abandoned", labels=OTHER_SET) == 1
