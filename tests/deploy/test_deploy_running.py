"""deploy/ at work: the image's programs, a real Prometheus and a real Alertmanager, with its very files."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from alerts_support import alertmanager, needs
from deploy_support import DEPLOY, Stack
from otlp_receiver import Receiver, attributes, receiver
from run_support import answered, environment, eventually, get, parse_metrics, total
from streamvitals.alerts.objectives import Objectives
from streamvitals.export.dashboards import dashboards_for, with_least_step

pytestmark = [needs("prometheus", "alertmanager"), pytest.mark.xdist_group("deploy")]
ROOT = DEPLOY.parent
UV = Path(sys.executable).with_name("uv")
APPS = ("chat-1", "chat-2", "search", "assistant")
PATIENCE = 300.0  # seconds, on a machine with much else to do


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def copied(folder: Path) -> Path:
    """What Dockerfile.dockerignore lets into the image."""
    lines = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in lines
    for path in (path for line in lines if line.startswith("!") for path in ROOT.glob(line[1:])):
        target = folder / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if path.is_dir() else shutil.copy)(path, target)
    return folder


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs that the Dockerfile's own `pip install` makes, from what it copies."""
    folder = tmp_path_factory.mktemp("image")
    (installed,) = re.findall(r"^RUN pip install --no-cache-dir '(.+?)' &&", (DEPLOY / "Dockerfile").read_text(), re.M)
    subprocess.run([UV, "venv", "-q", "--python", sys.executable, folder / "venv"], check=True)
    made = subprocess.run(
        [UV, "pip", "install", "-q", "--python", folder / "venv" / "bin" / "python", installed],
        cwd=copied(folder / "src"), env=environment(), capture_output=True, text=True, check=False,
    )
    if made.returncode and os.environ.get("CI") != "true":
        pytest.skip(f"nothing to install with, as without a network: {made.stderr[-300:]}")
    assert made.returncode == 0, made.stderr
    return folder / "venv" / "bin"


