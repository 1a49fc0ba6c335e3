"""`streamvitals report`: what real streams did, and nothing false of lines that are broken, hostile or another's."""

from __future__ import annotations

import contextlib
import gzip
import json
import sys
from pathlib import Path
from typing import Any

import openai
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

import otel_support
from streamvitals import cli
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.outcome import Outcome
from streamvitals.report import lines
from streamvitals.report.lines import Entry, Place, Suppressed, parse, read
from streamvitals.report.summary import MOST_ROWS, QUANTILES, Summary, nearest_rank
from streamvitals.sinks import journal
from streamvitals.sinks.journal import JournalSink
from streamvitals.stream.record import Usage
from streamvitals.testing import recorded

BELL = "\x1b]0;owned\x07\n"


def report(*arguments: object, **more: Any) -> Result:
    return CliRunner().invoke(cli.main, ["report", *map(str, arguments)], **more)


def document(*arguments: object, **more: Any) -> dict[str, Any]:
    done = report("--json", *arguments, **more)
    assert done.exit_code == 0, done.output
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def written(path: Path, *records: Any) -> Path:
    sink = JournalSink(str(path))
    for each in records:
        sink.on_end(each)
    return path


def line(**changes: Any) -> str:
    """A line of a journal."""
    said = {
        "time": "2026-01-31T09:00:00.000Z", "pid": 7, "outcome": "completed", "error_type": "", "operation": "chat",
        "provider": "openai", "model": "gpt-4o", "server": "api.openai.com", "elapsed": 2.0,
        "time_to_first_token": 0.5, "http_attempts": 1, "chain_attempt": 1, "suppressed": 0,
    }
    return json.dumps({**said, **changes}) + "\n"


def test_real_streams_are_told_as_they_ended(server: ThreadedFaultServer, tmp_path: Path) -> None:
    path = tmp_path / "streams.jsonl"
    asked = ["sv-ok"] * 5 + ["sv-silent-cut", "sv-429", "sv-length"]
    config, usage = Config(journal=str(path), quiet=True), {"include_usage": True}
    with recorded(config) as records, openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=1) as client:
        for model in asked:
            with contextlib.suppress(openai.APIStatusError):
                made: Any = client.chat.completions
                list(made.create(model=model, messages=[], stream=True, stream_options=usage))
    said = document(path)
    assert said["results"] == {"completed": 5, "limit": 1, "failed": 2, "rejected": 0, "left": 0}
    assert (said["streams"], said["processes"], said["requests_sent_again"]) == (len(asked), 1, 1)
    used = [record.usage for record in records if record.usage is not None]
    assert said["tokens"]["output"] == sum(usage.output or 0 for usage in used) > 0
    assert said["streams_with_usage"] == len(used)
    firsts = sorted(record.first_token for record in records if record.first_token is not None)
    assert said["quantiles"]["time_to_first_token"]["max"] == firsts[-1]
    assert {kind["outcome"]: kind["newest_request_ids"] for kind in said["not_completed"]} == {
        record.outcome.value: [record.request_id] for record in records if record.failed
    }
    text = report(path).stdout
    assert text.startswith("8 streams of 1 process, ")
    assert "5 completed, 1 ended at a limit, 2 failed; 25.0% of what the provider was to complete failed" in text
    assert "truncated missing_terminal: sv-silent-cut at 127.0.0.1" in text
    assert "+: more were used" in text


def test_a_line_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    ended = otel_support.failed(usage=Usage(10, 18, 4, 2), request_id="req_1", hints=("unread_body",))
    (path,) = [written(tmp_path / "j", ended)]
    (entry,) = read(str(path))
    assert isinstance(entry, Entry)
    assert (entry.time, entry.outcome, entry.elapsed) == (ended.started, Outcome.RESET, ended.duration)
    assert entry.tokens == {"input": 10, "output": 18, "cached": 4, "reasoning": 2}
    assert (entry.owner, entry.result, entry.request_id) == ("provider", "failed", "req_1")
    assert json.loads(path.read_text())["time"] == "2023-11-14T22:13:20.000Z"
    assert set(lines._TOKENS) == set(journal.TOKENS) == set(Usage._fields[: len(journal.TOKENS)])


