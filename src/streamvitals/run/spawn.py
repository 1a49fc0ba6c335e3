"""Starts the agent detached: own session, not the app's child, no inherited descriptors.

A guard process waits until the agent serves. If the agent dies before that, the guard reports it and removes the
directory. It is a separate process because the launcher becomes the app at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn

from ..agent import private_directory, proc
from ..agent.proc import named
from ..agent.protocol import FOLDER, LISTENER, OPTIONS, PLEASE_LEAVE, READY, SERVING, STDERR, VARIABLE
from ..agent.web_config import TOKEN_VARIABLE as TOKEN_FILE
from ..agent.web_config import VARIABLE as WEB_CONFIG
from ..config.declarative import settings_of, source
from ..config.problems import Problem
from ..system import console

# Exit status: exec failed; already reported through the pipe.
NOT_STARTED = 113

# All that the agent gets of the app's variables: what is meant for it, what an exporter needs to reach a collector, and
# what this interpreter may need to find its library and its files.
_PASSED = {
    "PATH", "TMPDIR", "TZ", "LANG", "LC_ALL", "LC_CTYPE", "LD_LIBRARY_PATH",
    "PYTHONHOME", "PYTHONPYCACHEPREFIX", "PYTHONDONTWRITEBYTECODE",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
    "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
}
_PASSED_PREFIXES = ("OTEL_", "STREAMVITALS_")
_DROPPED = ("STREAMVITALS_DIR", VARIABLE)
# Signals sent to the whole group (reload, Ctrl-C) that are meant for the app; the agent ignores them. And SIGPIPE.
_IGNORED = {
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE,
    signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF,
}
if sys.platform == "linux":
    _IGNORED |= {signal.SIGPOLL, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)}


class AgentOptions(NamedTuple):
    """What the agent is started with.

    The directory, the URL that was reported and the app's main process; what is known not to work, whether the agent
    gets the app's stderr, whether the user wants no line at all, and the absolute paths of what says who may read.
    """

    directory: str
    url: str
    app: int
    problems: Sequence[Problem] = ()
    speaks: bool = False
    quiet: bool = False
    web_config: str = ""
    token_file: str = ""


class AgentHandle(NamedTuple):
    """An agent that was started: the private directory that it serves, and its pid."""

    directory: str
    pid: int


def spawn_agent(listener: socket.socket, options: AgentOptions, env: Mapping[str, str]) -> AgentHandle:
    """Fork twice and exec the agent. Raises OSError or RuntimeError where that fails.

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
        _intermediate(listener, options, env, writer)
    os.close(writer)
    try:
        answer = _read_all(reader)
    finally:
        os.close(reader)
        _reap(child, pending)
    pid, _, fault = answer.decode(errors="replace").partition("\n")
    if fault or not pid:
        raise RuntimeError(f"the agent could not be started: {fault.strip() or 'its process died'}")
    return AgentHandle(options.directory, int(pid))


def _intermediate(listener: socket.socket, options: AgentOptions, env: Mapping[str, str], writer: int) -> NoReturn:
    """Be the first child: lead a new session, and leave guard and agent to whoever reaps orphans."""
    try:
        os.setsid()
        if os.fork() == 0:
            _guard(listener, options, env, writer)
    except BaseException as error:  # noqa: BLE001  nothing may unwind into the parent's code
        os.write(writer, f"\n{type(error).__name__}: {error}".encode(errors="replace"))
    finally:
        os._exit(0)


def _guard(listener: socket.socket, options: AgentOptions, env: Mapping[str, str], writer: int) -> NoReturn:
    """Be the second child: start the agent, and stay until it serves."""
    reader, ready = (_high(fd) for fd in os.pipe())
    agent = os.fork()
    if agent == 0:
        try:
            _exec_agent(listener, options, env, writer, ready)
        except BaseException as error:  # noqa: BLE001
            os.write(writer, f"\n{type(error).__name__}: {error}".encode(errors="replace"))
        finally:
            os._exit(NOT_STARTED)
    os.write(writer, b"%d\n" % agent)
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    stderr = _stderr() if sys.stderr is not None else -1
    # Keep no copy of the app's descriptors, so that its readers see EOF.
    _close_all_but(reader, stderr)
    _wait(reader, stderr, options.app)
    answer = _read_all(reader)
    if answer != SERVING and (ended := _how_it_ended(agent)):
        private_directory.remove(options.directory)
        why = answer.decode(errors="replace") or ended
        if not options.quiet:
            console.say(f"not watching this app: the agent ended before it served: {why}"[:2000], stderr, late=True)
    os._exit(0)


def _wait(reader: int, stderr: int, app: int) -> None:
    """Wait until the agent has answered or is gone. The app's stderr is closed when the app ends."""
    waiting = select.poll()
    waiting.register(reader, select.POLLIN)
    with contextlib.suppress(OSError):  # a kernel, or a sandbox, that does not know it
        waiting.register(os.pidfd_open(app), select.POLLIN)
    if all(fd != reader for fd, _ in waiting.poll()):
        _close(stderr)


def _how_it_ended(agent: int) -> str:
    code = os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1])
    if code == NOT_STARTED:
        return ""
    return f"its exit status was {code}" if code >= 0 else f"it was ended by signal {-code}"


def _exec_agent(
    listener: socket.socket, options: AgentOptions, env: Mapping[str, str], writer: int, ready: int
) -> NoReturn:
    socket_fd = fcntl.fcntl(listener.fileno(), fcntl.F_DUPFD_CLOEXEC, 10)
    stderr = _stderr() if options.speaks else -1
    null = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1, 2):
        os.dup2(null, fd)
    os.dup2(socket_fd, LISTENER)
    os.dup2(ready, READY)
    if stderr != -1:
        os.dup2(stderr, STDERR)
    _close_all_but(0, 1, 2, LISTENER, READY, writer, *((STDERR,) if stderr != -1 else ()))
    os.umask(0o077)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in _IGNORED else signal.SIG_DFL)
    # Blocked until the handlers are installed.
    signal.pthread_sigmask(signal.SIG_SETMASK, (signal.SIGTERM, PLEASE_LEAVE))
    arguments = (sys.executable, *OPTIONS, FOLDER)
    os.execve(sys.executable, arguments, _agent_environment(env, options))


def passed(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of the app that the agent gets; what OTEL_CONFIG_FILE says stands in them."""
    return {
        name: value
        for name, value in source(env).env.items()
        if name not in _DROPPED and (name in _PASSED or name.startswith(_PASSED_PREFIXES))
    }


def import_path() -> list[str]:
    """Our import path, absolute: the agent is to find what this process found. "" is the working folder."""
    return [os.path.abspath(entry) for entry in sys.path]


def _agent_environment(env: Mapping[str, str], options: AgentOptions) -> dict[str, str]:
    start = {
        "path": import_path(), "directory": options.directory, "url": options.url,
        "app": named(options.app), "problems": options.problems, "speaks": options.speaks,
        "settings": settings_of(env),
    }
    access = {WEB_CONFIG: options.web_config, TOKEN_FILE: options.token_file}
    return {**passed(env), **access, VARIABLE: json.dumps(start)}


def _stderr() -> int:
    try:
        return fcntl.fcntl(2, fcntl.F_DUPFD_CLOEXEC, 10)
    except OSError:
        return -1


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


def _close_all_but(*kept: int) -> None:
    for fd in proc.descriptors():
        if fd not in kept:
            _close(fd)


def _close(fd: int) -> None:
    try:
        os.close(fd)
    except OSError:  # the one that listed the directory
        return
