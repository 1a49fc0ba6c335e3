"""Settings from the environment: defaults, the standard variables, and errors that say what is wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvitals.config import Config, ConfigError, problems

ENDPOINT = "http://collector:4318"
VARIABLES = (
    "OTEL_SDK_DISABLED", "OTEL_EXPORTER_PROMETHEUS_HOST", "OTEL_EXPORTER_PROMETHEUS_PORT",
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER", "STREAMVITALS_DIR", "STREAMVITALS_STALL_SECONDS", "STREAMVITALS_LINGER_SECONDS",
    "STREAMVITALS_RETRY_WINDOW_SECONDS", "STREAMVITALS_FINISH_OPTIONAL_HOSTS", "STREAMVITALS_HTTP_SPANS",
    "STREAMVITALS_CAPTURE_PARTIAL", "STREAMVITALS_REDACT", "STREAMVITALS_PROVIDERS", "STREAMVITALS_HOST",
    "STREAMVITALS_PORT", "STREAMVITALS_METRICS",
)


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Config.from_env({}) == Config()
    assert Config.from_env(dict.fromkeys(VARIABLES, "")) == Config()


@pytest.mark.parametrize(("env", "ours", "theirs"), [
    ({}, 9464, 0),
    ({"OTEL_EXPORTER_PROMETHEUS_PORT": "9999"}, 9999, 0),
    ({"OTEL_EXPORTER_PROMETHEUS_PORT": "9999", "STREAMVITALS_PORT": "8888"}, 8888, 0),
    ({"OTEL_METRICS_EXPORTER": "otlp"}, 9464, 0), ({"OTEL_METRICS_EXPORTER": "none"}, 9464, 0),
    ({"OTEL_METRICS_EXPORTER": "console"}, 9464, 0), ({"OTEL_METRICS_EXPORTER": ""}, 9464, 0),
    # The usual port is the app's own exporter's.
    ({"OTEL_METRICS_EXPORTER": "prometheus"}, 19464, 9464),
    ({"OTEL_METRICS_EXPORTER": "otlp, Prometheus"}, 19464, 9464),
    ({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "9999"}, 19464, 9999),
    ({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "19464"}, 0, 19464),
    ({"OTEL_METRICS_EXPORTER": "prometheus", "OTEL_EXPORTER_PROMETHEUS_PORT": "0"}, 19464, 0),
    ({"OTEL_METRICS_EXPORTER": "prometheus", "STREAMVITALS_PORT": "8888"}, 8888, 9464),
])
def test_the_port_is_the_apps_where_its_own_exporter_serves_on_it(env: dict[str, str], ours: int, theirs: int) -> None:
    config = Config.from_env(env)
    assert (config.port, config.app_port) == (ours, theirs)


@pytest.mark.parametrize(("text", "hidden"), [
    ("", []), ("all", []), (" ALL ", []), ("-durations", ["streamvitals.stream_duration"]),
    (" -Tokens , -lag,", ["streamvitals.event_loop_lag", "streamvitals.streams_unmetered", "streamvitals.tokens"]),
    ("errors,first_token,gaps,retries,open,waits,limits,durations,first_chunk,token_rate,chunks,tokens,calls",
     ["streamvitals.event_loop_lag"]),
])
def test_what_is_left_out(text: str, hidden: list[str]) -> None:
    assert sorted(Config.from_env({"STREAMVITALS_METRICS": text}).left_out) == hidden


@pytest.mark.parametrize("text", ["-durations,gaps", "duration", "-", "none", "-all", "all,-gaps", "-streams"])
def test_a_group_that_there_is_not(text: str) -> None:
    config, (bad,) = Config.read({"STREAMVITALS_METRICS": text})
    assert bad.text.startswith(f"STREAMVITALS_METRICS={text!r} is not allowed: all, or ")
    assert (config.left_out, bad.instead) == (frozenset(), "all are shown")


def test_our_own_host_outranks_the_standard_one() -> None:
    both = {"STREAMVITALS_HOST": "::1", "OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0"}
    assert Config.from_env(both).host == "::1"


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMVITALS_STALL_SECONDS", "2.5")
    assert Config.from_env().stall_after == 2.5


def test_everything_at_once() -> None:
    config = Config.from_env({
        "OTEL_SDK_DISABLED": "TRUE",
        "OTEL_EXPORTER_PROMETHEUS_HOST": "0.0.0.0",
        "OTEL_EXPORTER_PROMETHEUS_PORT": " 9999 ",
        "STREAMVITALS_DIR": "/run/x",
        "STREAMVITALS_STALL_SECONDS": "1e1",
        "STREAMVITALS_LINGER_SECONDS": "0",
        "STREAMVITALS_FINISH_OPTIONAL_HOSTS": "Ollama.local, 127.0.0.1 ,",
        "STREAMVITALS_PROVIDERS": "localhost:11434=ollama, LLM.corp = litellm,",
        "STREAMVITALS_HTTP_SPANS": "true",
    })
    assert config.disabled
    assert (config.host, config.port) == ("0.0.0.0", 9999)
    assert config.directory == "/run/x"
    assert (config.stall_after, config.linger) == (10.0, 0.0)
    assert config.finish_optional_hosts == {"ollama.local", "127.0.0.1"}
    assert config.providers == {"localhost:11434": "ollama", "llm.corp": "litellm"}
    assert config.http_spans


@pytest.mark.parametrize(("env", "generation"), [
    ({}, "latest"),
    ({"STREAMVITALS_CONVENTIONS": "1.41"}, "1.41"), ({"STREAMVITALS_CONVENTIONS": " BOTH"}, "both"),
    ({"OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup"}, "latest"),
    ({"OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup", "STREAMVITALS_CONVENTIONS": "1.41"}, "1.41"),
    ({"OTEL_SEMCONV_STABILITY_OPT_IN": "http, gen_ai_latest_experimental", "STREAMVITALS_CONVENTIONS": "1.41"},
     "latest"),
])
def test_the_generation_of_the_conventions(env: dict[str, str], generation: str) -> None:
    """The standard's word asks for the latest and for none before; what it says is followed."""
    assert Config.from_env(env).conventions == generation
    overruled = env.get("STREAMVITALS_CONVENTIONS", generation).strip().lower() != generation
    assert any("has no effect" in problem.what for problem in problems.of_variables(env)) == overruled


