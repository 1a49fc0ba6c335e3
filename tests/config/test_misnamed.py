"""A name in the file of OTEL_CONFIG_FILE that is misspelt is said, and a plug-in's name is not taken for one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from streamvitals.config import Config
from streamvitals.config.problems import endpoints_to_ask, of_variables

pytest.importorskip("opentelemetry.configuration")

HTTP = {"otlp_http": {"endpoint": "http://collector.example:4318/v1/traces"}}
OURS = "instrumentation/development"


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def make(content: dict[str, Any]) -> dict[str, str]:
        path = tmp_path / "otel.yaml"
        path.write_text(yaml.safe_dump({"file_format": "1.0", **content}))
        return {"OTEL_CONFIG_FILE": str(path)}

    return make


def spans(*processors: Any) -> dict[str, Any]:
    return {"tracer_provider": {"processors": list(processors)}}


def batch(exporter: Any) -> dict[str, Any]:
    return {"batch": {"exporter": exporter}}


def periodic(exporter: Any) -> dict[str, Any]:
    return {"meter_provider": {"readers": [{"periodic": {"exporter": exporter}}]}}


NO_SPANS = "no otlp_http exporter for spans is named in OTEL_CONFIG_FILE (tracer_provider.processors: "
NO_METRICS = "no otlp_http exporter for metrics is named in OTEL_CONFIG_FILE (meter_provider.readers: "


@pytest.mark.parametrize(("content", "what", "fix"), [
    (spans(batch({"otlp_htp": {}})), NO_SPANS + "otlp_htp): streamvitals sends none", "did you mean otlp_http?"),
    (spans(batch({"otlphttp": {}})), NO_SPANS + "otlphttp): streamvitals sends none", "did you mean otlp_http?"),
    (spans({"bach": {"exporter": HTTP}}), NO_SPANS + "bach): streamvitals sends none", "did you mean batch?"),
    (spans(batch({"otlp": {}}), batch({"mine": {}})), NO_SPANS + "otlp, mine)", "name otlp_http there"),
    (periodic({"OTLP_HTTP": {}}), NO_METRICS + "OTLP_HTTP): streamvitals sends none", "did you mean otlp_http?"),
    ({"meter_provider": {"readers": [{"pull": {"exporter": {"prometeus/development": {}}}}]}},
     NO_METRICS + "prometeus/development)", "did you mean prometheus/development?"),
    (spans(batch(HTTP), {"bach": {"exporter": HTTP}}),
     "'bach' in tracer_provider.processors.1 of OTEL_CONFIG_FILE is not known", "did you mean batch?"),
    ({"trace_provider": spans(batch(HTTP))["tracer_provider"]},
     "'trace_provider' at the top of OTEL_CONFIG_FILE is not known", "did you mean tracer_provider?"),
    ({"instrumentation": {}}, "'instrumentation' at the top of", "did you mean instrumentation/development?"),
    ({"streamvitals": {}}, "'streamvitals' at the top of", "put it under instrumentation/development: python:"),
    ({OURS: {"python": {"streamvital": {"stall_seconds": 1}}}},
     "'streamvital' in instrumentation/development.python of OTEL_CONFIG_FILE is not known",
     "did you mean streamvitals?"),
    ({OURS: {"python": {"Stream-Vitals": {}}}}, "'Stream-Vitals' in", "did you mean streamvitals?"),
    ({**spans(batch(HTTP)), "tracer_provider": {**spans(batch(HTTP))["tracer_provider"], "sampler": {"alway_on": {}}}},
     "the sampler in OTEL_CONFIG_FILE", "did you mean always_on?"),
])
def test_a_misspelt_name_is_said_once(write: Any, content: Any, what: str, fix: str) -> None:
    (problem,) = of_variables(write(content))
    assert what in problem.what
    assert fix in problem.fix
    assert not problem.minor


@pytest.mark.parametrize(("content", "what"), [
    (spans(batch({"console": {}})), NO_SPANS + "console)"),
    (periodic({"otlp_file/development": {}}), NO_METRICS + "otlp_file/development)"),
    ({"vendor": {}}, "'vendor' at the top of OTEL_CONFIG_FILE is not known"),
])
def test_what_may_be_meant_so_is_said_and_is_minor(write: Any, content: Any, what: str) -> None:
    (problem,) = of_variables(write(content))
    assert what in problem.what
    assert problem.minor


@pytest.mark.parametrize("content", [
    {}, {"x-common": {"a": 1}}, spans(batch(HTTP), {"my_processor": {}}, batch({"my_exporter": {}})),
    {"meter_provider": {"readers": [{"pull": {"exporter": {"prometheus/development": {}}}}]}},
    {OURS: {"python": {"streamvitals": {}, "openai_v2": {}, "httpx": {}}, "general": {}}},
])
def test_nothing_is_said_of_what_is_right_or_a_plug_in(write: Any, content: Any) -> None:
    assert of_variables(write(content)) == []


def test_a_misspelt_name_elsewhere_keeps_no_endpoint_from_being_asked(write: Any) -> None:
    env = write({**spans(batch(HTTP)), **periodic({"otlp_htp": {}}), "propagators": {}})
    found = of_variables(env)
    assert len(found) == 2
    assert [where.place for where in endpoints_to_ask(env, Config.read(env)[0], found)] == ["collector.example:4318"]


def test_names_are_shown_in_part_and_values_not_at_all(write: Any) -> None:
    long, secret = "otlp_http" + "x" * 500, "sk-very-secret"
    found = of_variables(write({**spans(batch({long: {"headers": secret}})), **{f"k{n}": secret for n in range(50)}}))
    assert len(found) < 12
    assert all(len(str(problem)) < 500 and secret not in str(problem) for problem in found)
