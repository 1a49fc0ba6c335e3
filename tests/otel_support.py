"""Records to feed sinks with, and scripts in processes of their own; not named test_*."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from otlp_receiver import PATIENCE
from streamvitals.conventions import LATEST
from streamvitals.names import GAP_EDGES
from streamvitals.outcome import Outcome
from streamvitals.store.memory import HeapMemory
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import Attempt, Progress, StreamLabels, StreamRecord, Usage

TESTS = Path(__file__).parent
SRC = TESTS.parent / "src"

LABELS = StreamLabels("chat", "openai", "gpt-4o-mini", "api.example.com")
STARTED = 1_700_000_000.0
CLOCK = 500.0  # the observation's monotonic clock at the request

COMPLETED = StreamRecord(
    labels=LABELS,
    outcome=Outcome.COMPLETED,
    error_type="",
    started=STARTED,
    duration=2.0,
    chunks=20,
    max_gap=0.25,
    wait=1.5,
    hold=0.5,
    stalls=0,
    first_chunk=0.5,
    first_token=0.625,
    last_chunk=1.75,
    bytes_received=4096,
    attempts=(Attempt(1, CLOCK, CLOCK + 2.0, 200),),
    backoff=0.0,
    progress=Progress(LABELS, (0,) * (len(GAP_EDGES) + 1), 0.0, 1.5, 0.5, 0),
    finish_reasons=("stop",),
    response_model="gpt-4o-mini-2024-07-18",
    response_id="chatcmpl-1",
    usage=Usage(10, 18, 4, 2),
    http_status=200,
    url_path="/v1/chat/completions",
    server_port=8443,
    clock_origin=CLOCK,
)


def record(**changes: Any) -> StreamRecord:
    """A completed stream, with changes."""
    return COMPLETED._replace(**changes)


def failed(outcome: Outcome = Outcome.RESET, error_type: str = "connection_reset", **changes: Any) -> StreamRecord:
    """A stream that failed in its only attempt."""
    attempts = (Attempt(1, CLOCK, CLOCK + 2.0, 200, error_type),)
    return record(outcome=outcome, error_type=error_type, **{"attempts": attempts, **changes})


@dataclass
class Config:
    otlp_metrics: bool = True
    conventions: str = LATEST
    spans: str = "auto"
    declared: None = None


class Counted:
    """A store that streams are counted into."""

    def __init__(self, *, conventional: bool = False) -> None:
        self.store = Store(HeapMemory())
        self.sink = StoreSink(self.store, conventional=conventional)

    def take(self) -> Snapshot:
        return self.store.snapshot(now=1000.0)


def run_script(code: str, *, warnings: str = "error", **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program in an interpreter of its own that turns warnings into errors; fails if it does."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "STREAMVITALS_"))}
    clean["PYTHONPATH"] = os.pathsep.join([str(SRC), str(TESTS)])
    done = subprocess.run(
        [sys.executable, "-W", warnings, "-c", textwrap.dedent(code)],
        env={**clean, **env}, capture_output=True, text=True, timeout=2 * PATIENCE, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done
