"""The runbooks: whoever is paged can paste what they say, and finds what to tell, how to silence, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import urllib.parse
from contextlib import ExitStack
from pathlib import Path

import pytest

from alerts_support import alertmanager, amtool, needs
from alerts_world import Course, streams
from paging_support import Alertmanager, Receiver
from promtool_support import RULES, Promtool
from run_support import answered, eventually, free_port, get
from streamvitals.alerts import links
from streamvitals.alerts.language import Language, recorded_in
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.rule import Alert
from streamvitals.alerts.ruleset import ALERTS

FOLDER = Path(__file__).parents[2] / "alerts" / "runbooks"
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
HEADINGS = [
    "What it means for users", "What to tell users", "Confirm in a minute", "Causes, the likeliest first", "What to do",
    "When it is a false alarm", "Silence it", "When it resolves",
]
SPELLED = {0: "at once", 5: "five minutes", 10: "ten minutes", 20: "twenty minutes", 30: "half an hour", 60: "an hour"}
ASKED_OF_ONE = 'job="JOB"'


def blocks(page: str, language: str) -> list[str]:
    return [re.sub(r"^ +", "", block, flags=re.MULTILINE)
            for block in re.findall(rf"^ *```{language}\n(.+?)\n *```$", page, re.MULTILINE | re.DOTALL)]


QUERIES = [(name, query) for name, page in PAGES.items() for query in blocks(page, "promql")]


def test_runbooks_and_alerts_belong_together() -> None:
    assert PAGES.keys() == {alert.name for alert in ALERTS}
    for name, page in PAGES.items():
        assert page.startswith(f"# {name}\n")
        assert re.findall(r"^## (.+)$", page, re.MULTILINE) == HEADINGS
        assert set(re.findall(r"\bStreamvitals\w+", page)) <= PAGES.keys()
        for target in re.findall(r"\]\(([^)#]+)\)", page):
            assert (FOLDER / target).exists(), f"{name}: {target}"
        for uid in re.findall(r"Dashboard: `([\w-]+)`", page):
            assert uid in links.DASHBOARDS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_a_page_has_what_the_night_needs(alert: Alert) -> None:
    page = PAGES[alert.name]
    end = page.partition("## When it resolves\n")[2]
    if alert.kind == "watchdog":
        assert "Never" in end
        return
    assert f"for {SPELLED[round(alert.keep_firing_for / 60)]}" in " ".join(end.split())
    if alert.name not in ("StreamvitalsWatchdog",):
        assert f"alertname={alert.name} job=JOB" in page
    if alert.cause and "Calls" not in alert.name:
        assert "; request: req_" in page, "the log line has the id that a provider's support asks for"
        assert "status page" in page


@needs("promtool", "prometheus")
def test_every_query_can_be_pasted_alone(tmp_path: Path) -> None:
    """By itself, for the service that paged: promtool, a Prometheus that runs, and one with data find nothing wrong."""
    recorded = {rule["record"] for rule in RULES if "record" in rule}
    for name, query in QUERIES:
        assert ASKED_OF_ONE in query or name == "StreamvitalsWatchdog", f"{name}: {query}"
        assert "\n" not in query, "one query to a block"
        Language(Objectives()).fill(query.replace("$", "$$"))
        assert recorded_in(query) <= recorded, f"{name}: {query}"
    asked = [query.replace("JOB", "chat") for _, query in QUERIES]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(asked)]
    (tmp_path / "queries.yaml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    checked = subprocess.run(
        ["promtool", "check", "rules", tmp_path / "queries.yaml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr

    promtool = Promtool(tmp_path, RULES)
    # One whether or not there is an answer; what cannot be answered, as of too many matches, is an error.
    course = Course({streams("reset"): 17.0}, ill=10, after=0)
    promtool.expect("asked", course, *((28, f"count(count({query}) or vector(0))", 1.0) for query in asked))
    promtool.check()

    (tmp_path / "prometheus.yaml").write_text("{}")
    url = f"http://127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        log = stack.enter_context(open(tmp_path / "log", "wb"))
        process = subprocess.Popen(
            ["prometheus", f"--config.file={tmp_path}/prometheus.yaml", f"--storage.tsdb.path={tmp_path}/data",
             f"--web.listen-address={url.removeprefix('http://')}"], stdout=log, stderr=log,
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        eventually(lambda: answered(url + "/-/ready"), f"Prometheus, see {tmp_path}/log")
        for query in asked:
            text = urllib.parse.urlencode({"query": query})
            assert json.loads(get(f"{url}/api/v1/query?{text}"))["status"] == "success", query


@needs("alertmanager", "amtool")
def test_what_silences_an_alert_silences_that_one(tmp_path: Path) -> None:
    with Receiver() as receiver:
        manager = Alertmanager(tmp_path, receiver, str(alertmanager()), 1.0)
        with manager.running():
            here = f"--alertmanager.url={manager.url}"
            for name, page in PAGES.items():
                for line in (line for block in blocks(page, "sh") for line in block.splitlines() if "amtool" in line):
                    *options, alert, job = line.removeprefix("amtool ").replace("JOB", "chat").split(" ")
                    assert options[:3] == ["silence", "add", "--alertmanager.url=http://localhost:9093"]
                    assert amtool("silence", "add", here, "--duration=2h", "--author=me", "--comment=why", alert, job)
                    assert alert == f"alertname={name}"
            known = json.loads(amtool("silence", "query", here, "--output=json"))
    silenced = {matcher["value"] for one in known for matcher in one["matchers"] if matcher["name"] == "alertname"}
    assert silenced == PAGES.keys() - {"StreamvitalsWatchdog"}
