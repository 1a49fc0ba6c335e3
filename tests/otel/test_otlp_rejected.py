"""What a collector takes and then rejects (OTLP's partial success) is counted as lost, for spans and metrics."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from otel_support import failed
from otlp_receiver import PATIENCE, Receiver, receiver
from streamvitals.otel.metrics import start_exporting
from streamvitals.otel.traces import start_tracing
from streamvitals.store.snapshot import Snapshot


@dataclass
class Config:
    otlp_traces: bool = True
    otlp_metrics: bool = True
    declared: None = None
    conventions: str = "latest"
    spans: str = "auto"


@pytest.fixture(params=[False, True], ids=["protobuf", "json"])
def collector(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with receiver() as it:
        it.json = request.param
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", it.url)
        yield it


@pytest.mark.parametrize("rejected", [0, 2])
def test_spans(rejected: int, collector: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    collector.rejected = rejected
    faults: list[str] = []
    tracing = start_tracing(Config(), on_error=faults.append)
    with caplog.at_level(logging.WARNING):
        tracing.sink.make_span(failed())
        assert tracing.flush(PATIENCE) is not bool(rejected)
    assert len(collector.spans()) == 2
    assert collector.attempts == 1  # and it is not sent again
    assert faults == ["otel"] * bool(rejected)
    assert ["rejected by the collector" in r.getMessage() for r in caplog.records] == [True] * bool(rejected)
    tracing.shutdown()


@pytest.mark.parametrize("rejected", [0, 2])
def test_metrics(rejected: int, collector: Receiver) -> None:
    collector.rejected = rejected
    faults: list[str] = []
    exporting = start_exporting(lambda: Snapshot(builds={("1", "2", "true"): 1}), Config(), on_error=faults.append)
    assert exporting.flush(PATIENCE) is not bool(rejected)
    assert faults == ["otel"] * bool(rejected)
    collector.rejected = 0
    exporting.shutdown(PATIENCE)
