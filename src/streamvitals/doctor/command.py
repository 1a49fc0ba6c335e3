"""Which Python a command starts, or why that is not known."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

from ..agent import interpreter
from ..agent.command import CommandError
from ..agent.interpreter import Interpreter
from .check import FAIL, WARN, Check


def find_interpreter(command: Sequence[str], env: Mapping[str, str]) -> Iterator[Check | Interpreter]:
    """The Python that the command starts; ours where none is given."""
    if not command:
        yield Interpreter(sys.executable)
        return
    try:
        found = interpreter.find(command, env)
    except CommandError as error:
        yield Check(FAIL, str(error), "check the command, what its first line names, and PATH")
        return
    if found is None:
        mend = "give doctor the python command itself to have that one looked at"
        yield Check(WARN, f"{command[0]} is not a Python program; what Python it starts is not known here", mend)
    else:
        yield found
