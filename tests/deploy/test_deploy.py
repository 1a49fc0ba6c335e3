"""What is in deploy/, each file by the best judge of it that there is here; test_deploy_running.py runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from alerts_support import needs
from deploy import app, provider
from deploy_support import DEPLOY, read
from streamvitals.config import Config
from streamvitals.faults.ask import parse_spec

COMPOSE = read("compose.yaml")
SERVICES = COMPOSE["services"]
COLLECTOR = read("otel-collector.yaml")
TEMPO = read("tempo.yaml")
BIN = Path(sys.executable).parent
HADOLINT = BIN / "hadolint"

# Settings that each component documents at the version of its image.
# https://github.com/open-telemetry/opentelemetry-collector/blob/v0.132.0/receiver/otlpreceiver/README.md
# https://github.com/open-telemetry/opentelemetry-collector/blob/v0.132.0/processor/batchprocessor/README.md
# https://github.com/open-telemetry/opentelemetry-collector-contrib/blob/v0.132.0/exporter/prometheusexporter/README.md
# https://github.com/open-telemetry/opentelemetry-collector/blob/v0.132.0/exporter/otlphttpexporter/README.md
COLLECTOR_SETTINGS = {
    "receivers.otlp.protocols.http.endpoint", "receivers.otlp.protocols.grpc.endpoint",
    "processors.batch.timeout", "processors.batch.send_batch_size",
    "exporters.prometheus.endpoint", "exporters.prometheus.metric_expiration",
    "exporters.prometheus.enable_open_metrics", "exporters.prometheus.send_timestamps",
    "exporters.otlphttp.endpoint", "exporters.otlphttp.compression",
    *(f"service.pipelines.{signal}.{part}" for signal in ("metrics", "traces", "logs")
      for part in ("receivers", "processors", "exporters")),
}
# https://github.com/grafana/tempo/blob/v2.8.2/docs/sources/tempo/configuration/_index.md
TEMPO_SETTINGS = {
    "stream_over_http_enabled", "server.http_listen_port",
    "distributor.receivers.otlp.protocols.http.endpoint", "distributor.receivers.otlp.protocols.grpc.endpoint",
    "compactor.compaction.block_retention",
    "storage.trace.backend", "storage.trace.wal.path", "storage.trace.local.path",
}
# https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitorSpec
POD_MONITOR_SETTINGS = {"jobLabel", "selector.matchLabels.app.kubernetes.io/name", "podMetricsEndpoints"}
POD_ENDPOINT_SETTINGS = {"port", "interval", "path", "scheme", "honorLabels"}


def settings(value: Any, path: str = "") -> set[str]:
    """The paths of all values that are no mappings."""
    if isinstance(value, dict):
        return set().union(*(settings(inner, f"{path}.{key}" if path else key) for key, inner in value.items()))
    return {path}


def mounts() -> list[tuple[str, str, str]]:
    return [(name, *volume.split(":")[:2]) for name, s in SERVICES.items() for volume in s.get("volumes", ())]


def test_compose_is_what_its_specification_says() -> None:
    """By the JSON schema of https://github.com/compose-spec/compose-spec."""
    checked = subprocess.run(
        [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DEPLOY / "compose.yaml"],
        capture_output=True, text=True, check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_every_image_has_a_version() -> None:
    images = {s["image"] for s in SERVICES.values() if "build" not in s}
    images |= set(re.findall(r"^FROM (\S+)", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE))
    assert len(images) == 6
    for image in images:
        assert re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-[\w-]+)?", image), image


def test_nothing_is_open_to_other_machines() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_what_is_mounted_is_there_and_is_used() -> None:
    for name, source, target in mounts():
        if source.startswith("./"):
            assert (DEPLOY / source).exists(), source
            assert any(target in str(word) for word in SERVICES[name]["command"]), target
        else:
            assert source in COMPOSE["volumes"]


def test_who_is_spoken_to_is_there() -> None:
    """Every host in an address is a service, or another name for one."""
    names = {*SERVICES, "localhost", "0.0.0.0", "127.0.0.1"}
    names |= {alias for s in SERVICES.values() for n in s.get("networks", {}).values() for alias in n["aliases"]}
    spoken = set()
    for file in ("compose.yaml", "prometheus.yaml", "otel-collector.yaml", "tempo.yaml"):
        without = re.sub(r"^ *(#|image:|- (\./|\w+:/)).*$", "", (DEPLOY / file).read_text(), flags=re.MULTILINE)
        spoken |= set(re.findall(r"([\w.-]*[a-z0-9]):\d{4}\b", without))
    assert {"hosted", "own", "tempo", "otel-collector", "alertmanager", "chat-1"} <= spoken
    assert spoken <= names


def test_the_settings_of_the_programs_are_ours() -> None:
    for service in SERVICES.values():
        environment = {name: str(value) for name, value in service.get("environment", {}).items()}
        Config.from_env(environment)
        ours = {name for name in environment if name.startswith("STREAMVITALS_")}
        assert ours <= {"STREAMVITALS_PROVIDERS"}
    assert Config.from_env(SERVICES["chat-1"]["environment"]).providers == {"hosted:8080": "openai", "own:8080": "vllm"}


