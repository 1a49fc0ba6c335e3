"""A journal that is a descriptor of the app's: `/dev/stdout` above all, of every kind that it may be."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from store_support import record
from streamvitals.config.problems import of_journal
from streamvitals.sinks.journal import JournalSink
from streamvitals.stream.sink import ReportedError


class Stdout:
    """A program whose descriptor 1 is of some kind, with the journal there."""

    CODE = r"""
import os, socket, sys
socket.setdefaulttimeout(30)
sys.path[:0] = sys.argv[1:2]
from store_support import record
from streamvitals.sinks.journal import JournalSink
sink = JournalSink(sys.argv[2])
one = record()
blocking = os.get_blocking(1)
os.write(1, b"before\n")
for _ in range(int(sys.argv[3])):
    sink.on_end(one)
assert os.get_blocking(1) == blocking
if sys.argv[3] == "2":
    os.write(1, b"after\n")
print("done", file=sys.stderr)
"""

    @classmethod
    def run(cls, path: str, stdout: object, times: int = 2, **more: Any) -> str:
        command = [sys.executable, "-c", cls.CODE, str(Path(__file__).parents[1]), path, str(times)]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False, **more)
        assert done.stderr.endswith("done\n"), done.stderr
        return done.stderr


@contextlib.contextmanager
def ends(kind: str) -> Iterator[tuple[int, int]]:
    """Where to read, and where to write."""
    if kind == "socket":
        one, other = socket.socketpair()
        pair = one.detach(), other.detach()
    else:
        pair = os.pipe() if kind == "pipe" else os.openpty()
    yield pair
    for fd in pair:
        os.close(fd)


@pytest.mark.parametrize("kind", ["file", "pipe", "socket", "terminal"])
@pytest.mark.parametrize("path", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_the_journal_on_stdout_comes_where_the_apps_own_lines_come(tmp_path: Path, kind: str, path: str) -> None:
    """Between them, in the order of their writing, and none over another."""
    if path == "link":
        path = str(tmp_path / "journal")
        os.symlink("/dev/stdout", path)
    if kind == "file":
        with open(tmp_path / "out", "wb") as out:
            Stdout.run(path, out)
        text = (tmp_path / "out").read_text()
    else:
        with ends(kind) as (reader, writer):
            Stdout.run(path, writer)
            text = os.read(reader, 65536).decode()
    lines = text.splitlines()
    assert (lines[0], lines[-1], len(lines)) == ("before", "after", 4)
    assert all(json.loads(line)["outcome"] for line in lines[1:3])


@pytest.mark.parametrize("kind", ["pipe", "socket", "terminal"])
def test_nobody_who_reads_stdout_holds_the_app_up(kind: str) -> None:
    with ends(kind) as (_, writer):
        Stdout.run("/dev/stdout", writer, 3000, timeout=60)


def test_a_descriptor_that_is_something_else_by_now_is_left_alone(tmp_path: Path) -> None:
    """A daemon closes its own, and a database gets the number."""
    fd = os.open(tmp_path / "journal", os.O_WRONLY | os.O_CREAT)
    sink = JournalSink(f"/dev/fd/{fd}")
    sink.on_end(record())
    other = os.open(tmp_path / "database", os.O_WRONLY | os.O_CREAT)
    os.dup2(other, fd)
    with pytest.raises(ReportedError, match="something else"):
        sink.on_end(record())
    os.close(fd)
    os.close(other)
    assert (tmp_path / "database").read_bytes() == b""
    assert (tmp_path / "journal").read_bytes().count(b"\n") == 1


@pytest.mark.parametrize(("make", "why"), [
    (lambda path: path.mkdir(), "it is a folder"),
    (lambda path: socket.socket(socket.AF_UNIX).bind(str(path)), "it is a socket"),
    (lambda path: path.symlink_to("/dev/fd/98765"), "descriptor 98765 is not open"),
    (lambda path: path.symlink_to("no/such"), "there is no folder"),
])
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
def test_what_no_line_can_be_written_to_is_known_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any, why: str
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may not be long
    make(Path("journal"))
    (problem,) = of_journal("journal")
    assert why in problem.what


def test_a_descriptor_for_reading_only_is_known_before(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    (problem,) = of_journal(f"/dev/fd/{fd}")
    assert "for reading only" in problem.what
    os.close(fd)
