"""An init for the app, where `streamvitals run` is PID 1.

PID 1 has no default dispositions for signals, and becomes the parent of every orphan of its namespace, including the
agent. An app that was not written for that would neither end on SIGTERM nor reap. So the app becomes a child, with
everything this process was started with, and this process reaps and passes signals on. It keeps open only the standard
descriptors, since text written to /proc/1/fd/1 in a container must go to the container's log.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterable, Mapping
from typing import NoReturn

from ..agent import private_directory, proc
from ..startup import registration
from .command import Command, CommandError, become
from .spawn import AgentHandle

# si_code of a signal that the kernel sent, as for Ctrl-C at a terminal (sigaction(2)).
_SI_KERNEL = 0x80
# The signals that a terminal sends to the whole foreground group, including the app. It sends a hang-up only to the
# leader of the session.
_FROM_TERMINAL = {
    signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH,
}
# How long an exporter may take to send the last values before the container ends. Seconds.
FLUSH_TIMEOUT = 2.0
# Variables in which a manager names the receiver by its pid: of sockets (sd_listen_fds(3)), a watchdog
# (sd_watchdog_enabled(3)), the journal (SYSTEMD_EXEC_PID in systemd.exec(5)).
_ADDRESSES = ("LISTEN_PID", "WATCHDOG_PID", "SYSTEMD_EXEC_PID")
# Names the receiver of sockets once more, by the inode of a pidfd, if it is set.
_LISTEN_PIDFD = "LISTEN_PIDFDID"


def run_as_init(command: Command, env: Mapping[str, str], agent: AgentHandle, *, flush: bool) -> NoReturn:
    """Run the app as a child; exit as it did, or with 128 + the signal that ended it."""
    every = signal.valid_signals()
    # Blocked before the fork, so that no signal is lost.
    before = signal.pthread_sigmask(signal.SIG_SETMASK, every)
    app = os.fork()
    if app == 0:
        _become_app(command, env, agent, before)
    _let_go_of_descriptors()
    status = None
    while status is None:
        info = signal.sigwaitinfo(every)
        if info.si_signo == signal.SIGCHLD:
            status = _reap(app)
        elif not _has_it_already(info, app):
            with contextlib.suppress(OSError):
                os.kill(app, info.si_signo)
    if flush:
        _end_agent(agent.pid)
    # The agent ends with this process too, and has no time to do it.
    private_directory.remove(agent.directory)
    os._exit(status)


def _become_app(command: Command, env: Mapping[str, str], agent: AgentHandle, mask: Iterable[int]) -> NoReturn:
    status = 1
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        registration.register(agent.directory, registration.RUN)
        become(command, addressed_to(env, os.getppid(), os.getpid()))
    except CommandError as error:
        sys.stderr.write(f"streamvitals: {error}\n")
        sys.stderr.flush()
        status = error.status
    finally:
        os._exit(status)


def addressed_to(env: Mapping[str, str], before: int, pid: int) -> dict[str, str]:
    """The environment, with variables that name the pid ``before`` changed to name ``pid``."""
    changed = {name: str(pid) for name in _ADDRESSES if env.get(name) == str(before)}
    dropped = {_LISTEN_PIDFD} if "LISTEN_PID" in changed else set()
    return {name: value for name, value in {**env, **changed}.items() if name not in dropped}


def _has_it_already(info: signal.struct_siginfo, app: int) -> bool:
    if info.si_code != _SI_KERNEL or info.si_signo not in _FROM_TERMINAL:
        return False
    try:
        return os.getpgid(app) == os.getpgrp()
    except OSError:
        return True


def _reap(app: int) -> int | None:
    """Reap every process that has ended; return the app's exit status if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == app:
                code = os.waitstatus_to_exitcode(wait_status)
                status = code if code >= 0 else 128 - code
    return status


def _let_go_of_descriptors() -> None:
    """Close all descriptors but the standard ones.

    When the app closes a pipe or a socket, its reader must get the end of file.
    """
    for fd in proc.descriptors():
        if fd > 2:
            with contextlib.suppress(OSError):
                os.close(fd)


def _end_agent(pid: int) -> None:
    """Make the agent export what it holds, since the container and the agent end with this process."""
    deadline = time.monotonic() + FLUSH_TIMEOUT
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGTERM)
        while (left := deadline - time.monotonic()) > 0 and os.waitpid(pid, os.WNOHANG)[0] == 0:
            signal.sigtimedwait((signal.SIGCHLD,), left)
