"""What a look at the app takes, in counts: it grows with what has changed and with the app's own processes only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from store_support import LABELS, Processes, record
from streamvitals.agent import liveness, sums
from streamvitals.agent.serve import Agent
from streamvitals.agent.tree import Tree
from streamvitals.config import Config
from streamvitals.startup import registration
from streamvitals.store.memory import MappedMemory
from streamvitals.store.segment import Identity
from streamvitals.store.store import Store, StoreSink


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """One with this process in its directory, which counts."""
    directory = str(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = Agent(directory, listener, "http://127.0.0.1", Config())
        # Who is below is looked for now and then, not in the looks that are counted.
        monkeypatch.setattr(made._monitor, "_clock", lambda: 0.0)
        registration.register(directory, registration.PYTHON)
        store = Store(MappedMemory(directory))
        store.set_build("0", "3.57.0", "true")
        StoreSink(store).on_end(record(store.open_slot(LABELS, 1.0)))
        yield made
        made._tree.close()


def opened(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> Counter[str]:
    """What of /proc is opened, listed or looked at meanwhile, by path."""
    seen: Counter[str] = Counter()

    def noting(original: Any) -> Any:
        def note(path: Any = ".", *rest: Any, **more: Any) -> Any:
            if str(path).startswith("/proc"):
                seen[str(path)] += 1
            return original(path, *rest, **more)

        return note

    with monkeypatch.context() as patch:
        for name in ("open", "listdir", "scandir", "stat", "readlink"):
            patch.setattr(os, name, noting(getattr(os, name)))
        patch.setattr("builtins.open", noting(open))
        act()
    return seen


@pytest.mark.parametrize(("look", "most"), [(Agent.take, 2), (Agent.health, 2), (Agent._tick, 1)])
def test_a_look_reads_nothing_of_processes_that_are_not_the_apps(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, look: Callable[[Agent], object], most: int
) -> None:
    look(agent)
    alone = opened(monkeypatch, lambda: look(agent))
    others = [subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) for _ in range(3)]
    try:
        assert opened(monkeypatch, lambda: look(agent)) == alone
    finally:
        for other in others:
            other.communicate()
    assert 0 < alone.total() <= most, alone
    assert set(alone) == {f"/proc/{os.getpid()}/stat"}


def test_of_another_pid_namespace_the_machine_is_searched_once(monkeypatch: pytest.MonkeyPatch) -> None:
    fields = Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    start, image = int(fields[19]), int(fields[25])
    namespace = os.stat("/proc/self/ns/pid").st_ino
    # As one that sees itself as 1 there, and is this process here.
    identity = Identity(1, start, image, namespace, 7)
    monkeypatch.setattr(liveness, "pid_namespace", lambda pid: 0 if pid == "self" else namespace)
    monkeypatch.setattr(liveness, "_found", {})
    assert opened(monkeypatch, lambda: liveness.alive(identity))["/proc"] == 1
    again = opened(monkeypatch, lambda: liveness.alive(identity))
    assert again["/proc"] == 0
    assert again.total() <= 2
    assert liveness.pid_here(identity) == os.getpid()
    liveness._found[identity] = os.getppid()
    assert liveness.alive(identity), "it is looked for again where it is not any more"
    assert not liveness.alive(identity._replace(start=start + 10**9))


def test_sums_are_made_again_only_of_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    processes = Processes(str(tmp_path), monkeypatch)
    sinks = []
    for pid in range(10, 15):
        made, sink = processes.start(pid)
        sinks.append((made, sink))
        for number in range(8):
            labels = LABELS._replace(model=f"m{number}")
            sink.on_end(record(made.open_slot(labels, 990.0), labels=labels))
    reader = processes.tree()
    before = reader.snapshot()
    sizes: list[int] = []
    original = sums.merged_rows

    def merged_rows(rows: Any) -> list[float]:
        sizes.append(len(rows))
        return original(rows)

    monkeypatch.setattr(sums, "merged_rows", merged_rows)
    assert reader.snapshot() == before
    assert not sizes
    made, sink = sinks[2]
    labels = LABELS._replace(model="m3")
    sink.on_end(record(made.open_slot(labels, 990.0), labels=labels))
    after = reader.snapshot()
    assert sizes == [5]
    assert after == Tree(processes.directory, clock=lambda: processes.now, alive=processes.alive).snapshot()
    assert {of for of, row in after.streams.items() if row != before.streams[of]} == {labels}


def test_registrations_of_processes_that_have_gone_do_not_pile_up_though_nobody_asks(agent: Agent) -> None:
    directory = agent._directory
    for pid in range(2**22, 2**22 + 50):
        Path(directory, f"{pid}-1.1.fork.proc").touch()
    agent._monitor._clock = lambda: 1000.0  # type: ignore[method-assign]
    agent._tick()
    assert [name for name in os.listdir(directory) if ".fork." in name] == []
    Path(directory, f"{2**22}-1.1.fork.proc").touch()
    agent._tick()
    assert Path(directory, f"{2**22}-1.1.fork.proc").exists(), "not at every tick"
