"""Runs tests of our rules in promtool, or in that of Prometheus 3: in both where there is time."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from alerts.backtest.replay import left_open
from alerts_support import newer
from alerts_world import Course
from streamvitals.alerts.language import recorded_in
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.ruleset import every_rule
from thorough import share

RULES: list[dict[str, Any]] = every_rule(Objectives())


def needed(*alerts: str, of: list[dict[str, Any]] = RULES) -> list[dict[str, Any]]:
    """The rules of these alerts, and what they read."""
    wanted, chosen = set(alerts), []
    for rule in reversed(of):
        name = rule.get("alert") or rule["record"]
        if name in wanted:
            chosen.append(rule)
            wanted |= recorded_in(rule["expr"]).union(*map(recorded_in, rule.get("annotations", {}).values()))
    return chosen[::-1]


class Promtool:
    """Collects groups of tests for one run: by promtool or by that of Prometheus 3.

    Where that is missing it is imitated: what it leaves out of a window is left out by shorter windows. The files are
    JSON, which YAML is, and which is written faster.
    """

    def __init__(self, folder: Path, rules: list[dict[str, Any]], finely: bool = False) -> None:
        """``finely``: rules are evaluated twice a minute however long it takes, where half a minute tells."""
        self.folder = folder
        self.finely = finely
        self.groups: list[dict[str, Any]] = []
        self.longest = 0.0
        three = newer("promtool")
        programs = [("promtool", "rules"), (three, "rules") if three else ("promtool", "left_open")]
        self.programs = share(programs, each=2)
        for name, read in (("rules", rules), ("left_open", left_open(rules))):
            (folder / f"{name}.yaml").write_text(json.dumps({"groups": [{"name": "all", "rules": read}]}))

    def expect(self, name: str, course: Course, *checks: tuple[float, str, float | None], **more: Any) -> None:
        """At so many minutes an expression gives this value, or nothing."""
        self.longest = max(self.longest, course.well + course.ill + course.after)
        self.groups.append({
            "name": name, "interval": "30s", "input_series": list(course.series()),
            "promql_expr_test": [
                {
                    "expr": expr, "eval_time": f"{minute * 60:.0f}s",
                    "exp_samples": [] if value is None else [{"labels": "{}", "value": value}],
                }
                for minute, expr, value in checks
            ],
            **more,
        })

    def check(self) -> None:
        """All is as expected, or promtool says what is not."""
        said = self.run()
        if said:
            pytest.fail(said, pytrace=False)

    def run(self) -> str:
        """What promtool says; empty where all is as expected."""
        # Where more than an hour is to be evaluated half as often, and days seldom.
        interval = "30s" if self.finely or self.longest <= 60 else "1m" if self.longest <= 1000 else "5m"
        said = ""
        for program, name in self.programs:
            tests = {"rule_files": [f"{name}.yaml"], "evaluation_interval": interval, "tests": self.groups}
            (self.folder / "test.yaml").write_text(json.dumps(tests))
            done = subprocess.run(
                [program, "test", "rules", "test.yaml"], cwd=self.folder, capture_output=True, text=True, check=False
            )
            said += f"{program}, {name}: {done.stdout}{done.stderr}" if done.returncode else ""
        return said


def firing(alert: str) -> str:
    return f'count(ALERTS{{alertname="{alert}",alertstate="firing"}})'


def ever(alert: str, minutes: float) -> str:
    return f'count(count_over_time(ALERTS{{alertname="{alert}",alertstate="firing"}}[{minutes:.0f}m]))'


def at(minute: float) -> str:
    """How a text says when it was so."""
    return f" (at {int(minute) // 60:02}:{int(minute) % 60:02} UTC)"


def rendered(alert: str, minute: float, summary: str, description: str = "") -> dict[str, Any]:
    """The alert as it must be told then, as an alert_rule_test; the time is not among the summary that is given."""
    rule = next(rule for rule in RULES if rule.get("alert") == alert)
    annotations = {k: v.replace("{{ $labels.job | urlquery }}", "chat") for k, v in rule["annotations"].items()}
    annotations["summary"] = summary + at(minute)
    if description:
        annotations["description"] = f"{description} Runbook: streamvitals runbook {alert}"
    expected = {"exp_labels": {"job": "chat", **rule["labels"]}, "exp_annotations": annotations}
    return {"eval_time": f"{minute * 60:.0f}s", "alertname": alert, "exp_alerts": [expected]}
