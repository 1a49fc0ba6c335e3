"""Where `run` serves beside others who serve: the app's own exporter, and whoever has the port on one family only."""

from __future__ import annotations

import json
import socket
import subprocess

import pytest

from doctor_support import doctor
from run_support import APPS, RUN, environment, eventually, free_port, get, parse_metrics, python, started, total
from streamvitals.agent.proc import entry_of
from streamvitals.agent.unreported import unreported_python

# What OpenTelemetry's exporter does with the port that it finds in its variables.
SERVE = """
import os, socket
with socket.create_server(("localhost", int(os.environ["OTEL_EXPORTER_PROMETHEUS_PORT"]))):
    print("serves")
"""


def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [*RUN, *arguments]
    return subprocess.run(command, env=environment(**more), capture_output=True, text=True, check=False)


@pytest.mark.parametrize("exporters", ["prometheus", "prometheus,otlp", " otlp, prometheus"])
@pytest.mark.parametrize("asked", [None, "variable", "option"])
def test_the_port_of_the_apps_own_exporter_is_left_to_it(exporters, asked):
    port = str(free_port())
    env = {"OTEL_METRICS_EXPORTER": exporters, "OTEL_EXPORTER_PROMETHEUS_PORT": port, "OTEL_TRACES_EXPORTER": "none"}
    if asked == "variable":
        env["STREAMVITALS_PORT"] = port
    done = run(*(("--port", port) if asked == "option" else ()), "--", *python("-c", SERVE), **env)
    assert done.stdout == "serves\n"
    where = done.stderr.splitlines()[0]
    assert where.endswith(f"({port} is left to the app's own OpenTelemetry exporter)")
    assert f":{port}/" not in where
    assert (f"port {port} is for the app's own" in done.stderr) == (asked is not None)


@pytest.mark.parametrize("options", [("--metrics_exporter", "prometheus"), ("--metrics_exporter=console,prometheus",)])
def test_the_exporter_may_be_an_option_of_opentelemetry_instrument(tmp_path, options):
    port = str(free_port())
    launcher = tmp_path / "opentelemetry-instrument"
    launcher.write_text('#!/bin/sh\nwhile case "$1" in -*) ;; *) false ;; esac; do\n'
                        'case "$1" in *=*) ;; *) shift ;; esac; shift; done\nexec "$@"\n')
    launcher.chmod(0o755)
    command = (str(launcher), *options, f"--exporter_prometheus_port={port}", *python("-c", SERVE))
    done = run("--", *command, OTEL_EXPORTER_PROMETHEUS_PORT=port)
    assert done.stdout == "serves\n"
    assert f"{port} is left" in done.stderr
    assert f"({port} is left" in doctor(*command).find("port ")["what"]


def test_healthz_says_where_it_is():
    with started(python("-c", "input()"), environment(), stdin=subprocess.PIPE) as app:
        app.wait_for_agent()
        assert app.health()["url"] == app.url.replace("127.0.0.1", "localhost") + "/metrics"
        app.process.communicate(b"\n")


def test_our_own_variable_outranks_the_standard_one():
    ours, other = str(free_port()), str(free_port())
    done = run("--", "true", STREAMVITALS_PORT=ours, OTEL_EXPORTER_PROMETHEUS_PORT=other)
    assert f":{ours}/metrics" in done.stderr


@pytest.mark.parametrize(("held", "host"), [
    ("::1", "localhost"), ("::1", "127.0.0.1"), ("::1", "0.0.0.0"), ("127.0.0.1", "::1"),
])
def test_a_port_that_somebody_has_on_one_family_is_not_free(held, host):
    """`localhost` is both: whoever asks there would be answered by the other."""
    family = socket.AF_INET6 if ":" in held else socket.AF_INET
    try:
        holder = socket.create_server((held, 0), family=family)
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with holder:
        port = str(holder.getsockname()[1])
        done = run("--port", port, "--host", host, "--", "true")
        assert f"port {port} is not free" in done.stderr
        found = doctor("true", STREAMVITALS_PORT=port, STREAMVITALS_HOST=host)
        assert found.find(f"port {port} on {host} is not free")["status"] == "warn"


# -- a run within a run

STREAMS = (APPS / "stream_script.py").read_text() + "\ninput()\n"
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


@pytest.mark.parametrize("between", [(), ("sh", "-c", '"$@"; exit $?', "sh")])
def test_a_run_within_a_run_on_its_port_leaves_the_app_to_that_one(server, between):
    """An image's entrypoint has one, and its command another."""
    port = free_port()
    inner = (*between, *RUN, "--port", str(port), "--", *python("-c", STREAMS, "sv-ok"))
    with started(inner, environment(server.base_url), port=port, **PIPES) as app:
        app.wait_for_agent()
        app.wait_for_streams("completed", 1)
        assert app.health()["status"] == "ok"
        _, said = app.process.communicate("\n")
        assert [line.split("; ")[0] for line in said.splitlines()] == [
            f"streamvitals: the live page is at http://localhost:{port}/, metrics are at http://localhost:{port}/metrics",
            "streamvitals: the `streamvitals run` around this one watches it",
        ]


def test_a_run_within_a_run_on_a_port_of_its_own_is_no_fault_of_the_other_s(server):
    other = free_port()
    inner = (*RUN, "--port", str(other), "--", *python("-c", STREAMS, "sv-ok"))
    with started(inner, environment(server.base_url, STREAMVITALS_LINGER_SECONDS="0"), **PIPES) as app:
        app.wait_for_agent()
        eventually(lambda: app.health()["not_reporting"], "who does not report")
        (silent,) = app.health()["not_reporting"]
        assert (silent["pid"], silent["reason"]) == (app.pid, "another `streamvitals run` watches it")
        assert total(app.samples(), "streamvitals_streams_total") == 0
        within = f"http://127.0.0.1:{other}"
        eventually(lambda: counted(within) == 1, "the stream")
        agent = entry_of(json.loads(get(within + "/healthz"))["agent_pid"])
        assert unreported_python(agent.identity, "") is None, "an agent is no Python of the app's"
        app.process.communicate("\n")


def counted(url: str) -> float:
    return total(parse_metrics(get(url + "/metrics")), "streamvitals_streams_total", outcome="completed")
