"""Prometheus and Alertmanager as they are, with rules that were made faster, and a receiver that keeps what it gets."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml

from run_support import answered, eventually, free_port, get
from streamvitals.alerts.language import Language
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.ruleset import every_rule
from streamvitals.export.rules import FILE, render

EXAMPLES = Path(__file__).parents[2] / "alerts"
# A minute is two and a half seconds.
SPEED = 24.0
OBJECTIVES = Objectives(
    speed=SPEED, runbook_url="https://wiki.example.com/llm", dashboard_url="https://grafana.example.com"
)
_RULES = {rule["alert"]: rule for rule in every_rule(OBJECTIVES) if "alert" in rule}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Receiver:
    """Keeps every notification, by path, with the time that it came."""

    def __init__(self) -> None:
        self.got: list[tuple[str, float, dict[str, Any]]] = []
        kept = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                kept.append((self.path, time.monotonic(), body))
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever)

    def at(self, path: str, status: str = "") -> list[dict[str, Any]]:
        """The bodies that came at a path; of ``status`` only, where given."""
        return [body for where, _, body in list(self.got) if where == path and status in ("", body.get("status"))]

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def faster(value: Any, speed: float = SPEED) -> Any:
    """The example's configuration with every duration divided by ``speed``."""
    if isinstance(value, dict):
        return {k: faster(v, speed) for k, v in value.items()}
    if isinstance(value, list):
        return [faster(v, speed) for v in value]
    found = re.fullmatch(r"(\d+)([smhd])", value) if isinstance(value, str) else None
    return f"{max(100, round(int(found[1]) * _SECONDS[found[2]] * 1000 / speed))}ms" if found else value


def alertmanager_config(folder: Path, port: int, speed: float = SPEED) -> Path:
    """The example, faster, with its addresses and with Slack beside the webhook of the pager."""
    config = faster(yaml.safe_load((EXAMPLES / "alertmanager.example.yaml").read_text()), speed)
    for receiver in config["receivers"]:
        for hook in receiver.get("webhook_configs", ()):
            hook["url"] = hook["url"].replace("127.0.0.1:9095", f"127.0.0.1:{port}")
    config["receivers"][0]["slack_configs"] = [{
        "api_url": f"http://127.0.0.1:{port}/slack", "channel": "#llm-streams", "send_resolved": True,
        "title": '{{ template "streamvitals.title" . }}', "text": '{{ template "streamvitals.text" . }}',
    }]
    shutil.copy(EXAMPLES / "streamvitals.tmpl", folder)
    (folder / "alertmanager.yaml").write_text(json.dumps(config))
    return folder / "alertmanager.yaml"


class Alertmanager:
    """One that nobody but the test tells of alerts, and that notifies ``receiver``."""

    def __init__(
        self, folder: Path, receiver: Receiver, program: str, speed: float, config: Path | None = None
    ) -> None:
        self._folder = folder
        config = config or alertmanager_config(folder, receiver.port, speed)
        self.url = f"http://127.0.0.1:{free_port()}"
        self._command = [
            program, f"--config.file={config}", f"--storage.path={folder / 'alertmanager'}",
            "--cluster.listen-address=", f"--web.listen-address={self.url.removeprefix('http://')}",
        ]
        self._began: dict[str, float] = {}

    def tell(self, *alerts: str, over: bool = False) -> None:
        """These alerts fire, or are over; a ticket's name after a slash is what the alert says of it."""
        now, told = time.time(), []
        for text in alerts:
            name, _, ticket = text.partition("/")
            rule = _RULES[name]
            ticket = ticket or rule["labels"].get("ticket", "")
            labels = {"alertname": name, "job": "chat", **rule["labels"]} | ({"ticket": ticket} if ticket else {})
            told.append({
                "labels": labels, "annotations": {"summary": name},
                "startsAt": _rfc3339(self._began.setdefault(text, now)), "endsAt": _rfc3339(now + (0 if over else 600)),
            })
        self.send(told)

    def send(self, told: list[dict[str, Any]]) -> None:
        """Tell of alerts as Prometheus would."""
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts", json.dumps(told).encode(), {"content-type": "application/json"}
        )
        urllib.request.urlopen(request, timeout=10).close()

    @contextlib.contextmanager
    def running(self) -> Iterator[Alertmanager]:
        with open(self._folder / "log", "ab") as log:
            process = subprocess.Popen(self._command, stdout=log, stderr=log, cwd=self._folder)
            try:
                eventually(lambda: answered(self.url + "/-/ready"), f"{self._command[0]}, see {self._folder}/log")
                yield self
            finally:
                process.terminate()
                process.wait()


def _rfc3339(unix: float) -> str:
    return datetime.fromtimestamp(unix, timezone.utc).isoformat()


class Watch:
    """A Prometheus that scrapes these ports, and an Alertmanager that notifies ``receiver``."""

    def __init__(
        self, folder: Path, targets: Sequence[int], receiver: Receiver, programs: tuple[str, str]
    ) -> None:
        self.folder = folder
        self._prometheus, self._alertmanager = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
        (folder / FILE).write_text(render(OBJECTIVES))
        scrape = {
            "job_name": "chat", "scrape_interval": "1s", "scrape_timeout": "1s",
            "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in targets]}],
        }
        managers = [{"static_configs": [{"targets": [self._alertmanager.removeprefix("http://")]}]}]
        config = {
            "rule_files": [FILE], "scrape_configs": [scrape], "alerting": {"alertmanagers": managers},
        }
        (folder / "prometheus.yaml").write_text(json.dumps(config))
        self._commands = [
            [
                programs[1], f"--config.file={alertmanager_config(folder, receiver.port)}",
                f"--storage.path={folder / 'alertmanager'}", "--cluster.listen-address=",
                f"--web.listen-address={self._alertmanager.removeprefix('http://')}",
            ],
            [
                programs[0], f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self._prometheus.removeprefix('http://')}",
                # Alertmanager drops what fires in its first seconds: it is told again soon.
                "--rules.alert.resend-delay=2s",
            ],
        ]

    def query(self, expr: str) -> list[dict[str, Any]]:
        """An instant query, in which `$fast` and so on may be said."""
        text = urllib.parse.urlencode({"query": Language(OBJECTIVES).fill(expr)})
        return list(json.loads(get(f"{self._prometheus}/api/v1/query?{text}"))["data"]["result"])

    def value(self, expr: str) -> float:
        """The one value of a query, 0 where there is none."""
        found = self.query(expr)
        return float(found[0]["value"][1]) if found else 0.0

    def silenced_by(self, alert: str) -> list[str]:
        """Which alerts inhibit this one; none also where it does not fire."""
        known = json.loads(get(f"{self._alertmanager}/api/v2/alerts"))
        return [by for a in known if a["labels"]["alertname"] == alert for by in a["status"]["inhibitedBy"]]

    @contextlib.contextmanager
    def running(self) -> Iterator[Watch]:
        with contextlib.ExitStack() as stack:
            log = stack.enter_context(open(self.folder / "log", "ab"))
            for command, url in zip(self._commands, (self._alertmanager, self._prometheus), strict=True):
                process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.folder)
                stack.callback(process.wait)
                stack.callback(process.terminate)
                eventually(lambda url=url: answered(url + "/-/ready"), f"{command[0]}, see {self.folder}/log")  # type: ignore[misc]
            yield self