def test_rotated_compressed_and_repeated_files_are_read_once_each(tmp_path: Path) -> None:
    path = tmp_path / "streams.jsonl"
    path.write_text(line())
    (tmp_path / "streams.jsonl.1").write_bytes(gzip.compress((line(outcome="length") * 2).encode()))
    for files in ((path,), (path, f"{path}.1"), (f"{path}.1", path, path)):
        said = document(*files)
        assert (said["streams"], said["files"]) == (3, [f"{path}.1", str(path)])
    path.unlink()
    assert document(path)["streams"] == 2, "a rotation of others' may leave no new file"


def test_stdin_and_the_variable(tmp_path: Path) -> None:
    assert document("-", input="app's own output\n" + line() + "{}\n")["unusable_lines"] == 2
    path = tmp_path / "j"
    path.write_text(line())
    assert document(env={"STREAMVITALS_JOURNAL": str(path)})["streams"] == 1
    missing = report(env={"STREAMVITALS_JOURNAL": None})
    assert (missing.exit_code, "give the journal's file, or - for stdin" in missing.stderr) == (2, True)


def test_what_has_no_line_is_said_and_counted_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_text(line(outcome="reset", error_type="connection_reset", suppressed=30) + '{"suppressed": 4}\n')
    assert document(path)["failures_without_a_line"] == 34
    text = report(path).stdout
    assert "34 more failures have no line of their own, and are in no number here" in text


