"""A Prometheus of a test's own; not named test_*."""

from __future__ import annotations

import contextlib
import json
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dashboards.scene.processes import ended, free_port, until_answered


@contextlib.contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    """A Prometheus that scrapes this port every second, and its address."""
    folder.mkdir()
    at = f"127.0.0.1:{free_port()}"
    scrape = {"job_name": "chat", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    (folder / "prometheus.yaml").write_text(json.dumps(
        {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
    ))
    command = [
        "prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={at}",
    ]
    with open(folder / "log", "ab") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        until_answered(f"http://{at}/-/ready", f"prometheus, see {folder}/log")
        yield f"http://{at}"
    finally:
        ended(process)


def answer(address: str, expression: str) -> list[dict[str, Any]]:
    """What it answers to an expression: the series with a value each."""
    query = urllib.parse.urlencode({"query": expression})
    with urllib.request.urlopen(f"{address}/api/v1/query?{query}") as said:
        found: list[dict[str, Any]] = json.load(said)["data"]["result"]
    return found
