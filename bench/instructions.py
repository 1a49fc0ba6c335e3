"""``python -m bench.instructions``: instructions that observing costs, beside those on record; exit 1 where one grew.

They are counted, not timed: noise cannot fool it, and a change of some percent shows. A row is the difference between
the observed and the bare SDK in one process. A stream of 120 chunks less one of 20 gives what a chunk costs, and one
of 20 less 20 chunks what a stream costs beyond them; one that fails, and is asked again, is counted whole. The least of
a few rounds is taken, as what disturbs only adds.
instructions.json has a section per Python minor and machine; elsewhere, and on another build of that Python, the rows
are printed and not judged.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from . import callgrind
from .counted import ACTS, LONG, SHORT, STREAMS
from .environments import environment
from .sides import OURS, SPANS, Side
from .workers import ROOT, Worker, environ

RECORD = ROOT / "bench" / "instructions.json"
TOLERANCE = 0.03
# A failure is followed by timers, and few of them are counted: on a busy machine these rows differ by some percent.
LOOSE, LOOSE_TOLERANCE = ("per failing stream", "per call"), 0.1
# What our code meets of other people's; everything else is the same on both sides of a difference.
PINNED = ("openai==3.57.0", "pydantic==2.14.4", "httpx2==2.16.2", "opentelemetry-sdk==1.45.1")
FOLDER = ROOT / ".build" / "instructions" / f"{sys.version_info.major}.{sys.version_info.minor}"
_ACCEPT = "make instructions ARGS=--write"
_TITLES = {
    "chat": "chat, sync", "chat_async": "chat, async",
    "uneven": "chat in bursts, sync", "thinking": "chat while the model thinks, sync", "responses": "Responses, sync",
    "responses_async": "Responses, async", "bytes": "raw bytes, sync", "bytes_async": "raw bytes, async",
}
_CHUNKS_ONLY = ("uneven", "thinking")  # ways in which a chunk costs more; the rest of their streams is as any other's
_PLAIN_TITLES = {"call": "chat, sync", "call_async": "chat, async"}
_FAILING_TITLES = {
    "refused": "no connection, sync", "refused_async": "no connection, async",
    "limited": "429, sync", "limited_async": "429, async",
    "cut": "reset after 4 chunks, sync", "cut_async": "reset after 4 chunks, async",
}
_SPANNED = ("chat", "chat_async")
_HALF = len(ACTS) // 2

Counts = Mapping[str, Counter[str]]  # by C function, by "act chunks", observed less bare


def section() -> str:
    """The section of the record that this Python has."""
    return f"{sys.version_info.major}.{sys.version_info.minor}-{platform.machine()}"


def build() -> str:
    """What else the counts depend on: the interpreter's version, and how it was compiled."""
    asked = shlex.split(sysconfig.get_config_var("CONFIG_ARGS") or "")
    options = sorted(option for option in asked if option.startswith(("--enable-", "--with-")) and "/" not in option)
    return " ".join((platform.python_version(), platform.python_compiler(), *options))