def test_since(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_text(line() + line(time="2026-01-31T10:00:00Z") + line(time=1769857200.5))
    for since, streams in (("2026-01-31T10:00", 2), ("2026-01-31T12:00:00+01:00", 1), ("1s", 0)):
        said = document("--since", since, path)
        assert (said["streams"], said["streams_before_since"]) == (streams, 3 - streams)
    wrong = report("--since", "yesterday", path)
    assert (wrong.exit_code, "30m, 12h, 7d or 2026-01-31T09:00Z are" in wrong.stderr) == (2, True)
    assert report("--since", "1s", path).stdout.splitlines()[1] == "3 streams began earlier, and are left out"


@pytest.mark.parametrize(("make", "said"), [
    (lambda path: None, "No such file or directory"), (lambda path: path.mkdir(), "Is a directory"),
    (lambda path: path.write_text("# a heading\n\nand text\n"), "no line of a journal in"),
    (lambda path: path.write_bytes(gzip.compress(b"no journal\n")[:-9]), "no line of a journal in"),
    (lambda path: path.write_bytes(b"\0" * 4096), "no line of a journal in"),
])
def test_bad_input_is_said_with_status_2(tmp_path: Path, make: Any, said: str) -> None:
    path = tmp_path / "x"
    make(path)
    for options in ((), ("--json",)):
        done = report(*options, path)
        assert (done.exit_code, done.stdout) == (2, "")
        assert said in done.stderr
    assert report("a\0b").exit_code == 2


def test_an_empty_journal_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.touch()
    assert report(path).stdout == f"no streams in {path}\n"
    assert document(path)["from"] is None


@pytest.mark.parametrize(("broken", "why"), [
    (b'{"time": 1, "outc', "not JSON"), (b"[1]", "not an object"), (b"\xff\xfe", "not UTF-8"),
    (b"[" * 100_000, "not JSON"), (line(outcome="vanished").encode(), "an outcome that this version does not know"),
    (line(outcome=["x"]).encode(), "an outcome that"), (line(time="soon").encode(), "a time that is none"),
    (line(time=1e300).encode(), "a time that is none"), (line(time=True).encode(), "a time that is none"),
    (line(elapsed=-1).encode(), "elapsed is not a number from 0"), (line(model=5).encode(), "model is not text"),
    (line(elapsed=float("nan")).encode(), "not JSON"), (b'{"time": ' + b"9" * 9999 + b', "outcome": "reset"}', "time"),
    (line(tokens=[1]).encode(), "tokens is not an object"), (b'{"message": "app\'s own"}', "no line of a journal"),
])
def test_broken_lines_are_counted_and_the_first_is_said(tmp_path: Path, broken: bytes, why: str) -> None:
    path = tmp_path / "j"
    path.write_bytes(line().encode() + broken + b"\n" + line().encode())
    done = report("--json", path)
    assert done.exit_code == 0
    said = json.loads(done.stdout)
    assert (said["streams"], said["unusable_lines"]) == (2, 1)
    assert f"1 line could not be used; the first is line 2 of {path}"[:60] in done.stderr
    assert why in said["first_unusable_lines"][0]["why"]


def test_a_line_without_end_is_skipped_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINE", 1 << 20)
    path = tmp_path / "j"
    path.write_bytes(line().encode() + b"x" * (5 << 20) + b"\n" + line().encode())
    found = list(read(str(path)))
    assert [type(each) for each in found] == [Entry, Place, Entry]
    assert found[1] == Place(str(path), 2, "longer than 1 MiB")


def test_names_from_outside_cannot_write_to_the_terminal_nor_fill_it(tmp_path: Path) -> None:
    path = tmp_path / "j"
    hostile = {"outcome": "reset", "error_type": BELL, "request_id": BELL}
    path.write_text("".join(line(model=f"{BELL}{number}" + "m" * 500, **hostile) for number in range(40)))
    text = report(path).stdout
    assert all(part.isprintable() for part in text.splitlines())
    assert "and 20 more rows, see --json" in text
    assert max(map(len, text.splitlines())) < 400
    assert len(document(path)["by_model"]) == 40


def test_rows_are_bounded_and_no_stream_is_lost() -> None:
    summary, many = Summary(), MOST_ROWS + 50
    for number in range(many):
        summary.add(parse(line(model=f"m{number}", outcome="reset").encode()))
    assert len(summary.rows()) == MOST_ROWS + 1
    assert sum(row.streams for _, row in summary.rows()) == sum(ends.count for _, ends in summary.ends()) == many


def test_hostile_tokens_are_unknown_and_the_stream_counts(tmp_path: Path) -> None:
    path = tmp_path / "j"
    hostile = {"input": 10**30, "output": -1, "cached": "x", "reasoning": True}
    path.write_text(line(tokens=hostile) + line(tokens={"input": 3}))
    said = document(path)
    assert (said["streams"], said["tokens"], said["streams_with_usage"]) == (2, {"input": 3}, 1)


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_a_quantile_is_a_value_that_so_many_do_not_exceed(values: list[float]) -> None:
    ranked = sorted(values)
    for quantile in QUANTILES.values():
        value = nearest_rank(ranked, quantile)
        assert value in values
        assert sum(each <= value for each in values) >= quantile * len(values) - 1e-9


@settings(max_examples=200)
@given(st.one_of(st.binary(max_size=200), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["time", "outcome", "pid", "tokens", "elapsed", "suppressed", "model"]), inner, max_size=7,
    ), max_leaves=12,
).map(lambda value: json.dumps(value).encode())))
def test_any_line_is_a_stream_or_a_reason(data: bytes) -> None:
    try:
        found = parse(data)
    except ValueError:
        return
    assert isinstance(found, (Entry, Suppressed))
    summary = Summary()
    summary.add(found)


@pytest.mark.parametrize("elapsed", [2.6e11, 1e12, 9e99])
def test_a_stream_that_ends_in_no_year_is_no_line(elapsed: float) -> None:
    with pytest.raises(ValueError, match="a time that is none"):
        parse(line(elapsed=elapsed).encode())


def test_stdin_that_is_closed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)  # as Python does where a shell has closed it
    with pytest.raises(OSError, match="it is closed"):
        next(read(lines.STDIN))
