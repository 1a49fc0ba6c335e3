"""OTEL_CONFIG_FILE in real programs, and what collectors get: by `run`, instrument(), OpenTelemetry's launcher."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from otel_support import run_script
from otlp_receiver import Received, Receiver, attributes, receiver
from run_support import APPS, RUN, answered, environment, eventually, python, started
from streamvitals.faults import ThreadedFaultServer

pytest.importorskip("opentelemetry.configuration")

STEADY = str(APPS / "steady_script.py")


def file(folder: Path, collector: Receiver, **more: Any) -> str:
    """A file that sends both signals to a collector, with a key that the environment holds."""
    headers = [{"name": "api-key", "value": "${KEY}"}]

    def to(signal: str) -> dict[str, Any]:
        return {"exporter": {"otlp_http": {"endpoint": f"{collector.url}/v1/{signal}", "headers": headers}}}

    content = {
        "file_format": "1.0", "resource": {"attributes": [{"name": "service.name", "value": "shop"}]},
        "tracer_provider": {"processors": [{"batch": to("traces")}]},
        "meter_provider": {"readers": [{"periodic": {**to("metrics"), "interval": 300}}]}, **more,
    }
    (folder / "otel.yaml").write_text(yaml.safe_dump(content))
    return str(folder / "otel.yaml")


def elsewhere(collector: Receiver) -> dict[str, str]:
    """Variables that the file outranks: another collector, with another key."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_EXPORTER_OTLP_HEADERS": "other-key=secret,api-key=wrong",
        "OTEL_SERVICE_NAME": "wrong", "OTEL_RESOURCE_ATTRIBUTES": "wrong=wrong", "OTEL_TRACES_SAMPLER": "always_off",
        "KEY": "right",
    }


def misled(collector: Receiver) -> list[Received]:
    """What came with either key: an exporter of another test may still send to a port that was its collector's."""
    return [one for one in collector.requests if "api-key" in one.headers]


def check(collector: Receiver, paths: set[str]) -> None:
    """What came is as the file says, and with the file's key alone."""
    eventually(lambda: {one.path for one in collector.requests} >= paths, "both signals")
    for one in tuple(collector.requests):
        assert one.headers["api-key"] == "right"
        assert "other-key" not in one.headers
    for resource in collector.resources():
        assert resource["service.name"] == "shop"
        assert "wrong" not in resource
        assert resource["telemetry.sdk.language"] == "python"
        assert resource["service.instance.id"]


BOTH = {"/v1/traces", "/v1/metrics"}


