"""Finds the agents that run on this machine, and what killed ones have left: `streamvitals ps`.

What other users' processes say of themselves is shown, and never followed: no file of theirs is opened, and no URL of
theirs is asked.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from ..agent import client, private_directory, proc
from ..agent.proc import Identity
from ..agent.protocol import VARIABLE, is_agent
from ..run import handover
from ..startup.registration import home

GONE = "gone"
HIDDEN = "another user's: its URL is known to that user and to root"
ELSEWHERE = "in another container"
LINGERS = "its app has gone; it stays for a last scrape"
# Longer words of a command line are cut.
_LONGEST = 40


class Agent(NamedTuple):
    """One agent. ``pid`` and ``app`` are the program's that it watches; None and "" are what is not known.

    Where the agent is gone, ``directory`` still has what was counted."""

    url: str
    pid: int | None
    app: str
    agent_pid: int | None
    user: str
    directory: str
    state: str


def find(env: Mapping[str, str], timeout: float = 1.0) -> list[Agent]:
    """The agents that run, by their URLs, then those that are gone. Raises OSError where there is no /proc."""
    running = [_of_process(pid, timeout) for pid in proc.pids() if _looks_like_an_agent(pid)]
    known = {agent.agent_pid for agent in running}
    others = [agent for agent in _of_directories(env, timeout) if agent.state == GONE or agent.agent_pid not in known]
    return sorted([*running, *others], key=lambda agent: (agent.agent_pid is None, not agent.url, agent.url))


def _looks_like_an_agent(pid: int) -> bool:
    try:
        return is_agent(proc.arguments(pid))
    except OSError:
        return False


def _of_process(pid: int, timeout: float) -> Agent:
    start, user = _start_of(pid), _user_of(f"/proc/{pid}")
    if start is None:
        return Agent("", None, "", pid, user, "", HIDDEN)
    facts = {"url": start.get("url"), "app": start.get("app")}
    return _running(facts, pid, user, str(start.get("directory") or ""), timeout)


def _start_of(pid: int) -> dict[str, Any] | None:
    """What the agent was started with; None where this user may not see that."""
    variables = proc.environment(pid)
    for variable in (variables or b"").split(b"\0"):
        name, _, value = variable.partition(b"=")
        if name == VARIABLE.encode():
            with contextlib.suppress(ValueError, RecursionError):
                start = json.loads(value)
                return start if isinstance(start, dict) else {}
            return {}
    return None


def _of_directories(env: Mapping[str, str], timeout: float) -> Iterator[Agent]:
    """Agents that serve a directory of this user's, as `streamvitals agent --dir` does, and directories without one."""
    # Root's are one level further down, and the facts above them.
    for directory in {home(each): each for each in handover.directories(env)}.values():
        facts = private_directory.read_facts(directory)
        agent = proc.parse_identity(str(facts.get("agent")))
        if not facts:
            continue
        user = _user_of(directory)
        if agent is not None and proc.alive(agent):
            yield _running(facts, agent.pid, user, directory, timeout)
        elif private_directory.has_data(directory):
            yield Agent("", None, "", None, user, directory, GONE)


def _running(facts: Mapping[str, Any], agent: int, user: str, directory: str, timeout: float) -> Agent:
    url, app = str(facts.get("url") or ""), proc.parse_identity(str(facts.get("app")))
    if proc.pid_namespace(agent) not in (0, proc.pid_namespace("self")):
        return Agent(url, None, "", agent, user, directory, ELSEWHERE)
    if app is not None and not proc.alive(app):
        return Agent(url, app.pid, "", agent, user, directory, LINGERS)
    mine = user == _name_of(os.geteuid())
    state = _state(url, timeout) if mine and url else "runs"
    return Agent(url, app.pid if app else None, program(app) if app else "", agent, user, directory, state)


def _state(url: str, timeout: float) -> str:
    try:
        with client.ask(url, "/healthz", timeout=timeout) as answer:
            return str(json.load(answer)["status"])
    except client.UnreachableError as error:
        code = getattr(error.__cause__, "code", None)  # as where it wants to know who asks
        return "does not answer" if code is None else f"answers {code}"
    except (OSError, ValueError, KeyError, TypeError):
        return "does not answer"


def program(app: Identity) -> str:
    """What a process runs, in a word or two: arguments may hold secrets, and are not shown."""
    try:
        words = [os.fsdecode(word) for word in proc.arguments(app.pid)[:-1]]
    except OSError:
        return ""
    if not words:
        return ""
    first, rest = os.path.basename(words[0]), words[1:]
    if not first.startswith(("python", "pypy")):
        return _short(first)
    for at, word in enumerate(rest):
        if rest[at - 1 : at] in (["-W"], ["-X"]):
            continue
        if word == "-m":
            return _short(" ".join([first, "-m", *rest[at + 1 : at + 2]]))
        if word in ("-c", "-"):
            return f"{first} {word}"
        if not word.startswith("-"):
            return _short(f"{first} {os.path.basename(word)}")
    return _short(first)


def _short(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST])


def _user_of(path: str) -> str:
    try:
        return _name_of(os.stat(home(path) if not path.startswith("/proc/") else path).st_uid)
    except OSError:
        return ""


def _name_of(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:  # as in a container that has no such user
        return str(user)
