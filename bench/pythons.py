"""The whole suite on every Python, with the newest and the oldest of what we need: ``make test-pythons``.

    python -m bench.pythons                       all of them, or those named; writes their rows of docs/versions.md
    python -m bench.pythons --short               a few tests of each
    python -m bench.pythons --only store,run 3.14     these folders of tests/
    python -m bench.pythons 3.10-oldest -- tests/store -x     what follows `--` goes to pytest; nothing is written
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import tables
from .environments import environment
from .interpreters import interpreter, obtain, uv
from .suite import ROOT, Result, run, version_of

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14")
FREE_THREADED = ("3.13t", "3.14t")
# What has parts in Rust: an older version where there is no wheel of the newest for free-threaded Pythons.
IN_RUST = ("ast-serialize", "hypothesis", "jiter", "pydantic-core", "regress", "rpds-py", "ruff", "uv")
# With the lowest versions that pyproject.toml allows of what the package itself needs; tests bring their newest.
OLDEST = ("3.10-oldest", "3.14-oldest")
ENVIRONMENTS = (*sorted((*SUPPORTED, *OLDEST)), *FREE_THREADED)
EXTRAS = "otlp,http-spans"
PYPROJECT = ROOT / "pyproject.toml"
WRITTEN = ROOT / "docs" / "versions.md"
FOLDERS = tuple(sorted(path.name for path in (ROOT / "tests").iterdir() if any(path.glob("test_*.py"))))
SHOWN = ("click", "h11", "prometheus-client", "opentelemetry-sdk", "openai")
NO_PACKAGES = "FAILED: its packages cannot be had"
HEAD = ("run", "Python", ", ".join(SHOWN), "passed", "failed", "skipped", "result")

# What a version of Python can break, at one or two files each: what every interpreter loads at its start, the hook of
# imports and the patches; every fault, sync and async; the agent beside a program; the text of /metrics.
SHORT = (
    "tests/startup/test_importhook.py", "tests/sdk/test_replacing.py", "tests/stream/test_outcomes.py",
    "tests/store/test_memory.py", "tests/sinks/test_exposition.py",
    "tests/run/test_run_scripts.py::test_script_is_counted",
    "tests/run/test_run_scripts.py::test_killed_stream_is_abandoned",
)


def prepared(name: str, base: str) -> Path:
    """The interpreter of an environment, made if need be. Raises CalledProcessError if its packages cannot be had."""
    version, _, lowest = name.partition("-")
    wanted = ["-e", f"{ROOT}[{EXTRAS}]", "--group", f"{PYPROJECT}:dev", *(_lowest(version) if lowest else ())]
    if version in FREE_THREADED:
        wanted += [word for package in IN_RUST for word in ("--only-binary", package)]
    return environment(ROOT / ".build" / f"python-{name}", wanted, base, (PYPROJECT,))


def _lowest(version: str) -> list[str]:
    """``package==version`` of each of our own dependencies, not of what these depend on."""
    extras = [word for extra in EXTRAS.split(",") for word in ("--extra", extra)]
    command = (
        uv(), "pip", "compile", "-q", "--no-header", "--annotation-style", "line", "--resolution", "lowest-direct",
        "--python-version", version, *extras, str(PYPROJECT),
    )
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()  # noqa: S603
    return [line.split()[0] for line in lines if PYPROJECT.name in line]


def rows_of(name: str, parts: dict[str, Sequence[str]], jobs: int) -> Iterator[tuple[str, ...]]:
    """By ``HEAD``, what came of each part of the suite in one environment; or why there is none."""
    base, missing = obtain(name.partition("-")[0])
    if not base:
        yield name, "", "", "", "", "", f"not had: {missing}"
        return
    try:
        python = str(prepared(name, base))
    except subprocess.CalledProcessError:
        yield name, version_of(base), "", "", "", "", NO_PACKAGES
        return
    packages = ", ".join(version_of(python, package) for package in SHOWN)
    options = ("-n", str(jobs), "--dist", "loadgroup", "--max-worker-restart", "0")
    for part, tests in parts.items():
        result = run(python, (*options, *tests))
        label = f"{name}: {part}" if part else name
        yield label, version_of(python), packages, *_counts(result)


def _counts(result: Result) -> tuple[str, ...]:
    verdict = "FAILED" if result.code else "ok"
    return str(result.passed), str(result.failed), str(result.skipped), verdict


def write(row: tuple[str, ...]) -> None:
    """Put a row into docs/versions.md; that of the whole suite takes the place of those of its parts."""
    order = [label for name in ENVIRONMENTS for label in (name, *(f"{name}: {part}" for part in ("short", *FOLDERS)))]
    if row[0] in ENVIRONMENTS:
        order = [label for label in order if not label.startswith(f"{row[0]}: ")]
    tables.write_part(WRITTEN, "pythons", (HEAD, row), order)


def short_here(end: str) -> int:
    """The short part on the oldest or the newest of the supported Pythons, for a test of this suite. Returns 3, and
    prints why, where that is the one that the suite itself runs on, or where its packages cannot be had."""
    own, at, in_ci = "{}.{}".format(*sys.version_info), 0 if end == "oldest" else -1, os.environ.get("CI") == "true"
    if in_ci:
        obtain(SUPPORTED[at])
    found = [version for version in SUPPORTED if version == own or interpreter(version)][at]
    if found == own:
        print(f"the {end} supported Python here is the one that runs this, {own}")
        return 3
    ((label, *_, verdict),) = rows_of(found, {"short": SHORT}, 2)
    print(label, verdict)
    return 0 if verdict == "ok" else 3 if verdict == NO_PACKAGES and not in_ci else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    chosen = parser.add_mutually_exclusive_group()
    chosen.add_argument("--short", action="store_true", help="a few tests of each")
    chosen.add_argument("--only", metavar="FOLDER,...", help=f"of {', '.join(FOLDERS)}")
    chosen.add_argument("--short-on", choices=("oldest", "newest"), help="of those that are here, if it is another")
    parser.add_argument("-j", type=int, default=4, metavar="N", help="tests at a time")
    parser.add_argument("names", nargs="*", metavar="environment", help=", ".join(ENVIRONMENTS))
    own = sys.argv[1:]
    at = own.index("--") if "--" in own else len(own)
    given, arguments = parser.parse_args(own[:at]), own[at + 1 :]
    folders = given.only.split(",") if given.only else []
    for unknown in (*(set(given.names) - set(ENVIRONMENTS)), *(set(folders) - set(FOLDERS))):
        parser.error(f"{unknown!r} is not one of {', '.join((*ENVIRONMENTS, *FOLDERS))}")
    if given.short_on:
        return short_here(given.short_on)
    parts: dict[str, Sequence[str]] = {folder: [f"tests/{folder}"] for folder in folders}
    parts = parts or ({"short": SHORT} if given.short else {"": arguments})
    failed = False
    shown: list[tuple[str, ...]] = []
    for name in given.names or ENVIRONMENTS:
        for row in rows_of(name, parts, given.j):
            failed = failed or row[-1].startswith("FAILED")
            shown.append(row)
            print(" ".join(row), flush=True)
            if not arguments:
                write(row)
    print("\n" + tables.text((HEAD, *shown)))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
