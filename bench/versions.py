"""The tests of the SDK side, once per version of openai, each in an environment of its own: ``make test-versions``.

    python -m bench.versions                 all of them, or those named; writes their rows of docs/versions.md
    python -m bench.versions --short         a few tests of each, for CI
    python -m bench.versions -j 2            two at a time: most of a test's time is waiting
    python -m bench.versions 2.54.0 -- -x    what follows `--` goes to pytest
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from . import tables
from .environments import environment
from .interpreters import interpreter
from .suite import ROOT, run, version_of

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


def prepared(name: str) -> tuple[str, dict[str, str]]:
    """The interpreter of an environment, made if need be, and the variables to set; ("", {}) where there is none."""
    wanted = ENVIRONMENTS.get(name, Environment((f"openai=={name}",)))
    base = interpreter(wanted.python) if wanted.python else sys.executable
    if not base:
        return "", {}
    folder = ROOT / ".build" / f"openai-{name}"
    python = environment(folder, ["-e", f"{ROOT}[otlp]", *DEV, *wanted.requirements], base)
    return str(python), dict(wanted.variables)


def row_of(name: str, short: bool, arguments: list[str]) -> tuple[str, ...]:
    """By ``COLUMNS``, what came of the tests in one environment."""
    python, variables = prepared(name)
    if not python:
        return name, "", "", "", "", "", "", "no such Python here"
    selected = ["-k", SHORT] if short else []
    result = run(python, (*_tests(short), *selected, *arguments), variables)
    return (
        name, version_of(python, "openai"), version_of(python), str(result.passed), str(result.failed),
        str(result.skipped), result.seconds, "FAILED" if result.code else "ok",
    )


def _tests(short: bool) -> list[str]:
    names = [name for name in TESTS if not short or name in SHORT]
    return [str(path) for name in names for path in (ROOT / "tests").rglob(name)]


COLUMNS = ("environment", "openai", "python", "passed", "failed", "skipped", "seconds", "result")


def write(row: tuple[str, ...]) -> None:
    """Put a row in place of that of the same environment in docs/versions.md. How long it took is of this machine
    and this hour, and left out."""
    head, own = ((*cells[:-2], cells[-1]) for cells in (COLUMNS, row))
    tables.write_part(WRITTEN, "openai", (head, own), list(ENVIRONMENTS))


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
        for row in pool.map(lambda name: row_of(name, given.short, arguments), names):
            failed = failed or row[-1] == "FAILED"
            rows.append(row)
            print(line.format(*row), flush=True)
            if not (given.short or arguments) and row[0] in ENVIRONMENTS:
                write(row)
    print("\n" + "\n".join(line.format(*cells) for cells in (COLUMNS, *rows)))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
