"""Finds the app's command as execvp does, and execs it as if it had been started directly."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from ..agent import proc

NOT_FOUND, NOT_EXECUTABLE = 127, 126
# The signals that CPython ignores from its start, whatever it inherited (install_signal_handlers in pylifecycle.c).
_PYTHON_IGNORES = (signal.SIGPIPE, signal.SIGXFSZ)


class CommandError(Exception):
    """The command cannot be run; ``status`` is the exit status that a shell would give."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Command(NamedTuple):
    """The command to run; ``path`` is the file that was found for ``arguments[0]``."""

    path: str
    arguments: tuple[str, ...]

    @classmethod
    def find(cls, arguments: Sequence[str], env: Mapping[str, str]) -> Command:
        """Look a command up, along PATH where it has no slash. Raises CommandError."""
        name = arguments[0]
        folders = [""] if "/" in name else env.get("PATH", os.defpath).split(os.pathsep)
        status = NOT_FOUND
        for folder in folders:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and os.access(path, os.X_OK, effective_ids=True):
                return cls(path, tuple(arguments))
            if os.path.exists(path):
                status = NOT_EXECUTABLE
        if status == NOT_EXECUTABLE:
            raise CommandError(f"{name}: found, but it cannot be executed", status)
        raise CommandError(f"{name}: command not found", status)


def otel_options(arguments: Sequence[str]) -> dict[str, str]:
    """The options of `opentelemetry-instrument` about a Prometheus exporter, as the variables that they set."""
    names = ("metrics_exporter", "exporter_prometheus_port")
    found: dict[str, str] = {}
    if "opentelemetry-instrument" not in map(os.path.basename, arguments):
        return found
    for argument, following in zip(arguments, (*arguments[1:], ""), strict=True):
        option, equals, value = argument.partition("=")
        if option.startswith("--") and option[2:] in names:
            found[f"OTEL_{option[2:].upper()}"] = value if equals else following
    return found


def become(command: Command, env: Mapping[str, str]) -> NoReturn:
    """Exec the command in this process. Raises CommandError."""
    restore_signals()
    try:
        try:
            os.execve(command.path, command.arguments, env)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            # A script without a first line that names its interpreter; execvp(3) runs it with the shell.
            os.execve("/bin/sh", ("sh", command.path, *command.arguments[1:]), env)
    except OSError as error:
        if error.errno == errno.ENOENT:
            text = "found, but what its first line says should run it is not"
            raise CommandError(f"{command.arguments[0]}: {text}", NOT_FOUND) from error
        raise CommandError(f"{command.arguments[0]}: {error.strerror}", NOT_EXECUTABLE) from error


def restore_signals() -> None:
    """Undo what Python's start has changed. Exec resets handlers; ignored signals stay ignored."""
    inherited = _ignored_by_parent()
    for number in _PYTHON_IGNORES:
        signal.signal(number, signal.SIG_IGN if number in inherited else signal.SIG_DFL)


def _ignored_by_parent() -> set[int]:
    """The signals that this process was most likely started with as ignored: those that its parent ignores.

    The real ones are lost by the time Python code runs. The children of a shell or a service manager inherit the
    signals that it ignores. A Python ignores these two itself and gives children the default (subprocess,
    `restore_signals`), unless it forks and execs by itself, as supervisord does. A parent that has gone, or that is
    outside of a container, is taken to ignore nothing.
    """
    parent = os.getppid()
    try:
        mask = int(proc.status(parent, "SigIgn")[0], 16)
    except (OSError, IndexError):
        return set()
    ignored = {int(number) for number in _PYTHON_IGNORES if mask >> (number - 1) & 1}
    return ignored if ignored and _hands_on(parent) else set()


def _hands_on(pid: int) -> bool:
    """Whether children of this process inherit the signals that it ignores."""
    arguments, executable = [b""], ""
    with contextlib.suppress(OSError):
        arguments = proc.arguments(pid)
    with contextlib.suppress(OSError):
        executable = proc.executable(pid)
    first, *rest = (os.path.basename(os.fsdecode(argument)) for argument in arguments)
    is_python = any(name.startswith(("python", "pypy")) for name in (first, executable))
    return not is_python or "supervisord" in rest


def original_environment() -> dict[str, str]:
    """The environment that this process was started with.

    Python adds LC_CTYPE to it where the locale is C (PEP 538), which an app that is no Python program would see.
    """
    env = dict(os.environ)
    with contextlib.suppress(OSError), open("/proc/self/environ", "rb") as file:
        if b"\0LC_CTYPE=" not in b"\0" + file.read():
            env.pop("LC_CTYPE", None)
    return env
