"""Checks what can be seen without the app's interpreter: variables, port, directory."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping

from ..agent import private_directory
from ..agent.protocol import OPTIONS
from ..config import Config, install, port_beside, problems
from ..config.declarative import VARIABLE, settings_of, source
from ..conventions import NEVER
from ..names import GROUPS
from ..run import checks, handover, spawn
from ..run.launch import HOST, PORT, bind
from ..system import descriptors
from .check import BAD_VALUE, FAIL, OK, WARN, Check

# As agent/__main__.py does it.
_IMPORTS = """
import json, sys
sys.path[:0] = [sys.argv[1]]
import streamvitals
sys.path[:] = json.loads(sys.argv[2])
import streamvitals.agent.endpoints, streamvitals.agent.serve
"""
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
IMPORTS_WITHIN = 60.0
SETTINGS_OF = "OpenTelemetry's settings come from"
# Below this a tmpfs is filled by a few dozen processes. Bytes.
ROOM = 16 * 2**20


def check_values(env: Mapping[str, str]) -> Iterator[Check]:
    """Report the variables whose values are not allowed."""
    return (_check(problem) for problem in problems.of_variables(env) if problem.bad_value)


def check_variables(env: Mapping[str, str]) -> Iterator[Check]:
    """Check every variable that is read, names that look like ours and are not, and OTLP endpoints."""
    found = problems.of_variables(env)
    yield from (_check(problem) for problem in found)
    file = source(env).file
    yield Check(OK, f"{SETTINGS_OF} {f'{file} ({VARIABLE})' if file else settings_of(env)}")
    faults = [problem.what for problem in found if not problem.minor]
    if any(problems.of_journal(env.get("STREAMVITALS_JOURNAL", ""))):
        faults.append("STREAMVITALS_JOURNAL")
    # Whole words: one variable's name may begin with another's.
    wrong = {name for what in faults for name in re.findall(r"\w+", what)}
    valid = sorted((problems.known_variables() & env.keys()) - wrong)
    if valid:
        yield Check(OK, "variables set and valid: " + ", ".join(valid))


def check_left_out(config: Config) -> Iterator[Check]:
    """Say which metrics are not shown, since nothing else would tell why they are missing."""
    groups = [group for group, metrics in GROUPS.items() if all(metric.otel in config.left_out for metric in metrics)]
    if groups:
        yield Check(OK, f"left out of the metrics by STREAMVITALS_METRICS: {', '.join(groups)}")


def _check(problem: problems.Problem) -> Check:
    if problem.bad_value:
        return Check(FAIL, problem.what, problem.fix, BAD_VALUE)
    return Check(WARN if problem.minor else FAIL, problem.what, problem.fix)


def check_destinations(config: Config, env: Mapping[str, str]) -> Iterator[Check]:
    """Say where the spans and metrics of streamvitals go by the settings, without asking there."""
    places = {
        where.signal: where.place
        for where in problems.endpoints(source(env).env, config)
        if where.place != "?" and (where.signal != "traces" or config.spans != NEVER)
    }
    for signal, name in (("traces", "spans"), ("metrics", "metrics")):
        yield Check(OK, f"{name} go {f'to {places[signal]}' if signal in places else 'nowhere'} over OTLP")
    if "logs" in places:
        yield Check(OK, f"failures go to {places['logs']} over OTLP, as records of the log")


def check_thresholds(config: Config) -> Iterator[Check]:
    """Say from when on a stream counts as stalled."""
    first, later = config.first_token_stall_after, config.stall_after
    yield Check(OK, f"a stream is stalled after {first:g} s before the first token, {later:g} s between chunks")


def check_journal(config: Config) -> Iterator[Check]:
    """Check whether the journal could be written from here."""
    fd = descriptors.named_by(config.journal)
    if fd is not None and fd > 2:
        yield Check(WARN, f"the journal is the app's descriptor {fd}, which is not known here", "see what `run` says")
        return
    found = list(problems.of_journal(config.journal))
    yield from (_check(problem) for problem in found)
    if config.journal and not found:
        yield from _writable_journal(config.journal)


def _writable_journal(path: str) -> Iterator[Check]:
    fd = descriptors.named_by(path)
    if fd is not None:
        yield Check(OK, f"the journal can be written: it is the app's {('stdin', 'stdout', 'stderr')[fd]}")
    elif os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
        # To try it would show its reader an end.
        what = "the journal is a pipe: whether somebody reads it is not known here, and without that lines are lost"
        yield Check(WARN, what, "start its reader before the app")
    else:
        yield Check(OK, "the journal can be written")


def check_proc() -> Iterator[Check]:
    """Check for the /proc of Linux, which `run` needs."""
    try:
        checks.check_machine()
    except OSError as error:
        yield Check(FAIL, "there is no /proc here", str(error))


def check_agent(env: Mapping[str, str]) -> Iterator[Check]:
    """Check that the agent finds all that it imports, started as `run` starts it."""
    fix = f"install streamvitals anew: {install.here()}"
    arguments = [sys.executable, *OPTIONS, "-c", _IMPORTS, _ROOT, json.dumps(spawn.import_path())]
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter
            arguments, env=spawn.passed(env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace", timeout=IMPORTS_WITHIN, check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        yield Check(FAIL, f"the agent cannot be started: {type(error).__name__}", fix)
        return
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        yield Check(FAIL, f"the agent cannot be started: {why[:200]}", fix)


def check_port(config: Config, env: Mapping[str, str]) -> Iterator[Check]:
    """Check whether /metrics would be where it is expected."""
    left = f" ({config.app_port} is left to the app's own OpenTelemetry exporter)" if config.app_port else ""
    port = config.port
    if port and port == config.app_port:
        port = port_beside(port)
        what = f"port {config.port} is for the app's own OpenTelemetry exporter; streamvitals serves on another"
        yield Check(WARN, what, f"set {PORT} to another than OTEL_EXPORTER_PROMETHEUS_PORT")
    try:
        with bind(config.host, port) as listener:
            got = listener.getsockname()[1]
            unusable, note, _ = checks.who_may_read(config, listener)
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        yield Check(FAIL, f"no port can be opened on {config.host}: {why}", f"set {HOST} to an address of this machine")
        return
    yield from (_check(problem) for problem in unusable)
    if note:
        what, _, fix = note.partition(" -> ")
        yield Check(WARN, what, fix)
    if port in (0, got):
        yield Check(OK, f"port {got} on {config.host} is free{left}")
    elif any(theirs == port for _, theirs in handover.agents(env)):
        yield Check(OK, f"port {port} on {config.host} is free once the agent of an app that has gone leaves it{left}")
    else:
        fix = f"stop what holds it, or set {PORT}"
        yield Check(WARN, f"port {port} on {config.host} is not free: {got} would be taken{left}", fix)


def check_directory(env: Mapping[str, str]) -> Iterator[Check]:
    """Check for a place for the files that processes share with the agent."""
    try:
        path = private_directory.create(env)
    except OSError as error:
        fix = "make /dev/shm or TMPDIR writable"
        yield Check(FAIL, f"no private directory can be made: {error.strerror or error}", fix)
        return
    state = os.statvfs(path)
    private_directory.remove(path)
    free = state.f_bavail * state.f_frsize
    parent = os.path.dirname(path)
    if free < ROOM:
        yield Check(WARN, f"{parent} has {free // 2**20} MiB left", "give it more, as by docker's --shm-size")
    else:
        yield Check(OK, f"{parent} is writable, {free // 2**20} MiB free")
