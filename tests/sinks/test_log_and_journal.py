"""What is said of a failed stream: one warning with the exact point, few of them when all fail; a journal line."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.outcome import Outcome
from streamvitals.sinks import journal as journal_module
from streamvitals.sinks.journal import JournalSink
from streamvitals.sinks.log import BURST, EVERY, LogSink
from streamvitals.stream.dispatch import MAX_FAULTS, Dispatch
from streamvitals.stream.record import StreamRecord
from streamvitals.testing import recorded


class Context(NamedTuple):
    """That of a span."""

    trace_id: int = 0xABC
    span_id: int = 0xDEF


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def failed(server: ThreadedFaultServer) -> StreamRecord:
    """A real record of a stream that was reset."""
    with recorded() as records, openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        made: Any = client.chat.completions.create(model="sv-reset", messages=[], stream=True)
        with contextlib.suppress(Exception):  # httpx's own error before openai 3.10
            list(made)
    return records[0]


def test_the_exact_point_of_failure(failed: StreamRecord, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "streamvitals"):
        LogSink(Clock()).on_end(failed.with_span(Context()))
    (line,) = caplog.records
    point: dict[str, Any] = vars(line)["streamvitals"]
    assert line.levelno == logging.WARNING
    assert point["outcome"] == "reset"
    assert point["owner"] == "provider"
    assert point["chunk_index"] == 3
    assert point["bytes"] == failed.bytes_received
    assert point["elapsed"] >= point["since_last_chunk"] >= 0
    assert point["request_id"]
    assert (point["trace_id"], point["span_id"]) == (f"{0xABC:032x}", f"{0xDEF:016x}")
    assert point["causes"][-1] == "ConnectionResetError"
    assert "after 3 chunks" in line.getMessage()
    assert f"request: {point['request_id']}" in line.getMessage()


def test_few_lines_when_everything_fails(failed: StreamRecord, caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    sink = LogSink(clock=clock)
    with caplog.at_level(logging.WARNING, "streamvitals"):
        for _ in range(BURST + 30):
            sink.on_end(failed)
        assert len(caplog.records) == BURST
        clock.now += EVERY
        sink.on_end(failed)
    assert vars(caplog.records[-1])["streamvitals"]["suppressed"] == 30
    assert "and 30 more not logged" in caplog.records[-1].getMessage()
    assert BURST + 60 / EVERY <= 20


def test_a_failure_of_another_kind_is_always_said(failed: StreamRecord, caplog: pytest.LogCaptureFixture) -> None:
    sink = LogSink(Clock())
    with caplog.at_level(logging.WARNING, "streamvitals"):
        for kind in ("reset", "reset", "rejected", "rejected"):
            for _ in range(BURST):
                sink.on_end(failed._replace(outcome=Outcome(kind), error_type="other"))
    said = [vars(line)["streamvitals"]["outcome"] for line in caplog.records]
    assert said == ["reset"] * BURST + ["rejected"]


def test_what_was_not_logged_is_told_at_the_end(failed: StreamRecord, caplog: pytest.LogCaptureFixture) -> None:
    sink = LogSink(Clock())
    with caplog.at_level(logging.WARNING, "streamvitals"):
        for _ in range(BURST + 34):
            sink.on_end(failed)
        sink.report_suppressed()
        sink.report_suppressed()
    assert [line.getMessage() for line in caplog.records[BURST:]] == ["and 34 more streams failed, not logged"]


def test_what_was_not_logged_is_told_when_all_is_well_again(
    failed: StreamRecord, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    sink = LogSink(clock=clock)
    good = failed._replace(outcome=Outcome.COMPLETED, error_type="")
    with caplog.at_level(logging.WARNING, "streamvitals"):
        for _ in range(BURST + 34):
            sink.on_end(failed)
        sink.on_end(good)
        assert len(caplog.records) == BURST
        clock.now += EVERY
        for _ in range(3):
            sink.on_end(good)
    assert [line.getMessage() for line in caplog.records[BURST:]] == ["and 34 more streams failed, not logged"]


def test_what_others_chose_cannot_pass_for_a_line_of_ours(
    failed: StreamRecord, caplog: pytest.LogCaptureFixture
) -> None:
    forged = failed._replace(
        request_id="req\r\nstreamvitals: all is well", labels=failed.labels._replace(model="m\n\x1b[2J" + "m" * 999)
    )
    with caplog.at_level(logging.WARNING, "streamvitals"):
        LogSink(Clock()).on_end(forged)
    (line,) = caplog.records
    assert line.getMessage().isprintable()
    assert len(line.getMessage()) < 600


def test_pythons_last_resort_which_may_block_is_never_used() -> None:
    assert any(isinstance(h, logging.NullHandler) for h in logging.getLogger("streamvitals").handlers)


def test_a_line_of_json_per_stream(server: ThreadedFaultServer, tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    config = Config(journal=str(path))
    with recorded(config), openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        for model in ("sv-ok", "sv-silent-cut"):
            list(client.chat.completions.create(model=model, messages=[], stream=True))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    ends = [(line["outcome"], line["error_type"]) for line in lines]
    assert ends == [("completed", ""), ("truncated", "missing_terminal")]
    assert path.stat().st_mode & 0o777 == 0o600
    assert lines[0]["chunk_index"] == 9


def test_the_journal_stays_where_it_is_when_the_app_goes_elsewhere(
    failed: StreamRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sink = JournalSink("journal.jsonl")
    sink.on_end(failed)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    sink.on_end(failed)
    assert len((tmp_path / "journal.jsonl").read_text().splitlines()) == 2


def test_a_large_journal_is_begun_anew(
    failed: StreamRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.jsonl"
    monkeypatch.setattr(journal_module, "MAX_SIZE", 10)
    sink = JournalSink(str(path))
    for _ in range(3):
        sink.on_end(failed)
    assert os.path.exists(f"{path}.1")
    written = path.read_text().splitlines() + Path(f"{path}.1").read_text().splitlines()
    assert all(json.loads(line)["outcome"] == "reset" for line in written)


def test_of_a_storm_the_journal_keeps_the_beginning_and_says_how_many_have_no_line(
    failed: StreamRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "BURST", 20)
    path, clock = tmp_path / "journal.jsonl", Clock()
    sink = JournalSink(str(path), clock=clock)

    def lines() -> list[Any]:
        return [json.loads(line) for line in path.read_text().splitlines()]

    for _ in range(50):
        sink.on_end(failed)
    assert [line["suppressed"] for line in lines()] == [0] * 20
    sink.on_end(failed._replace(outcome=Outcome.COMPLETED, error_type=""))
    assert [line["suppressed"] for line in lines()][20:] == [30], "what went well is always written"
    for _ in range(40):
        sink.on_end(failed)
    clock.now += 1.5 * journal_module.EVERY
    sink.on_end(failed)
    sink.on_end(failed)
    assert [line["suppressed"] for line in lines()][21:] == [40]
    sink.report_suppressed()
    sink.report_suppressed()
    assert lines()[22:] == [{"suppressed": 1}]
    sink.on_end(failed)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    sink.report_suppressed()
    assert len(lines()) == 23, "a forked child leaves that to its parent"
    sink.on_end(failed)
    sink.report_suppressed()
    assert lines()[23:] == [{"suppressed": 1}]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_processes_that_share_a_journal_lose_no_line_when_it_is_put_aside(
    failed: StreamRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file that is put aside is kept by a hard link: the next one takes its name."""
    path, each = tmp_path / "journal.jsonl", 50
    monkeypatch.setattr(journal_module, "MAX_SIZE", 5000)
    replace = os.replace

    def keep_and_replace(source: str, target: str) -> None:
        os.link(source, tmp_path / f"kept-{os.getpid()}-{os.stat(source).st_ino}-{os.urandom(4).hex()}")
        time.sleep(0.002)  # what may come in between does come
        replace(source, target)

    monkeypatch.setattr(journal_module.os, "replace", keep_and_replace)
    workers = []
    for number in range(6):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                sink = JournalSink(str(path))
                for i in range(each):
                    sink.on_end(failed._replace(labels=failed.labels._replace(model=f"{number}-{i}")))
                status = 0
            finally:
                os._exit(status)
        workers.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in workers] == [0] * 6, "nobody was switched off"
    kept = [file for file in tmp_path.iterdir() if file.name.startswith("kept-")]
    lines = [line for file in (path, *kept) if file.exists() for line in file.read_text().splitlines()]
    assert len({json.loads(line)["model"] for line in lines}) == len(lines) == 6 * each
    assert kept
    assert all(file.stat().st_size > 5000 for file in kept), "none was put aside that had just been begun"


