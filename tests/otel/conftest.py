"""Fixtures of the tests of OpenTelemetry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from otlp_receiver import Receiver, receiver


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """A collector that the variables name."""
    with receiver() as it:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", it.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
        yield it
