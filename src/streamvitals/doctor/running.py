"""Checks an agent that is running."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..agent import client, private_directory
from ..agent.foreign import MEND
from ..agent.health import NO_ROOM
from .check import FAIL, OK, WARN, Check
from .machine import SETTINGS_OF

FIXES = {
    "started with -I": "start it without -I, or call streamvitals.instrument() in the program",
    "started with -E": "start it without -E, or call streamvitals.instrument() in the program",
    "started with -S": "start it without -S, or call streamvitals.instrument() in the program",
    "older than Python 3.10": "use Python 3.10 or newer",
    "started with a cleared environment": "pass PYTHONPATH and STREAMVITALS_DIR on to it",
    "PYTHONPATH was replaced": "keep what PYTHONPATH held when it is set anew",
}
ELSE = "install streamvitals there and call streamvitals.instrument()"


def check_directory_of(directory: str) -> Iterator[Check]:
    """Check the agent that serves a private directory, or report what became of it."""
    facts = private_directory.read_facts(directory)
    held = None
    try:
        held = private_directory.lock(directory)
    except OSError as error:
        what = f"{directory} cannot be read: {error.strerror}"
        yield Check(FAIL, what, "check STREAMVITALS_DIR of the app")
        return
    if held is None:
        yield from check_url(str(facts.get("url", "")))
        return
    private_directory.unlock(held)
    fix = f"streamvitals agent --dir {directory}"
    yield Check(FAIL, "the agent of this directory is gone; what was counted is still there", fix)


def check_url(url: str) -> Iterator[Check]:
    """Report what an agent says of itself; `url` is its /metrics, its /healthz or its root."""
    try:
        with client.ask(url, "/healthz") as answer:
            health: Mapping[str, Any] = json.load(answer)
        processes = health["processes"]
        yield Check(OK, f"agent {health['version']} serves {client.root_of(url)}/metrics: "
                        f"{processes['alive']} processes alive of {processes['seen']} seen")
    except client.UnreachableError as error:
        yield Check(FAIL, str(error), error.fix)
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = f"what answers at {client.root_of(url)} is no agent: {type(error).__name__}"
        yield Check(FAIL, what, "check host and port")
        return
    if "settings" in health:  # an agent of an older version does not say
        yield Check(OK, f"{SETTINGS_OF} {health['settings']}")
    for python in health["not_reporting"]:
        what = f"{python['exe']} with pid {python['pid']} is not watched: {python['reason']}"
        yield Check(WARN, what, FIXES.get(python["reason"], ELSE))
    for fault in health["not_patched"]:
        what = f"pid {fault['pid']} could not patch openai: {fault['error']}"
        yield Check(FAIL, what, "run `streamvitals doctor -- <the app's command>`")
    for process in health.get("not_counting", ()):
        what = f"pid {process['pid']} counts where the agent does not see it: {process['error']}"
        yield Check(FAIL, what, process.get("mend", NO_ROOM))
    for problem in health.get("problems", ()):
        yield Check(FAIL, problem["what"], problem["mend"])
    if health["agent_faults"]:
        what = f"the agent has counted {health['agent_faults']} faults of its own"
        yield Check(WARN, what, "see agent.log in STREAMVITALS_DIR, or in the folder around it")
    for where, count in health.get("internal_errors", {}).items():
        if where == "layout":
            what = f"{count:g} processes, of those that run and have run, were of another version than the agent"
            yield Check(WARN, what, MEND)
            continue
        what = f"the app's processes have counted {count:g} faults of ours in {where}"
        yield Check(WARN, what, "set the level of the logger streamvitals to DEBUG in the app to see where")
