"""The files that are handed out: as YAML, for Kubernetes, for Grafana, and onto a disk where there may be others."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from alerts_support import amtool, needs
from streamvitals.alerts.objectives import SERVICE, Objectives
from streamvitals.alerts.ruleset import rule_groups
from streamvitals.cli import main
from streamvitals.export import find, grafana, kubernetes
from streamvitals.export.rules import FILE, render
from streamvitals.export.yaml_text import to_yaml

STREAMS = json.dumps({"uid": "streamvitals-streams", "title": "Streams", "panels": []}, indent=2) + "\n"
LATENCY = json.dumps({"uid": "streamvitals-latency", "title": "Größe 'a' \"b\"\ttab", "panels": []}, indent=2) + "\n"
TEXT = st.text("ab \n\t:#'\"\\é-{%")
SCALARS = TEXT | st.integers(-9, 9) | st.booleans()
KEYS = st.sampled_from(["a", "on", "1", "true", "app.kubernetes.io/name", "streams.json", "x y", ""])


KNOWN = ("--runbook-url", "https://wiki.example.com")
# https://grafana.com/docs/grafana/latest/administration/provisioning/, what is used of it
PROVIDER = {"name", "folder", "type", "disableDeletion", "updateIntervalSeconds", "allowUiUpdates", "options"}
SOURCE = {"name", "uid", "type", "access", "url", "isDefault", "jsonData"}


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """As if this were an installed wheel with two dashboards."""
    folder = tmp_path / "built"
    (folder / "dashboards").mkdir(parents=True)
    (folder / "dashboards" / "streams.json").write_text(STREAMS)
    (folder / "dashboards" / "latency.json").write_text(LATENCY)
    monkeypatch.setattr(find, "_BUILT", folder)
    return folder


def ask(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def applied(text: str) -> list[Any]:
    """The objects in it, all of which Kubernetes knows."""
    objects = list(yaml.safe_load_all(text))
    for one in objects:
        kubernetes_validate.validate(one, "1.30", strict=True)
    return objects


@given(st.dictionaries(KEYS, SCALARS | st.dictionaries(KEYS, SCALARS, min_size=1) | st.lists(
    SCALARS | st.dictionaries(KEYS, SCALARS, min_size=1), min_size=1), min_size=1))
def test_yaml_says_what_was_meant(value: dict[str, Any]) -> None:
    assert yaml.safe_load(to_yaml(value)) == value


@given(st.text("ab \n", max_size=8))
def test_yaml_keeps_blanks_and_lines(text: str) -> None:
    assert yaml.safe_load(to_yaml({"key": {"inner": text}, "next": [text]})) == {"key": {"inner": text}, "next": [text]}


def test_plain_dashboards_are_the_files(built: Path, tmp_path: Path) -> None:
    done = ask("dashboards", "--output", tmp_path / "new" / "there")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [str(tmp_path / "new" / "there" / n) for n in ("latency.json", "streams.json")]
    assert (tmp_path / "new" / "there" / "streams.json").read_text() == STREAMS


def test_dashboards_as_config_maps(built: Path, tmp_path: Path) -> None:
    done = ask("dashboards", "--format", "kubernetes", "--namespace", "monitoring", "--folder", "LLM: streams")
    latency, streams = applied(done.stdout)
    assert latency["metadata"] == {
        "name": "streamvitals-latency", "namespace": "monitoring",
        "labels": {"app.kubernetes.io/name": "streamvitals", "grafana_dashboard": "1"},
        "annotations": {"grafana_folder": "LLM: streams"},
    }
    assert (latency["data"], streams["data"]) == ({"latency.json": LATENCY}, {"streams.json": STREAMS})
    labelled = ask("dashboards", "--format", "kubernetes", "--label", "on=", "--label", "a.b/dash=1.0")
    assert applied(labelled.stdout)[0]["metadata"]["labels"] == {
        "app.kubernetes.io/name": "streamvitals", "on": "", "a.b/dash": "1.0",
    }
    written = ask("dashboards", "--format", "kubernetes", "--output", tmp_path)
    assert written.stdout == f"{tmp_path / grafana.CONFIG_MAPS}\n"
    assert len(applied((tmp_path / grafana.CONFIG_MAPS).read_text())) == 2


def test_a_dashboard_that_no_config_map_can_hold(built: Path) -> None:
    (built / "dashboards" / "streams.json").write_text(json.dumps("x" * (kubernetes.CONFIG_MAP_BYTES - 2)))
    done = ask("dashboards", "--format", "kubernetes")
    assert done.exit_code == 2
    assert "streamvitals-streams '1048588 bytes' is not allowed: a ConfigMap holds up to 1048576" in done.stderr


def test_dashboards_provisioned(built: Path, tmp_path: Path) -> None:
    asked = ("dashboards", "--format", "provisioning", "--output", tmp_path)
    assert ask(*asked).exit_code == 0
    written = (tmp_path / "dashboards" / "streamvitals").iterdir()
    assert {path.name: path.read_text() for path in written} == {"streams.json": STREAMS, "latency.json": LATENCY}
    assert not (tmp_path / "datasources").exists()
    (provider,) = yaml.safe_load((tmp_path / "dashboards" / "streamvitals.yaml").read_text())["providers"]
    assert provider.keys() <= PROVIDER
    assert provider["options"]["path"] == "/etc/grafana/provisioning/dashboards/streamvitals"
    assert (provider["folder"], provider["type"], provider["allowUiUpdates"]) == ("streamvitals", "file", False)

    assert ask(*asked, "--prometheus-url", "http://p:9090", "--tempo-url", "http://t:3200",
               "--scrape-interval", "5s").exit_code == 0
    prometheus, tempo = yaml.safe_load((tmp_path / "datasources" / "streamvitals.yaml").read_text())["datasources"]
    assert prometheus.keys() | tempo.keys() <= SOURCE
    assert (prometheus["type"], prometheus["url"], prometheus["isDefault"]) == ("prometheus", "http://p:9090", False)
    assert prometheus["jsonData"]["timeInterval"] == "5s"
    (link,) = prometheus["jsonData"]["exemplarTraceIdDestinations"]
    assert link == {"name": "trace_id", "datasourceUid": tempo["uid"]}
    assert (tempo["type"], tempo["url"]) == ("tempo", "http://t:3200")


def test_rules_for_kubernetes(tmp_path: Path) -> None:
    (kept,) = applied(ask("alerts", "--format", "configmap", "--namespace", "monitoring").stdout)
    assert kept["metadata"]["namespace"] == "monitoring"
    assert yaml.safe_load(kept["data"][FILE]) == rule_groups(Objectives())
    operator = yaml.safe_load(ask("alerts", "--format", "kubernetes", "--label", "release=prometheus").stdout)
    assert operator["metadata"]["labels"]["release"] == "prometheus"
    assert operator["spec"] == rule_groups(Objectives())


@needs("amtool")
@pytest.mark.parametrize("service", [SERVICE, ("job",), ("namespace", "job"), ("app",)])
def test_examples_are_for_the_services_that_were_named(tmp_path: Path, service: tuple[str, ...]) -> None:
    named = [part for label in service for part in ("--service-label", label)] if service != SERVICE else []
    assert ask("alerts", "--with-examples", "--output", tmp_path, *named).exit_code == 0
    assert "1 templates" in amtool("check-config", tmp_path / "alertmanager.example.yaml")
    example = yaml.safe_load((tmp_path / "alertmanager.example.yaml").read_text())
    assert example["route"]["group_by"] == list(service)
    assert example["route"]["routes"][-1]["group_by"] == [*service, "alertname"]
    assert all(rule["equal"] == [*service, "ticket"] for rule in example["inhibit_rules"])
    template = (tmp_path / "streamvitals.tmpl").read_text()
    assert [label in template for label in (".CommonLabels.job", ".CommonLabels.app")] == [
        "job" in service, "app" in service
    ]
    committed = {path.name: path.read_text() for path in Path(__file__).parents[2].glob("alerts/runbooks/*.md")}
    runbooks = {path.name: path.read_text() for path in (tmp_path / "runbooks").iterdir()}
    assert runbooks.keys() == committed.keys()
    pasted = ", ".join(f'{label}="{label.upper()}"' for label in service) if service != SERVICE else 'job="JOB"'
    assert f"streamvitals:failure_ratio:increase5m{{{pasted}}}" in runbooks["StreamvitalsFailing.md"]
    silenced = " ".join(f"{label}={label.upper()}" for label in service) if service != SERVICE else "job=JOB"
    assert f"alertname=StreamvitalsFailing {silenced}\n" in runbooks["StreamvitalsFailing.md"]
    if service == SERVICE:
        assert runbooks == committed
        for name in ("alertmanager.example.yaml", "streamvitals.tmpl", FILE):
            assert (tmp_path / name).read_text() == (Path(__file__).parents[2] / "alerts" / name).read_text()


def test_what_somebody_changed_is_not_lost(built: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    for asked in (("alerts",), ("dashboards",)):
        assert ask(*asked, "--output", folder).exit_code == 0
        assert ask(*asked, "--output", folder).exit_code == 0, "the same again changes nothing"
    (folder / "streams.json").write_text("my own")
    (folder / "latency.json").unlink()
    refused = ask("dashboards", "--output", folder)
    assert refused.exit_code == 1
    assert f"{folder / 'streams.json'} is there and says something else; --force overwrites it" in refused.stderr
    assert not (folder / "latency.json").exists(), "nothing was written"
    assert ask("alerts", "--output", folder, "--availability", "99.9").exit_code == 1
    assert (folder / FILE).read_text() == render(Objectives())
    assert ask("alerts", "--output", folder, "--availability", "99.9", "--force").exit_code == 0
    assert (folder / FILE).read_text() == render(Objectives(availability=99.9))
    assert ask("dashboards", "--output", folder, "--force").exit_code == 0
    assert (folder / "streams.json").read_text() == STREAMS


@pytest.mark.parametrize(("arguments", "said"), [
    ("dashboards", "--output DIR is missing"),
    ("dashboards --format provisioning", "--output DIR is missing"),
    ("dashboards --format xml --output x", "'xml' is not one of 'plain', 'provisioning', 'kubernetes'"),
    ("dashboards --namespace x --output x", "--namespace goes with --format kubernetes only"),
    ("dashboards --label a=b --output x", "--label goes with --format kubernetes only"),
    ("dashboards --folder f --output x", "--folder goes with --format provisioning or kubernetes only"),
    ("dashboards --tempo-url http://x --output x", "--tempo-url goes with --format provisioning only"),
    ("dashboards --runbook-url wiki --output x", "runbook-url 'wiki' is not allowed"),
    ("dashboards --format kubernetes --label a", "label 'a' is not allowed: KEY=VALUE, each key once"),
    ("dashboards --format kubernetes --label a=b --label a=c", "label 'a=c' is not allowed: KEY=VALUE, each key once"),
    ("dashboards --format kubernetes --label a=-b", "label 'a=-b' is not allowed"),
    ("dashboards --format kubernetes --label -/a=b", "label '-/a=b' is not allowed"),
    ("dashboards --format kubernetes --namespace Big", "namespace 'Big' is not allowed"),
    ("dashboards --format kubernetes --folder ''", "grafana_folder '' is not allowed: a text in one line"),
    ("dashboards --format provisioning --output x --prometheus-url prometheus:90", "prometheus-url 'prometheus:90'"),
    ("dashboards --format provisioning --output x --scrape-interval 5", "scrape-interval '5' is not allowed"),
    ("dashboards --format kubernetes --schema v2", "--schema v2 goes with --format plain only"),
    ("dashboards --output x --scrape-interval 0s", "scrape-interval '0s' is not allowed: from 1s to 1h"),
    ("alerts --with-examples", "--with-examples goes with --output DIR only"),
    ("alerts --namespace x", "--namespace goes with --format kubernetes, configmap or victoriametrics only"),
    ("alerts --format configmap --label a", "label 'a' is not allowed: KEY=VALUE, each key once"),
])
def test_bad_input_is_named(built: Path, tmp_path: Path, monkeypatch: Any, arguments: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    done = ask(*shlex.split(arguments))
    assert done.exit_code == 2
    assert said in done.stderr
    assert not done.stdout
    assert not (tmp_path / "x").exists()


def test_a_place_that_cannot_be_written(built: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "taken" / "streams.json").mkdir(parents=True)
    below = ask("dashboards", *KNOWN, "--output", tmp_path / "file" / "below")
    assert (below.exit_code, below.stderr) == (1, f"Error: {tmp_path}/file/below: Not a directory\n")
    taken = ask("dashboards", *KNOWN, "--output", tmp_path / "taken")
    assert (taken.exit_code, taken.stderr) == (1, f"Error: {tmp_path}/taken/streams.json: Is a directory\n")


def test_an_installation_without_the_files_says_so(built: Path) -> None:
    for path in (built / "dashboards").iterdir():
        path.unlink()
    done = ask("dashboards", "--format", "kubernetes")
    assert (done.exit_code, done.stdout) == (1, "")
    assert f"this installation of streamvitals has no dashboards/*.json (looked in {built})" in done.stderr
