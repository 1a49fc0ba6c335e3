"""The tests of the SDK side, once per version of openai, each in an environment of its own: ``make test-versions``.

    python -m bench.versions                 all of them, or those named; writes their rows of docs/versions.md
    python -m bench.versions --short         a few tests of each, for CI
    python -m bench.versions -j 2            two at a time: most of a test's time is waiting
    python -m bench.versions 2.54.0 -- -x    what follows `--` goes to pytest
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from .environments import environment

ROOT = Path(__file__).resolve().parents[1]
# What goes through the SDK. The rest does not depend on which one is installed.
TESTS = (
    "test_outcomes.py", "test_app_side.py", "test_app_readers.py", "test_raw.py", "test_raw_and_bytes.py",
    "test_clients.py", "test_trio.py", "test_app_end.py", "test_invariants.py", "test_surfaces.py",
    "test_below_the_stream.py", "test_bodies.py", "test_attaching_broken.py", "test_interrupted_streams.py",
    "test_broken_http.py", "test_callers_set_up.py", "test_helpers_raise.py",
    "test_run_scripts.py", "test_retry_loops.py", "test_retry_pools.py", "test_retries_without_end.py",
    "test_taken_up.py", "test_usage_once.py", "test_limits.py",
    "test_providers.py", "test_provider_words.py", "test_finishes.py",
    "test_websockets.py", "test_websockets_invariants.py", "test_websockets_methods.py",
)
WRITTEN = ROOT / "docs" / "versions.md"
INTRODUCTION = """# Supported versions

- Python 3.10 to 3.13.
- openai 1.8 to 3.x, with httpx and with httpx2. On a version that it does not know, streamvitals patches nothing, says
  so once, and shows it in `streamvitals_build_info`.

`make test-versions` runs the tests of the SDK side in each of these environments and writes this table. Skipped are
tests of what that SDK or that environment does not have. `latest-httpx` uses a client of httpx where openai 3.x brings
its own httpx2. `make sdk-suite` runs the SDK's own tests, with and without streamvitals.
"""
SHORT = (
    "test_outcomes.py and (ok- or after-n or silent-cut or fin-in-chunk or broken or error-event- or 429- or refused"
    " or gzip- or html or break- or cancelled or keyboard) or test_app_side.py or test_clients.py"
)
DEV = ("pytest>=8.3,<10", "hypothesis>=6.100,<7", "anyio>=4,<5", "trio>=0.27,<1")


class Environment(NamedTuple):
    """What to install, for which Python (that of this process if not said), and what to set for the tests."""

    requirements: tuple[str, ...]
    python: str = ""
    variables: tuple[tuple[str, str], ...] = ()


ENVIRONMENTS: dict[str, Environment] = {
    # The oldest minor that is supported. Before 1.55 the SDK hands httpx an argument that 0.28 has not any more.
    "1.8.0": Environment(("openai==1.8.0", "httpx<0.28")),
    # Of websockets the oldest that this SDK works with, though it asks for 13; the others have all that they ask for.
    "1.109.1": Environment(("openai==1.109.1", "websockets==14.*")),
    "2.54.0": Environment(("openai[realtime]==2.54.0",)),
    "latest": Environment(("openai[aiohttp,realtime]",)),
    # 3.x brings httpx2 and still takes a client of httpx: every test with one.
    "latest-httpx": Environment(("openai>=3.1", "httpx"), variables=(("STREAMVITALS_TEST_CLIENT", "httpx"),)),
    "latest-py3.10": Environment(("openai", "websockets==13.*"), python="3.10"),
    "latest-py3.12": Environment(("openai[realtime]",), python="3.12"),
    "latest-py3.13": Environment(("openai[realtime]",), python="3.13"),
}


class Result(NamedTuple):
    """What came of one environment; ``counts`` by pytest's words, ``python`` "" where there is none."""

    openai: str
    python: str
    counts: dict[str, int]
    seconds: str
    code: int


def interpreter(version: str) -> str:
    """A Python of this version that starts, or ""; uv's or pyenv's where it is not on the path."""
    candidates = [f"python{version}"]
    if shutil.which("uv"):
        candidates.append(_output(["uv", "python", "find", "--no-python-downloads", version]))
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    candidates += sorted(str(path) for path in pyenv.glob(f"versions/{version}.*/bin/python"))
    for candidate in candidates:
        told = _output([candidate, "-c", "import sys; print(sys.executable)"]) if shutil.which(candidate) else ""
        if told:
            return told
    return ""


