"""What will not work is found once, for `run`'s lines, /healthz and `doctor`: each cause is one line that mends it."""

from __future__ import annotations

import os
import sys
import venv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from run_support import only_root
from streamvitals.config import Config, install, problems
from streamvitals.config.problems import Problem, endpoints, of_exporter, of_journal, of_variables
from streamvitals.run import interpreter
from streamvitals.run.interpreter import Interpreter

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
TRACES = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


def one(env: dict[str, str]) -> Problem:
    (found,) = of_variables(env)
    return found


# -- names


@pytest.mark.parametrize(("name", "meant"), [
    ("STREAMVITALS_JURNAL", "STREAMVITALS_JOURNAL"), ("STREAMVITALS_STALL_SECOND", "STREAMVITALS_STALL_SECONDS"),
    ("STREAMVITALS_CAPTURE_PARTIALS", "STREAMVITALS_CAPTURE_PARTIAL"), ("STREAMVITALS_QIUET", "STREAMVITALS_QUIET"),
    ("STREAM_VITALS_JOURNAL", "STREAMVITALS_JOURNAL"), ("STREAMVITAL_QUIET", "STREAMVITALS_QUIET"),
    ("streamvitals_journal", "STREAMVITALS_JOURNAL"),
])
def test_a_misspelt_name_is_told_with_the_one_that_is_meant(name: str, meant: str) -> None:
    expected = Problem(f"{name} is not a variable of streamvitals", f"did you mean {meant}?", minor=True)
    assert one({name: "x"}) == expected


def test_a_name_that_is_like_none_is_told_without_a_guess() -> None:
    assert "did you mean" not in one({"STREAMVITALS_ZZZ": "x"}).fix


def test_names_of_others_are_theirs() -> None:
    assert of_variables({"STREAMLIT_SERVER_PORT": "1", "STREAM_URL": "x", "STREAMVITALS_DIR": "/x"}) == []


# -- where OTLP goes


@pytest.mark.parametrize(("given", "wanted"), [
    ("localhost:4318", "http://localhost:4318"), ("collector:4318/v1/traces", "http://collector:4318"),
    ("127.0.0.1:4318", "http://127.0.0.1:4318"), ("//collector:4318", "http://collector:4318"),
    ("grpc://collector:4318", "http://collector:4318"), ("http:collector:4318", "http://collector:4318"),
    ("https:/collector", "https://collector"), ('"http://collector:4318"', "http://collector:4318"),
    ("http://", "http://localhost:4318"), ("user:secret@collector:4318", "http://collector:4318"),
])
def test_an_endpoint_without_its_scheme_is_told_with_the_right_one(given: str, wanted: str) -> None:
    found = one({ENDPOINT: given})
    assert found.what.startswith(f"{ENDPOINT}=")
    assert found.fix == f"set {ENDPOINT}={wanted}"
    assert "secret" not in str(found)


