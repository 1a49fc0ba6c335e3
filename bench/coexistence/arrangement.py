"""Two observers in one process: in which order, started how. Runs child.py so arranged, and compares."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .expected import OUTLIVING, expected

CHILD = Path(__file__).with_name("child.py")
SOURCES = Path(__file__).resolve().parents[2] / "src"
TIMEOUT = 300.0  # seconds
# Of the peer's own spans, what says when and where and differs from run to run.
_ADDRESS = re.compile(r"0x[0-9a-f]+")
_VARYING = ("id", "seed", "created", "time", "duration", "thread", "port", "request_id", "start", "chunks")


class Arrangement(NamedTuple):
    """``how`` we are started: run, instrument, or by opentelemetry-instrument, inside run or alone."""

    how: str
    order: str = "peer-last"

    @property
    def title(self) -> str:
        return self.how + (f", {self.order}" if self.how in ("run", "instrument") else "")


ORDERS = ("peer-first", "peer-last")
IN_CODE = tuple(Arrangement(how, order) for how in ("run", "instrument") for order in ORDERS)
ALONE = Arrangement("opentelemetry-instrument")
INSIDE = Arrangement("run opentelemetry-instrument")
AUTOMATIC = (ALONE, INSIDE)


@dataclass
class Seen:
    """One run: what the app saw by act, the spans of others, our spans' outcomes and our records'."""

    views: dict[str, Any] = field(default_factory=dict)
    theirs: list[Any] = field(default_factory=list)
    our_spans: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    output: str = ""


def run(
    python: Path, base_url: str, peer: str, arrangement: Arrangement | None, reference: Arrangement,
    acts: Sequence[str] = (), peers: Sequence[str] = (),
) -> Seen:
    """Run the child with ``peer``, and with us if ``arrangement`` is given; else as the reference to it."""
    how = arrangement or reference
    automatic = "opentelemetry-instrument" in how.how
    with tempfile.TemporaryDirectory() as folder:
        out, journal = Path(folder, "out.json"), Path(folder, "journal")
        told = {
            "peer": "" if automatic else peer, "order": how.order, "base_url": base_url, "out": str(out),
            "ours": "instrument" if arrangement and how.how == "instrument" else "", "acts": list(acts),
            "all": list(peers), "automatic": automatic,
        }
        command = [str(python), str(CHILD), json.dumps(told)]
        env = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "STREAMVITALS_", "OPENAI_", "PYTHON"))}
        env |= {"NO_PROXY": "127.0.0.1", "TRACELOOP_TRACE_CONTENT": "false"}
        if automatic:
            command = [str(python.with_name("opentelemetry-instrument")), *command]
            env |= dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"), "none")
            if not arrangement:
                env["OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"] = "streamvitals"
        if arrangement:
            env |= {"STREAMVITALS_JOURNAL": str(journal), "STREAMVITALS_LINGER_SECONDS": "0"}
            env |= {"STREAMVITALS_QUIET": "true"}  # what is compared is what the others do
            if how.how == "instrument":
                env["PYTHONPATH"] = str(SOURCES)
            if how.how.startswith("run"):
                own = Path(sys.executable).with_name("streamvitals")
                command = [str(own), "run", "--host", "127.0.0.1", "--port", "0", "--", *command]
        done = subprocess.run(
            command, env=env, timeout=TIMEOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )
        if done.returncode or not out.exists():
            raise RuntimeError(f"{peer}, {how.title}: exit code {done.returncode}\n{done.stdout[-3000:]}")
        # Warnings name the file they are of, and the reference may have run in another environment.
        said = done.stdout.replace(str(python.parent.parent), "ENVIRONMENT")
        return _seen(json.loads(out.read_text()), journal, said)


def _seen(told: dict[str, Any], journal: Path, output: str) -> Seen:
    spans = sorted(told["spans"], key=lambda span: span["start"])
    ours = [s["attributes"]["streamvitals.outcome"] for s in spans if "streamvitals.outcome" in s["attributes"]]
    lines = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    return Seen(
        told["views"], [_constant(s) for s in spans if s["scope"] != "streamvitals"], ours,
        [line["outcome"] for line in sorted(lines, key=lambda line: line["time"])], output,
    )


def _constant(span: dict[str, Any]) -> str:
    kept = {
        name: value for name, value in span["attributes"].items()
        if not any(word in name.replace("_", ".").split(".") for word in _VARYING) and not isinstance(value, float)
        and not name.startswith("streamvitals.")  # our facts, on a span that is theirs
    }
    said = [span[name] for name in ("scope", "name", "status", "parent")]
    said.append([name for name in span["events"] if name not in ("retry", "stall")])
    return _ADDRESS.sub("0x", json.dumps([*said, kept], sort_keys=True))


def differences(alone: Seen, both: Seen, acts: Sequence[str], spans_expected: bool) -> list[str]:
    """What is wrong of a run with both, in words: our counts, the app's view, the peer's spans, our spans."""
    wrong = []
    wanted = owed(alone, acts)
    outcomes = [outcome for _, outcome in wanted]
    if both.records != outcomes:
        pairs = zip(wanted, both.records, strict=False)
        wrong.append(
            f"{len(both.records)} records for {len(wanted)} streams; "
            f"{[(name, o, got) for (name, o), got in pairs if o != got][:6]}"
        )
    told = Counter(both.our_spans)
    must = Counter(outcome for act, outcome in wanted if act.split()[1] not in OUTLIVING)
    if spans_expected and (must - told or told - Counter(outcomes)):
        wrong.append(f"our spans: {dict(Counter(both.our_spans))} for {dict(Counter(outcomes))}")
    for act, view in alone.views.items():
        if both.views.get(act) != view:
            wrong.append(f"{act}: the app saw {_first(view, both.views.get(act))}")
    missing, more = Counter(alone.theirs) - Counter(both.theirs), Counter(both.theirs) - Counter(alone.theirs)
    if missing or more:
        wrong.append(f"the peer's spans: without us {list(missing)[:2]}, with us {list(more)[:2]}")
    if both.output != alone.output:
        wrong.append(f"output: without us {alone.output[-300:]!r}, with us {both.output[-300:]!r}")
    return wrong


def owed(alone: Seen, acts: Sequence[str]) -> list[tuple[str, str]]:
    """Act and outcome. Where the peer alone hands the app something that it cannot read, it reads nothing."""
    return [
        (act, "abandoned" if _unreadable(alone.views.get(act)) else outcome) for act, outcome in expected(acts)
    ]


def _unreadable(view: Any) -> bool:
    return bool(view) and view[0][0] in ("builtins.AttributeError", "builtins.TypeError")


def _first(alone: Any, both: Any) -> str:
    """Where two views part."""
    if not isinstance(both, list) or not isinstance(alone, list):
        return f"{alone} without us, {both} with us"
    for at, (a, b) in enumerate(zip(alone, both, strict=False)):
        if a != b:
            return f"{a} without us, {b} with us (number {at})"
    return f"{len(alone)} things without us, {len(both)} with us: {(alone[len(both):] or both[len(alone):])[:2]}"
