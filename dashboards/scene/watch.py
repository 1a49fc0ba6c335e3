"""A Prometheus that scrapes the fleet every second, with faster rules, and an Alertmanager."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from streamvitals.alerts.objectives import Objectives
from streamvitals.export.rules import FILE, render

from .processes import SceneError, ended, free_port, until_answered

# A minute of the rules is two and a half seconds.
SPEED = 24.0
# Debian calls it after its package; upstream just alertmanager.
ALERTMANAGERS = ("prometheus-alertmanager", "alertmanager")


def missing() -> list[str]:
    found = {"prometheus": shutil.which("prometheus"), "prometheus-alertmanager": _alertmanager()}
    return [name for name, path in found.items() if path is None]


def _alertmanager() -> str | None:
    return next((path for name in ALERTMANAGERS if (path := shutil.which(name))), None)


@contextlib.contextmanager
def watching(folder: Path, jobs: Mapping[str, Sequence[tuple[str, int]]]) -> Iterator[str]:
    """Start both, and give Prometheus's address. ``jobs`` has instances and their ports by job. Raises SceneError."""
    if missing():
        raise SceneError(f"not installed: {', '.join(missing())}")
    at, manager = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    (folder / FILE).write_text(render(Objectives(speed=SPEED)))
    (folder / "prometheus.yaml").write_text(json.dumps(_config(jobs, manager)))
    (folder / "alertmanager.yaml").write_text(json.dumps({
        "route": {"receiver": "nobody", "group_by": ["alertname", "job"]}, "receivers": [{"name": "nobody"}],
    }))
    commands = {
        f"http://{manager}": [
            str(_alertmanager()), "--config.file=alertmanager.yaml", "--storage.path=alertmanager",
            "--cluster.listen-address=", f"--web.listen-address={manager}",
        ],
        f"http://{at}": [
            "prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=data", f"--web.listen-address={at}",
            "--enable-feature=exemplar-storage",
        ],
    }
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(folder / "watch.log", "ab"))
        for url, command in commands.items():
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            stack.callback(ended, process)
            until_answered(f"{url}/-/ready", f"{command[0]}, see {folder}/watch.log")
        yield f"http://{at}"


def _config(jobs: Mapping[str, Sequence[tuple[str, int]]], manager: str) -> dict[str, object]:
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": [FILE],
        "scrape_configs": [
            {
                "job_name": job,
                "static_configs": [
                    {"targets": [f"127.0.0.1:{port}"], "labels": {"instance": name}} for name, port in instances
                ],
            }
            for job, instances in jobs.items()
        ],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [manager]}]}]},
    }
