"""Processes of another version in the same tree, and foreign bytes: named and counted, never mixed or missed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import streamvitals
from run_support import environment, eventually, python, started, total
from store_support import LABELS, Processes, ended, record, segments, value
from streamvitals import names
from streamvitals._version import __version__
from streamvitals.agent.tree import Tree
from streamvitals.faults import ThreadedFaultServer
from streamvitals.store.layout import PROCESS_LAYOUT, STREAM_LAYOUT, Layout

FIX = "start the application and `streamvitals run` anew together, with one version of streamvitals"
AN_OTHER = f"and the agent is of {__version__}, which has another layout"


@contextmanager
def another_version(layout: Layout = STREAM_LAYOUT) -> Iterator[None]:
    """What is written meanwhile has another layout."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "fingerprint", layout.fingerprint ^ 1)
        yield


def layouts(tree: Tree) -> float:
    return value(tree.snapshot(), names.INTERNAL_ERRORS, "layout")


@pytest.mark.parametrize("layout", [STREAM_LAYOUT, PROCESS_LAYOUT])
def test_a_process_of_another_version_is_named_and_counted_once(processes: Processes, layout: Layout) -> None:
    with another_version(layout):
        made, _ = processes.start(10)
        made.set_build("9.8.7", "3.0.0", "true")
        for number in range(40):  # label sets in several files
            made.open_slot(LABELS._replace(model=f"m{number}"), 990.0)
    other, sink = processes.start(11)
    sink.on_end(record(other.open_slot(LABELS, 990.0)))
    assert len(segments(processes.directory)) > 2
    tree = processes.tree()
    for _ in range(3):
        snapshot = tree.snapshot()
        assert (ended(snapshot), snapshot.active) == ({"completed": 1}, {})
        assert value(snapshot, names.INTERNAL_ERRORS, "layout") == 1
        assert value(snapshot, names.INTERNAL_ERRORS, "agent") == 0
        assert tree.process_row() == snapshot.process
    assert tree.not_counted() == [(10, f"its file is of streamvitals 9.8.7, {AN_OTHER}", FIX)]
    assert {identity.pid for identity in tree.counting()} == {10, 11}


def test_a_process_that_says_its_version_later_is_named_with_it_then(processes: Processes) -> None:
    with another_version():
        made, _ = processes.start(10)
        made.open_slot(LABELS, 990.0)
    tree = processes.tree()
    assert layouts(tree) == 1
    unknown = f"its file is of another version of streamvitals, or of something else, {AN_OTHER}"
    assert tree.not_counted() == [(10, unknown, FIX)]
    made.set_build("9.8.7", "3.0.0", "true")
    assert "9.8.7" in tree.not_counted()[0].error


@pytest.mark.parametrize("text", ["\x1b[31m9.8.7", "9.8.7\n", "", "prompt: my key is"])
def test_what_is_no_version_is_not_repeated(processes: Processes, text: str) -> None:
    with another_version():
        processes.start(10)[0].set_build(text, "3.0.0", "true")
    tree = processes.tree()
    assert layouts(tree) == 1
    (only,) = tree.not_counted()
    assert not text or text[:20] not in only.error
    assert only.error.isprintable()


@pytest.mark.parametrize("content", [b"\xff" * 9000, b"SVITALS2" + bytes(9000), bytes(64)])
def test_foreign_bytes_in_place_of_a_process_s_file_are_named(processes: Processes, content: bytes) -> None:
    processes.start(11)[0].open_slot(LABELS, 990.0)
    Path(processes.directory, "10-100.0.sv").write_bytes(content)
    processes.living.add(10)
    tree = processes.tree()
    for _ in range(2):
        assert layouts(tree) == 1
        assert [(process.pid, process.mend) for process in tree.not_counted()] == [(10, FIX)]
    assert tree.snapshot().active == {LABELS: 1}


