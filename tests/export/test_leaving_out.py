"""`alerts` and `dashboards` write nothing that reads metrics which the applications do not show."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from streamvitals import names
from streamvitals.cli import main
from streamvitals.config import left_out

# What rules for the pager can do without.
SPARED = "-durations,-first_chunk,-token_rate,-chunks,-waits,-tokens,-limits,-lag,-calls"
NEEDED = sorted(names.GROUPS.keys() - {group[1:] for group in SPARED.split(",")})


def invoke(*arguments: object, **env: str) -> Result:
    return CliRunner(env=env).invoke(main, [str(argument) for argument in arguments])


def prometheus_names(text: str) -> set[str]:
    return set(re.findall(r"\bstreamvitals_\w+", text))


def hidden(text: str) -> tuple[str, ...]:
    otel = left_out(text)
    return tuple(metric.prometheus for metric in names.ALL_METRICS if metric.otel in otel)


@pytest.mark.parametrize("given", [("--metrics", SPARED), ("--metrics=all",), ()])
def test_rules_read_what_is_shown(given: tuple[str, ...]) -> None:
    done = invoke("alerts", *given, STREAMVITALS_METRICS="" if given else SPARED)
    assert done.exit_code == 0, done.output
    rules = [rule for group in yaml.safe_load(done.stdout)["groups"] for rule in group["rules"]]
    there = {rule.get("alert") for rule in rules}
    lost = {
        "StreamvitalsStreamsLeaked", "StreamvitalsQuotaLow", "StreamvitalsEventLoopLag", "StreamvitalsCallsFailing",
        "StreamvitalsCallsHanging",
    }
    if given == ("--metrics=all",):
        assert lost < there
        assert "not written" not in done.stderr
        return
    assert not lost & there
    assert {"StreamvitalsFailing", "StreamvitalsSlow", "StreamvitalsRefused", "StreamvitalsTrafficGone"} < there
    assert all(f"{name} is not written" in done.stderr for name in lost)
    assert not [name for name in prometheus_names(done.stdout) if name.startswith(hidden(SPARED))]


@pytest.mark.parametrize("group", NEEDED)
def test_no_page_is_lost_in_silence(group: str) -> None:
    done = invoke("alerts", f"--metrics=-{group}")
    assert done.exit_code == 2
    assert f"cannot page without the metrics of: {group}" in done.stderr


def test_the_option_outranks_the_variable() -> None:
    assert "not written" not in invoke("alerts", "--metrics", "all", STREAMVITALS_METRICS="-durations").stderr


@pytest.mark.parametrize("command", ["alerts", "dashboards"])
@pytest.mark.parametrize("bad", ["-speed", "-durations,gaps", "speed", "-all"])
def test_a_bad_group_is_named(command: str, bad: str, tmp_path: Path) -> None:
    done = invoke(command, "--output", tmp_path, f"--metrics={bad}")
    assert done.exit_code == 2
    assert f"--metrics='{bad}' is not allowed" in done.stderr
    assert "durations, token_rate" in done.stderr
    done = invoke(command, "--output", tmp_path, STREAMVITALS_METRICS=bad)
    assert (done.exit_code, "STREAMVITALS_METRICS=" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def panels(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {path.name: json.loads(path.read_text())["panels"] for path in folder.glob("*.json")}


@pytest.mark.parametrize("metrics", [SPARED, *(f"-{group}" for group in names.GROUPS)])
def test_panels_read_what_is_shown_and_fill_the_screen(metrics: str, tmp_path: Path) -> None:
    done = invoke("dashboards", "--output", tmp_path / "some", f"--metrics={metrics}")
    assert done.exit_code == 0, done.output
    assert invoke("dashboards", "--output", tmp_path / "all").exit_code == 0
    whole = panels(tmp_path / "all")
    for name, found in panels(tmp_path / "some").items():
        queries = " ".join(target.get("expr", "") for panel in found for target in panel.get("targets", ()))
        assert not [read for read in prometheus_names(queries) if read.startswith(hidden(metrics))]
        lines = [line for line in done.stderr.splitlines() if line.startswith(f"{name} is written without")]
        said = set(re.findall(r'"([^"]+)"', " ".join(lines)))
        assert len(lines) == bool(said)
        left = [line.partition("they read what is left out, ")[2].split(", ") for line in lines]
        assert all(groups and set(groups) <= {group[1:] for group in metrics.split(",")} for groups in left)
        rows = {panel["title"] for panel in whole[name] if panel["type"] == "row"}
        missing = {panel["title"] for panel in whole[name]} - {panel["title"] for panel in found}
        assert missing - rows == said
        assert all("targets" not in panel or panel["targets"] for panel in found)
        covered = {}
        for panel in found:
            place = panel["gridPos"]
            for x in range(place["x"], place["x"] + place["w"]):
                for y in range(place["y"], place["y"] + place["h"]):
                    assert covered.setdefault((x, y), panel["title"]) == panel["title"], "two panels in one place"
        assert len(covered) == 24 * (1 + max(y for _, y in covered)), "no holes"
        assert found[-1]["type"] != "row", "a heading with nothing below it"


@pytest.mark.parametrize("command", ["alerts", "dashboards"])
@pytest.mark.parametrize(("declared", "warned"), [("tenant=code", True), ("tennat=code", False), ("", False)])
def test_a_label_that_is_not_declared_here_is_warned_of(
    command: str, declared: str, warned: bool, tmp_path: Path
) -> None:
    done = invoke(command, "--by", "tennat", "--output", tmp_path, STREAMVITALS_LABELS=declared)
    assert done.exit_code == 0, done.output
    assert ("--by tennat: STREAMVITALS_LABELS here declares tenant only" in done.stderr) == warned
    assert len([line for line in done.stderr.splitlines() if "--by" in line]) == warned
    assert list(tmp_path.iterdir())


def test_where_there_is_no_trace_store_nothing_leads_to_one(tmp_path: Path) -> None:
    assert invoke("dashboards", "--output", tmp_path / "all").exit_code == 0
    done = invoke("dashboards", "--without-traces", "--output", tmp_path / "some")
    assert done.exit_code == 0, done.output
    for path in (tmp_path / "all").glob("*.json"):
        text = (tmp_path / "some" / path.name).read_text()
        assert "tempo" not in text
        before, after = (
            {panel["title"]: panel for panel in json.loads(one)["panels"]} for one in (path.read_text(), text)
        )
        assert before.keys() - after.keys() == ({"Last failures"} if path.name == "incident.json" else set())
        assert "".join(after).count("Where there is no trace store") == (path.name == "incident.json")
    refused = invoke("dashboards", "--without-traces", "--format", "provisioning", "--tempo-url", "http://t:3200",
                     "--output", tmp_path / "none")
    assert refused.exit_code == 2
    assert "--without-traces and --tempo-url contradict each other" in refused.stderr
