"""Which frameworks' own retries are recognised: a table, made by running them.

    python -m bench.apps_real.retries [--only langchain,litellm] [--markdown FILE]

Each case, of retry_driver.py or plain_loops.py, asks for a streamed answer with the SDK's retries off and the
framework's on, of a server that refuses twice (429), and of one that resets every stream. The server's log says
how often it was asked again, `streamvitals_retries_total{source="app"}` how much of that was recognised. A case
that is not recognised as CASES says, or is seen differently with us, is a difference: exit code 1.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from .. import tables
from .launch import Report, bare, watched
from .run import WORK, prepare_environments
from .truth import Truth, shown, total

DRIVER = Path(__file__).with_name("retry_driver.py")
MODES = ("429x2", "reset")
COLUMNS = (
    "case", "mode", "calls", "asked again", "SDK retries", "app retries", "recovered", "failed", "recognised",
    "same view",
)
NOT_HERE = "retries below the SDK, in its transport"
NOBODY_AWAITS = "each attempt in a task that nobody awaits"
OTHER_MODEL = "asks another model, which is another question"


class Case(NamedTuple):
    """A function of either, and why its retries are not recognised where they are not."""

    name: str
    venv: str
    unseen: str = ""


CASES = (
    Case("loop", "loops"), Case("aloop", "loops"), Case("wait_for_loop", "loops"), Case("executor_loop", "loops"),
    Case("run_loop", "loops"), Case("uvloop_loop", "loops"), Case("trio_loop", "loops"), Case("gevent_loop", "loops"),
    Case("to_thread_loop", "loops"), Case("threadsafe_loop", "loops"),
    Case("tenacity_sync", "loops"), Case("tenacity_async", "loops"), Case("backoff_sync", "loops"),
    Case("backoff_async", "loops"), Case("stamina_sync", "loops"), Case("stamina_async", "loops"),
    Case("langchain_invoke", "langchain"), Case("langchain_ainvoke", "langchain"),
    Case("langchain_stream", "langchain"), Case("langchain_fallbacks", "langchain", OTHER_MODEL),
    Case("langgraph_invoke", "langgraph"), Case("langgraph_ainvoke", "langgraph"),
    Case("litellm_completion", "litellm"), Case("litellm_acompletion", "litellm"),
    Case("litellm_router", "litellm"), Case("litellm_router_async", "litellm"),
    Case("llamaindex_stream_chat", "llamaindex"), Case("llamaindex_astream_chat", "llamaindex"),
    Case("instructor_partial", "instructor"), Case("smolagents_stream", "smolagents"),
    Case("dspy_streamify", "dspy"), Case("haystack_generator", "haystack"),
    Case("pydantic_ai_fallback", "pydantic-ai", OTHER_MODEL), Case("pydantic_ai_transport", "pydantic-ai", NOT_HERE),
    Case("openai_agents", "agents", NOBODY_AWAITS), Case("openai_agents_policy", "agents"),
    Case("griptape", "griptape"),
)


class Row(NamedTuple):
    """One case in one mode, or in both. ``wrong`` says in words what differs."""

    case: Case
    mode: str
    truth: Truth
    report: Report
    same: bool
    wrong: list[str]

    def cells(self) -> tuple[str, ...]:
        """Its line in the table."""
        report = self.report
        return (
            self.case.name, self.mode, shown(self.truth.outcomes), shown(self.truth.again),
            shown(report.retries["sdk"]), shown(report.retries["app"]), str(report.recoveries["app"]),
            str(report.operations_failed), self._recognised(), "yes" if self.same else "DIFFERS",
        )

    def _recognised(self) -> str:
        again = total(self.truth.again.values())
        if not again and not self.case.unseen:
            return "retries by the SDK" if self.report.retries["sdk"] else "does not try again"
        return self.case.unseen or ("yes" if total(self.report.retries["app"].values()) == again else "NO")

    def __add__(self, other: Row) -> Row:  # type: ignore[override]
        return self._replace(
            mode=f"{self.mode}, {other.mode}", truth=self.truth + other.truth, report=self.report + other.report,
            same=self.same and other.same, wrong=[*self.wrong, *other.wrong],
        )


def try_case(case: Case, mode: str) -> Row:
    """Run one case in one mode, bare and watched."""
    recipe, logs = WORK / "run_py.sh", WORK / "logs" / "retries" / case.name
    env = {"VENV_NAME": case.venv, "DRIVER": str(DRIVER), "DRIVER_ARGS": case.name}
    without = bare(recipe, mode, env, logs / f"{mode}.bare.jsonl")
    within, report = watched(recipe, mode, env, logs / f"{mode}.watched.jsonl")
    same = without.output == within.output and without.status == within.status
    wrong = [] if same else [f"bare {without.output}, watched {within.output}"]
    return Row(case, mode, within.truth, report, same, [*wrong, *_reported(case, within.truth, report)])


def _reported(case: Case, truth: Truth, report: Report) -> list[str]:
    wrong = list(report.wrong)
    again, recognised = total(truth.again.values()), total(report.retries["app"].values())
    if not truth.outcomes:
        wrong.append("it never asked for a stream")
    injected = truth.outcomes
    if case.unseen == NOT_HERE and injected["completed"]:
        injected = Counter(completed=injected["completed"])  # for the SDK it was one call
    if report.streams != injected:
        wrong.append(f"injected {shown(injected)}, reported {shown(report.streams)}")
    expected = 0 if case.unseen else again
    if recognised != expected:
        wrong.append(f"{again} asked again, {recognised} recognised")
    if expected and truth.outcomes["completed"] and not report.recoveries["app"]:
        wrong.append("recovered, and not reported so")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAMES", help="cases or environments, separated by commas")
    tables.add_option(parser)
    given = parser.parse_args()
    names = {name for name in given.only.split(",") if name}
    cases = [case for case in CASES if not names or {case.name, case.venv} & names]
    made = prepare_environments([case.venv for case in cases])
    rows = []
    for case in cases:
        for mode in MODES if case.venv in made else ():
            rows.append(try_case(case, mode))
            print("X" if rows[-1].wrong else ".", end="", flush=True)
        if given.markdown:  # at once: whoever interrupts this has what was measured until then
            tables.write_part(given.markdown, "retries", in_short(rows), [case.name for case in CASES])
    print("\n" + tables.text([COLUMNS, *(row.cells() for row in rows)]))
    for row in rows:
        for line in row.wrong:
            print(f"{row.case.name}, {row.mode}: {line}")
    return int(len(made) < len({case.venv for case in cases}) or any(row.wrong for row in rows))


def in_short(rows: list[Row]) -> list[tuple[str, ...]]:
    """A line per case, both modes together."""
    by_case: dict[str, Row] = {}
    for row in rows:
        by_case[row.case.name] = by_case[row.case.name] + row if row.case.name in by_case else row
    mode = COLUMNS.index("mode")
    return [cells[:mode] + cells[mode + 1 :] for cells in (COLUMNS, *(row.cells() for row in by_case.values()))]


if __name__ == "__main__":
    sys.exit(main())