def count(python: Path, side: Side, acts: Sequence[str]) -> Counts:
    """Read streams under callgrind, with an observer's side. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as store, tempfile.TemporaryDirectory() as written:
        env = environ(side, store)
        env["PYTHONPATH"] += os.pathsep + str(ROOT)
        env["OTEL_BSP_SCHEDULE_DELAY"] = "3600000"  # milliseconds; its thread would ask for the interpreter's lock
        program = (str(python), "-m", "bench.counted", side.name, *acts)
        # Without it first: a process that has to compile modules has another heap, and takes a minute under it.
        for prefix in ((), ("valgrind", *callgrind.OPTIONS, f"--callgrind-out-file={written}/out")):
            subprocess.run((*prefix, *program), env=env, check=True)  # noqa: S603
        least: dict[tuple[str, str], Counter[str]] = {}
        for label, found in callgrind.dumps(Path(written)).items():
            act, what, _, state = label.split()
            known = least.get((f"{act} {what}", state))
            if known is None or found.total() < known.total():
                least[f"{act} {what}", state] = found
    for (name, state), found in least.items():
        if state == "on":
            found.subtract(least[name, "off"])
    return {name: found for (name, state), found in least.items() if state == "on"}


def rows(counts: Counts, spanned: bool = False) -> dict[str, float]:
    """What is recorded of these counts."""
    found, also = {}, " with spans" if spanned else ""
    total = {name: sum(functions.values()) for name, functions in counts.items()}
    for act, title in _PLAIN_TITLES.items():
        if f"{act} {SHORT}" in total:
            found[f"per call without a stream: {title}"] = total[f"{act} {SHORT}"] / STREAMS
    for act, title in _FAILING_TITLES.items():
        if f"{act} {SHORT}" in total:
            found[f"per failing stream: {title}"] = total[f"{act} {SHORT}"] / STREAMS
    for act, title in _TITLES.items():
        if f"{act} {LONG}" not in total:
            continue
        stream = total[f"{act} {SHORT}"] / STREAMS
        chunk = (total[f"{act} {LONG}"] - stream) / (LONG - SHORT)
        if not spanned:
            found[f"per chunk: {title}"] = chunk
        if act in _CHUNKS_ONLY:
            continue
        found[f"per stream beyond its chunks: {title}{also}"] = stream - SHORT * chunk
        if f"{act} first" in total:
            found[f"before the first chunk: {title}{also}"] = total[f"{act} first"]
    return {name: round(figure) for name, figure in found.items()}


def held(python: Path, side: Side) -> float:
    """Bytes that stay allocated for each open stream, as in the comparison; without callgrind."""
    with tempfile.TemporaryDirectory() as store:
        worker = Worker(side, python, store)
        try:
            worker.measure("held_per_stream", 50, 1)
            pairs = worker.measure("held_per_stream", 500, 3)  # the least of them: what disturbs only adds
        finally:
            worker.close()
    return round(min(observed for _, [observed] in pairs) - min(bare for [bare], _ in pairs))


def judge(measured: Mapping[str, float], recorded: Mapping[str, float]) -> tuple[list[str], list[str]]:
    """Lines about rows that fail, and about such as only ought to be recorded anew."""
    bad, good = [], []
    for row in sorted({*measured, *recorded}):
        now, before = measured.get(row), recorded.get(row)
        allowed = LOOSE_TOLERANCE if row.startswith(LOOSE) else TOLERANCE
        if now is None or before is None:
            bad.append(f"{row}: {'not on record' if before is None else 'on record, but not measured'}")
        elif now > before + allowed * abs(before):
            bad.append(f"{row}: grew from {before:,.0f} to {now:,.0f} ({now / before - 1:+.1%})")
        elif now < before - allowed * abs(before):
            good.append(f"{row}: shrank from {before:,.0f} to {now:,.0f} ({now / before - 1:+.1%})")
    return bad, good


def verdict(measured: Mapping[str, float], record: Mapping[str, Mapping[str, object]]) -> int:
    """Print the figures beside those on record, and what follows; gives the exit code."""
    known = record.get(section())
    recorded: Mapping[str, float] = known["rows"] if known is not None else {}  # type: ignore[assignment]
    for row, now in measured.items():
        before = recorded.get(row)
        beside = f"{before:>12,.0f} {now / before - 1:+8.2%}" if before else ""
        print(f"{row:60} {now:>12,.0f} {beside}")
    if known is None:
        print(f"not judged: there is no section {section()} in {RECORD.name}; {_ACCEPT} makes one")
        return 0
    if known["python"] != build():
        print(f"not judged: recorded with another build of Python ({known['python']}), this is {build()}")
        return 0
    bad, good = judge(measured, recorded)
    for line in good:
        print(f"{line}; please record it: {_ACCEPT}")
    for line in bad:
        print(f"{line}. If that is what it takes: {_ACCEPT}, and commit {RECORD.relative_to(ROOT)}")
    return 1 if bad else 0


def write(measured: Mapping[str, float]) -> None:
    """Put the figures on record for this Python and machine."""
    record = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    record[section()] = {"python": build(), "rows": dict(measured)}
    RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


def _tell(counts: Counts, most: int) -> None:
    for name, functions in counts.items():
        streams = STREAMS if str(SHORT) in name.split() else 1
        print(f"\n{name}: {sum(functions.values()) / streams:,.0f} a stream")
        for function, instructions in functions.most_common(most):
            print(f"{instructions / streams:>14,.0f}  {function}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the figures on record instead of judging them")
    parser.add_argument("--top", type=int, default=0, help="also the C functions that execute most of each difference")
    given = parser.parse_args(arguments)
    if shutil.which("valgrind") is None or platform.machine() not in callgrind.MACHINES:
        print("valgrind is needed (Debian package valgrind), on", " or ".join(callgrind.MACHINES), file=sys.stderr)
        return 2
    python = environment(FOLDER, PINNED)
    asked = [(OURS, ACTS[:_HALF]), (OURS, ACTS[_HALF:]), (replace(SPANS, env=()), _SPANNED)]
    with ThreadPoolExecutor(2) as pool:  # they are other processes, and what is counted is no time
        some, others, with_spans = pool.map(lambda job: count(python, *job), asked)
    counts = {**some, **others}
    measured = {**rows(counts), **rows(with_spans, spanned=True), "bytes per open stream": held(python, OURS)}
    if given.top:
        _tell(counts, given.top)
        _tell({f"{name} with spans": functions for name, functions in with_spans.items()}, given.top)
        print()
    if given.write:
        write(measured)
    return verdict(measured, json.loads(RECORD.read_text()) if RECORD.exists() else {})


if __name__ == "__main__":
    sys.exit(main())
