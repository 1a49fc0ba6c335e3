"""Panels go on where Prometheus converts all histograms to native ones, or say that they cannot."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest

from alerts_support import needs, newer
from dashboard_queries import BOARDS, filled, model, queries
from streamvitals import names

HISTOGRAMS = [metric for metric in names.ALL_METRICS if metric.kind == "histogram"]
CLASSIC = re.compile(r"\b(streamvitals_\w+)_bucket\{")
VALUES = {
    "__rate_interval": "4m", "__interval": "1m", "__range": "1h", "compare": "5m", "budget": "0.005",
    **dict.fromkeys(("job", "instance", "provider", "model", "operation", "server"), ".*"),
}
OF_BUCKETS = [query for query in queries() if CLASSIC.search(query.expr)]
LABELS = {"job": "chat", "instance": "a", **dict.fromkeys(names.STREAM_LABELS, "x")}
# What Prometheus 3 makes of two buckets with `convert_classic_histograms_to_nhcb`.
GROWTH = "{{schema:-53 sum:1.4 count:3 buckets:[2 1] custom_values:[0.5 1]}}"


def test_what_reads_buckets_reads_native_histograms_too() -> None:
    assert len(OF_BUCKETS) > 30
    for query in OF_BUCKETS:
        for metric in CLASSIC.findall(query.expr):
            assert f"{metric}{{" in query.expr, query


def test_what_reads_sums_says_so() -> None:
    """There is no function for the sum of a native histogram that other servers know."""
    told = {panel["title"] for board in BOARDS for panel in model(board)["panels"]
            if "native histograms" in panel.get("fieldConfig", {}).get("defaults", {}).get("noValue", "")}
    assert {query.panel for query in queries() if re.search(r"_seconds_(sum|count)\{", query.expr)} == told


@pytest.mark.skipif(not newer("promtool"), reason="Prometheus 3 cannot be had here: newer_prometheus.sh says why")
def test_native_histograms_answer(tmp_path: Path) -> None:
    told = [_series(metric.prometheus, metric, values, f"{GROWTH}+{GROWTH}x60")
            for metric in HISTOGRAMS for values in metric.values]
    answer(str(newer("promtool")), "1m", told, tmp_path)


@needs("promtool")
def test_scrapes_every_two_minutes_answer(tmp_path: Path) -> None:
    """Over the window that Grafana makes of the least step."""
    told = [
        _series(f"{metric.prometheus}_bucket", metric, values, f"0+{step}x60", le=le)
        for metric in HISTOGRAMS for values in metric.values for le, step in (("0.5", 2), ("1.0", 3), ("+Inf", 3))
    ]
    told += [_series("streamvitals_internal_errors_total", names.INTERNAL_ERRORS, ("other",), "0x60")]
    answer("promtool", "2m", told, tmp_path)


def _series(name: str, metric: names.Metric, values: tuple[str, ...], points: str, **more: str) -> dict[str, str]:
    labels = {**LABELS, **dict(zip(metric.labels, values, strict=True)), **more}
    said = ",".join(f'{label}="{value}"' for label, value in labels.items())
    return {"series": f"{name}{{{said}}}", "values": points}


def answer(promtool: str, interval: str, told: list[dict[str, str]], folder: Path) -> None:
    """Every panel that reads buckets has an answer."""
    asked = [
        {"expr": f"count({filled(query.expr, VALUES)}) > bool 0", "eval_time": "1h",
         "exp_samples": [{"labels": "{}", "value": 1}]}
        for query in OF_BUCKETS
    ]
    tests = [{"interval": interval, "input_series": told, "promql_expr_test": asked}]
    (folder / "test.yaml").write_text(json.dumps({"rule_files": [], "tests": tests}))
    command = [promtool, "test", "rules", "test.yaml"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
