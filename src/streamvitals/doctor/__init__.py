"""`streamvitals doctor`: reports what is there, what would not work, and how to fix it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..agent.endpoints import ask
from ..config import Config
from ..config.declarative import source
from ..config.problems import Problem, endpoints_to_ask
from ..run.launch import read_config
from .check import FAIL, OK, WARN, Check
from .command import find_interpreter
from .container import check_host
from .interpreter import check_connection, check_interpreter, check_openai_only
from .machine import (
    check_agent,
    check_destinations,
    check_directory,
    check_journal,
    check_left_out,
    check_port,
    check_proc,
    check_thresholds,
    check_variables,
)


def examine(command: Sequence[str], env: Mapping[str, str], *, connect: float | None = None) -> list[Check]:
    """Check the environment and, where one is given, the command that is to be run.

    ``connect`` is how long the configured servers may take to answer, in seconds; None: they are not asked.
    One cause is one line: where it keeps all from being watched, nothing is guessed from that.
    """
    checks = [*check_variables(env)]
    config = read_config(env, command)
    if config.disabled:
        what = "OTEL_SDK_DISABLED=true" if not source(env).file else "OTEL_CONFIG_FILE disables it"
        return [*checks, Check(WARN, f"{what}: apps are run but not watched", "unset it")]
    checks += check_destinations(config, env)
    hindered = [*check_proc()] or [check for check in check_directory(env) if check.status == FAIL]
    hindered = hindered or [*check_agent(env)]
    checks += hindered or [*check_port(config, env), *check_host(config, env), *check_directory(env)]
    checks += [*check_left_out(config), *check_thresholds(config), *check_journal(config)]
    if connect is not None:
        checks += _ask_collectors(env, config, connect, checks)
    found = list(find_interpreter(command, env))
    checks += [item for item in found if isinstance(item, Check)]
    for interpreter in found:
        if not isinstance(interpreter, Check):
            checks += (check_openai_only if hindered else check_interpreter)(interpreter, config, env)
            if connect is not None:
                checks.append(check_connection(interpreter, env, connect))
    return checks


def _ask_collectors(
    env: Mapping[str, str], config: Config, timeout: float, before: Sequence[Check]
) -> Iterator[Check]:
    """Try whether each endpoint takes an export, unless a fault of one was reported above."""
    known = [Problem(check.what, check.mend) for check in before]
    for where in endpoints_to_ask(env, config, known):
        problem = ask(where, source(env).env, timeout)
        if problem is None:
            yield Check(OK, f"{where.place} takes OTLP {where.signal}")
        else:
            yield Check(FAIL, problem.what, problem.fix)
