"""The counts of the conventions' metrics across processes: the living, the dead, and many of them."""

from __future__ import annotations

from store_support import LABELS, Processes, ended, record
from streamvitals import conventions
from streamvitals.store.inferences import MAX_SETS, Inference
from streamvitals.store.layout import INFERENCE_LAYOUT
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import StoreSink
from streamvitals.stream.record import Usage


def inferences(snapshot: Snapshot) -> int:
    """How many durations there are."""
    at, edges = INFERENCE_LAYOUT.at(conventions.DURATION), len(conventions.SECONDS) + 1
    return int(sum(sum(row[at : at + edges]) for row in snapshot.inferences.values()))


def test_they_are_the_processes_own_added_up_and_outlive_them(processes: Processes) -> None:
    reader = processes.tree()
    for pid in (10, 11):
        made, _ = processes.start(pid)
        sink = StoreSink(made, conventional=True)
        for port in (1, 2):
            sink.on_end(record(made.open_slot(LABELS, 990.0), server_port=port, usage=Usage(10, 2)))
        sink.on_end(record(made.open_slot(LABELS, 990.0), server_port=1, response_model="m-1"))
    total = reader.snapshot()
    assert inferences(total) == ended(total)["completed"] == 6
    assert {(i.port, i.response_model) for i in total.inferences} == {(1, ""), (2, ""), (1, "m-1")}
    input_at = INFERENCE_LAYOUT.at(conventions.INPUT, "unknown")
    assert total.inferences[Inference(LABELS, 2, "completed")][input_at] == 20
    processes.die(10)
    assert reader.snapshot().inferences == total.inferences
    processes.die(11)
    assert reader.snapshot().inferences == total.inferences
    assert processes.tree().snapshot().inferences == total.inferences, "another agent reads the sum of the dead"


def test_their_number_is_bounded_over_the_whole_tree(processes: Processes) -> None:
    reader = processes.tree()
    sent = 0
    for pid in (10, 11, 12):
        made, _ = processes.start(pid)
        sink = StoreSink(made, conventional=True)
        for port in range(MAX_SETS):
            sink.on_end(record(made.open_slot(LABELS, 990.0), server_port=1000 * pid + port))
            sent += 1
        total = reader.snapshot()
        assert len(total.inferences) <= MAX_SETS + 1
        assert inferences(total) == sent
        processes.die(pid)
    assert inferences(reader.snapshot()) == sent


def test_a_block_of_another_layout_is_not_read(processes: Processes) -> None:
    made, _ = processes.start(10)
    StoreSink(made, conventional=True).on_end(record(made.open_slot(LABELS, 990.0)))
    ((_, block),) = made._inferences.items()
    block.view[block.at - 48] = 0.0  # the checksum and the length of its attributes
    total = processes.tree().snapshot()
    assert total.inferences == {}
    assert ended(total) == {"completed": 1}
