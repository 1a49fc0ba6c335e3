"""`streamvitals doctor`: what is there, what would not work, and how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .check import Check
from .command import find_interpreter
from .interpreter import check_connection, check_interpreter
from .machine import check_directory, check_port, check_variables, usable_config


def examine(command: Sequence[str], env: Mapping[str, str], *, connect: float | None = None) -> list[Check]:
    """Everything about the environment and, where given, the command that is to be run.

    ``connect`` is how long the configured server may take to answer, in seconds; None: it is not asked.
    """
    checks = [*check_variables(env)]
    config = usable_config(env)
    checks += [*check_port(config), *check_directory(env)]
    found = list(find_interpreter(command, env))
    checks += [item for item in found if isinstance(item, Check)]
    for interpreter in found:
        if not isinstance(interpreter, Check):
            checks += check_interpreter(interpreter, config, env)
            if connect is not None:
                checks.append(check_connection(interpreter, env, connect))
    return checks
