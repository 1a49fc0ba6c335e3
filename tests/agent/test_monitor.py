"""What a look at the app's processes costs, and whom it finds."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from run_support import eventually
from streamvitals.agent import monitor, proc
from streamvitals.agent.monitor import FULL_SCAN_EVERY, SCAN_EVERY, ProcessMonitor
from streamvitals.startup import registration


@pytest.fixture
def app(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    """A process that has registered, and one below it that has not."""
    code = (
        "import subprocess, sys; sys.path[:0] = sys.argv[1:2]\n"
        "from streamvitals.startup import registration; registration.register(sys.argv[2], registration.PYTHON)\n"
        "child = subprocess.Popen(['sleep', '600']); print(child.pid, flush=True)\n"
        "sys.stdin.readline(); child.kill(); child.wait()"
    )
    arguments = [sys.executable, "-c", code, str(Path(registration.__file__).parents[2]), str(tmp_path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield tmp_path, process
        if process.poll() is None:
            process.communicate(b"\n")


def test_a_look_sees_the_apps_processes_and_no_others(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    if not proc.children_are_listed():
        pytest.skip("this kernel does not list children")
    directory, process = app
    looked: list[int] = []
    real = proc.entry_of

    def entry_of(pid: int) -> Any:
        looked.append(pid)
        return real(pid)

    monkeypatch.setattr(proc, "entry_of", entry_of)
    monkeypatch.setattr(monitor, "entry_of", entry_of)
    assert ProcessMonitor(str(directory)).health({}).alive == 2
    assert process.pid in looked
    assert len(set(looked)) == 2, "nobody else's"


@pytest.mark.parametrize("listed", [True, False])
def test_looks_that_follow_each_other_share_what_the_first_one_found(
    app: Any, monkeypatch: pytest.MonkeyPatch, listed: bool
) -> None:
    if listed and not proc.children_are_listed():
        pytest.skip("this kernel does not list children")
    now = [100.0]
    times: list[float] = []
    real = proc.below

    def below(roots: Any) -> Any:
        times.append(now[0])
        return real(roots)

    for module in (proc, monitor):
        monkeypatch.setattr(module, "children_are_listed", lambda: listed)
        monkeypatch.setattr(module, "below", below)
    watcher = ProcessMonitor(str(app[0]), clock=lambda: now[0])
    every = SCAN_EVERY if listed else FULL_SCAN_EVERY
    for now[0] in (100.0, 100.1, 100.0 + every / 2, 100.0 + every, 100.1 + every):
        assert watcher.health({}).alive == 2
    assert times == [100.0, 100.0 + every]


def test_who_has_gone_is_seen_to_have_gone_between_the_looks(app: Any) -> None:
    directory, process = app
    watcher = ProcessMonitor(str(directory), clock=lambda: 100.0)
    assert watcher.health({}).alive == 2
    process.communicate(b"\n")
    eventually(lambda: not watcher.anyone_left())
    assert watcher.health({}).alive == 0
    assert os.listdir(directory) == []
