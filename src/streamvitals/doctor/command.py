"""Finds out which Python a command starts, through whatever stands in front, or why that is unknown."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..run import interpreter
from ..run.command import Command, CommandError
from ..run.interpreter import CLEAR, ELSEWHERE, ENVIRONMENTS, HAND_ON, OTHERS, Interpreter
from .check import FAIL, GIVE_PYTHON, WARN, Check

# Programs in front of each other, first lines among them.
_DEEPEST = 12
# What says that there is an environment already, which a launcher would otherwise make, in the working folder or above.
_MADE = (".venv", "__pypackages__", ".pdm-python")


def find_interpreter(command: Sequence[str], env: Mapping[str, str]) -> Iterator[Check | Interpreter]:
    """Yield the Python that the command starts, or why it is unknown; ours where there is no command."""
    if not command:
        yield Interpreter(sys.executable)
        return
    try:
        yield _find((), list(command), env)
    except CommandError as error:
        yield Check(FAIL, str(error), "check the command, what its first line names, and PATH")


def _find(
    before: tuple[str, ...], command: list[str], env: Mapping[str, str], script: str = "", depth: int = 0
) -> Check | Interpreter:
    """Find the Python of a command. Raises CommandError.

    ``before`` is what hands on to the command, ``script`` the one whose first line it is.
    """
    name = os.path.basename(command[0])
    if depth > _DEEPEST:
        return Check(WARN, f"{name}: what it starts in the end is not known here", GIVE_PYTHON)
    if name in CLEAR:
        return _clears(name, command)
    if name in ELSEWHERE:
        what = f"{name} starts its command in another place, where this `streamvitals run` watches nothing"
        return Check(FAIL, what, f"put `streamvitals run --` behind {name}, in front of what is started there")
    path = Command.find(command, env).path
    if interpreter.is_python(name):
        return interpreter.of_python(path, command[1:])._replace(before=before)
    if name in ENVIRONMENTS:
        return _in_environment(before, command, env)
    if name in HAND_ON:
        for at in _programs(command, env):
            found = _find((*before, *command[:at]), command[at:], env, "", depth + 1)
            # What stands behind an option may be its value.
            if isinstance(found, Interpreter) or not command[at - 1].startswith("-") or at == 1:
                return found
    elif name not in OTHERS:
        if not os.access(path, os.R_OK):
            return Check(WARN, f"{path} cannot be read: what Python it starts, if any, is not known here", GIVE_PYTHON)
        words = interpreter.first_line(path)
        if words:
            return _find(before, [*words, path, *command[1:]], env, script or command[0], depth + 1)
    if name in OTHERS | HAND_ON:
        return Check(WARN, f"what Python {name} starts is not known here", GIVE_PYTHON)
    what = f"{script or command[0]} is not a Python program; what Python it starts is not known here"
    return Check(WARN, what, GIVE_PYTHON)


def _clears(name: str, command: Sequence[str]) -> Check:
    fix = f"put `streamvitals run --` behind it: {name} ... streamvitals run -- ..."
    kept = name in ("su", "runuser") and not {"-", "-l", "--login"} & set(command)
    if kept or any(word.startswith(("--preserve-env", "-E", "--setenv")) for word in command):
        return Check(WARN, f"whether {name} hands PYTHONPATH and STREAMVITALS_DIR on is not known here", fix)
    return Check(FAIL, f"{name} clears the environment: what it starts is not watched", fix)


def _programs(command: Sequence[str], env: Mapping[str, str]) -> Iterator[int]:
    """The positions where the program may be that a launcher hands on to."""
    for at, word in enumerate(command[1:], 1):
        if not word.startswith("-") and "=" not in word and not word.isdigit():
            with contextlib.suppress(CommandError):
                Command.find([word], env)
                yield at


def _in_environment(before: tuple[str, ...], command: Sequence[str], env: Mapping[str, str]) -> Check | Interpreter:
    """The Python of `uv run` and its like.

    Its `python` is asked in place of the program, which may be there only.
    """
    name = os.path.basename(command[0])
    unknown = Check(WARN, f"what Python {name} starts is not known here", GIVE_PYTHON)
    if "run" not in command or (name in ("uv", "pdm") and not _has_environment(env)):
        return unknown
    start = list(command).index("run") + 1
    rest = list(command[start:])
    at = _python_of(rest)
    if at is None:
        return unknown
    python = interpreter.is_python(rest[at])
    found = interpreter.of_python("python", rest[at + 1 :] if python else ())
    path = rest[at] if python else "python"
    return found._replace(path=path, before=(*before, *command[:start], *rest[:at]))


def _has_environment(env: Mapping[str, str]) -> bool:
    if env.get("VIRTUAL_ENV") or env.get("UV_PROJECT_ENVIRONMENT"):
        return True
    here = Path.cwd()
    return any((folder / name).exists() for folder in (here, *here.parents) for name in _MADE)


def _python_of(rest: Sequence[str]) -> int | None:
    """The program's position among the arguments of `run`; None where it may be an option's value."""
    for at, word in enumerate(rest):
        if word == "-m":
            return at
        if word == "--":
            return at + 1 if at + 1 < len(rest) else None
        if (interpreter.is_python(word) or word.endswith(".py")) and (not at or rest[at - 1] not in ("-p", "--python")):
            return at
    return 0 if rest and not rest[0].startswith("-") else None
