"""Files are copied while their process writes on: what is told of a label set is of one moment."""

from __future__ import annotations

import os

import pytest

from store_support import LABELS, Processes, assert_consistent, ended, record
from streamvitals.store.layout import STREAM_LAYOUT


@pytest.mark.parametrize("share", [0.0, 0.1, 0.25, 0.5, 0.75, 0.9])
def test_a_row_that_is_written_while_it_is_copied_is_of_one_moment(
    share: float, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    agent = processes.tree()
    assert ended(agent.snapshot()) == {"completed": 1}
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    pread, block = os.pread, made.block(LABELS)
    counted = 2

    def copy(fd: int, size: int, start: int) -> bytes:
        """The kernel copies page after page, and the process writes on."""
        nonlocal counted
        rows = 8 * block.at + 8
        row = rows + 8 * STREAM_LAYOUT.size * (block.version % 2)
        written = row + 8 * int(share * STREAM_LAYOUT.size)
        if not start <= written < start + size or counted == 6:
            return pread(fd, size, start)
        first = pread(fd, written - start, start)
        for _ in range(2):
            sink.on_end(record(made.open_slot(LABELS, 990.0)))
            counted += 1
        return first + pread(fd, start + size - written, written)

    monkeypatch.setattr(os, "pread", copy)
    snapshot = agent.snapshot()
    assert_consistent(snapshot)
    assert ended(snapshot) == {"completed": counted}
    assert counted == 6


def test_a_row_that_never_rests_stays_as_it_was(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    agent = processes.tree()
    agent.snapshot()
    pread = os.pread

    def copy(fd: int, size: int, start: int) -> bytes:
        sink.on_end(record(made.open_slot(LABELS, 990.0)))
        return pread(fd, size, start)

    with monkeypatch.context() as busy:
        busy.setattr(os, "pread", copy)
        assert ended(agent.snapshot()) == {"completed": 1}
    assert ended(agent.snapshot())["completed"] > 100


def test_a_file_that_is_cut_while_it_is_read_is_damaged(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    made, sink = processes.start(10)
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    agent = processes.tree()
    agent.snapshot()
    sink.on_end(record(made.open_slot(LABELS, 990.0)))
    pread = os.pread

    def cut(fd: int, size: int, start: int) -> bytes:
        return b"" if start else pread(fd, size, start)

    monkeypatch.setattr(os, "pread", cut)
    assert ended(agent.snapshot()) == {"completed": 1}
