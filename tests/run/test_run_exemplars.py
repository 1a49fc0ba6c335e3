"""From a spike to its trace under `streamvitals run`: the agent's exemplars, as a real Prometheus has them."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from alerts_support import needs
from otlp_receiver import Receiver, attributes, receiver
from run_support import APPS, answered, environment, eventually, free_port, get, python, started
from streamvitals.faults import ThreadedFaultServer

STEADY = str(APPS / "steady_script.py")
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """A Prometheus that scrapes one agent; its address."""
    at = f"127.0.0.1:{free_port()}"
    scrape = {"job_name": "app", "scrape_interval": "1s", "static_configs": [{"targets": [target]}]}
    (folder / "prometheus.yaml").write_text(json.dumps({"scrape_configs": [scrape]}))
    command = [
        "prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={at}",
        "--enable-feature=exemplar-storage",
    ]
    with open(folder / "log", "wb") as log, subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) as process:
        try:
            eventually(lambda: answered(f"http://{at}/-/ready"), f"a Prometheus, see {folder}/log")
            yield f"http://{at}"
        finally:
            process.terminate()


def exemplars(url: str, selector: str) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """The labels of a series, and one of its exemplars."""
    answer = json.loads(get(f"{url}/api/v1/query_exemplars?query={quote(selector)}&start=0&end=9999999999"))
    return [(series["seriesLabels"], one) for series in answer["data"] for one in series["exemplars"]]


@needs("prometheus")
def test_a_failed_stream_leads_from_its_bucket_to_its_span(server: ThreadedFaultServer, tmp_path: Path) -> None:
    with receiver() as collector:
        env = environment(server.base_url, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces")
        command = python(STEADY, "ok", "silent-cut")
        with started(command, env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as app:
            app.wait_for_agent()
            with prometheus(tmp_path, f"127.0.0.1:{app.port}") as url:
                failed = 'streamvitals_stream_duration_seconds_bucket{gen_ai_request_model="silent-cut"}'
                found = eventually(lambda: exemplars(url, failed), "an exemplar")
                firsts = 'streamvitals_time_to_first_token_seconds_bucket{gen_ai_request_model="ok"}'
                eventually(lambda: exemplars(url, firsts), "one of another model and histogram")
            labels, one = found[0]
            assert one["labels"].keys() == {"trace_id", "span_id"}, "ids, and nothing else"
            span = eventually(lambda: _spans(collector).get(one["labels"]["trace_id"]), "its span")
        assert span.span_id.hex() == one["labels"]["span_id"]
        said = attributes(span)
        assert said["streamvitals.outcome"] == "truncated"
        assert said["gen_ai.request.model"] == labels["gen_ai_request_model"] == "silent-cut"
        took = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
        assert float(one["value"]) == pytest.approx(took, abs=1e-5)
        assert float(one["value"]) <= float(labels["le"])


def _spans(collector: Receiver) -> dict[str, Any]:
    return {span.trace_id.hex(): span for span in collector.spans() if span.name.startswith("chat")}


def test_without_spans_there_is_nothing_to_lead_to(server: ThreadedFaultServer) -> None:
    command = python(STEADY, "ok")
    with started(command, environment(server.base_url), stdout=subprocess.DEVNULL) as app:
        eventually(lambda: answered(app.url + "/healthz") and app.streams("completed") > 2, "streams")
        text = get(app.url + "/metrics", OPENMETRICS)
        assert 'streamvitals_streams_total{' in text
        assert " # {" not in text


def test_only_who_asks_for_openmetrics_is_shown_them(server: ThreadedFaultServer) -> None:
    with receiver() as collector:
        env = environment(server.base_url, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/v1/traces")
        with started(python(STEADY, "reset"), env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as app:
            eventually(lambda: answered(app.url + "/healthz") and app.streams("reset") > 2, "streams")
            plain = get(app.url + "/metrics")
            assert " # {" not in plain
            shown = [line for line in get(app.url + "/metrics", OPENMETRICS).splitlines() if " # {" in line]
            assert any(line.startswith("streamvitals_stream_duration_seconds_bucket") for line in shown)
            some = get(app.url + "/metrics?name[]=streamvitals_stream_duration_seconds_bucket", OPENMETRICS)
            assert " # {" in some, "also for who asks for some metrics only"