def test_under_run_the_app_and_the_agent_send_where_the_file_says(
    server: ThreadedFaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiver() as right, receiver() as wrong:
        file(tmp_path, right)
        env = environment(server.base_url, OTEL_CONFIG_FILE="otel.yaml", **elsewhere(wrong))
        # The agent leaves the working folder, to which the path is relative, and gets no variable but its own.
        with started(python(STEADY, "ok"), env, cwd=tmp_path, stdout=subprocess.DEVNULL) as app:
            eventually(lambda: answered(app.url + "/healthz"), "an agent")
            check(right, BOTH)
            assert app.health()["status"] == "ok"
            assert app.health()["settings"] == "OTEL_CONFIG_FILE"
        assert misled(wrong) == []


def test_with_instrument_too(server: ThreadedFaultServer, tmp_path: Path) -> None:
    code = f"""
    import streamvitals
    streamvitals.instrument()
    import openai
    client = openai.OpenAI(api_key="k", base_url={server.base_url!r})
    list(client.chat.completions.create(model="ok", messages=[], stream=True))
    streamvitals.flush()
    """
    with receiver() as right, receiver() as wrong:
        run_script(code, OTEL_CONFIG_FILE=file(tmp_path, right), **elsewhere(wrong))
        check(right, BOTH)
        assert misled(wrong) == []


def test_the_files_sampler_counts_and_not_that_of_the_environment(server: ThreadedFaultServer, tmp_path: Path) -> None:
    code = f"""
    import streamvitals
    streamvitals.instrument()
    import openai
    client = openai.OpenAI(api_key="k", base_url={server.base_url!r})
    list(client.chat.completions.create(model="ok", messages=[], stream=True))
    streamvitals.flush()
    """
    with receiver() as right:
        processors = yaml.safe_load(Path(file(tmp_path, right)).read_text())["tracer_provider"]["processors"]
        never = {"processors": processors, "sampler": {"always_off": {}}}
        path = file(tmp_path, right, tracer_provider=never)
        run_script(code, OTEL_CONFIG_FILE=path, KEY="right", OTEL_TRACES_SAMPLER="always_on")
        check(right, {"/v1/metrics"})
        assert right.spans() == []


OPTIONS = {"instrumentation/development": {"python": {"streamvitals": {"stall_seconds": 7, "stal_second": 1}}}}
LOADED = """
import logging, sys
logging.basicConfig(stream=sys.stdout, format="%(message)s")
from opentelemetry.configuration import configure_sdk, load_config_file
configure_sdk(load_config_file(sys.argv[1]))
from streamvitals.process import lifecycle
print("stalled after", lifecycle.current().config.stall_after)
"""


def loaded(path: str, *command: str, **env: str) -> str:
    program = [*command, sys.executable, "-c", LOADED, path]
    done = subprocess.run(program, env=environment(**env), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_loader_finds_the_options_class_and_hands_its_options_on(tmp_path: Path) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text(yaml.safe_dump({"file_format": "1.0", **OPTIONS}))
    said = loaded(str(path))
    assert "stalled after 7.0" in said
    assert "'stal_second' is not an option of streamvitals -> did you mean stall_seconds?" in said
    assert "Traceback" not in said


def test_a_bad_option_is_said_and_the_program_is_observed_with_the_default(tmp_path: Path) -> None:
    path = tmp_path / "otel.yaml"
    bad = {"instrumentation/development": {"python": {"streamvitals": {"stall_seconds": "soon", "quiet": True}}}}
    path.write_text(yaml.safe_dump({"file_format": "1.0", **bad}))
    said = loaded(str(path))
    assert "STREAMVITALS_STALL_SECONDS='soon' is not allowed" in said
    assert "stalled after 5.0" in said


def test_by_the_launcher_of_opentelemetry(server: ThreadedFaultServer, tmp_path: Path) -> None:
    """Its own providers are made from the file; ours are theirs, and the options are the file's."""
    launcher = Path(sys.executable).with_name("opentelemetry-instrument")
    if not launcher.exists():
        pytest.skip("opentelemetry-instrument is not installed")
    code = (
        "import openai\n"
        f"client = openai.OpenAI(api_key='k', base_url={server.base_url!r})\n"
        "list(client.chat.completions.create(model='ok', messages=[], stream=True))\n"
        "from streamvitals.process import lifecycle\n"
        "print('stalled after', lifecycle.current().config.stall_after)\n"
    )
    with receiver() as right, receiver() as wrong:
        options = {"instrumentation/development": {"python": {"streamvitals": {"stall_seconds": 7}}}}
        env = {**elsewhere(wrong), "OTEL_CONFIG_FILE": file(tmp_path, right, **options)}
        # Its loader lets the exporters read headers in the environment.
        env.pop("OTEL_EXPORTER_OTLP_HEADERS")
        command = [str(launcher), sys.executable, "-c", code]
        done = subprocess.run(command, env=environment(**env), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "stalled after 7.0" in done.stdout
        (span,) = [span for span in eventually(right.spans) if attributes(span).get("streamvitals.outcome")]
        assert span.name == "chat ok"
        assert misled(wrong) == []


# -- said at the start


def run(*command: str, **env: str) -> subprocess.CompletedProcess[str]:
    arguments = [*RUN, "--port", "0", "--", *command]
    return subprocess.run(arguments, env=environment(**env), capture_output=True, text=True, check=False)


def test_a_bad_file_is_said_and_the_app_runs(tmp_path: Path) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text("file_format: '1.0'\nresource: [sk-secret")
    done = run(*python("-c", "print('ran')"), OTEL_CONFIG_FILE=str(path))
    assert (done.returncode, done.stdout) == (0, "ran\n")
    _, said = done.stderr.splitlines()
    assert f"OTEL_CONFIG_FILE={str(path)[:120]!r} cannot be used: it is no YAML, see line 2; the variables" in said
    assert "sk-secret" not in done.stderr


LAUGHS = "file_format: '1.0'\ninstrumentation/development:\n  python:\n    m0: &m0 {v: x}\n" + "".join(
    f"    m{i}: &m{i} {{v: [{', '.join([f'*m{i - 1}'] * 10)}]}}\n" for i in range(1, 13)
)


@pytest.mark.parametrize("content", [None, LAUGHS], ids=["missing", "laughs"])
def test_a_file_that_cannot_be_used_is_said_once_and_holds_nothing_up(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "otel.yaml"
    if content is not None:
        path.write_text(content)
    code = "import openai, streamvitals; streamvitals.instrument(); print('ran')"
    done = run(*python("-c", code), OTEL_CONFIG_FILE=str(path))
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.count("OTEL_CONFIG_FILE") == 1, done.stderr
    env = environment(OTEL_CONFIG_FILE=str(path))
    alone = subprocess.run(python("-c", code), env=env, capture_output=True, text=True, check=True)
    assert alone.stderr.count("OTEL_CONFIG_FILE") == 1, alone.stderr


def test_an_app_without_the_loader_says_so_and_is_observed(server: ThreadedFaultServer, tmp_path: Path) -> None:
    """The agent has it: metrics go where the file says. The app's spans follow its variables, here none."""
    (tmp_path / "app.py").write_text(
        "import sys\n"
        "sys.modules['opentelemetry.configuration'] = None\n"
        f"import runpy; sys.argv = ['x', 'ok']; runpy.run_path({STEADY!r}, run_name='__main__')\n"
    )
    with receiver() as right:
        env = environment(server.base_url, OTEL_CONFIG_FILE=file(tmp_path, right), KEY="right")
        with started(python(str(tmp_path / "app.py")), env, stderr=subprocess.PIPE) as app:
            eventually(lambda: answered(app.url + "/healthz"), "an agent")
            check(right, {"/v1/metrics"})
            problems = eventually(lambda: app.health()["problems"], "what the app has said")
            assert [problem["what"] for problem in problems] == [
                "OTEL_CONFIG_FILE cannot be used in the app's environment: the variables are used there"
            ]
            eventually(lambda: app.streams("completed") > 0, "streams")
            app.process.kill()
            assert app.process.stderr is not None
            said = app.process.stderr.read()
            assert b"the loader is not installed here; the variables are used -> " in said
            assert b"[declarative]'" in said
        assert right.spans() == []


def test_a_file_that_disables_leaves_the_app_alone(tmp_path: Path) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text("file_format: '1.0'\ndisabled: true\n")
    code = "import os; print(os.environ.get('STREAMVITALS_DIR'), os.environ.get('PYTHONPATH'))"
    done = run(*python("-c", code), OTEL_CONFIG_FILE=str(path))
    assert (done.stdout, done.stderr) == ("None None\n", "")


@pytest.mark.parametrize(("content", "said"), [
    ("file_format: '1.0'\n", "ok"), ("file_format: '9.0'\n", "the variables"), (None, "the variables"),
])
def test_doctor_says_which_source_is_in_force(tmp_path: Path, content: str | None, said: str) -> None:
    path, env = tmp_path / "otel.yaml", environment()
    if content is not None:
        path.write_text(content)
        env["OTEL_CONFIG_FILE"] = str(path)
    doctor = [str(Path(sys.executable).with_name("streamvitals")), "doctor", "--json"]
    done = subprocess.run(doctor, env=env, capture_output=True, text=True, check=False)
    found = [check for check in json.loads(done.stdout) if "OpenTelemetry's settings come from" in check["what"]]
    assert [check["status"] for check in found] == ["ok"]
    assert (str(path) if said == "ok" else said) in found[0]["what"]
    assert ("cannot be used" in done.stdout) == (content == "file_format: '9.0'\n")


def test_a_misspelt_exporter_is_said_once_by_run_and_by_doctor(tmp_path: Path) -> None:
    path = tmp_path / "otel.yaml"
    path.write_text(
        "file_format: '1.0'\ntracer_provider: {processors: [{batch: {exporter: {otlp_htp: {}}}}]}\n"
        "meter_provider: {readers: [{periodic: {exporter: {otlp_http: {endpoint: 'http://127.0.0.1:9/v1/metrics'}}}}]}\n"
    )
    what = "no otlp_http exporter for spans is named in OTEL_CONFIG_FILE (tracer_provider.processors: otlp_htp)"
    done = run(*python("-c", "import openai; print('ran')"), OTEL_CONFIG_FILE=str(path))
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert done.stderr.count(f"{what}: streamvitals sends none -> did you mean otlp_http?") == 1
    assert done.stderr.count("OTEL_CONFIG_FILE") == 1, "and the app does not say it again"
    doctor = [str(Path(sys.executable).with_name("streamvitals")), "doctor", "--json"]
    env = environment(OTEL_CONFIG_FILE=str(path))
    checks = json.loads(subprocess.run(doctor, env=env, capture_output=True, text=True, check=False).stdout)
    assert [check["status"] for check in checks if what in check["what"]] == ["fail"]
    places = [check["what"] for check in checks if check["what"].endswith("over OTLP")]
    assert places == ["spans go nowhere over OTLP", "metrics go to 127.0.0.1:9 over OTLP"]