@pytest.mark.skipif(not HADOLINT.exists() and os.environ.get("CI") != "true", reason="no hadolint for this machine")
def test_the_dockerfile() -> None:
    checked = subprocess.run([HADOLINT, DEPLOY / "Dockerfile"], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout


@needs("promtool")
def test_prometheus_file() -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", DEPLOY / "prometheus.yaml"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr


def test_the_collector_has_what_its_pipelines_name() -> None:
    assert settings(COLLECTOR) <= COLLECTOR_SETTINGS
    for pipeline in COLLECTOR["service"]["pipelines"].values():
        for part in ("receivers", "processors", "exporters"):
            assert pipeline[part]
            assert set(pipeline[part]) <= COLLECTOR[part].keys()
    used = {name for p in COLLECTOR["service"]["pipelines"].values() for part in p.values() for name in part}
    assert used == {name for part in ("receivers", "processors", "exporters") for name in COLLECTOR[part]}


def test_ports_meet() -> None:
    def port(address: str) -> str:
        return address.rpartition(":")[2]

    endpoint = SERVICES["chat-1"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"]
    assert port(endpoint) == port(COLLECTOR["receivers"]["otlp"]["protocols"]["http"]["endpoint"])
    scraped = {s["job_name"]: s["static_configs"][0]["targets"] for s in read("prometheus.yaml")["scrape_configs"]}
    assert port(scraped["otel-collector"][0]) == port(COLLECTOR["exporters"]["prometheus"]["endpoint"])
    assert port(scraped["chat"][0]) == SERVICES["chat-1"]["command"][SERVICES["chat-1"]["command"].index("--port") + 1]
    received = TEMPO["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    assert port(COLLECTOR["exporters"]["otlphttp"]["endpoint"]) == port(received)
    assert f"http://tempo:{TEMPO['server']['http_listen_port']} " in SERVICES["files"]["command"][2]


def test_what_the_collector_is_sent_keeps_its_job() -> None:
    scraped = {s["job_name"]: s for s in read("prometheus.yaml")["scrape_configs"]}
    assert [name for name, s in scraped.items() if s.get("honor_labels")] == ["otel-collector"]
    assert "--enable-feature=exemplar-storage" in SERVICES["prometheus"]["command"]


def test_tempo() -> None:
    assert settings(TEMPO) <= TEMPO_SETTINGS


def test_kubernetes() -> None:
    deployment = yaml.safe_load((DEPLOY / "kubernetes" / "app.yaml").read_text())
    kubernetes_validate.validate(deployment, "1.30", strict=True)
    monitor = yaml.safe_load((DEPLOY / "kubernetes" / "podmonitor.yaml").read_text())
    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    assert settings(monitor["spec"]) <= POD_MONITOR_SETTINGS
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint.keys() <= POD_ENDPOINT_SETTINGS
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    assert endpoint["port"] == port["name"]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"]) == str(Config.port)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert monitor["spec"]["jobLabel"] in pod["metadata"]["labels"]
    assert container["command"][:2] == ["streamvitals", "run"]
    Config.from_env({one["name"]: one["value"] for one in container["env"] if "value" in one})


def test_incidents_come_in_turn_and_pass() -> None:
    now = 100.0
    weather = provider.Weather("seed", minute=60.0, now=lambda: now)
    seen = []
    for minute in range(70):
        now = 100.0 + 60.0 * minute + 1.0
        seen.append(weather.incident())
    assert seen[:4] == [None] * 4
    assert seen[4:10] == [provider.INCIDENTS[0]] * 6
    assert seen[14:20] == [provider.INCIDENTS[1]] * 6
    assert seen[64:70] == [provider.INCIDENTS[0]] * 6, "the seventh turn is the first again"


def drawn(minute: float) -> dict[str, list[str]]:
    """What is played for each model in this minute, 2000 times."""
    times = iter([0.0])
    weather = provider.Weather("seed", minute=60.0, now=lambda: next(times, 60.0 * minute))
    return {model: [weather.get(model, model) for _ in range(2000)] for model in (*app.HOSTED, *app.OWN)}


@pytest.mark.parametrize("number", range(len(provider.INCIDENTS)))
def test_what_is_played(number: int) -> None:
    """The fault server knows it; an incident is its models' only, and as bad as it says; a seed draws it again."""
    incident, played = provider.INCIDENTS[number], drawn(10.0 * number + 5.0)
    assert played == drawn(10.0 * number + 5.0)
    assert set(incident.models) <= played.keys()
    for model, specs in played.items():
        bad = specs.count(incident.scenario) / len(specs)
        firsts = [params.first for name, params in map(parse_spec, specs) if name == "ok"]
        if model in incident.models:
            assert bad == pytest.approx(incident.share, abs=0.05)
            assert sum(firsts) / len(firsts) == pytest.approx(0.4 * incident.slower, rel=0.15)
        else:
            assert bad < 0.02
            assert sum(firsts) / len(firsts) == pytest.approx(0.4, rel=0.15)


def test_the_links_of_the_readme_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", (DEPLOY / "README.md").read_text())
    assert len(targets) > 5
    for target in targets:
        assert (DEPLOY / target).exists(), target
