"""Runs a recipe, bare or behind ``streamvitals run``, and collects everything that can be seen of it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from .truth import Truth, read

STREAMVITALS = Path(sys.executable).with_name("streamvitals")
TIMEOUT = 300.0  # seconds; a recipe takes 30 at most
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open

# What differs from run to run, whoever watches.
_VARYING = tuple(
    (re.compile(pattern), to)
    for pattern, to in (
        (r"tmp\.\w{6}", "tmp.X"),
        (r"(127\.0\.0\.1|localhost):\d+", r"\1:PORT"),
        (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d([.,]\d+)?", "TIME"),
        (r"\b\d\d:\d\d:\d\d([.,]\d+)?\b", "TIME"),
        (r"0x[0-9a-fA-F]+", "0xADDRESS"),
        (r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b|\b[0-9a-f]{32}\b", "UUID"),
        (r"\b(created|created_at|pid|thread)(\W+)\d+", r"\1\2N"),
        (r"\d+ worker pids", "N worker pids"),  # which of them answers is the kernel's choice
        (r"\[\d+\]", "[N]"),
        (r"\b\d{12,}\b", "N"),  # an id() in words
        (r"\b\d+\.\d+ ?(s|ms|seconds)\b", "DURATION"),
    )
)
# Frames of tracebacks, plain and boxed: ours is among them, and is meant to be.
_FRAME = re.compile(r"^(  File |    |\s*[│╭╰]|  \+|  \|)")


@dataclass
class Sight:
    """One run: the app's view, and the server's."""

    status: int
    output: list[str]
    truth: Truth


@dataclass
class Report:
    """What was reported of one run."""

    journal: Counter[str] = field(default_factory=Counter)
    streams: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    retries: dict[str, Counter[str]] = field(default_factory=lambda: {"sdk": Counter(), "app": Counter()})
    recoveries: Counter[str] = field(default_factory=Counter)
    stalls: int = 0
    operations_failed: int = 0
    fallbacks: int = 0
    faults: int = 0
    wrong: list[str] = field(default_factory=list)

    def __add__(self, other: Report) -> Report:
        return Report(
            self.journal + other.journal, self.streams + other.streams, self.errors + other.errors,
            {source: counts + other.retries[source] for source, counts in self.retries.items()},
            self.recoveries + other.recoveries, self.stalls + other.stalls,
            self.operations_failed + other.operations_failed, self.fallbacks + other.fallbacks,
            self.faults + other.faults, [*self.wrong, *other.wrong],
        )


def bare(recipe: Path, mode: str, env: Mapping[str, str], log: Path) -> Sight:
    """Run it as it is."""
    return _run(recipe, mode, [], env, log)


def watched(recipe: Path, mode: str, env: Mapping[str, str], log: Path) -> tuple[Sight, Report]:
    """Run it behind ``streamvitals run``, and ask the agent when it has ended."""
    journal = log.with_suffix(".journal")
    journal.unlink(missing_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ours = {
        "STREAMVITALS_JOURNAL": str(journal), "STREAMVITALS_LINGER_SECONDS": "60", "STREAMVITALS_STALL_SECONDS": "1",
        "STREAMVITALS_QUIET": "true",  # what is compared is what the application says
    }
    prefix = [str(STREAMVITALS), "run", "--host", "127.0.0.1", "--port", str(port), "--"]
    sight = _run(recipe, mode, prefix, {**env, **ours}, log)
    report = Report()
    for line in journal.read_text().splitlines() if journal.exists() else ():
        report.journal[json.loads(line)["outcome"]] += 1
    try:
        _ask(f"http://127.0.0.1:{port}", report)
    except OSError as error:
        report.wrong.append(f"no agent: {error}")
    return sight, report


def _run(recipe: Path, mode: str, prefix: list[str], env: Mapping[str, str], log: Path) -> Sight:
    log.parent.mkdir(parents=True, exist_ok=True)
    own = ("OTEL_", "STREAMVITALS_", "OPENAI_", "PYTHON", "VIRTUAL_ENV")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
    done = subprocess.run(
        [recipe, mode, *prefix], cwd=log.parent, env={**inherited, **env, "FAKE_LOG": str(log), "STALL": "2"},
        timeout=TIMEOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )
    return Sight(done.returncode, normalized(done.stdout), read(log))


def normalized(text: str) -> list[str]:
    """Output without what varies, and without the frames of tracebacks."""
    for pattern, to in _VARYING:
        text = pattern.sub(to, text)
    return [line.rstrip() for line in text.splitlines() if line.strip() and not _FRAME.match(line)]


def _ask(url: str, report: Report) -> None:
    with _open(url + "/healthz", timeout=10) as answer:
        health = json.load(answer)
    with _open(url + "/metrics", timeout=10) as answer:
        text = answer.read().decode()
    if health["agent_faults"] or health["not_patched"]:
        report.wrong.append(f"agent: {health}")
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name, labels, value = sample.name.removeprefix("streamvitals_"), sample.labels, int(sample.value)
            if name == "build_info":
                if labels["patched"] != "true":
                    report.wrong.append(f"not patched: {labels}")
            elif not value:
                continue
            elif name == "streams_total":
                report.streams[labels["outcome"]] += value
            elif name == "stream_errors_total":
                report.errors[labels["error_type"]] += value
            elif name == "retries_total":
                report.retries[labels["source"]][labels["reason"]] += value
            elif name == "recoveries_total":
                report.recoveries[labels["source"]] += value
            elif name == "stalls_total":
                report.stalls += value
            elif name == "operations_failed_total":
                report.operations_failed += value
            elif name == "fallbacks_total":
                report.fallbacks += value
            elif name == "internal_errors_total":
                report.faults += value
                report.wrong.append(f"{value} internal errors: {labels}")
            elif name in ("streams_active", "streams_stalled"):
                report.wrong.append(f"{name} is {value}")
    with contextlib.suppress(OSError):
        os.kill(health["agent_pid"], signal.SIGTERM)
