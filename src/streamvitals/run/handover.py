"""Frees the port for a new run, if an agent whose app has gone holds it for a last scrape.

This happens after a crash, or a restart by a supervisor. Only an agent of the same user is asked, and only one whose
app has gone leaves: a port is never taken from a run that lives.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

from ..agent import private_directory
from ..agent.proc import Identity, alive, parse_identity
from ..agent.protocol import PLEASE_LEAVE
from ..startup.registration import PREFIX

# How long to wait for an agent to leave; an agent that can leave does so at once. Seconds.
PATIENCE = 1.0

T = TypeVar("T")


def take_over(port: int, env: Mapping[str, str], listen: Callable[[], T]) -> T | None:
    """Ask this user's agent on the port to leave; return what ``listen`` returns then, or None."""
    holder = next((agent for agent, theirs in agents(env) if theirs == port), None)
    if holder is None:
        return None
    end = time.monotonic() + PATIENCE
    try:
        os.kill(holder.pid, PLEASE_LEAVE)
    except OSError:
        return None
    while True:
        try:
            return listen()
        except OSError:
            if time.monotonic() > end:
                return None
        time.sleep(0.01)


def around(env: Mapping[str, str], port: int) -> str:
    """The URL of the agent of a `run` around this one, if it serves this port; else ""."""
    directory = env.get("STREAMVITALS_DIR", "")
    if not directory or not port or "/streamvitals/startup/inject" not in env.get("PYTHONPATH", ""):
        return ""
    facts = private_directory.read_facts(directory)
    agent, url = parse_identity(str(facts.get("agent"))), str(facts.get("url"))
    return url if agent is not None and alive(agent) and _port(url) == port else ""


def _port(url: str) -> int:
    """The port of a URL. Raises ValueError for a text that is no URL."""
    return urlsplit(url).port or 80


def agents(env: Mapping[str, str]) -> Iterator[tuple[Identity, int]]:
    """Find this user's agents whose apps have gone, and their ports."""
    for directory in directories(env):
        facts = private_directory.read_facts(directory)
        agent, app = (parse_identity(str(facts.get(who))) for who in ("agent", "app"))
        try:
            port = _port(str(facts.get("url")))
        except ValueError:
            continue
        # Other processes of the app may still be ending; the agent checks that before it leaves.
        if agent and app and alive(agent) and _is_mine(agent.pid) and not alive(app):
            yield agent, port


def directories(env: Mapping[str, str]) -> Iterator[str]:
    """This user's private directories."""
    for parent in dict.fromkeys(private_directory.parents(env)):
        for path in _folders(parent, re.escape(PREFIX) + "[0-9a-f]+"):
            yield path
            # Root's directory is one level further down.
            yield from _folders(path, "[0-9a-f]+")


def _folders(parent: str, name: str) -> Iterator[str]:
    try:
        names = [found for found in os.listdir(parent) if re.fullmatch(name, found)]
    except OSError:
        return
    for found in names:
        path = f"{parent}/{found}"
        try:
            status = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid():
            yield path


def _is_mine(pid: int) -> bool:
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return False
