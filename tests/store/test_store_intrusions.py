"""What happens to a store from outside: threads, forks, interrupts."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, suppress
from functools import partial
from types import FrameType
from typing import Any

import pytest

from store_support import (
    LABELS,
    assert_consistent,
    call_traced,
    ended,
    record,
)
from streamvitals.conventions import SECONDS
from streamvitals.outcome import Outcome
from streamvitals.store import increments, inferences
from streamvitals.store import store as store_module
from streamvitals.store.memory import HeapMemory, MappedMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import StallAfter

NOW = 1000.0


def look(store: Store, now: float = NOW, stall_after: float = 5.0) -> Snapshot:
    return store.snapshot(now, StallAfter(stall_after, stall_after))


def test_threads_lose_nothing(store: Store, sink: StoreSink) -> None:
    one_at_a_time = threading.Lock()
    before, threads, rounds = sys.getswitchinterval(), 8, 400

    def work(number: int) -> None:
        for i in range(rounds):
            labels = LABELS._replace(model=f"m{(i * number) % 40}")
            slot = store.open_slot(labels, NOW)
            with one_at_a_time:
                sink.on_end(record(slot, labels=labels))

    sys.setswitchinterval(1e-6)
    try:
        running = [threading.Thread(target=work, args=(n,)) for n in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    snapshot = look(store)
    assert ended(snapshot) == {"completed": threads * rounds}
    assert snapshot.active == {}


def in_child(work: Callable[[], object]) -> int:
    """Run something in a forked child; its exit status: 0 if it returned, 1 if it raised."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - it must not run the parent's tests
        os.write(2, repr(error).encode() + b"\n")
        os._exit(1)
    os._exit(0)


def test_a_forked_child_starts_from_nothing_and_touches_nothing_of_its_parent(
    store: Store, sink: StoreSink
) -> None:
    store.set_build("1", "2", "true")
    open_in_parent = store.open_slot(LABELS, NOW)
    sink.on_end(record(store.open_slot(LABELS, NOW)))
    before = look(store)

    def child() -> None:
        store.reset_after_fork()
        with pytest.raises(ValueError, match="released"):
            open_in_parent.view[open_in_parent.at] = 1.0
        sink.on_end(record(open_in_parent))
        assert look(store).streams == {}
        assert look(store).builds == {("1", "2", "true"): 1}
        for _ in range(3):
            sink.on_end(record(store.open_slot(LABELS, NOW)))
        assert ended(look(store)) == {"completed": 3}
        assert look(store).active == {}

    assert in_child(child) == 0
    assert look(store) == before


def test_a_fork_while_another_thread_is_getting_memory_does_not_deadlock(store: Store) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with store._segments.lock:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()

    def child() -> None:
        store.reset_after_fork()
        store.open_slot(LABELS, NOW)

    try:
        # Forking with threads is what is tested; some versions of Python warn of it.
        with pytest.warns(DeprecationWarning, match="fork") if sys.version_info >= (3, 12) else nullcontext():
            assert in_child(child) == 0
    finally:
        done.set()
        thread.join()


class Interrupt:
    """Raises KeyboardInterrupt before the nth instruction of our own code."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.raised = False

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_globals.get("__name__") not in (store_module.__name__, increments.__name__, inferences.__name__):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left < 0 and not self.raised:
                self.raised = True
                raise KeyboardInterrupt
        return self


@pytest.mark.parametrize(("mapped", "conventional"), [(False, False), (True, False), (True, True)])
def test_an_interrupt_at_any_instruction_neither_loses_nor_doubles_a_stream(
    mapped: bool, conventional: bool, tmp_path: Any
) -> None:
    at = 0
    while True:
        store = Store(MappedMemory(str(tmp_path)) if mapped else HeapMemory())
        sink = StoreSink(store, conventional=conventional)
        sink.on_end(record(store.open_slot(LABELS, NOW)))
        one = record(store.open_slot(LABELS, NOW), outcome=Outcome.RESET, error_type="other")
        interrupt = Interrupt(at)
        with suppress(KeyboardInterrupt):
            call_traced(interrupt, partial(sink.on_end, one))
        if not interrupt.raised:
            break
        # Whoever hands records over does so again where it was interrupted.
        sink.on_end(one)
        snapshot = look(store)
        assert ended(snapshot) == {"completed": 1, "reset": 1}, at
        assert_consistent(snapshot)
        assert snapshot.active == {}, at
        sink.on_end(record(store.open_slot(LABELS, NOW)))
        assert ended(look(store)) == {"completed": 2, "reset": 1}, at
        if conventional:
            durations = {i.outcome: sum(row[: len(SECONDS) + 1]) for i, row in look(store).inferences.items()}
            assert durations == {"completed": 2, "reset": 1}, at
        assert look(store).streams[LABELS] == store.block(LABELS).numbers(), at
        at += 1
    assert at > 100, "the test has looked at nothing"