@pytest.fixture(scope="module")
def stack(image: Path, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    """With the volumes that `files` writes."""
    made = Stack(tmp_path_factory.mktemp("stack"), image)
    with made.running("files") as files:
        assert files.wait() == 0, made.log("files").read_text()
    # The pager shares Alertmanager's network, and is where the example's receivers are.
    example = made.root("alertmanager") / "etc" / "alertmanager" / "alertmanager.example.yaml"
    text = example.read_text()
    assert "http://127.0.0.1:9095/page\n" in text
    example.write_text(text.replace("127.0.0.1:9095", f"127.0.0.1:{made.port('pager', 9095)}"))
    return made


@pytest.fixture(scope="module")
def collector(stack: Stack) -> Iterator[Receiver]:
    """Takes what the OpenTelemetry Collector would be sent."""
    with receiver() as got:
        stack.use("otel-collector", 4318, got.port)
        yield got


@pytest.fixture(scope="module")
def running(stack: Stack, collector: Receiver) -> Iterator[Stack]:
    """Everything for which there is a program here."""
    with ExitStack() as services:
        # A minute is a second: six turns of peace and trouble are one minute.
        services.enter_context(stack.running("provider", "--minute", "1"))
        for app in APPS:
            services.enter_context(stack.running(app))
        services.enter_context(stack.running("pager"))
        for service, port, program, *more in (
            ("alertmanager", 9093, str(alertmanager()), "--cluster.listen-address="),
            ("prometheus", 9090, "prometheus"),
        ):
            address = f"127.0.0.1:{stack.port(service, port)}"
            more = [f"--web.listen-address={address}", *more]
            services.enter_context(stack.running(service, *more, program=program))
            eventually(partial(answered, f"http://{address}/-/ready"), f"{service}, see {stack.log(service)}")
        yield stack


def asked(running: Stack, path: str) -> Any:
    return json.loads(get(f"http://127.0.0.1:{running.port('prometheus', 9090)}/api/v1/{path}"))["data"]


def query(running: Stack, expr: str) -> dict[str, float]:
    """The values by the label `job`."""
    found = asked(running, f"query?query={quote(expr)}")["result"]
    return {one["metric"].get("job", ""): float(one["value"][1]) for one in found}


def test_prometheus_scrapes_the_programs_with_its_file(running: Stack) -> None:
    # There is no Collector here.
    up = {"chat": 2, "search": 1, "otel-collector": 0}
    eventually(lambda: query(running, "sum by (job) (up)") == up, "targets", PATIENCE)
    eventually(lambda: set(query(running, "sum by (job) (streamvitals_streams_total) > 5")) == {"chat", "search"},
               "streams", PATIENCE)
    providers = asked(running, "label/gen_ai_provider_name/values")
    assert sorted(providers) == ["openai", "vllm"]
    assert sorted(asked(running, "label/server_address/values")) == ["127.0.0.1", "localhost"]


def test_prometheus_evaluates_the_rules_that_were_written(running: Stack) -> None:
    (file,) = {group["file"] for group in asked(running, "rules")["groups"]}
    assert file.endswith("/etc/prometheus/alerts/streamvitals.rules.yaml")
    eventually(lambda: query(running, 'ALERTS{alertname="StreamvitalsWatchdog"}'), "rules", PATIENCE)
    groups = asked(running, "rules")["groups"]
    assert [rule["lastError"] for group in groups for rule in group["rules"] if rule["health"] == "err"] == []


def test_alertmanager_is_told_and_knows_where_to_send_it(running: Stack) -> None:
    url = f"http://127.0.0.1:{running.port('alertmanager', 9093)}/api/v2/alerts"

    def told() -> list[Any]:
        return [one for one in json.loads(get(url)) if one["labels"]["alertname"] == "StreamvitalsWatchdog"]

    (watchdog,) = eventually(told, "an alert", PATIENCE)
    assert [one["name"] for one in watchdog["receivers"]] == ["watchdog"]
    pager = f"http://127.0.0.1:{running.port('pager', 9095)}"

    def notified(what: str) -> float:
        said = parse_metrics(get(url.replace("/api/v2/alerts", "/metrics")))
        return total(said, f"alertmanager_notifications_{what}", integration="webhook")

    eventually(lambda: notified("total"), "a notification", PATIENCE)
    assert notified("failed_total") == 0
    runbook = watchdog["annotations"]["runbook_url"]
    assert runbook.startswith("http://localhost:9095/runbooks/")
    assert get(runbook.replace("http://localhost:9095", pager)).startswith("# StreamvitalsWatchdog")

    # No page comes so soon; this is one as Alertmanager would send it.
    said = {"summary": "it fails", "runbook_url": "there"}
    page = {"alerts": [{"status": "firing", "labels": {"job": "chat"}, "annotations": said}]}
    urllib.request.urlopen(f"{pager}/page", json.dumps(page).encode(), timeout=PATIENCE).close()
    assert "page: firing: chat: it fails\n    there\n" in running.log("pager").read_text()


def test_grafana_finds_what_it_is_told_of(stack: Stack) -> None:
    root = stack.root("grafana")
    (provider,) = read_yaml(root / "etc/grafana/provisioning/dashboards/streamvitals.yaml")["providers"]
    found = {path.name: path.read_text() for path in (root / provider["options"]["path"].lstrip("/")).glob("*.json")}
    made = dashboards_for(Objectives(runbook_url="http://localhost:9095/runbooks"))
    assert found == {name: with_least_step(text, 5.0) for name, text in made.items()}
    home = stack.services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (root / home.lstrip("/")).exists()
    sources = read_yaml(root / "etc/grafana/provisioning/datasources/streamvitals.yaml")["datasources"]
    assert {one["type"]: one["url"] for one in sources} == {
        "prometheus": stack.here("http://prometheus:9090"), "tempo": stack.here("http://tempo:3200"),
    }


def test_latencies_lead_to_traces_that_the_collector_has(running: Stack, collector: Receiver) -> None:
    def exemplars() -> list[str]:
        metric = "streamvitals_time_to_first_token_seconds_bucket"
        found = asked(running, f"query_exemplars?query={metric}&start=0&end=9999999999")
        return [one["labels"]["trace_id"] for series in found for one in series["exemplars"]]

    traces = set(eventually(exemplars, "exemplars", PATIENCE))

    def sent() -> set[str]:
        return {span.trace_id.hex() for span in collector.spans()}

    eventually(lambda: traces & sent(), "the trace of an exemplar", PATIENCE)


def test_the_collector_gets_the_traces_of_all_and_the_metrics_of_one(running: Stack, collector: Receiver) -> None:
    def services(path: str) -> set[str]:
        return {
            attributes(part.resource)["service.name"] for request in tuple(collector.requests) if request.path == path
            for part in (request.message.resource_spans if "traces" in path else request.message.resource_metrics)
        }

    eventually(lambda: services("/v1/traces") == {"chat", "search", "assistant"}, "traces of all", PATIENCE)
    eventually(lambda: services("/v1/metrics") == {"assistant"}, "metrics", PATIENCE)


def test_there_is_something_to_see(running: Stack) -> None:
    """All but what never happens there: every incident, retries by both, recoveries, fallbacks, users who leave."""
    wanted = {
        *(f'streamvitals_streams_total{{outcome="{outcome}"}}' for outcome in (
            "completed", "length", "reset", "truncated", "timeout", "api_error", "abandoned")),
        'streamvitals_retries_total{source="sdk",reason="429"}', 'streamvitals_retries_total{source="app"}',
        'streamvitals_recoveries_total{source="sdk"}', 'streamvitals_recoveries_total{source="app"}',
        "streamvitals_stalls_total", "streamvitals_tokens_total", "streamvitals_ratelimit_remaining",
        "streamvitals_fallbacks_total", "streamvitals_operations_failed_total",
    }

    def all_seen() -> bool:
        wanted.difference_update([one for one in wanted if query(running, f"{one} > 0")])
        return not wanted

    eventually(all_seen, wanted, PATIENCE)
    said = running.log("provider").read_text()
    assert "gpt-4o's streams are reset" in said
    assert "all is well" in said