@pytest.mark.parametrize("kind", ["link", "pipe", "pipe nobody reads", "socket"])
def test_only_a_file_is_put_aside_and_nothing_holds_the_app_up(
    failed: StreamRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    path = tmp_path / "journal"
    monkeypatch.setattr(journal_module, "MAX_SIZE", 10)
    reader = -1
    if kind == "link":
        path.symlink_to(tmp_path / "file")
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(str(path))
    else:
        os.mkfifo(path)
        if kind == "pipe":
            reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    before = path.lstat()
    sink = JournalSink(str(path))
    if reader >= 0 or kind == "link":
        for _ in range(3):
            sink.on_end(failed)
        text = os.read(reader, 65536).decode() if reader >= 0 else path.read_text()
        assert len(text.splitlines()) == 3
    else:
        with pytest.raises(OSError, match="No such device or address"):
            sink.on_end(failed)
    if reader >= 0:
        for _ in range(1000):  # its reader has stopped: the lines are lost, and the app goes on
            sink.on_end(failed)
        os.close(reader)
    assert path.lstat().st_ino == before.st_ino
    assert not os.path.lexists(f"{path}.1")


def test_a_journal_that_cannot_be_written_is_switched_off(server: ThreadedFaultServer, tmp_path: Path) -> None:
    config = Config(journal=str(tmp_path / "no" / "such"))
    with recorded(config) as records, openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        for _ in range(MAX_FAULTS + 2):
            list(client.chat.completions.create(model="sv-ok", messages=[], stream=True))
    assert len(records) == MAX_FAULTS + 2
    assert records.faults == ["sink"] * MAX_FAULTS


def test_a_disk_that_was_full_costs_lines_only(
    failed: StreamRecord, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink = JournalSink(str(tmp_path / "journal"))
    dispatch = Dispatch([sink], lambda *_: None, lambda *_: None)
    with monkeypatch.context() as full:
        full.setattr(sink, "_path", "/dev/full")
        for _ in range(MAX_FAULTS + 2):
            dispatch.submit(failed)
    dispatch.submit(failed)
    assert len((tmp_path / "journal").read_text().splitlines()) == 1


def test_what_is_wrong_with_the_journal_is_said_once(
    failed: StreamRecord, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    for said in (False, True):
        sink = JournalSink(str(tmp_path / "no" / "such"), lambda: told.append("word"), reported=said)
        dispatch = Dispatch([sink], lambda *_: None, lambda *_: None)
        with caplog.at_level(logging.WARNING, "streamvitals"):
            for _ in range(MAX_FAULTS + 2):
                dispatch.submit(failed)
    (line,) = caplog.records
    assert "cannot be written: No such file or directory" in line.getMessage()
    assert told == ["word"]
