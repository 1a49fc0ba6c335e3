"""instrument() goes on after a bad variable, as `run` does, and raises only for an argument that is wrong."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

import streamvitals
from run_support import RUN, environment, python
from streamvitals.config import Config, ConfigError, install
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle


@pytest.fixture(autouse=True)
def _back() -> Iterator[None]:
    yield
    streamvitals.uninstrument()


def settings() -> Config:
    current = lifecycle.current()
    assert current is not None
    return current.config


@pytest.mark.parametrize(("name", "value", "part"), [
    ("STREAMVITALS_STALL_SECONDS", "5s", "; 5 is used"),
    ("STREAMVITALS_JURNAL", "x", "did you mean STREAMVITALS_JOURNAL?"),
    ("STREAMVITALS_JOURNAL", "/no/such/file", "cannot be written"),
])
def test_a_bad_variable_is_logged_and_the_default_is_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str, value: str, part: str
) -> None:
    monkeypatch.setenv(name, value)
    streamvitals.instrument()
    assert settings().stall_after == Config.stall_after
    assert [part in message for message in caplog.messages] == [True]


def test_a_hook_that_is_missing_keeps_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("STREAMVITALS_REDACT", "no.such:hook")
    monkeypatch.setenv("STREAMVITALS_CAPTURE_PARTIAL", "100")
    streamvitals.instrument()
    assert settings().capture_partial == 0
    assert ["no text is captured" in message for message in caplog.messages] == [True]


def test_a_hook_whose_name_is_no_name_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMVITALS_REDACT", "no name")
    monkeypatch.setenv("STREAMVITALS_CAPTURE_PARTIAL", "100")
    streamvitals.instrument()
    assert settings().capture_partial == 0


@pytest.mark.parametrize(("config", "error"), [
    ("debug", TypeError), ({}, TypeError), (Config(redact="no.such:hook", capture_partial=1), ConfigError),
])
def test_an_argument_that_is_wrong_raises(config: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        streamvitals.instrument(config=config)


STREAM = (
    "import streamvitals; streamvitals.instrument()\n"
    "import openai\n"
    "list(openai.OpenAI(max_retries=0).chat.completions.create(model='sv-ok', messages=[], stream=True))\n"
    "from streamvitals.process import lifecycle\n"
    "print(sum(row[0] for row in lifecycle.current().snapshot().streams.values()))\n"
)
INSTALL_OTLP = install.there("otlp")
WITHOUT = "import sys; sys.modules['opentelemetry'] = None\n"


BROKEN = (
    "import opentelemetry.exporter.otlp.proto.http.metric_exporter as exporter\n"
    "def broken(*_, **__): raise ValueError('a secret')\n"
    "exporter.OTLPMetricExporter = broken\n"
)


@pytest.mark.parametrize(("before", "said"), [
    (WITHOUT, {"no spans": INSTALL_OTLP, "no metrics": INSTALL_OTLP}),
    (BROKEN, {"no metrics": "check the OTEL_ variables"}),
])
def test_otlp_that_cannot_be_had_is_said_and_the_program_is_observed(
    server: ThreadedFaultServer, before: str, said: dict[str, str]
) -> None:
    if before is BROKEN:
        pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    env = environment(server.base_url, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    done = subprocess.run(python("-c", before + STREAM), env=env, capture_output=True, text=True, check=True)
    assert float(done.stdout) >= 0
    lines = done.stderr.splitlines()
    assert all(line.startswith("streamvitals: ") for line in lines)
    found = {what: mend for what, mend in said.items() for line in lines if f" {what}" in line and mend in line}
    assert found == said
    assert "a secret" not in done.stderr


def test_under_run_what_was_said_is_not_said_again(server: ThreadedFaultServer) -> None:
    env = environment(server.base_url, STREAMVITALS_STALL_SECONDS="5s")
    done = subprocess.run([*RUN, "--port", "0", "--", *python("-c", STREAM)], env=env, capture_output=True, text=True,
                          check=True)
    assert done.stderr.count("STREAMVITALS_STALL_SECONDS") == 1


@pytest.mark.parametrize(("argument", "wanted"), [
    ("registry", "CollectorRegistry"), ("tracer_provider", "TracerProvider"), ("meter_provider", "MeterProvider"),
    ("config", "Config"),
])
def test_an_argument_of_another_type_is_named(argument: str, wanted: str) -> None:
    given: dict[str, Any] = {argument: "x"}
    with pytest.raises(TypeError, match=f"{argument} must be .*{wanted}, not str"):
        streamvitals.instrument(**given)
    assert lifecycle.current() is None


def test_a_meter_provider_alone_leaves_the_default_registry_alone() -> None:
    """OpenTelemetry's reader for Prometheus serves that one: every stream would be there twice."""
    prometheus_client = pytest.importorskip("prometheus_client")
    sdk = pytest.importorskip("opentelemetry.sdk.metrics")
    streamvitals.instrument(meter_provider=sdk.MeterProvider())
    assert not [family.name for family in prometheus_client.REGISTRY.collect() if family.name.startswith("streamv")]
    streamvitals.uninstrument()
    streamvitals.instrument()
    assert [family.name for family in prometheus_client.REGISTRY.collect() if family.name.startswith("streamv")]


def test_under_run_only_the_agent_exports_metrics(server: ThreadedFaultServer) -> None:
    """Also where instrument() is called before openai is imported: a collector would get each number twice."""
    env = environment(server.base_url, OTEL_METRICS_EXPORTER="otlp", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    program = "import sys, streamvitals; streamvitals.instrument(); print('streamvitals.otel.metrics' in sys.modules)"
    alone = subprocess.run(python("-c", program), env=env, capture_output=True, text=True, check=True)
    command = [*RUN, "--port", "0", "--", *python("-c", program)]
    beside = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert (alone.stdout, beside.stdout) == ("True\n", "False\n")
