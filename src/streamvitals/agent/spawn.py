"""Starts the agent: a process of its own session, no child of the app, that holds nothing of the app's."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import sys
from typing import NoReturn

# The one descriptor that the agent is given.
LISTENER = 3
# Variables of the interpreter that say where things are; the others are meant for the app, not the agent.
_KEPT = ("PYTHONHOME", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE")
_DROPPED = ("STREAMVITALS_DIR", "PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir")
SEARCH_PATH = "STREAMVITALS_AGENT_PATH"


def spawn_agent(listener: socket.socket, directory: str, url: str) -> int:
    """Fork twice and exec the agent; its pid. Raises OSError or RuntimeError where that fails.

    A fresh interpreter: forked from this one it would show the app's command line in `ps`, and be hit by a
    `pkill -f` that is meant for the app.
    """
    if not sys.executable:
        raise RuntimeError("this Python does not know its own executable")
    pending = signal.sigpending()
    # High numbers: the app may have been started with its standard descriptors closed.
    reader, writer = (_high(fd) for fd in os.pipe())
    child = os.fork()
    if child == 0:
        _intermediate(listener, directory, url, writer)
    os.close(writer)
    try:
        told = _read_all(reader)
    finally:
        os.close(reader)
        _reap(child, pending)
    pid, _, fault = told.decode(errors="replace").partition("\n")
    if fault or not pid:
        raise RuntimeError(f"the agent could not be started: {fault.strip() or 'its process died'}")
    return int(pid)


def _intermediate(listener: socket.socket, directory: str, url: str, writer: int) -> NoReturn:
    """The first child: leads a new session, and leaves the agent in it to whoever reaps orphans."""
    try:
        os.setsid()
        if os.fork() == 0:
            os.write(writer, b"%d\n" % os.getpid())
            _exec_agent(listener, directory, url, writer)
    except BaseException as error:  # noqa: BLE001  nothing may unwind into the parent's code
        os.write(writer, f"\n{type(error).__name__}: {error}".encode(errors="replace"))
    finally:
        os._exit(0)


def _exec_agent(listener: socket.socket, directory: str, url: str, writer: int) -> NoReturn:
    socket_fd = fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.dup2(socket_fd, LISTENER)
    for name in os.listdir("/proc/self/fd"):
        fd = int(name)
        if fd > LISTENER and fd != writer:
            _close(fd)
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    folder = os.path.dirname(os.path.abspath(__file__))
    arguments = (sys.executable, "-W", "ignore", folder, directory, url)
    os.execve(sys.executable, arguments, _agent_environment())


def _agent_environment() -> dict[str, str]:
    env = {
        name: value
        for name, value in os.environ.items()
        if name not in _DROPPED and (name in _KEPT or not name.startswith("PYTHON"))
    }
    # The agent is to find what this process found, wherever it found it; "" is the folder we are in.
    env[SEARCH_PATH] = json.dumps([os.path.abspath(entry) for entry in sys.path])
    return env


def _high(fd: int) -> int:
    higher = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(fd)
    return higher


def _read_all(fd: int) -> bytes:
    parts = []
    while part := os.read(fd, 4096):
        parts.append(part)
    return b"".join(parts)


def _reap(child: int, pending: set[signal.Signals]) -> None:
    try:
        os.waitpid(child, 0)
    except ChildProcessError:  # SIGCHLD is ignored here: there is nothing to reap
        return
    # Blocked signals stay pending across exec: the app must not be told of a child that it never had.
    if signal.SIGCHLD not in pending and signal.SIGCHLD in signal.sigpending():
        signal.sigtimedwait((signal.SIGCHLD,), 0)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:  # the one that listed the directory
        return
