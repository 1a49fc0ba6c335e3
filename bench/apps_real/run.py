"""Applications nobody here wrote, bare and behind ``streamvitals run``: same view, and every fault reported.

    python -m bench.apps_real.run [--only llm,langchain] [--modes reset,429x2] [--markdown FILE]

Each gets an environment of its own, in .build/apps, in which nothing of ours is installed. A private fake
server breaks its streams and logs what it did; what the app printed, its exit code and its requests must be
the same with and without us, and what was reported must be what the server did. Exit code 1 on any
difference. Needs a POSIX shell with bash, and uv or pip.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from .. import tables
from ..environments import environment, installed
from .apps import APPS, MODES, RECIPES, App, requirements
from .launch import Report, Sight, bare, watched
from .truth import WENT_AWAY, Truth, shown, total

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".build" / "apps"
COLUMNS = ("app", "openai", "surfaces", "mode", "injected", "reported", "SDK retries", "app retries", "same view")
SAME = ("yes", "yes, and our warning", "DIFFERS")
# The record that a failed stream is logged with, where the app shows what is logged.
OUR_WARNING = re.compile(r"(\[?TIME\]? )?(· WARNING +)?stream \w+ \(\w+\): .*; owner: .*; causes: .*$")


class Row(NamedTuple):
    """One app in one mode, or in several. ``wrong`` says in words what differs."""

    app: App
    mode: str
    truth: Truth
    report: Report
    same: str
    wrong: list[str]

    def cells(self) -> tuple[str, ...]:
        """Its line in the table."""
        report = self.report
        return (
            self.app.name, ", ".join(sorted(self.truth.versions)), "; ".join(sorted(self.truth.surfaces)), self.mode,
            _injected(self.truth), shown(report.streams) + (f"; {report.stalls} stalls" if report.stalls else ""),
            shown(report.retries["sdk"]), _app_retries(self.truth, report), self.same,
        )

    def __add__(self, other: Row) -> Row:  # type: ignore[override]
        return self._replace(
            mode=f"{self.mode}, {other.mode}", truth=self.truth + other.truth, report=self.report + other.report,
            same=max(self.same, other.same, key=SAME.index), wrong=[*self.wrong, *other.wrong],
        )


def lay_out() -> None:
    """Copy the recipes to where they run."""
    shutil.copytree(RECIPES, WORK, dirs_exist_ok=True)


def prepare_environments(names: Iterable[str]) -> set[str]:
    """Copy the recipes and make the environments; the names of those that could be made."""
    lay_out()
    wanted, made = requirements(), set()
    for venv in dict.fromkeys(names):
        started = time.monotonic()
        try:
            environment(WORK / "venvs" / venv, wanted[venv])
            made.add(venv)
        except subprocess.CalledProcessError:
            print(f"environment {venv} FAILED")
        print(f"environment {venv}: {time.monotonic() - started:.0f} s", flush=True)
    return made


def try_app(app: App, mode: str) -> Row:
    """Run one app in one mode, bare and watched. What differs must differ twice: not all is the same each time."""
    row = _try_once(app, mode)
    return _try_once(app, mode) if row.wrong else row


def _try_once(app: App, mode: str) -> Row:
    recipe = WORK / f"run_{app.recipe}.sh"
    logs = WORK / "logs" / app.name.replace(" ", "_")
    env = {"N": "3", **app.env}
    without = bare(recipe, mode, env, logs / f"{mode}.bare.jsonl")
    within, report = watched(recipe, mode, env, logs / f"{mode}.watched.jsonl")
    view, wrong = _view(without, within), _reported(within.truth, report)
    warned = any(OUR_WARNING.search(line) for line in within.output)
    return Row(app, mode, within.truth, report, SAME[2 if view else warned], [*view, *wrong])


def _view(without: Sight, within: Sight) -> list[str]:
    wrong = []
    if without.status != within.status:
        wrong.append(f"exit code {without.status} bare, {within.status} watched")
    if without.output != within.output and _words(without) != _words(within):
        ours = [line for line in within.output if line not in without.output]
        theirs = [line for line in without.output if line not in within.output]
        wrong.append(f"output differs: bare {theirs[:8]} watched {ours[:8]}")
    asked, seen = without.truth.requests, within.truth.requests
    if sorted(map(repr, asked)) != sorted(map(repr, seen)):
        wrong.append(f"requests differ: bare {asked} watched {seen}")
    return wrong


def _words(sight: Sight) -> list[str]:
    return [word for line in sight.output for word in OUR_WARNING.sub("", line).split()]


def _reported(truth: Truth, report: Report) -> list[str]:
    wrong = list(report.wrong)
    if not truth.outcomes and not truth.went_away:
        wrong.append("it never asked for a stream")
    reported = dict(report.streams)
    left = truth.went_away
    for outcome in WENT_AWAY:
        taken = min(left, reported.get(outcome, 0))
        left -= taken
        reported[outcome] = reported.get(outcome, 0) - taken
    reported = {outcome: count for outcome, count in reported.items() if count}
    if left or reported != dict(truth.outcomes):
        wrong.append(f"injected {_injected(truth)}, reported {shown(report.streams)}")
    if report.journal != report.streams:
        wrong.append(f"the journal has {shown(report.journal)}, /metrics {shown(report.streams)}")
    if report.retries["sdk"] != truth.sdk_retries:
        wrong.append(f"SDK retries {shown(truth.sdk_retries)}, reported {shown(report.retries['sdk'])}")
    if report.stalls < truth.stalls:
        wrong.append(f"{truth.stalls} stalls, reported {report.stalls}")
    return wrong


def _injected(truth: Truth) -> str:
    text = shown(truth.outcomes) + (f", {truth.went_away} went away" if truth.went_away else "")
    return text + (f"; {truth.stalls} stalls" if truth.stalls else "")


def _app_retries(truth: Truth, report: Report) -> str:
    """Reported, of how many calls came again after a failure: of the app's own doing, or of its users'."""
    again = total(truth.again.values())
    return f"{total(report.retries['app'].values())} of {again} asked again" if again else "-"


def in_short(rows: list[Row]) -> list[tuple[str, ...]]:
    """A line per app, all modes together, with the version that it was."""
    by_app: dict[str, Row] = {}
    for row in rows:
        by_app[row.app.name] = by_app[row.app.name] + row if row.app.name in by_app else row
    wanted, mode = requirements(), COLUMNS.index("mode")
    lines = [(COLUMNS[0], "version", *COLUMNS[1:mode], *COLUMNS[mode + 1 :])]
    for row in by_app.values():
        version = installed(WORK / "venvs" / row.app.venv / "bin" / "python", wanted[row.app.venv][0])
        cells = row.cells()
        lines.append((cells[0], version, *cells[1:mode], *cells[mode + 1 :]))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAMES", help="apps by name or environment, separated by commas")
    parser.add_argument("--modes", default=",".join(MODES), metavar="MODES")
    tables.add_option(parser)
    given = parser.parse_args()
    if given.markdown and given.modes != ",".join(MODES):
        parser.error("--markdown is for all modes")
    names, modes = {n for n in given.only.split(",") if n}, given.modes.split(",")
    apps = [app for app in APPS if not names or {app.name, app.venv} & names]
    made = prepare_environments(app.venv for app in apps)
    able = [app for app in apps if app.venv in made]
    rows = []
    for app in able:
        for mode in (mode for mode in modes if mode in app.modes):
            rows.append(try_app(app, mode))
            print("." if not rows[-1].wrong else "X", end="", flush=True)
        if given.markdown:  # at once: whoever interrupts this has what was measured until then
            tables.write_part(given.markdown, "apps", in_short(rows), [app.name for app in APPS])
    print("\n" + tables.text([COLUMNS, *(row.cells() for row in rows)]))
    for row in rows:
        for line in row.wrong:
            print(f"{row.app.name}, {row.mode}: {line}")
    return int(len(able) < len(apps) or any(row.wrong for row in rows))


if __name__ == "__main__":
    sys.exit(main())
