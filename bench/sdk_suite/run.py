"""The openai SDK's own tests, bare and observed, as a proof that the SDK is the same: ``make sdk-suite``.

The source distribution on PyPI carries the tests. Each version gets an environment with the wheel of that
version and the test requirements that its own lock file names; streamvitals is not installed there, it comes
in as under ``streamvitals run``. Exit code 1 on any test that ends otherwise, on a run in which streamvitals
was not active, and on any internal fault that it counted; 3 where the tests or their requirements could not be had.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..environments import environment
from .answers import answering

ROOT = Path(__file__).resolve().parents[2]
INJECT = ROOT / "src" / "streamvitals" / "startup" / "inject"
_WANTED = re.compile(
    r"(respx|pytest|pytest-asyncio|pytest-xdist|inline-snapshot|dirty-equals|nest-asyncio|time-machine|rich|trio|griffe"
    r"|azure-identity|botocore|jsonschema|importlib-metadata|httpx-aiohttp|aiohttp|httpx|anyio|pydantic)==[\w.]+"
)


@dataclass(frozen=True)
class Version:
    """A version of the SDK. ``requirements`` besides those of its requirements-dev.lock, which 3.x has not."""

    number: str
    requirements: tuple[str, ...]


VERSIONS = (
    Version("3.52.0", (
        "openai[aiohttp,realtime,bedrock,vertex,datalib]==3.52.0", "pytest>=9.0.3,<10", "pytest-asyncio>=1.4,<2",
        "pytest-xdist>=3.6.1", "Pillow==12.3.0", "rich>=13.7.1", "inline-snapshot>=0.28", "azure-identity>=1.14.1",
        "botocore==1.43.123", "trio>=0.22.2", "griffe>=1", "requests>=2.33", "httpx<1",
    )),
    Version("2.54.0", ("openai[aiohttp,realtime]==2.54.0",)),
    Version("1.109.1", ("openai[aiohttp,realtime]==1.109.1",)),
)
# What streams, of the newest version: for CI.
SHORT = (
    "tests/test_streaming.py", "tests/test_stream_mode.py", "tests/test_sse_framing.py", "tests/test_response.py",
    "tests/test_legacy_response.py", "tests/test_client.py", "tests/lib/chat", "tests/lib/streaming",
    "tests/lib/test_azure.py", "tests/test_lazy_imports.py",
)


@dataclass
class Outcomes:
    """How the tests of one run ended, by test; ``left_out`` by reason."""

    tests: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    complete: bool = False
    active: bool = False
    streams: float = 0
    faults: float = 0

    @classmethod
    def read(cls, path: Path) -> Outcomes:
        """What the plugin wrote."""
        found = cls()
        for line in path.read_text().splitlines() if path.exists() else ():
            told = json.loads(line)
            if "test" in told:
                before = found.tests.get(told["test"])
                found.tests[told["test"]] = f"{before}+{told['outcome']}" if before else told["outcome"]
            else:
                found.complete, found.left_out = True, told["left_out"]
                found.active = told["active"]
                found.streams, found.faults = told.get("streams", 0), told.get("faults", 0)
        return found


class Suite:
    """The tests of one version, unpacked, and an environment to run them in."""

    def __init__(self, version: Version, build: Path) -> None:
        self.version = version
        self._folder = build / version.number
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sources = self._folder / f"openai-{version.number}"
        if not self._sources.exists():
            self._unpack()
        lock = self._sources / "requirements-dev.lock"
        lines = lock.read_text().splitlines() if lock.exists() else []
        locked = [line for line in lines if _WANTED.fullmatch(line)]
        self._python = environment(self._folder / "env", (*version.requirements, *locked))

    def _unpack(self) -> None:
        wanted = f"openai=={self.version.number}"
        command = ("download", "-q", "--no-deps", "--no-binary", "openai", "-d", str(self._folder), wanted)
        subprocess.run([sys.executable, "-m", "pip", *command], check=True)
        with tarfile.open(self._folder / f"openai-{self.version.number}.tar.gz") as archive:
            # Python has had the filter since 3.10.12 and 3.11.4.
            safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
            archive.extractall(self._folder, **safe)  # type: ignore[arg-type] # noqa: S202 - from PyPI, by its name

    def start(self, tests: Sequence[str], directory: str, url: str) -> tuple[subprocess.Popen[bytes], Path]:
        """Start a run, observed if there is a ``directory``; the file is where its outcomes will be."""
        name = "active" if directory else "bare"
        outcomes, log = self._folder / f"{name}.jsonl", self._folder / f"{name}.log"
        outcomes.unlink(missing_ok=True)
        path = [str(INJECT)] if directory else []
        env = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHON", "OPENAI_"))}
        env.update(
            PYTHONPATH=os.pathsep.join((*path, str(Path(__file__).parent))), SDK_SUITE_OUTCOMES=str(outcomes),
            DEFER_PYDANTIC_BUILD="false", TEST_API_BASE_URL=url,
        )
        if directory:
            env["STREAMVITALS_DIR"] = directory
        options = ("-q", "-o", "addopts=", "-p", "no:cacheprovider", "-p", "outcomes_plugin", "--tb=short")
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [str(self._python), "-m", "pytest", *options, *tests],
                cwd=self._sources, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,  # some tests ask the terminal, which stops whoever is in the background
            )
        return process, outcomes

    def run(self, tests: Sequence[str]) -> tuple[Outcomes, Outcomes]:
        """The same tests bare and observed, at the same time."""
        memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
        directory = tempfile.mkdtemp(prefix="streamvitals-suite-", dir=memory)
        try:
            with answering() as url:
                started = [self.start(tests, where, url) for where in ("", directory)]
                for process, _ in started:
                    process.wait()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        bare, active = (Outcomes.read(path) for _, path in started)
        return bare, active


def _differing(bare: Outcomes, active: Outcomes) -> list[str]:
    tests = {*bare.tests, *active.tests}
    return sorted(test for test in tests if bare.tests.get(test) != active.tests.get(test))


def _counts(found: Outcomes) -> str:
    counts = Counter(found.tests.values())
    return ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items(), key=lambda c: -c[1]))


def _report(version: Version, bare: Outcomes, active: Outcomes) -> list[str]:
    """Print the counts; return what is wrong, in words."""
    print(f"openai {version.number}")
    print(f"  bare    {_counts(bare)}")
    print(f"  active  {_counts(active)}; {active.streams:.0f} streams observed, {active.faults:.0f} faults")
    for reason, count in sorted(active.left_out.items()):
        print(f"  left out: {count} {reason}")
    wrong = []
    if not (bare.complete and active.complete):
        wrong.append("a run did not come to its end")
    if bare.active or not active.active:
        wrong.append("streamvitals was not active where it should have been, or the other way round")
    if active.faults:
        wrong.append(f"{active.faults:.0f} faults of streamvitals itself")
    if bare.left_out != active.left_out:
        wrong.append("not the same tests were left out")
    return wrong


def check(suite: Suite, tests: Sequence[str]) -> list[str]:
    """Run, and run again alone what differed: a test that depends on time may differ without us."""
    bare, active = suite.run(tests)
    wrong = _report(suite.version, bare, active)
    differing = _differing(bare, active)
    if 0 < len(differing) <= 50 and not wrong:
        for test in differing:
            print(f"  differed: {test}: bare {bare.tests.get(test)}, active {active.tests.get(test)}")
        for _ in range(2):
            again = suite.run(differing)
            differing = [test for test in _differing(*again) if test in differing]
            if not differing:
                print("  no difference when run again alone")
                break
            bare, active = again
    wrong += [
        f"{test}: bare {bare.tests.get(test)}, active {active.tests.get(test)}" for test in differing
    ]
    return wrong


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="of the newest version, what streams")
    parser.add_argument("--version", action="append", help="only this one; may be given again")
    parser.add_argument("--build", type=Path, default=ROOT / ".build" / "sdk-suite")
    given = parser.parse_args(arguments)
    chosen = [v for v in VERSIONS if not given.version or v.number in given.version]
    wrong = []
    for version in chosen[:1] if given.short else chosen:
        try:
            suite = Suite(version, given.build)
        except subprocess.CalledProcessError as error:
            print(f"openai {version.number} could not be set up: {error}")
            return 3
        found = check(suite, SHORT if given.short else ("tests",))
        wrong += [f"openai {version.number}: {problem}" for problem in found]
    for problem in wrong:
        print(problem)
    print("the same, bare and observed" if not wrong else f"{len(wrong)} problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
