"""Which frameworks' own retries are recognised: a table, made by running them.

    python tests/apps_real/retries.py [--only langchain,litellm]

Each case of retry_driver.py asks for a streamed answer with the SDK's retries off and the framework's on, of a
server that refuses twice (429), and of one that resets every stream. The server's log says how often it was
asked again, `streamvitals_retries_total{source="app"}` how much of that was recognised. A case that is not
recognised as EXPECTED says, or is seen differently with us, is a difference: exit code 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from launch import bare, watched  # noqa: E402
from run import WORK, prepare_environments  # noqa: E402
from truth import shown, total  # noqa: E402

DRIVER = Path(__file__).with_name("retry_driver.py")
MODES = ("429x2", "reset")
COLUMNS = (
    "case", "mode", "calls", "asked again", "SDK retries", "app retries", "recovered", "failed", "recognised",
    "same view",
)
NOT_HERE = "retries below the SDK, in its transport"
NOBODY_AWAITS = "each attempt in a task that nobody awaits"
ANOTHER_THREAD = "each attempt in a task that another thread waits for"
OTHER_MODEL = "asks another model, which is another question"


class Case(NamedTuple):
    """A function of retry_driver.py, and why its retries are not recognised where they are not."""

    name: str
    venv: str
    unseen: str = ""


CASES = (
    Case("loop", "loops"), Case("aloop", "loops"), Case("wait_for_loop", "loops"), Case("executor_loop", "loops"),
    Case("tenacity_sync", "loops"), Case("tenacity_async", "loops"), Case("backoff_sync", "loops"),
    Case("backoff_async", "loops"), Case("stamina_sync", "loops"), Case("stamina_async", "loops"),
    Case("langchain_invoke", "langchain"), Case("langchain_ainvoke", "langchain"),
    Case("langchain_stream", "langchain"), Case("langchain_fallbacks", "langchain", OTHER_MODEL),
    Case("langgraph_invoke", "langgraph"), Case("langgraph_ainvoke", "langgraph"),
    Case("litellm_completion", "litellm"), Case("litellm_acompletion", "litellm"),
    Case("litellm_router", "litellm"), Case("litellm_router_async", "litellm"),
    Case("llamaindex_stream_chat", "llamaindex"), Case("llamaindex_astream_chat", "llamaindex"),
    Case("instructor_partial", "instructor"), Case("smolagents_stream", "smolagents"),
    Case("dspy_streamify", "dspy", ANOTHER_THREAD), Case("haystack_generator", "haystack"),
    Case("pydantic_ai_fallback", "pydantic-ai", OTHER_MODEL), Case("pydantic_ai_transport", "pydantic-ai", NOT_HERE),
    Case("openai_agents", "agents", NOBODY_AWAITS), Case("griptape", "griptape"),
)


def try_case(case: Case, mode: str) -> tuple[tuple[str, ...], list[str]]:
    """The cells of its row, and what is wrong in words."""
    recipe, logs = WORK / "run_py.sh", WORK / "logs" / "retries" / case.name
    env = {"VENV_NAME": case.venv, "DRIVER": str(DRIVER), "DRIVER_ARGS": case.name}
    without = bare(recipe, mode, env, logs / f"{mode}.bare.jsonl")
    within, report = watched(recipe, mode, env, logs / f"{mode}.watched.jsonl")
    truth, retries = within.truth, total(report.retries["app"].values())
    again = total(truth.again.values())
    same = without.output == within.output and without.status == within.status
    wrong = list(report.wrong)
    if not same:
        wrong.append(f"bare {without.output}, watched {within.output}")
    if report.streams != truth.outcomes:
        wrong.append(f"injected {shown(truth.outcomes)}, reported {shown(report.streams)}")
    expected = 0 if case.unseen else again
    if retries != expected:
        wrong.append(f"{again} asked again, {retries} recognised")
    if expected and truth.outcomes["completed"] and not report.recoveries["app"]:
        wrong.append("recovered, and not reported so")
    recognised = "-" if not again and not case.unseen else case.unseen or ("yes" if retries == again else "NO")
    cells = (
        case.name, mode, shown(truth.outcomes), shown(truth.again), shown(report.retries["sdk"]),
        shown(report.retries["app"]), str(report.recoveries["app"]), str(report.operations_failed), recognised,
        "yes" if same else "DIFFERS",
    )
    return cells, wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="NAMES", help="cases or environments, separated by commas")
    given = parser.parse_args()
    names = {name for name in given.only.split(",") if name}
    cases = [case for case in CASES if not names or {case.name, case.venv} & names]
    made = prepare_environments([case.venv for case in cases])
    rows, wrongs = [COLUMNS], []
    for case in cases:
        for mode in MODES if case.venv in made else ():
            cells, wrong = try_case(case, mode)
            rows.append(cells)
            wrongs += [f"{case.name}, {mode}: {line}" for line in wrong]
            print("X" if wrong else ".", end="", flush=True)
    widths = [max(len(row[at]) for row in rows) for at in range(len(COLUMNS))]
    print()
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print(*wrongs, sep="\n")
    return int(bool(wrongs))


if __name__ == "__main__":
    sys.exit(main())
