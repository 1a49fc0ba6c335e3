"""What OTEL_CONFIG_FILE says is taken as if its variables were set, and nothing else of OTEL_* is."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from streamvitals.config import Config, declarative, install, options
from streamvitals.config.declarative import source
from streamvitals.config.problems import endpoints, endpoints_to_ask, known_variables, of_variables
from streamvitals.run.spawn import passed

pytest.importorskip("opentelemetry.configuration")

TRACES = "http://traces.example:4318/v1/traces"
HTTP = {"otlp_http": {"endpoint": TRACES}}


def spans(exporter: Any = HTTP, kind: str = "batch", **more: Any) -> dict[str, Any]:
    return {"tracer_provider": {"processors": [{kind: {"exporter": exporter}}], **more}}


def numbers(exporter: Any = HTTP, **more: Any) -> dict[str, Any]:
    return {"meter_provider": {"readers": [{"periodic": {"exporter": exporter, **more}}]}}


def ours(**given: Any) -> dict[str, Any]:
    return {"instrumentation/development": {"python": {"streamvitals": given}}}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def make(what: Any, name: str = "otel.yaml") -> dict[str, str]:
        text = what if isinstance(what, str) else yaml.safe_dump({"file_format": "1.0", **what})
        (tmp_path / name).write_text(text)
        return {"OTEL_CONFIG_FILE": str(tmp_path / name)}

    return make


def translated(env: dict[str, str]) -> dict[str, str]:
    found = source(env)
    assert (found.file, [fault for fault in found.faults if not fault.minor]) == (env["OTEL_CONFIG_FILE"], [])
    return {name.removeprefix("OTEL_").replace("EXPORTER_OTLP_", ""): value for name, value in found.env.items()}


NONE = {"TRACES_EXPORTER": "none", "METRICS_EXPORTER": "none"}
SENT = {"TRACES_EXPORTER": "otlp", "TRACES_ENDPOINT": TRACES, "METRICS_EXPORTER": "none"}


@pytest.mark.parametrize(("content", "variables"), [
    ({}, NONE),
    ({"disabled": True}, {**NONE, "SDK_DISABLED": "true"}),
    ({"resource": {"attributes": [
        {"name": "service.name", "value": "a,b=c"}, {"name": "n", "value": 3, "type": "int"},
    ], "attributes_list": "x=y,service.name=old"}}, {**NONE, "RESOURCE_ATTRIBUTES": "x=y,service.name=a%2Cb%3Dc,n=3"}),
    (spans(), SENT),
    (spans(kind="simple"), SENT),
    (spans({"console": {}}), NONE),
    (spans({"otlp_http": {}}), {**SENT, "TRACES_ENDPOINT": "http://localhost:4318/v1/traces"}),
    (spans({"otlp_grpc": {"endpoint": "http://g:4317"}}),
     {"TRACES_EXPORTER": "otlp", "TRACES_PROTOCOL": "grpc", "METRICS_EXPORTER": "none"}),
    (spans({"otlp_http": {"endpoint": TRACES, "encoding": "json"}}), {**SENT, "TRACES_PROTOCOL": "http/json"}),
    (spans({"otlp_http": {
        "endpoint": TRACES, "headers": [{"name": "api-key", "value": "k,1"}], "headers_list": "a=b", "timeout": 2500,
        "compression": "gzip", "tls": {"ca_file": "/ca", "key_file": "/key", "cert_file": "/cert"},
    }}), {
        **SENT, "TRACES_HEADERS": "a=b,api-key=k%2C1", "TRACES_TIMEOUT": "2.5", "TRACES_COMPRESSION": "gzip",
        "TRACES_CERTIFICATE": "/ca", "TRACES_CLIENT_KEY": "/key", "TRACES_CLIENT_CERTIFICATE": "/cert",
    }),
    ({"tracer_provider": {"processors": [
        {"simple": {"exporter": {"console": {}}}}, {"batch": {"exporter": {"otlp_grpc": {}}}},
        {"batch": {"exporter": HTTP}},
    ]}}, SENT),
    (spans(sampler={"always_off": {}}), {**SENT, "TRACES_SAMPLER": "always_off"}),
    (spans(sampler={"trace_id_ratio_based": {"ratio": 0.25}}),
     {**SENT, "TRACES_SAMPLER": "traceidratio", "TRACES_SAMPLER_ARG": "0.25"}),
    (spans(sampler={"parent_based": {"root": {"trace_id_ratio_based": {"ratio": 0.5}}}}),
     {**SENT, "TRACES_SAMPLER": "parentbased_traceidratio", "TRACES_SAMPLER_ARG": "0.5"}),
    (spans(sampler={"parent_based": {}}), {**SENT, "TRACES_SAMPLER": "parentbased_always_on"}),
    (numbers(interval=5000, timeout=3000), {
        "TRACES_EXPORTER": "none", "METRICS_EXPORTER": "otlp", "METRICS_ENDPOINT": TRACES,
        "METRIC_EXPORT_INTERVAL": "5000", "METRIC_EXPORT_TIMEOUT": "3000",
    }),
    (numbers({"otlp_http": {"temporality_preference": "low_memory"}}), {
        "TRACES_EXPORTER": "none", "METRICS_EXPORTER": "otlp", "METRICS_TEMPORALITY_PREFERENCE": "lowmemory",
        "METRICS_ENDPOINT": "http://localhost:4318/v1/metrics",
    }),
    ({"meter_provider": {"readers": [{"pull": {"exporter": {"prometheus/development": {"host": "h", "port": 9999}}}}]}},
     {"TRACES_EXPORTER": "none", "METRICS_EXPORTER": "prometheus", "EXPORTER_PROMETHEUS_HOST": "h",
      "EXPORTER_PROMETHEUS_PORT": "9999"}),
    (ours(stall_seconds=7, quiet=True, finish_optional_hosts=["a", "b"], providers={"h:1": "vllm"}, journal=None), {
        **NONE, "STREAMVITALS_STALL_SECONDS": "7", "STREAMVITALS_QUIET": "true",
        "STREAMVITALS_FINISH_OPTIONAL_HOSTS": "a,b", "STREAMVITALS_PROVIDERS": "h:1=vllm",
    }),
    (ours(enabled=False), {**NONE, "SDK_DISABLED": "true"}),
])
def test_what_the_file_says_is_what_its_variables_would(write: Any, content: Any, variables: dict[str, str]) -> None:
    assert translated(write(content)) == variables


def test_the_file_is_the_only_source(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "from the environment")
    headers = [{"name": "k", "value": "${KEY}"}, {"name": "d", "value": "${NOT_SET:-default}"}]
    env = {
        **write({**spans({"otlp_http": {"endpoint": TRACES, "headers": headers}}), **ours(stall_seconds=7)}),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://elsewhere:4318", "OTEL_EXPORTER_OTLP_HEADERS": "secret=other",
        "OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_PROMETHEUS_PORT": "1", "PATH": "/bin",
        "STREAMVITALS_STALL_SECONDS": "99", "STREAMVITALS_LINGER_SECONDS": "3",
    }
    config, bad = Config.read(env)
    assert not bad
    assert (config.otlp_traces, config.otlp_metrics, config.port, config.app_port) == (True, False, 9464, 0)
    assert config.declared is not None
    assert {name for name in config.declared if not name.startswith("OTEL_")} == set()
    assert "from the environment" not in repr(config), "a key of the file is not shown"
    assert (config.stall_after, config.linger) == (7.0, 3.0), "options of the file outrank variables, others stay"
    assert endpoints(source(env).env, config) == endpoints_to_ask(env, config, ())
    assert [where.url for where in endpoints_to_ask(env, config, ())] == [TRACES]
    assert of_variables(env) == []
    agents = passed(env)
    assert agents["OTEL_EXPORTER_OTLP_TRACES_HEADERS"] == "k=from%20the%20environment,d=default"
    assert not [value for value in agents.values() if "elsewhere" in value or "other" in value]
    assert "OTEL_CONFIG_FILE" not in agents, "the agent needs neither the loader nor the working folder"
    assert agents["PATH"] == "/bin"


def test_without_the_variable_nothing_is_loaded() -> None:
    code = "import sys; from streamvitals.config import Config; Config.read(); print('opentelemetry' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}
    assert source(env) == (env, "", ())
    assert Config.read(env)[0].declared is None


def test_off_is_off_whatever_the_file_says(write: Any) -> None:
    env = {**write({"disabled": False}), "OTEL_SDK_DISABLED": "TRUE"}
    assert Config.read(env)[0].disabled
    assert Config.read(write({"disabled": True}))[0].disabled


def test_a_file_that_has_changed_is_read_again(write: Any) -> None:
    assert not Config.read(write({}))[0].otlp_traces
    assert Config.read(write(spans()))[0].otlp_traces


SECRET = "sk-very-secret"


@pytest.mark.parametrize(("content", "why"), [
    ("", "file is empty"), ("- a\n- b", "must be a mapping/object, got list"),
    (f"file_format: '1.0'\nresource: [{SECRET}\nx: y", "it is no YAML, see line"),
    (f"file_format: '1.0'\nresource: *{SECRET}", "it is no YAML, see line 2"),
    ({"tracer_provider": {}}, "tracer_provider: processors is missing"),
    ({"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"timeout": SECRET}}}}]}},
     "tracer_provider.processors.0.batch.exporter.otlp_http.timeout: type must be"),
    ({"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"headers": {"k": SECRET}}}}}]}},
     "otlp_http.headers: type must be"),
    ({"tracer_provider": {"processors": [{"batch": {"exporter": {"otlp_http": {"endpont": SECRET}}}}]}},
     "endpont is not known there"),
    ("file_format: '9.0'", "Unsupported file_format '9.0'"), ("resource: {}", "the top: file_format is missing"),
])
def test_a_bad_file_is_said_without_its_values_and_the_variables_go_on(
    write: Any, content: Any, why: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    env = {**write(content), "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318"}
    with caplog.at_level(logging.DEBUG):
        config, _ = Config.read(env)
        (problem,) = of_variables(env)
    assert why in problem.what
    assert problem.what.startswith(f"OTEL_CONFIG_FILE={env['OTEL_CONFIG_FILE'][:120]!r} cannot be used: ")
    assert problem.what.endswith("; the variables are used")
    assert problem.bad_value
    assert (config.otlp_traces, config.otlp_metrics, config.declared) == (True, True, None)
    said = f"{problem} {caplog.text} {capfd.readouterr()}"
    assert SECRET not in said


@pytest.mark.parametrize(("make", "why"), [
    (lambda path: None, "No such file"), (lambda path: path.mkdir(), "path is not a file"),
    (lambda path: path.write_bytes(b"\xff\xfe\x00"), "it is not UTF-8"),
])
def test_a_file_that_cannot_be_read_is_said(tmp_path: Path, make: Any, why: str) -> None:
    path = tmp_path / "otel.yaml"
    make(path)
    (problem,) = of_variables({"OTEL_CONFIG_FILE": str(path)})
    assert why in problem.what


def test_another_kind_of_file_is_said(write: Any) -> None:
    (problem,) = of_variables(write({}, "otel.toml"))
    assert "Unsupported file format: .toml. Use .yaml, .yml, or .json" in problem.what


def test_without_the_extra_that_is_said_and_the_variables_go_on(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    declarative._read.cache_clear()
    monkeypatch.setitem(sys.modules, "opentelemetry.configuration", None)
    env = {**write(spans()), "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://h:4318/v1/metrics"}
    (problem,) = of_variables(env)
    assert "the loader is not installed here; the variables are used" in problem.what
    assert problem.fix == install.here("declarative")
    config, _ = Config.read(env)
    assert (config.otlp_traces, config.otlp_metrics) == (False, True)


@pytest.mark.parametrize("sampler", [
    {"parent_based": {"root": {"always_on": {}}, "local_parent_sampled": {"always_off": {}}}},
    {"parent_based": {"root": {"parent_based": {}}}}, {"mine": {}}, {"composite/development": {"always_on": {}}},
])
def test_of_a_sampler_that_is_not_ours_no_spans_are_sent_rather_than_too_many(write: Any, sampler: Any) -> None:
    env = write({**spans(sampler=sampler), **numbers()})
    config, _ = Config.read(env)
    assert (config.otlp_traces, config.otlp_metrics) == (False, True)
    (problem,) = of_variables(env)
    assert "the sampler in OTEL_CONFIG_FILE" in problem.what


def test_problems_of_the_file_are_in_its_words(write: Any) -> None:
    (protocol,) = of_variables(write(spans({"otlp_grpc": {}})))
    assert protocol.what.startswith("OTEL_CONFIG_FILE: the protocol of tracer_provider='grpc'")
    assert protocol.fix == "use otlp_http, and the endpoint's port for it (as a rule 4318)"
    (encoding,) = of_variables(write(numbers({"otlp_http": {"encoding": "json"}})))
    assert encoding.fix.startswith("use otlp_http with encoding: protobuf, and")
    env = write({**spans({"otlp_http": {"endpoint": "collector:4318"}}), **ours(stal_seconds=3, quiet="perhaps", zz=1)})
    quiet, misspelt, other, endpoint = map(str, of_variables(env))
    assert endpoint.startswith("OTEL_CONFIG_FILE: endpoint of tracer_provider='collector:4318' does not begin with")
    assert endpoint.endswith("-> set endpoint of tracer_provider=http://collector:4318")
    assert misspelt == (
        "in OTEL_CONFIG_FILE, stal_seconds is not an option of streamvitals -> did you mean stall_seconds?"
    )
    assert other.startswith("in OTEL_CONFIG_FILE, zz is not an option of streamvitals -> leave it out; docs")
    assert quiet.startswith("in OTEL_CONFIG_FILE, quiet='perhaps' is not allowed")
    assert endpoints_to_ask(env, Config.read(env)[0], of_variables(env)) == []


def test_a_variable_beside_the_file_is_still_a_variable(write: Any) -> None:
    env = {**write(ours(quiet=True)), "STREAMVITALS_STAL_SECONDS": "3", "STREAMVITALS_LINGER_SECONDS": "x"}
    linger, misspelt = map(str, of_variables(env))
    assert linger.startswith("STREAMVITALS_LINGER_SECONDS='x' is not allowed")
    assert misspelt.startswith("STREAMVITALS_STAL_SECONDS is not a variable of streamvitals -> did you mean STREAM")


def test_every_variable_of_ours_is_an_option() -> None:
    variables = {name for name in known_variables() if name.startswith("STREAMVITALS_")} - {"STREAMVITALS_DIR"}
    assert {f"STREAMVITALS_{name.upper()}" for name in options.NAMES} == variables
    made = options.Options(stall_seconds=3, stal=1, zzz=2)
    assert (made.stall_seconds, made.unknown_options) == (3, ["stal", "zzz"])
    assert options.Options().unknown_options is None
    told = list(options.unknown(["stal_seconds", "zzz"]))
    assert told[0] == "'stal_seconds' is not an option of streamvitals -> did you mean stall_seconds?"
    assert "the options are capture_partial" in told[1]
