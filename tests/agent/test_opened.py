"""What the tree says of open streams, for which it reads little."""

from __future__ import annotations

from store_support import LABELS, Processes, record


def test_the_tree_sees_what_the_stores_see_and_reads_slots_alone(processes: Processes) -> None:
    reader = processes.tree()
    stores = [processes.start(pid)[0] for pid in (10, 11)]
    first = stores[0].open_slot(LABELS, 990.0)
    assert [(one.pid, one.labels) for one in reader.opened()] == [(10, LABELS)]
    for i in range(200):
        stores[1].open_slot(LABELS._replace(model=f"m{i % 4}"), 991.0)
    first.view[first.at + 3] = 9.0
    found = reader.opened()
    assert sorted((one.labels, one.slot) for one in found) == sorted(
        (one.labels, one.slot) for store in stores for one in store.opened()
    )
    assert [one.slot.chunks for one in found if one.pid == 10] == [9.0]
    processes.die(11)
    assert [one.pid for one in reader.opened()] == [10]


def test_a_damaged_file_hides_its_own_streams_alone(processes: Processes) -> None:
    reader = processes.tree()
    (broken, _), (sound, sink) = processes.start(10), processes.start(11)
    for store in (broken, sound):
        store.open_slot(LABELS, 990.0)
    assert len(reader.opened()) == 2
    slot = broken.open_slot(LABELS, 990.0)
    slot.view[slot.at] = float("nan")
    assert [one.pid for one in reader.opened()] == [11]
    sink.on_end(record(sound.open_slot(LABELS, 990.0)))
    assert [one.pid for one in reader.opened()] == [11]