def test_each_process_counts_once_and_is_named_while_it_lives(processes: Processes) -> None:
    """As in a rolling upgrade: one worker after the other is of the new version."""
    tree = processes.tree(tidy=True)
    for pid in range(10, 20):
        with another_version():
            made, _ = processes.start(pid)
            made.set_build("9.8.7", "3.0.0", "true")
        if pid > 10:
            processes.die(pid - 1)
        assert layouts(tree) == pid - 9
        assert [process.pid for process in tree.not_counted()] == [pid]
        assert len(segments(processes.directory)) == 1, "their files do not pile up"
    processes.die(19)
    assert layouts(tree) == 10
    assert (tree.not_counted(), segments(processes.directory)) == ([], [])


def test_an_agent_that_reads_what_another_has_left_removes_nothing_of_another_version(processes: Processes) -> None:
    with another_version():
        processes.start(10)[0].set_build("9.8.7", "3.0.0", "true")
    processes.die(10)
    assert layouts(processes.tree()) == 1
    assert len(segments(processes.directory)) == 1
    with another_version():
        assert layouts(processes.tree()) == 0, "one of that version can still read it"


# -- a real tree of two versions


WORKER = """
import os, sys, openai
for _ in range(3):
    with openai.OpenAI().chat.completions.create(model="ok", messages=[], stream=True) as stream:
        list(stream)
if len(sys.argv) > 1:
    import subprocess
    env = {**os.environ, "PYTHONPATH": sys.argv[1]}
    subprocess.Popen([sys.executable, __file__], env=env, stdin=subprocess.PIPE)
print("streamed", os.getpid(), sys.modules["streamvitals"].__version__, flush=True)
sys.stdin.read()
"""


def copy_of_another_version(folder: Path) -> str:
    """The package as it may be in another version: with one edge of a histogram changed; its PYTHONPATH."""
    package = folder / "streamvitals"
    shutil.copytree(Path(streamvitals.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    source = (package / "names.py").read_text()
    changed = source.replace("GAP_EDGES = (0.001,", "GAP_EDGES = (0.002,")
    assert changed != source
    (package / "names.py").write_text(changed)
    (package / "_version.py").write_text('__version__ = "9.8.7"\n')
    return str(package / "startup" / "inject")


def test_a_worker_of_another_version_under_the_same_run_is_named_everywhere(
    server: ThreadedFaultServer, tmp_path: Path
) -> None:
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    inject = copy_of_another_version(tmp_path / "other")
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(python(str(script), inject), environment(server.base_url), **options) as app:
        app.wait_for_agent()
        assert app.process.stdout is not None
        lines = [app.process.stdout.readline().decode().split() for _ in range(2)]
        pids = {version: int(pid) for _, pid, version in lines}
        assert pids.keys() == {__version__, "9.8.7"}
        found = eventually(lambda: app.health()["not_counting"])
        assert found == [
            {"pid": pids["9.8.7"], "error": f"its file is of streamvitals 9.8.7, {AN_OTHER}", "mend": FIX}
        ]
        health = app.health()
        assert (health["status"], health["internal_errors"], health["agent_faults"]) == ("degraded", {"layout": 1}, 0)
        assert health["not_reporting"] == []
        assert total(app.samples(), "streamvitals_internal_errors_total", where="layout") == 1
        assert app.streams("completed") == 3, "of the version that the agent reads"
        doctor = [str(Path(sys.executable).with_name("streamvitals")), "doctor", "--url", app.url]
        said = subprocess.run(doctor, env=environment(), capture_output=True, text=True, check=False)
        assert re.search(rf"pid {pids['9.8.7']} counts where the agent does not see it: .* 9\.8\.7", said.stdout)
        assert FIX in said.stdout
        assert said.returncode == 1
        os.kill(pids["9.8.7"], 9)
        eventually(lambda: not app.health()["not_counting"], "the end of the worker")
        assert app.health()["internal_errors"] == {"layout": 1}, "and that it was there is not forgotten"
