"""Finds Pythons of the app that did not register, and why, as far as can be seen from outside."""

from __future__ import annotations

import os
import time
from typing import NamedTuple

from . import proc
from .proc import Identity
from .protocol import is_agent

# An interpreter that has just been started has not run its `sitecustomize` yet. Seconds.
GRACE = 2.0


class Unreported(NamedTuple):
    """A Python that did not register: ``exe`` is its executable's base name."""

    pid: int
    exe: str
    reason: str


def unreported_python(identity: Identity, directory: str) -> Unreported | None:
    """Find out why a process has not registered; None unless it is a Python that should have."""
    try:
        exe = proc.executable(identity.pid)
        arguments = proc.arguments(identity.pid)
    except OSError:
        return None
    if not exe.startswith("python") or _age(identity) < GRACE or is_agent(arguments):
        return None
    return Unreported(identity.pid, exe, _reason(exe, arguments, proc.environment(identity.pid), directory))


def _age(identity: Identity) -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - identity.start / os.sysconf("SC_CLK_TCK")


def _reason(exe: str, arguments: list[bytes], environment: bytes | None, directory: str) -> str:
    """Why a Python did not register; only known names are searched for in arguments and variables."""
    for argument in arguments[1:]:
        if not argument.startswith(b"-") or argument.startswith(b"--") or argument in (b"-", b"-c", b"-m"):
            break
        for letter, flag in ((b"I", "-I"), (b"E", "-E"), (b"S", "-S")):
            if letter in argument[1:]:
                return f"started with {flag}"
    version = exe.removeprefix("python").split(".")
    if version[0] == "2" or (version[0] == "3" and len(version) > 1 and version[1] in "56789"):
        return "older than Python 3.10"
    if environment is not None and not proc.has_directory(environment):
        return "started with a cleared environment"
    if environment is not None and b"/streamvitals/startup/inject" not in environment:
        return "PYTHONPATH was replaced"
    if environment is not None and not proc.has_directory(environment, directory):
        return "another `streamvitals run` watches it"
    return "another sitecustomize in front, a frozen program, or no room for its file"
