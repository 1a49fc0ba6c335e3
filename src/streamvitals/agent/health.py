"""The answer to /healthz: what runs, and everything that is known not to work."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from .. import names
from .._version import __version__
from ..config.problems import Problem
from ..store.layout import PROCESS_LAYOUT
from ..store.segment import Identity
from ..store.snapshot import Build
from .foreign import NotCounted
from .monitor import MAX_LISTED, Health

OK, DEGRADED = "ok", "degraded"
NO_ROOM = "give /dev/shm, or TMPDIR, more room, and start the process again"
NOT_PATCHED = "openai {} is not supported, or another tool has changed it"


def report(
    state: Health, builds: Mapping[Identity, Build | None], problems: Sequence[Problem], *,
    not_counted: Sequence[NotCounted], agent_faults: int, counted: Sequence[float], started: float, url: str,
    settings: str,
) -> dict[str, object]:
    """Make the answer.

    ``status`` is "ok" only if no other field reports a problem; ``counted`` is a row of PROCESS_LAYOUT. ``settings``
    says where OpenTelemetry's settings come from.
    """
    faults = dict(state.faults)
    for identity, build in builds.items():
        if build is not None and build[2] == "false":
            faults.setdefault(identity.pid, NOT_PATCHED.format(build[1]))
    missing = [*(NotCounted(pid, error, NO_ROOM) for pid, error in state.unseen), *not_counted]
    internal = _internal_errors(counted)
    fine = not (problems or faults or state.unreported or missing or internal or agent_faults)
    return {
        "status": OK if fine else DEGRADED,
        "version": __version__,
        "url": url,
        "settings": settings,
        "uptime_seconds": round(time.time() - started, 1),
        "agent_pid": os.getpid(),
        "agent_faults": agent_faults,
        "processes": {"seen": state.seen, "alive": state.alive},
        "not_reporting": [process._asdict() for process in state.unreported],
        "not_counting": [process._asdict() for process in missing[:MAX_LISTED]],
        "not_patched": [{"pid": pid, "error": error} for pid, error in sorted(faults.items())[:MAX_LISTED]],
        "sdk": [{"openai": version, "patched": patched == "true", "processes": count}
                for (version, patched), count in sorted(_running(builds).items())][:MAX_LISTED],
        "internal_errors": internal,
        "problems": [{"what": problem.what, "mend": problem.fix} for problem in problems[:MAX_LISTED]],
    }


def _running(builds: Mapping[Identity, Build | None]) -> Counter[tuple[str, str]]:
    return Counter(build[1:] for build in builds.values() if build is not None)


def _internal_errors(row: Sequence[float]) -> dict[str, float]:
    """Our own errors inside the app's processes, by place."""
    counted = {}
    for where in names.INTERNAL_PLACES:
        count = row[PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, where)]
        if count:
            counted[where] = count
    return counted