@pytest.mark.parametrize(("env", "part"), [
    ({ENDPOINT: "http://collector:port"}, "is not a URL"),
    ({ENDPOINT: "http://collector:4317"}, "which is for gRPC"),
    ({ENDPOINT: "http://collector:4318/v1/traces"}, "appended to it once more"),
    ({TRACES: "http://collector:4318"}, "has no path"),
    ({ENDPOINT: "http://collector:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "as http/protobuf only"),
    ({ENDPOINT: "http://c:4318", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "http/json"}, "METRICS_PROTOCOL='http/json'"),
    ({ENDPOINT: "http://collector:4318", "OTEL_EXPORTER_OTLP_TIMEOUT": "10s"}, "is not a number"),
    ({ENDPOINT: "http://collector:4318", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, "gzip, deflate or none"),
    ({ENDPOINT: "http://collector:4318", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/no/such"}, "cannot be read"),
])
def test_what_keeps_otlp_from_arriving_is_one_line(env: dict[str, str], part: str) -> None:
    assert part in str(one(env))


@pytest.mark.parametrize("env", [
    {ENDPOINT: "http://collector:4318"}, {ENDPOINT: "https://otlp.example/otlp"}, {ENDPOINT: "http://[::1]:4318/"},
    {TRACES: "http://collector:4318/v1/traces"}, {"OTEL_TRACES_EXPORTER": "otlp"},
    # Nobody asks for OTLP: the app's own affair.
    {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    {ENDPOINT: "collector:4317", "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none"},
    {ENDPOINT: "http://collector:4318", "OTEL_EXPORTER_OTLP_TIMEOUT": "10", "OTEL_EXPORTER_OTLP_COMPRESSION": "GZIP"},
])
def test_what_is_right_is_no_problem(env: dict[str, str]) -> None:
    assert of_variables(env) == []


def test_endpoints_are_those_of_the_specification() -> None:
    env = {ENDPOINT: "http://c:4318/", TRACES: "https://user:secret@t.example/traces?key=secret"}
    traces, metrics = endpoints(env, Config.from_env(env))
    assert (traces.url, traces.variable, traces.place) == (env[TRACES], TRACES, "t.example:443")
    assert (metrics.url, metrics.variable) == ("http://c:4318/v1/metrics", ENDPOINT)


@given(st.text(max_size=40), st.sampled_from([ENDPOINT, TRACES, "STREAMVITALS_PROVIDERS", "STREAMVITALS_X"]))
def test_any_value_is_told_in_one_short_line_or_not_at_all(value: str, name: str) -> None:
    for problem in of_variables({name: value}):
        assert name in problem.what
        assert len(str(problem)) < 600


def test_the_exporter_that_is_missing_is_told(tmp_path: Path) -> None:
    (found,) = of_exporter(Config(otlp_metrics=True), [str(tmp_path)])
    assert found.fix == install.here("otlp")
    for part in problems.OTLP_PARTS:
        (tmp_path / part).mkdir(parents=True)
    assert list(of_exporter(Config(otlp_metrics=True), [str(tmp_path)])) == []
    assert list(of_exporter(Config(otlp_metrics=False), [])) == []


# -- the journal


def test_a_journal_that_can_be_written_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for journal in ("", str(path), "/dev/stdout", os.devnull):
        assert list(of_journal(journal)) == []
    assert not path.exists()


@pytest.mark.parametrize(("path", "why"), [
    ("no/such/journal", "there is no folder"), (".", "it is a folder"), ("x" * 300, "File name too long"),
    ("/proc/version/journal", "Not a directory"), ("a\0b", "NUL"),
])
def test_a_journal_that_cannot_be_written_is_told_with_the_reason(path: str, why: str) -> None:
    (found,) = of_journal(path)
    assert why in found.what


@only_root
def test_a_folder_that_the_app_may_not_write_to_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os._exit(len(list(of_journal(f"{tmp_path}/journal"))))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


# -- the Python that is started


def test_an_environment_that_surely_has_no_package_is_known_from_the_outside(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True)
    python = Interpreter(str(tmp_path / "venv" / "bin" / "python"))
    assert interpreter.lacks("openai", python, {})
    (tmp_path / "elsewhere" / "openai").mkdir(parents=True)
    assert not interpreter.lacks("openai", python, {"PYTHONPATH": str(tmp_path / "elsewhere")})
    packages = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (packages / "more.pth").write_text(f"# a comment\nimport os\n{tmp_path}/elsewhere\n")
    assert not interpreter.lacks("openai", python, {})


def test_where_it_may_still_be_nothing_is_said(tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", symlinks=True, system_site_packages=True)
    python = str(tmp_path / "venv" / "bin" / "python")
    assert not interpreter.lacks("openai", Interpreter(python), {})
    venv.create(tmp_path / "other", symlinks=True)
    python = str(tmp_path / "other" / "bin" / "python")
    archive = tmp_path / "app.pyz"
    archive.write_bytes(b"#!/usr/bin/env python\nPK\3\4")
    assert not interpreter.lacks("openai", Interpreter(python, program=str(archive)), {})
    (tmp_path / "openai").mkdir()
    script = tmp_path / "app.py"
    script.touch()
    assert not interpreter.lacks("openai", Interpreter(python, program=str(script)), {})
    assert not interpreter.lacks("openai", Interpreter(sys.executable), {})