def _output(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - ours, no shell
    return done.stdout.strip()


def prepared(name: str) -> tuple[str, dict[str, str]]:
    """The interpreter of an environment, made if need be, and the variables to set; ("", {}) where there is none."""
    wanted = ENVIRONMENTS.get(name, Environment((f"openai=={name}",)))
    base = interpreter(wanted.python) if wanted.python else sys.executable
    if not base:
        return "", {}
    folder = ROOT / ".build" / f"openai-{name}"
    python = environment(folder, ["-e", f"{ROOT}[otlp]", *DEV, *wanted.requirements], base)
    return str(python), dict(wanted.variables)


def run(name: str, short: bool, arguments: list[str]) -> Result:
    """Run the tests in one environment."""
    python, variables = prepared(name)
    if not python:
        return Result("", "", {}, "", 0)
    version = _output([python, "-c", "import openai; print(openai.__version__)"])
    selected = ["-k", SHORT] if short else []
    done = subprocess.run(  # noqa: S603 - a list of our own, no shell
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *_tests(short), *selected, *arguments], cwd=ROOT,
        env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True, check=False,
    )
    if done.returncode:
        print(done.stdout)
    last = (done.stdout.strip().splitlines() or [""])[-1]
    counts = {what: int(count) for count, what in re.findall(r"(\d+) (passed|failed|skipped|errors?)", last)}
    seconds = (re.findall(r"in ([\d.]+)s", last) or ["?"])[0]
    version_of_python = _output([python, "-c", "import sys; print(sys.version.split()[0])"])
    return Result(version, version_of_python, counts, seconds, done.returncode)


def _tests(short: bool) -> list[str]:
    names = [name for name in TESTS if not short or name in SHORT]
    return [str(path) for name in names for path in (ROOT / "tests").rglob(name)]


COLUMNS = ("environment", "openai", "python", "passed", "failed", "skipped", "seconds", "result")


def row(name: str, result: Result) -> tuple[str, ...]:
    """What to show of a result, by ``COLUMNS``."""
    counts = result.counts
    wrong = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    verdict = ("FAILED" if result.code else "ok") if result.python else "no such Python here"
    return (
        name, result.openai, result.python, str(counts.get("passed", 0)), str(wrong), str(counts.get("skipped", 0)),
        result.seconds, verdict,
    )


def write(rows: list[tuple[str, ...]]) -> None:
    """Put these rows in place of those of the same environments in docs/versions.md. How long it took is of this
    machine and this hour, and left out."""
    before = WRITTEN.read_text().splitlines() if WRITTEN.exists() else []
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in before if line.startswith("|")]
    known = {cells[0]: cells for cells in table}
    known |= {cells[0]: [*cells[:-2], cells[-1]] for cells in rows}
    shown = [[*COLUMNS[:-2], COLUMNS[-1]], *(known[name] for name in ENVIRONMENTS if name in known)]
    lines = ["| " + " | ".join(cells) + " |" for cells in shown]
    lines.insert(1, "|---" * len(shown[0]) + "|")
    WRITTEN.write_text("\n".join((INTRODUCTION, *lines, "")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="a few tests of each")
    parser.add_argument("-j", type=int, default=1, choices=range(1, 9), metavar="N", help="environments at a time")
    parser.add_argument("names", nargs="*", metavar="environment", help=", ".join(ENVIRONMENTS))
    own = sys.argv[1:]
    at = own.index("--") if "--" in own else len(own)
    given, arguments = parser.parse_args(own[:at]), own[at + 1 :]
    line = "{:<14} {:<9} {:<8} {:>7} {:>7} {:>8} {:>8}  {}"
    rows: list[tuple[str, ...]] = []
    failed = False
    names = given.names or list(ENVIRONMENTS)
    with ThreadPoolExecutor(given.j) as pool:
        for name, result in zip(names, pool.map(lambda name: run(name, given.short, arguments), names), strict=True):
            failed = failed or result.code != 0
            rows.append(row(name, result))
            print(line.format(*rows[-1]), flush=True)
            if not (given.short or arguments):
                write(rows)
    print("\n" + "\n".join(line.format(*cells) for cells in (COLUMNS, *rows)))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
