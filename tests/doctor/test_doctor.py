"""`streamvitals doctor`: what it finds, what it says of it, and what it must not say."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from doctor_support import KEY, doctor
from run_support import APPS, RUN, environment, eventually, free_port, python, started
from streamvitals.agent import private_directory
from streamvitals.config import Config
from streamvitals.doctor import container, examine, machine
from streamvitals.doctor.check import FAIL, OK, WARN
from streamvitals.faults import connect_timeout_url, refused_url, tls_failure_url
from streamvitals.startup.registration import home


def test_healthy():
    found = doctor("--", *python(str(APPS / "stream_script.py")), OTEL_EXPORTER_PROMETHEUS_PORT=str(free_port()))
    assert found.bad == []
    assert found.status == 0
    assert found.find("is watched")["status"] == OK
    assert "every patch point is there" in found.find("openai ")["what"]
    assert found.find("variables set and valid")["what"].endswith(
        "OTEL_EXPORTER_PROMETHEUS_PORT, STREAMVITALS_LINGER_SECONDS"
    )


def test_for_people():
    env = environment(STREAMVITALS_STALL_SECONDS="soon")
    done = subprocess.run([RUN[0], "doctor"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    lines = done.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("fail  STREAMVITALS_STALL_SECONDS='soon' is not"))
    assert lines[at + 1].startswith("      -> ")


def test_every_bad_variable_is_named():
    found = doctor("true", STREAMVITALS_STALL_SECONDS="soon", OTEL_EXPORTER_PROMETHEUS_PORT="x", STREAMVITALS_STAL="1")
    assert len(found.bad) == 2
    assert found.find("STREAMVITALS_STALL_SECONDS='soon'")["status"] == FAIL
    assert found.find("OTEL_EXPORTER_PROMETHEUS_PORT='x'")["status"] == FAIL
    assert found.find("STREAMVITALS_STAL is not")["status"] == WARN


def test_disabled_is_said_and_nothing_else_is_guessed_from_it():
    found = doctor("--", *python("app.py"), OTEL_SDK_DISABLED="true")
    assert found.find("not watched")["status"] == WARN
    # The rest is of the variable itself: OpenTelemetry's settings come from it, and it is valid.
    assert (found.status, len(found.checks)) == (0, 3)


def test_a_variable_is_not_valid_beside_the_line_that_says_what_is_wrong_with_it():
    env = {
        "STREAMVITALS_LABELS": "tenant=header:x-api-key", "STREAMVITALS_JOURNAL": "/no/such/file",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "localhost:4318", "STREAMVITALS_METRICS": "-gaps,-durations",
        "STREAMVITALS_LABEL_VALUES": "10",
    }
    found = list(machine.check_variables(env))
    (valid,) = [check.what for check in found if "set and valid" in check.what]
    assert valid == "variables set and valid: STREAMVITALS_LABEL_VALUES, STREAMVITALS_METRICS"
    (left_out,) = machine.check_left_out(Config.from_env({"STREAMVITALS_METRICS": "-gaps,-durations"}))
    assert left_out.what.endswith("STREAMVITALS_METRICS: gaps, durations")
    assert not [*machine.check_left_out(Config())]


@pytest.mark.parametrize(("env", "file", "group", "name"), [
    ({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, "", "", "Kubernetes"), ({"container": "podman"}, "", "", "podman"),
    ({}, ".dockerenv", "", "Docker"), ({}, "run/.containerenv", "", "Podman"),
    ({}, "", "0::/kubepods/besteffort/pod1", "Kubernetes"), ({}, "", "0::/docker/0123", "Docker"),
    ({}, "", "0::/init.scope", ""), ({}, "", "", ""),
])
def test_localhost_in_a_container_is_warned_of(tmp_path, env, file, group, name):
    if file:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    if group:
        (tmp_path / "proc" / "1").mkdir(parents=True)
        (tmp_path / "proc" / "1" / "cgroup").write_text(group + "\n")
    said = [check for host in ("localhost", "127.0.0.1", "::1", "0.0.0.0", "app.local")
            for check in container.check_host(Config(host=host), env, tmp_path)]
    assert [check.what for check in said] == [
        f"this is a container ({name}), and /metrics is served on its {host}: nothing outside reaches it"
        for host in ("localhost", "127.0.0.1", "::1")
    ] * bool(name)
    assert all(check.mend.startswith("set STREAMVITALS_HOST=0.0.0.0 ") for check in said)


def test_misspelt_name_is_told_with_the_right_one():
    assert doctor("true", STREAMVITALS_JURNAL="x").find("STREAMVITALS_JURNAL")["mend"].endswith("STREAMVITALS_JOURNAL?")


@pytest.mark.parametrize(("command", "status"), [
    (("doctor", "true"), 2), (("doctor", "--url", "http://127.0.0.1:9"), 2), (("agent", "--dir", "/tmp"), 2),
    (("alerts",), 2), (("dashboards", "--format", "kubernetes"), 2), (("run", "--port", "0", "true"), 0),
])
def test_a_bad_variable_ends_all_that_start_no_app(command, status):
    env = environment(STREAMVITALS_STALL_SECONDS="5s")
    done = subprocess.run([RUN[0], *command], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert "STREAMVITALS_STALL_SECONDS='5s' is not allowed: a number of seconds" in done.stdout + done.stderr


def test_agent_names_option_and_variable_of_a_host_that_is_not_ours(tmp_path):
    command = [RUN[0], "agent", "--dir", str(tmp_path), "--host", "192.0.2.1"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--host or STREAMVITALS_HOST: '192.0.2.1'" in done.stderr


def test_no_proc_is_one_cause_and_one_line(monkeypatch):
    real = os.path.exists
    monkeypatch.setattr(os.path, "exists", lambda path: not str(path).startswith("/proc") and real(path))
    found = examine(python("app.py"), environment())
    assert [check.what for check in found if check.status != OK] == ["there is no /proc here"]
    assert any("every patch point is there" in check.what for check in found)


def test_nothing_writable_is_one_cause_and_one_line(monkeypatch):
    monkeypatch.setattr(private_directory, "parents", lambda _: ["/proc/nowhere"])
    found = examine(python("app.py"), environment())
    assert [check.what.partition(":")[0] for check in found if check.status != OK] == [
        "no private directory can be made"
    ]


def test_an_agent_that_cannot_be_imported_is_one_cause_and_one_line(tmp_path, monkeypatch):
    """As where another package has brought an older prometheus_client along."""
    (tmp_path / "prometheus_client").mkdir()
    (tmp_path / "prometheus_client" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = examine(python("app.py"), environment())
    (what,) = [check.what for check in found if check.status != OK]
    assert what.startswith("the agent cannot be started: ImportError: cannot import name")
    assert "prometheus_client" in what


def test_journal(tmp_path):
    assert doctor("true", STREAMVITALS_JOURNAL=str(tmp_path / "j")).find("the journal can be written")["status"] == OK
    assert doctor("true", STREAMVITALS_JOURNAL="/no/such").find("journal /no/such cannot be written")["status"] == FAIL


@pytest.mark.parametrize(("hook", "status"), [
    ("os.path:basename", OK), ("nosuch.module:hook", FAIL), ("os:nosuch", FAIL), ("os:sep", FAIL),
])
def test_redaction_hook(hook, status):
    found = doctor(*python("app.py"), STREAMVITALS_CAPTURE_PARTIAL="100", STREAMVITALS_REDACT=hook)
    assert found.find(f"the redaction hook {hook}")["status"] == status


def test_collector():
    with pytest.importorskip("otlp_receiver").receiver() as good:
        found = doctor("--connect", "true", OTEL_EXPORTER_OTLP_ENDPOINT=good.url)
        assert found.find("takes OTLP traces")["status"] == found.find("takes OTLP metrics")["status"] == OK
    found = doctor("--connect", "true", OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{good.url}/v1/traces")
    assert found.find("refuses the connection")["status"] == FAIL
    found = doctor("--connect", "true", OTEL_EXPORTER_OTLP_ENDPOINT="localhost:4318")
    assert found.find("does not begin with http://")["mend"].endswith("=http://localhost:4318")
    assert len(found.bad) == 1


@pytest.mark.parametrize("name", ["http_proxy", "ALL_PROXY", "all_proxy"])
def test_collector_is_asked_by_the_way_that_exports_take(name):
    """requests goes through the proxy for this machine too, unless NO_PROXY names it."""
    dead = refused_url().removesuffix("/v1")
    with pytest.importorskip("otlp_receiver").receiver() as good:
        asked = {"OTEL_EXPORTER_OTLP_ENDPOINT": good.url, name: dead}
        assert doctor("--connect", "true", **asked).find("takes OTLP traces")["status"] == OK
        found = doctor("--connect", "true", **asked, NO_PROXY="", no_proxy="")
        assert any("refuses the connection" in what for what in found.bad)


def test_taken_port():
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        found = doctor("true", OTEL_EXPORTER_PROMETHEUS_PORT=port)
    assert found.find(f"port {port} on localhost is not free")["status"] == WARN


def test_a_page_that_is_open_to_others_is_warned_of(tmp_path):
    (tmp_path / "token").write_text("of ours")
    on_all = {"STREAMVITALS_HOST": "0.0.0.0", "STREAMVITALS_PORT": "0"}
    open_to_all = doctor("true", **on_all).find("can read them, for nobody is asked who he is")
    assert open_to_all["status"] == WARN
    assert "STREAMVITALS_TOKEN_FILE" in open_to_all["mend"]
    guarded = doctor("true", **on_all, STREAMVITALS_TOKEN_FILE=str(tmp_path / "token"))
    assert not any("nobody is asked" in check["what"] for check in guarded.checks)
    missing = doctor("true", **on_all, STREAMVITALS_TOKEN_FILE=str(tmp_path / "none"))
    assert missing.find("nothing is served")["status"] == FAIL


def test_host_of_another_machine():
    assert doctor("true", OTEL_EXPORTER_PROMETHEUS_HOST="192.0.2.1").find("no port can be opened")["status"] == FAIL


def test_no_directory(monkeypatch):
    monkeypatch.setattr(private_directory, "parents", lambda _: ["/proc/nowhere"])
    (check,) = machine.check_directory({})
    assert check.status == FAIL


@pytest.mark.parametrize("option", ["-I", "-E", "-S"])
def test_option_that_keeps_us_out(option):
    found = doctor("--", sys.executable, option, "app.py")
    assert f"{option} keeps it out" in found.find("is not watched")["what"]
    assert found.status == 1


def test_sitecustomize_of_the_user(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("MARK = 1\n")
    found = doctor(*python("app.py"), PYTHONPATH=str(tmp_path))
    assert found.find("runs as before")["status"] == OK
    assert found.bad == []


@pytest.mark.parametrize(
    "line",
    ["#!{python}", "#!/usr/bin/env {python}", "#!{python} -I", "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\""],
)
def test_script_with_an_interpreter(tmp_path, line):
    script = tmp_path / "tool"
    script.write_text(line.replace("{python}", sys.executable) + "\n")
    script.chmod(0o755)
    found = doctor(str(script))
    assert sys.executable in found.find("watched")["what"]
    assert found.status == ("-I" in line)


def test_command_of_another_kind():
    assert doctor("true").find("is not a Python program")["status"] == WARN
    assert doctor("there-is-no-such-command").find("command not found")["status"] == FAIL


def test_environment_without_openai(tmp_path):
    venv.create(tmp_path / "venv", symlinks=True)
    found = doctor(str(tmp_path / "venv" / "bin" / "python"))
    assert found.find("openai is not installed")["status"] == WARN
    assert found.status == 0


def test_sdk_that_is_too_old(tmp_path):
    venv.create(tmp_path / "venv", symlinks=True)
    packages = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (packages / "openai").mkdir()
    (packages / "openai" / "__init__.py").write_text("__version__ = '0.28.1'\n")
    (packages / "openai-0.28.1.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: openai\nVersion: 0.28.1\n"
    (packages / "openai-0.28.1.dist-info" / "METADATA").write_text(metadata)
    found = doctor(str(tmp_path / "venv" / "bin" / "python"), "app.py")
    assert found.find("0.28.1 is not supported")["status"] == FAIL
    assert len(found.bad) == 1
    assert found.status == 1


def test_otlp_without_its_packages(tmp_path):
    venv.create(tmp_path / "venv", symlinks=True)
    asked = {"OTEL_TRACES_EXPORTER": "otlp", "STREAMVITALS_HTTP_SPANS": "true"}
    found = doctor(str(tmp_path / "venv" / "bin" / "python"), **asked)
    assert found.find("OTLP spans are asked for")["status"] == FAIL
    assert found.find("STREAMVITALS_HTTP_SPANS is set")["status"] == FAIL


class Answering(BaseHTTPRequestHandler):
    """A server of models; the key decides what it answers."""

    def do_GET(self) -> None:
        status = {"Bearer bad": 401, "Bearer limited": 429, "Bearer odd": 418}.get(self.headers["Authorization"], 200)
        if self.path != "/v1/models":
            status = 404
        body = b'{"object": "list", "data": []}' if status == 200 else b'{"error": {"message": "%s"}}' % KEY.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def models() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("key", "path", "status", "part"), [
    ("good", "/v1", OK, "answers, and takes the key"),
    ("bad", "/v1", FAIL, "refuses the key (401)"),
    ("good", "", FAIL, "(404)"),
    ("limited", "/v1", WARN, "(429)"),
    ("odd", "/v1", FAIL, "answers with 418"),
])
def test_connection(models, key, path, status, part):
    found = doctor("--connect", OPENAI_API_KEY=key, OPENAI_BASE_URL=models + path)
    assert found.find(part)["status"] == status
    assert "127.0.0.1:" in found.find(part)["what"]


@pytest.mark.parametrize(("url", "part"), [
    (refused_url, "refuses the connection"),
    (lambda: "http://nonexistent.invalid/v1", "no name that can be resolved"),
    (connect_timeout_url, "does not answer in time"),
])
def test_no_connection(url, part):
    assert doctor("--connect", "--timeout", "2", OPENAI_BASE_URL=url()).find(part)["status"] == FAIL


def test_tls(server):
    found = doctor("--connect", OPENAI_BASE_URL=tls_failure_url(server.base_url))
    assert found.find("fails the TLS handshake")["status"] == FAIL


def test_no_key():
    assert doctor("--connect", OPENAI_API_KEY="").find("the SDK makes no client")["status"] == FAIL


def test_secrets_in_the_url_do_not_show(models):
    host = models.removeprefix("http://")
    found = doctor("--connect", OPENAI_BASE_URL=f"http://user:{KEY}@{host}/v1?key={KEY}")
    assert KEY not in found.text


def test_running_app():
    code = "import subprocess, sys; subprocess.run([sys.executable, '-I', '-c', 'input()'])"
    with started(python("-c", code), environment(), stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        eventually(lambda: app.health()["not_reporting"])
        for where in (("--url", app.url), ("--url", app.url + "/metrics"), ("--dir", app.directory())):
            found = doctor(*where)
            assert found.status == 0
            assert "2 processes alive of 2 seen" in found.find("agent ")["what"]
            assert found.find("is not watched: started with -I")["status"] == WARN
        app.process.communicate(b"\n")


def test_sdk_that_is_not_patched_shows(tmp_path):
    (tmp_path / "openai").mkdir()
    (tmp_path / "openai" / "__init__.py").write_text("__version__ = '0.28.1'\n")
    env = environment(PYTHONPATH=str(tmp_path))
    command = python("-c", "import openai; input()")
    with started(command, env, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as app:
        app.wait_for_agent()
        assert app.process.stderr is not None
        lines = [app.process.stderr.readline() for _ in range(2)]
        assert b"not observing: openai 0.28.1 is not supported" in lines[1]
        health = eventually(lambda: (found := app.health())["not_patched"] and found)
        assert health["status"] == "degraded"
        assert [fault["pid"] for fault in health["not_patched"]] == [app.pid]
        assert health["sdk"] == [{"openai": "0.28.1", "patched": False, "processes": 1}]
        found = doctor("--url", app.url)
        assert (found.status, len(found.bad)) == (1, 1)
        assert "0.28.1" in found.find("could not patch openai")["what"]
        app.process.communicate(b"\n")


def test_app_that_is_well_is_ok_and_what_is_wrong_with_it_is_told_where_one_asks():
    code = "import openai; input()"
    with started(python("-c", code), environment(), stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        health = eventually(lambda: (found := app.health())["sdk"] and found)
        assert (health["status"], health["problems"], health["internal_errors"]) == ("ok", [], {})
        app.process.communicate(b"\n")
    env = environment(STREAMVITALS_STALL_SECONDS="5s")
    with started(python("-c", code), env, stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        health = app.health()
        assert health["status"] == "degraded"
        assert "STREAMVITALS_STALL_SECONDS='5s'" in health["problems"][0]["what"]
        found = doctor("--url", app.url)
        assert found.find("STREAMVITALS_STALL_SECONDS='5s'")["status"] == FAIL
        assert found.find("settings come from")["what"].endswith("the variables")
        app.process.communicate(b"\n")


def test_log_that_is_named_is_there(tmp_path):
    """Exports that fail are faults that are counted: the file that doctor names tells of them."""
    env = environment(OTEL_EXPORTER_OTLP_ENDPOINT=refused_url().removesuffix("/v1"), OTEL_METRIC_EXPORT_INTERVAL="200")
    with started(python("-c", "input()"), env, stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        eventually(lambda: app.health()["agent_faults"])
        found = doctor("--url", app.url)
        assert "agent.log" in found.find("the agent has counted")["mend"]
        assert "counted in otel" in Path(home(app.directory()), "agent.log").read_text()
        app.process.communicate(b"\n")


def test_agent_that_is_gone(tmp_path):
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    assert doctor("--url", f"http://127.0.0.1:{port}").find("no agent answers")["status"] == FAIL
    assert doctor("--url", "file:///etc/passwd").find("is not a URL of an agent")["status"] == FAIL
    found = doctor("--dir", str(tmp_path)).find("the agent of this directory is gone")
    assert found["mend"] == f"streamvitals agent --dir {tmp_path}"
    assert doctor("--dir", str(Path(tmp_path, "none"))).find("cannot be read")["status"] == FAIL
