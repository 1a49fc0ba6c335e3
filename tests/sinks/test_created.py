"""The lines `_created`: whom they are written for, and what Prometheus makes of them."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from alerts_support import newer
from busy_store import busy
from dashboards.scene.processes import ended, free_port, until_answered
from run_support import eventually
from store_support import record
from streamvitals import names
from streamvitals.agent.metrics import MetricsPage
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink

BEGAN = 1_700_000_000.25
OPENMETRICS = "application/openmetrics-text;version=1.0.0"
# What Prometheus 3.5 sends, without and with the feature created-timestamp-zero-ingestion.
PLAIN = f"{OPENMETRICS};escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
WITH_FEATURE = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,"
    f"{OPENMETRICS};escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


def page_of(store: Store, began: float | None) -> MetricsPage:
    def take() -> Snapshot:
        snapshot = store.snapshot(1000.0)
        snapshot.began = began
        return snapshot

    return MetricsPage(take)


@pytest.mark.parametrize("accept", [OPENMETRICS, WITH_FEATURE])
def test_every_counter_and_histogram_says_when_it_began(accept: str) -> None:
    body, _ = page_of(busy(), BEGAN)((), accept)
    began: set[Any] = set()
    series: set[Any] = set()
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            key = family.name, frozenset((k, v) for k, v in sample.labels.items() if k != "le")
            if sample.name.endswith("_created"):
                assert sample.value == BEGAN
                assert key not in began
                began.add(key)
            elif family.type in ("counter", "histogram"):
                series.add(key)
    assert began == series
    assert len(began) > 300


@pytest.mark.parametrize(("accept", "when"), [
    (PLAIN, BEGAN), ("", BEGAN), ("text/plain", BEGAN), ("*/*", BEGAN), (OPENMETRICS, None), (WITH_FEATURE, None),
])
def test_who_would_keep_them_as_series_gets_none(accept: str, when: float | None) -> None:
    assert b"_created" not in page_of(busy(), when)((), accept)[0]


@pytest.mark.skipif(newer("prometheus") is None, reason="no Prometheus 3")
@pytest.mark.parametrize("feature", [True, False])
def test_prometheus_sees_what_was_counted_before_its_first_scrape(tmp_path: Path, feature: bool) -> None:
    store = Store(HeapMemory())
    sink = StoreSink(store)
    for _ in range(5):
        sink.on_end(record())
    page = page_of(store, time.time() - 5.0)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, content_type = page((), self.headers.get("Accept", ""))
            self.send_response(200)
            self.send_header("Content-Type", content_type)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    at = f"127.0.0.1:{free_port()}"
    scrape = {"job_name": "a", "static_configs": [{"targets": [f"127.0.0.1:{server.server_port}"]}]}
    (tmp_path / "prometheus.yaml").write_text(json.dumps(
        {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
    ))
    command = [
        str(newer("prometheus")), "--config.file=prometheus.yaml", "--storage.tsdb.path=data",
        f"--web.listen-address={at}", *(["--enable-feature=created-timestamp-zero-ingestion"] if feature else []),
    ]

    def ask(expression: str) -> list[float]:
        query = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"http://{at}/api/v1/query?{query}") as answer:
            return [float(found["value"][1]) for found in json.load(answer)["data"]["result"]]

    with open(tmp_path / "log", "ab") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    try:
        until_answered(f"http://{at}/-/ready", f"prometheus, see {tmp_path}/log")
        streams = names.STREAMS.prometheus + '_total{outcome="completed"}'
        eventually(lambda: ask(f"sum(count_over_time({streams}[5m])) > 3"))
        (increase,) = ask(f"sum(increase({streams}[5m]))")
        assert (increase >= 5) == feature
        assert ask('count({__name__=~"streamvitals.*_created"})') == []
    finally:
        ended(process)
        server.shutdown()
        server.server_close()
