"""What has appeared with its first count is counted from that count on, by promtool, and by two Prometheus alike."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from alerts_support import needs
from prometheus_support import answer, prometheus
from run_support import eventually
from store_support import LABELS, record
from streamvitals import names
from streamvitals.alerts.promql import counted, increase
from streamvitals.outcome import Outcome
from streamvitals.sinks.exposition import Exposition
from streamvitals.store.memory import HeapMemory
from streamvitals.store.store import Store, StoreSink

ALWAYS = 'streamvitals_internal_errors_total{job="chat", instance="a", where="other"}'
RESET = 'streamvitals_stream_errors_total{job="chat", instance="a", outcome="reset", error_type="connection_reset"}'


@needs("promtool")
@pytest.mark.parametrize(("always", "reset", "least", "most"), [
    pytest.param("0x60", "_x30 5x29", 5, 5, id="appears with five"),
    pytest.param("0x60", "_x30 5x9 7x20", 7, 7.2, id="and grows"),
    pytest.param("0x60", "_x59 3", 3, 3, id="was scraped once"),
    pytest.param("_x30 0x30", "_x30 500x30", 0, 0, id="is old, and Prometheus is new"),
    pytest.param("_x30 0x30", "_x40 5x20", 5, 5, id="a new replica, which failed later"),
    pytest.param("0x10 _x30 0x20", "500x10 _x30 500x20", 0, 0, id="is old, and Prometheus was away"),
    pytest.param("0x10 _x30 0x20", "500x10 _x30 507x20", 6.9, 7.5, id="grew while Prometheus was away"),
    pytest.param("0x60", "0x60", 0, 0, id="stands at 0"),
    pytest.param("0x60", "0x30 4x30", 4, 4.2, id="stood at 0, and grew"),
    pytest.param("0x60", "_x10 5x20 _x10 2x20", 4, 7, id="its process began anew"),
])
def test_the_first_count_is_counted(tmp_path: Path, always: str, reset: str, least: float, most: float) -> None:
    expr = counted(names.STREAM_ERRORS, "error_type", over="20m")
    checks = [f"({expr}) >= {least} <= {most}"] if least else [f"({expr}) == 0"]
    test = {
        "evaluation_interval": "15s",
        "tests": [{
            "interval": "15s",
            "input_series": [{"series": ALWAYS, "values": always}, {"series": RESET, "values": reset}],
            "promql_expr_test": [
                {"expr": f"count({check})", "eval_time": "15m", "exp_samples": [{"labels": "{}", "value": 1}]}
                for check in checks
            ],
        }],
    }
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    done = subprocess.run(
        ["promtool", "test", "rules", "test.yaml"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@contextlib.contextmanager
def page(store: Store) -> Iterator[int]:
    """Serve /metrics of a store, and give the port."""
    exposition = Exposition()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = exposition.text(store.snapshot(1.0))
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()


def ask(address: str, expression: str) -> float:
    """The one value of an expression, or -1."""
    found = answer(address, expression)
    return float(found[0]["value"][1]) if found else -1.0


@needs("prometheus")
def test_two_prometheus_say_the_same(tmp_path: Path) -> None:
    store = Store(HeapMemory())
    sink = StoreSink(store)
    whole, plain = (made(names.STREAM_ERRORS, over="10m") for made in (counted, increase))
    seen = f"count_over_time({names.STREAM_ERRORS.prometheus}_total{{outcome='reset'}}[10m])"

    def fail(times: int) -> None:
        for _ in range(times):
            sink.on_end(record(outcome=Outcome.RESET, error_type="connection_reset"))

    with page(store) as port, contextlib.ExitStack() as stack:
        one, two = (stack.enter_context(prometheus(tmp_path / name, port)) for name in ("one", "two"))
        store.open_slot(LABELS, 1.0)
        for address in (one, two):
            eventually(lambda: ask(address, ALWAYS.replace('job="chat", instance="a", ', "")) == 0)  # noqa: B023
        fail(300)
        for address in (one, two):
            eventually(lambda: ask(address, seen) > 3)  # noqa: B023
        assert [ask(address, whole) for address in (one, two)] == [300, 300]
        assert [ask(address, plain) for address in (one, two)] == [0, 0], "which is why"
        late = stack.enter_context(prometheus(tmp_path / "late", port))
        eventually(lambda: ask(late, seen) > 3)
        assert ask(late, whole) == 0, "what it sees for the first time may be old"
        fail(10)
        for address, least in ((one, 310), (two, 310), (late, 10)):
            eventually(lambda: least <= ask(address, whole) < 2 * least)  # noqa: B023
