"""Which Python a command starts."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from ..agent.command import Command, CommandError
from .check import FAIL, WARN, Check


class Interpreter(NamedTuple):
    """A Python that the command would start, with the options that it gets."""

    path: str
    options: tuple[str, ...] = ()


def find_interpreter(command: Sequence[str], env: Mapping[str, str]) -> Iterator[Check | Interpreter]:
    """The Python that the command starts; ours where none is given."""
    if not command:
        yield Interpreter(sys.executable)
        return
    try:
        path = Command.find(command, env).path
    except CommandError as error:
        yield Check(FAIL, str(error), "check the command and PATH")
        return
    name = os.path.basename(path)
    if name.startswith("python"):
        yield Interpreter(path, tuple(_options(command[1:])))
        return
    words = _first_line(path)
    if words and os.path.basename(words[0]) == "env":
        words = [word for word in words[1:] if word != "-S"]
    if words and os.path.basename(words[0]).startswith("python"):
        try:
            inner = Command.find(words[:1], env).path
        except CommandError as error:
            yield Check(FAIL, f"{name}: {error}", "install that Python, or reinstall the tool")
            return
        yield Interpreter(inner, tuple(_options(words[1:])))
    else:
        mend = "give doctor the python command itself to have that one looked at"
        yield Check(WARN, f"{name} is not a Python program; what Python it starts is not known here", mend)


def _first_line(path: str) -> list[str]:
    with open(path, "rb") as file:
        lines = file.read(512).splitlines()
    for line in lines[:2]:
        text = line.decode(errors="replace")
        if text.startswith("#!") and "python" in text:
            return shlex.split(text[2:])
        # What installers write where the interpreter's path is too long for a first line.
        if text.startswith("'''exec'"):
            return shlex.split(text.removeprefix("'''exec'"))[:1]
    return []


def _options(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if not argument.startswith("-") or argument in ("-c", "-m", "-"):
            return
        if not argument.startswith("--") and set(argument[1:]) <= set("bBdEIOPqsSuv"):
            yield argument
