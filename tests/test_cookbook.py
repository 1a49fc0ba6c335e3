"""Every query of the cookbook answers its question in a Prometheus that watches a program with all those troubles."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

from alerts_support import needs
from prometheus_support import answer, prometheus
from run_support import environment, eventually, python, started
from streamvitals.faults import ThreadedFaultServer

PAGE = Path(__file__).resolve().parents[1] / "docs" / "cookbook.md"
PROGRAM = """
import sys, time
from threading import Thread
import openai

asked = 0

def ask(model, **more):
    global asked
    asked += 1  # the same question again would be a retry
    try:
        client = openai.OpenAI(max_retries=2, timeout=60)
        for _ in client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": f"{asked}"}], stream=True, **more,
        ):
            pass
    except openai.OpenAIError:
        pass

def talk():
    while True:
        for model in ("sv-ok-usage?gap=0.01", "sv-silent-cut", "sv-500-then-ok?fails=1"):
            ask(model, stream_options={"include_usage": True})
        time.sleep(0.2)

Thread(target=ask, args=("sv-stall?stall=60",), daemon=True).start()
Thread(target=talk, daemon=True).start()
sys.stdin.readline()
"""


def recipes() -> dict[str, str]:
    """Each query of the page by its question."""
    found = re.findall(r"^### (.+?)\n.*?^```promql\n(.+?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    return dict(found)


@needs("prometheus")
def test_every_query_answers_its_question(server: ThreadedFaultServer, tmp_path: Path) -> None:
    queries = recipes()
    numbered = [question for question in queries if question[0].isdigit()]
    assert len(numbered) == 10
    env = environment(server.base_url, STREAMVITALS_STALL_SECONDS="0.5", STREAMVITALS_RETRY_WINDOW_SECONDS="1")
    with started(python("-c", PROGRAM), env, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL) as app:
        app.wait_for_agent()
        with prometheus(tmp_path / "prometheus", app.port) as address:
            # A model of which nothing came in the time is NaN: a ratio of nothing.
            def answers() -> dict[str, list[tuple[dict[str, str], float]]]:
                asked = {question: answer(address, queries[question]) for question in queries}
                return {
                    question: [(series["metric"], float(series["value"][1])) for series in found]
                    for question, found in asked.items()
                }

            def all_numbered() -> bool:
                said = answers()
                if not (said[numbered[1]] and said[numbered[1]][0][1] > 0):
                    return False
                return all(any(math.isfinite(value) for _, value in said[q]) for q in numbered)

            eventually(all_numbered, "an answer to every question")
            said = answers()
        app.process.communicate(b"\n")

    def of(number: int) -> list[tuple[dict[str, str], float]]:
        return next(found for question, found in said.items() if question.startswith(f"{number}. "))

    share = of(1)[0][1]
    assert 0.2 < share < 0.8
    assert of(2)[0][1] > 0
    assert {(labels["outcome"], labels["error_type"]) for labels, _ in of(3)} == {("truncated", "missing_terminal")}
    assert [labels["phase"] for labels, _ in of(4)] == ["between_chunks"]
    assert "sv-ok-usage?gap=0.01" in {labels["gen_ai_request_model"] for labels, _ in of(5)}
    gaps = {labels["gen_ai_request_model"]: value for labels, value in of(6)}
    assert 0.005 < gaps["sv-ok-usage?gap=0.01"] < 5
    assert 0 <= of(7)[0][1] < 0.9
    assert {(labels["source"], labels["reason"]) for labels, _ in of(8)} == {("sdk", "500")}
    assert all(0 < value <= 1 for _, value in of(9))
    assert {labels["kind"] for labels, _ in of(9)} == {"requests", "tokens"}
    assert {labels["type"] for labels, _ in of(10)} == {"input", "output"}
    (unseen,) = [found for question, found in said.items() if question.startswith("Is anything not seen")]
    assert unseen == []