@pytest.mark.parametrize(("env", "traces", "metrics"), [
    ({}, False, False),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT}, True, True),
    ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": ENDPOINT}, True, False),
    ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": ENDPOINT}, False, True),
    ({"OTEL_TRACES_EXPORTER": "otlp"}, True, False),
    # Legal values that are meant for the app's own pipeline: not ours, and no error.
    ({"OTEL_TRACES_EXPORTER": "zipkin", "OTEL_METRICS_EXPORTER": "otlp"}, False, True),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False, False),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "grpc"}, False, True),
    ({"OTEL_METRICS_EXPORTER": "otlp,prometheus"}, False, True),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False, True),
    ({"OTEL_EXPORTER_OTLP_ENDPOINT": ENDPOINT, "OTEL_METRICS_EXPORTER": "Prometheus"}, True, False),
])
def test_otlp_is_started_only_when_the_standard_variables_ask(env: dict[str, str], traces: bool, metrics: bool) -> None:
    config = Config.from_env(env)
    assert (config.otlp_traces, config.otlp_metrics) == (traces, metrics)


@pytest.mark.parametrize(("name", "value", "allowed"), [
    ("OTEL_SDK_DISABLED", "yes", "true or false"),
    ("STREAMVITALS_HTTP_SPANS", "1", "true or false"),
    ("STREAMVITALS_CONVENTIONS", "1.36", "latest, 1.41 or both"),
    ("STREAMVITALS_STALL_SECONDS", "soon", "a number of seconds"),
    ("STREAMVITALS_STALL_SECONDS", "-1", "a number of seconds"),
    ("STREAMVITALS_STALL_SECONDS", "0", "a number of seconds"),
    ("STREAMVITALS_STALL_SECONDS", "nan", "a number of seconds"),
    ("STREAMVITALS_STALL_SECONDS", "inf", "a number of seconds"),
    ("STREAMVITALS_LINGER_SECONDS", "1e9", "from 0 to 86400"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "http", "a port number"), ("STREAMVITALS_PORT", "80a", "a port number"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "65536", "a port number"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "-1", "a port number"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "٣", "a port number"),
    ("OTEL_EXPORTER_PROMETHEUS_PORT", "9" * 5000, "a port number"),
    ("STREAMVITALS_CAPTURE_PARTIAL", "9" * 5000, "a number of bytes"),
    ("STREAMVITALS_CAPTURE_PARTIAL", "-1", "a number of bytes"),
    ("STREAMVITALS_REDACT", "just_a_name", "package.module:function"),
    ("STREAMVITALS_FINISH_OPTIONAL_HOSTS", "http://ollama", "host names"),
    ("STREAMVITALS_PROVIDERS", "localhost=ollama2", "litellm, ollama, vllm"),
    ("STREAMVITALS_PROVIDERS", "http://localhost=ollama", "host:port=provider"),
    ("STREAMVITALS_PROVIDERS", "=ollama", "host:port=provider"),
    ("STREAMVITALS_PROVIDERS", "localhost", "host:port=provider"),
])
def test_a_bad_value_is_an_error_that_names_variable_value_and_what_is_allowed(
    name: str, value: str, allowed: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        Config.from_env({name: value})
    said = str(raised.value)
    assert name in said
    assert value[:100] in said
    assert allowed in said


VALUES = st.text(max_size=20) | st.integers().map(str) | st.floats().map(str)


@given(env=st.dictionaries(st.sampled_from(VARIABLES), VALUES))
def test_any_environment_gives_settings_or_a_clear_error(env: dict[str, str]) -> None:
    try:
        config = Config.from_env(env)
    except ConfigError as error:
        assert any(name in str(error) for name in env)  # noqa: PT017 - not every environment is bad
    else:
        assert 0.0 < config.stall_after <= 3600.0
        assert 0 <= config.port <= 65535
