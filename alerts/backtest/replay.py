"""Replay rules over samples that lie in a real Prometheus.

Recording rules are evaluated level by level: what they give is imported as blocks, as rules give it, before whatever
reads it is evaluated. The expressions of alerting rules are Prometheus' work; `for` and `keep_firing_for` are applied
here as rules/alerting.go applies them.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamvitals.alerts.language import duration, recorded_in

# Prometheus gives at most so many points per series and query.
MOST_POINTS = 10_000
_UNITS = {"d": 86_400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}
_WINDOW = re.compile(r"(?<=[\w})]\[)((?:\d+(?:ms|[dhms]))+)(?=[:\]])")

Rule = Mapping[str, Any]
Labels = tuple[tuple[str, str], ...]
Points = dict[Labels, list[tuple[float, float]]]


@dataclass(frozen=True)
class Firing:
    """One alert, from its first firing to the last; times in Unix seconds."""

    alert: str
    severity: str
    labels: Labels
    start: float
    end: float


def seconds(text: str) -> float:
    """Parse a duration as Prometheus writes it."""
    return sum(int(number) * _UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[dhms])", text))


class Prometheus:
    """A data directory, and the Prometheus that serves it, started again as need be. ``step`` is in seconds."""

    def __init__(self, directory: Path, step: float) -> None:
        self.directory, self.step = directory, step
        self.data = directory / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._url = ""

    def add(self, samples: Path) -> None:
        """Import OpenMetrics. Not while it serves. Raises CalledProcessError with what promtool says."""
        self.stop()
        command = ["promtool", "tsdb", "create-blocks-from", "openmetrics", "--max-block-duration=504h", "-q"]
        subprocess.run([*command, samples, self.data], check=True, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        config = self.directory / "prometheus.yaml"
        config.write_text("{}\n")
        self._url = f"http://127.0.0.1:{port}"
        with open(self.directory / "prometheus.log", "ab") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus", f"--config.file={config}", f"--storage.tsdb.path={self.data}",
                    f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.retention.time=100y",
                    "--query.max-samples=2000000000", "--query.timeout=15m",
                    # What is not given at a step is gone, as when a rule or a scrape leaves a stale marker.
                    f"--query.lookback-delta={self.step - 1:.0f}s",
                ],
                stdout=log, stderr=log,
            )
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self._url}/-/ready", timeout=5):
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Prometheus did not start, see {self.directory}/prometheus.log")
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def query(self, expr: str, begin: float, end: float) -> Points:
        """Evaluate an expression at every step. Raises RuntimeError with Prometheus' error."""
        if self._process is None:
            self.start()
        found: Points = {}
        while begin < end:
            until = min(end, begin + MOST_POINTS * self.step)
            asked = {"query": expr, "start": begin, "end": until - self.step, "step": self.step, "timeout": "15m"}
            body = urllib.parse.urlencode(asked).encode()
            try:
                with urllib.request.urlopen(f"{self._url}/api/v1/query_range", body, timeout=900) as answer:
                    data = json.load(answer)["data"]["result"]
            except urllib.error.HTTPError as error:
                raise RuntimeError(f"{expr}: {error.read().decode()}") from error
            for series in data:
                labels = tuple(sorted((k, v) for k, v in series["metric"].items() if k != "__name__"))
                found.setdefault(labels, []).extend((float(t), float(v)) for t, v in series["values"])
            begin = until
        # Either side of `a or b` may be there at a time: two series here, one to whoever drops the name, as rules do.
        return {labels: sorted(points) for labels, points in found.items()}


    def cost(self, expr: str, at: float) -> tuple[int, int]:
        """Count the series that one evaluation gives, and the samples that it touches, as Prometheus does."""
        if self._process is None:
            self.start()
        asked = urllib.parse.urlencode({"query": expr, "time": at, "stats": "all"})
        with urllib.request.urlopen(f"{self._url}/api/v1/query?{asked}", timeout=900) as answer:
            data = json.load(answer)["data"]
        return len(data["result"]), int(data["stats"]["samples"]["totalQueryableSamples"])


@contextlib.contextmanager
def prometheus(directory: Path, step: float, samples: Path) -> Iterator[Prometheus]:
    """Serve these samples; the Prometheus is stopped and removed afterwards."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    server = Prometheus(directory, step)
    try:
        server.add(samples)
        yield server
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def left_open(rules: Sequence[Rule]) -> list[Rule]:
    """Make an older Prometheus read the rules as Prometheus 3 does, by windows a millisecond shorter.

    There a sample exactly at the beginning of a window is no part of it:
    https://prometheus.io/docs/prometheus/3.0/migration/
    """
    return [{**rule, "expr": _WINDOW.sub(lambda w: duration(seconds(w[1]) - 0.001), rule["expr"])} for rule in rules]


def levels(records: Sequence[Rule]) -> Iterator[list[Rule]]:
    """Sort the recording rules into levels: first those that read nothing recorded."""
    done: set[str] = set()
    left = list(records)
    while left:
        names = {rule["record"] for rule in left}
        ready = [rule for rule in left if not (recorded_in(rule["expr"]) & names - {rule["record"]})]
        if not ready:
            raise ValueError(f"rules that read each other: {sorted(names)}")
        yield ready
        done |= {rule["record"] for rule in ready}
        left = [rule for rule in left if rule not in ready]


def replay(server: Prometheus, rules: Sequence[Rule], begin: float, end: float) -> list[Firing]:
    """Evaluate all rules at every step, and say what fired when."""
    for level in levels([rule for rule in rules if "record" in rule]):
        # In the order of time, as the importer wants them.
        lines: dict[float, list[str]] = defaultdict(list)
        for rule in level:
            for labels, points in server.query(rule["expr"], begin, end).items():
                head = rule["record"] + "{" + ",".join(f"{k}={json.dumps(v)}" for k, v in labels) + "} "
                for at, value in points:
                    lines[at].append(f"{head}{value!r} {at:.0f}\n")
        if not lines:
            continue
        path = server.directory / "recorded.om"
        with open(path, "w") as file:
            for at in sorted(lines):
                file.writelines(lines[at])
            file.write("# EOF\n")
        server.add(path)
        path.unlink()
    found = []
    for rule in rules:
        if "alert" in rule:
            for labels, points in server.query(rule["expr"], begin, end).items():
                times = [at for at, _ in points]
                for_, keep_firing_for = (seconds(rule.get(name, "0s")) for name in ("for", "keep_firing_for"))
                for first, last in firings(times, server.step, for_, keep_firing_for):
                    found.append(Firing(rule["alert"], rule["labels"]["severity"], labels, first, last))
    return sorted(found, key=lambda firing: firing.start)


def firings(times: Sequence[float], step: float, for_: float, keep_firing_for: float) -> Iterator[tuple[float, float]]:
    """Find from when to when an alert fires, if its expression is true at these times."""
    active = fires_since = last = None
    for now in times:
        if last is not None and now > last + step:
            # Not true in between: a pending alert is forgotten, a firing one lasts a while.
            if fires_since is not None and now - (last + step) >= keep_firing_for:
                yield fires_since, last + step + keep_firing_for
                fires_since = None
            if fires_since is None:
                active = None
        active = now if active is None else active
        if fires_since is None and now - active >= for_:
            fires_since = now
        last = now
    if fires_since is not None and last is not None:
        yield fires_since, last + step + keep_firing_for
