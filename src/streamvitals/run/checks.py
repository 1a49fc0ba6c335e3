"""Finds what will not work before the app starts, for stderr and for the agent."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence

from ..agent import web_config
from ..config import Config
from ..config import problems as found
from ..config.problems import Problem
from ..sdk.versions import OPENAI
from ..system import console
from . import interpreter

# Most lines that are printed; /healthz has all problems.
MOST_LINES = 12
WITHOUT_PROC = (
    "`streamvitals run` and its agents need /proc of Linux; here, call streamvitals.instrument() in the program: "
    "its own /metrics, spans, log and journal work, and so do the commands report, faults, alerts and dashboards"
)


def check_machine() -> None:
    """Raise OSError where there is no /proc, as on macOS: the agent finds the app's processes there."""
    if not os.path.exists("/proc/self/stat"):
        raise OSError(WITHOUT_PROC)


def find_problems(command: Sequence[str], config: Config, env: Mapping[str, str]) -> list[Problem]:
    """Find every problem that can be found without using the network or starting a Python."""
    return [
        *_safely(lambda: found.of_variables(env)),
        *_safely(lambda: found.of_exporter(config, sys.path)),
        *_safely(lambda: found.of_journal(config.journal)),
        *_safely(lambda: of_sdk(command, env)),
    ]


def _safely(find: Callable[[], Iterable[Problem]]) -> list[Problem]:
    try:
        return list(find())
    except Exception:  # noqa: BLE001  a fault here is no reason not to watch the app
        return []


def of_sdk(command: Sequence[str], env: Mapping[str, str]) -> Iterable[Problem]:
    """Whether the Python that the command starts lacks openai, as far as its folders show."""
    python = interpreter.find(command, env) if command else None
    if python is not None and interpreter.lacks("openai", python, env):
        what = f"{python.path} has no openai: there is nothing to watch"
        fix = f"install {OPENAI.supported} there, or put `streamvitals run` in front of the Python that has it"
        yield Problem(what, fix)


def who_may_read(config: Config, listener: socket.socket) -> tuple[list[Problem], str, bool]:
    """What is wrong with the files that say it, what is said if everybody may from elsewhere, and whether over TLS."""
    try:
        rules = web_config.read(config)
    except web_config.UnusableError as error:
        return [Problem(f"{error}: nothing is served", error.fix)], "", False
    if rules.asks or web_config.is_loopback(listener):
        return [], "", rules.tls is not None
    what = f"whoever reaches {config.host}:{listener.getsockname()[1]} can read them, for nobody is asked who he is"
    fix = f"set {web_config.TOKEN_VARIABLE} or {web_config.VARIABLE}, or keep others from the port"
    return [], f"{what} -> {fix}", rules.tls is not None


def wants_to_speak(env: Mapping[str, str], config: Config, problems: Iterable[Problem]) -> bool:
    """Whether the agent may have something to report on this process's stderr."""
    return not config.quiet and sys.stderr is not None and bool(found.endpoints_to_ask(env, config, problems))


def where(url: str) -> str:
    """Say where the live page and /metrics are; ``url`` is that of /metrics."""
    return f"the live page is at {url.removesuffix('metrics')}, metrics are at {url}"


def announce(url: str, problems: Sequence[Problem], app_port: int = 0, note: str = "") -> None:
    """Write one line with the URL, one more if there is a note, and one for each problem."""
    if sys.stderr is None:  # descriptor 2 was closed, and may by now be anything
        return
    left = f" ({app_port} is left to the app's own OpenTelemetry exporter)" if app_port else ""
    console.say(f"{where(url)}{left}")
    if note:
        console.say(note)
    for problem in problems[:MOST_LINES]:
        console.say(str(problem))
    if len(problems) > MOST_LINES:
        console.say(f"{len(problems) - MOST_LINES} more -> see `streamvitals doctor`")
