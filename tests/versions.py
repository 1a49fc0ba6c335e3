"""The tests of the SDK side, once per version of openai, each in an environment of its own: ``make test-versions``."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from bench.environments import environment

# What goes through the SDK. The rest does not depend on which one is installed.
TESTS = ("test_outcomes.py", "test_app_side.py", "test_raw_and_bytes.py", "test_run_scripts.py")
DEV = ("pytest>=8.3,<10", "hypothesis>=6.100,<7", "anyio>=4,<5", "trio>=0.27,<1")
# Before 1.55 the SDK hands httpx an argument that httpx 0.28 has not any more.
_OLD_HTTPX = (1, 55)


def requirements(version: str) -> list[str]:
    """What to install for one version of openai; ``latest`` is the newest there is."""
    if version == "latest":
        return [*DEV, "openai"]
    old = tuple(int(part) for part in version.split(".")[:2]) < _OLD_HTTPX
    return [*DEV, f"openai=={version}", *(["httpx<0.28"] if old else [])]


def run(version: str, arguments: list[str]) -> str:
    """Run the tests with one version; the last line that pytest prints, or what went wrong."""
    folder = ROOT / ".build" / f"openai-{version}"
    python = environment(folder, ["-e", f"{ROOT}[otlp]", *requirements(version)])
    tests = [str(ROOT / "tests" / name) for name in TESTS]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests, *arguments], cwd=ROOT,
        stdout=subprocess.PIPE, text=True, check=False,
    )
    if done.returncode:
        print(done.stdout)
    installed = subprocess.run(
        [python, "-c", "import openai; print(openai.__version__)"], stdout=subprocess.PIPE, text=True, check=True
    )
    last = re.sub(r"=+", "", done.stdout.strip().splitlines()[-1]).strip()
    return f"{'ok    ' if not done.returncode else 'FAILED'}  openai {installed.stdout.strip():<10} {last}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="+")
    given, arguments = parser.parse_known_args()
    lines = []
    for version in given.versions:
        lines.append(run(version, [a for a in arguments if a != "--"]))
        print(lines[-1], flush=True)
    return int(any(line.startswith("FAILED") for line in lines))


if __name__ == "__main__":
    sys.exit(main())
