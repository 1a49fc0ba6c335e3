"""Reads the lines of journals, whoever has written them: what is no line of ours is counted and said, and not believed.

A journal may be written to while it is read, or lie between the lines of an app's own output. It may have been
rotated, by us or by others, and compressed.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime, timezone
from typing import IO, Any, NamedTuple

from ..outcome import Outcome, owner, result

STDIN = "-"
# A line has at most the captured text of a failed stream (1 MiB), whose every byte may be written as six.
MAX_LINE = 8 << 20
_GZIP = b"\x1f\x8b"
# A larger number of tokens is not believed, as in stream/record.py, and is unknown then.
_MOST_TOKENS = 1 << 32
_MOST_DIGITS = 20
_TOKENS = ("input", "output", "cached", "cache_write", "reasoning")


class Place(NamedTuple):
    """A line of a file, and what is wrong with it."""

    file: str
    line: int
    why: str


class Entry(NamedTuple):
    """One stream, as its line says. Times are Unix time, durations seconds; None is what the line does not say."""

    time: float
    outcome: Outcome
    error_type: str
    operation: str
    provider: str
    model: str
    server: str
    pid: int | None
    elapsed: float
    first_token: float | None
    max_gap: float | None
    tokens_per_second: float | None
    tokens: Mapping[str, int]
    stalls: int
    http_attempts: int
    chain_attempt: int
    request_id: str
    trace_id: str
    suppressed: int

    @property
    def result(self) -> str:
        """What its end means to those who asked: one of ``outcome.RESULTS``."""
        return result(self.outcome, self.error_type)

    @property
    def owner(self) -> str:
        """Who has to act."""
        return owner(self.outcome, self.error_type)


class Suppressed(NamedTuple):
    """The line at a process's end that says how many failures have no line."""

    suppressed: int


def with_rotated(paths: Sequence[str]) -> list[str]:
    """The files to read, oldest first: each one's ``.1`` before it, and none twice. Raises OSError for one that is
    not there."""
    found: dict[object, str] = {}
    for path in paths:
        if path == STDIN:
            found[STDIN] = STDIN
            continue
        both = [each for each in (f"{path}.1", path) if os.path.exists(each)]
        for each in both or [path]:
            at = os.stat(each)
            if not os.path.isdir(each) or each == path:
                found.setdefault((at.st_dev, at.st_ino), each)
    return list(found.values())


def read(path: str) -> Iterator[Entry | Suppressed | Place]:
    """The streams of one file, and the lines that are no streams. Raises OSError where the file cannot be read."""
    name = "stdin" if path == STDIN else path
    number = 0
    if path == STDIN and sys.stdin is None:
        raise OSError("it is closed")
    with nullcontext(sys.stdin.buffer) if path == STDIN else _open(path) as file:
        try:
            while line := file.readline(MAX_LINE):
                number += 1
                if not line.endswith(b"\n") and len(line) == MAX_LINE:
                    while (rest := file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                        pass
                    yield Place(name, number, f"longer than {MAX_LINE >> 20} MiB")
                elif line.strip():
                    try:
                        yield parse(line)
                    except ValueError as error:
                        yield Place(name, number, str(error))
        except (EOFError, zlib.error, gzip.BadGzipFile):
            yield Place(name, number + 1, "the compressed file is damaged from here on")


@contextmanager
def _open(path: str) -> Iterator[IO[bytes] | gzip.GzipFile]:
    with open(path, "rb") as file:
        if file.peek(2)[:2] != _GZIP:
            yield file
            return
        with gzip.open(file) as inflated:
            yield inflated


def parse(line: bytes) -> Entry | Suppressed:
    """One line. Raises ValueError, which says what is wrong with it, without its content."""
    try:
        said = json.loads(line.decode("utf-8-sig"), parse_int=_integer, parse_constant=_constant)
    except UnicodeDecodeError:
        raise ValueError("not UTF-8") from None
    except (ValueError, RecursionError):
        raise ValueError("not JSON") from None
    if not isinstance(said, dict):
        raise ValueError("not an object")
    if said.keys() == {"suppressed"}:
        return Suppressed(_count(said, "suppressed"))
    if "outcome" not in said or "time" not in said:
        raise ValueError("no line of a journal: it has no outcome or no time")
    try:
        outcome = Outcome(said["outcome"])
    except ValueError:
        raise ValueError("an outcome that this version does not know") from None
    time, elapsed = _time(said["time"]), _seconds(said, "elapsed") or 0.0
    _time(time + elapsed)  # its end can be shown, too
    return Entry(
        time=time, outcome=outcome, error_type=_text(said, "error_type"),
        operation=_text(said, "operation"), provider=_text(said, "provider"), model=_text(said, "model"),
        server=_text(said, "server"), pid=None if said.get("pid") is None else _count(said, "pid"),
        elapsed=elapsed, first_token=_seconds(said, "time_to_first_token"),
        max_gap=_seconds(said, "max_gap"), tokens_per_second=_seconds(said, "tokens_per_second"),
        tokens=_tokens(said), stalls=_count(said, "stalls"), http_attempts=_count(said, "http_attempts"),
        chain_attempt=_count(said, "chain_attempt"), request_id=_text(said, "request_id"),
        trace_id=_text(said, "trace_id"), suppressed=_count(said, "suppressed"),
    )


def time_of(text: str) -> float:
    """Unix time of an ISO time; without a zone it is UTC. Raises ValueError."""
    # Python 3.10 knows neither the Z nor any other number of digits than three and six.
    at = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
    return (at if at.tzinfo else at.replace(tzinfo=timezone.utc)).timestamp()


def _integer(digits: str) -> float:
    # Thousands of digits take long, and from 3.11 on int() raises.
    return int(digits) if len(digits) <= _MOST_DIGITS else math.inf


def _constant(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _time(value: object) -> float:
    try:
        at = time_of(value) if isinstance(value, str) else _number(value, "time")
        datetime.fromtimestamp(at, timezone.utc)  # a year that can be shown
    except (ValueError, OverflowError, OSError):
        raise ValueError("a time that is none") from None
    return at


def _number(value: object, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is not a number from 0")
    return float(value)


def _seconds(said: Mapping[str, Any], name: str) -> float | None:
    value = said.get(name)
    return None if value is None else _number(value, name)


def _count(said: Mapping[str, Any], name: str) -> int:
    value = said.get(name)
    return 0 if value is None else int(_number(value, name))


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is not text")
    return value or ""


def _tokens(said: Mapping[str, Any]) -> dict[str, int]:
    tokens = said.get("tokens")
    if tokens is None:
        return {}
    if not isinstance(tokens, dict):
        raise ValueError("tokens is not an object")
    return {
        kind: count for kind in _TOKENS
        if isinstance(count := tokens.get(kind), int) and not isinstance(count, bool) and 0 <= count <= _MOST_TOKENS
    }
