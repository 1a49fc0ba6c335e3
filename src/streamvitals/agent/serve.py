"""The agent's life: serve one directory until all its processes have gone, then a little longer.

The signal that ends an app is often sent to its whole service: systemd's KillMode=control-group, Heroku, `kill -TERM
-1`. So SIGTERM does not end the agent while the app lives: the agent serves on, so that the streams that drain are
counted, and ends with the app. It then does not linger, so that the service's stop is not delayed.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from .. import names
from .._version import __version__
from ..config import Config, install
from ..config.declarative import settings_of
from ..config.problems import Problem, of_words
from ..incidents.page import IncidentsPage
from ..live.answers import Live
from ..live.history import History
from ..store.labels import Limits
from ..store.layout import PROCESS_LAYOUT
from ..store.snapshot import Snapshot
from ..stream.record import StallAfter
from . import health, private_directory
from .access import Access
from .claim import Claim
from .endpoints import EndpointWatch
from .http import AgentServer
from .metrics import MetricsPage
from .monitor import Health, ProcessMonitor
from .proc import Identity, named, parse_identity, processes_with_directory
from .protocol import LISTENER, PLEASE_LEAVE, READY, SERVING
from .tree import Tree

if TYPE_CHECKING:
    from ..otel.metrics import Exporting

T = TypeVar("T")

# How often to check which processes are left, and how often once asked to end with the app; how long to stay after an
# app that never streamed anything. Seconds.
TICK, TICK_AT_END = 0.5, 0.1
NO_DATA_LINGER = 1.0
# How long the last export may take, and how long if a service manager waits for the agent, which then has 2 s from the
# end of the app to its own. Seconds.
EXPORT_AT_END, EXPORT_WHEN_ASKED = 2.0, 1.5
# The signals that ask the agent to end with the app.
ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT)


class Agent:
    """Serves one directory.

    ``app`` is the main process of the app beside it; None: there is no app, and it serves until it is asked to stop.
    ``problems`` are those that `run` has found before, ``watch`` asks the collectors.
    """

    def __init__(
        self, directory: str, listener: socket.socket, url: str, config: Config, app: Identity | None = None,
        problems: Sequence[Problem] = (), watch: EndpointWatch | None = None, settings: str = "",
    ) -> None:
        """Claim the directory.

        Raises BlockingIOError if another agent has it, OSError if it cannot be locked.
        """
        self._directory = directory
        self._url = url
        self._app = app
        self._beside = app is not None
        self._linger = config.linger
        self._left_out = config.left_out
        self._settings = settings or settings_of(os.environ)
        self._faults: Counter[str] = Counter()
        self._claim = Claim(directory)
        self._monitor = ProcessMonitor(directory, app, self._complain)
        stall_after = StallAfter(config.first_token_stall_after, config.stall_after)
        self._tree = Tree(
            directory, stall_after=stall_after,
            trusts=self._monitor.trusts, complain=self._note, tidy=self._beside,
            limits=Limits(tuple(label.name for label in config.labels), config.label_values, config.label_sets),
        )
        self._data = False
        self._started = time.time()
        self._last_seen = time.monotonic()
        self._asked_to_end = False
        self._port_is_wanted = False
        self._stop = threading.Event()
        self._access = Access(config, listener)
        self._live = Live(
            self._tree.opened, self.take, stall_after, IncidentsPage(self._tree.incidents), History()
        )
        self._server = AgentServer(
            listener, MetricsPage(self.take), self.health, self._tick, self.fault, TICK, self._live, self._access
        )
        self._problems = list(problems)
        self._endpoints = watch
        self._exporting = self._start_export(config) if config.otlp_metrics else None

    def take(self) -> Snapshot:
        """The counts of the whole tree of processes, with the agent's own faults."""
        snapshot = self._tree.snapshot()
        for place, count in tuple(self._faults.items()):
            snapshot.process[PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, place)] += count
        snapshot.process[PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, "store")] += self._monitor.unseen
        snapshot.unreported = len(self._state().unreported)
        snapshot.left_out = self._left_out
        # Where there is no app beside, an agent that is gone may have shown the same numbers before.
        snapshot.began = self._started if self._beside else None
        return snapshot

    def _state(self) -> Health:
        """The state of the processes, as of the last scan of the tree."""
        return self._monitor.health({Identity(i.pid, i.start): i.image for i in self._tree.counting()})

    def health(self) -> dict[str, object]:
        """The answer to /healthz.

        Values of the app's arguments and variables are in it only where they are not allowed.
        """
        counted = self._tree.process_row()
        state, faults = self._state(), self._faults.total() + self._tree.errors
        return health.report(
            state, self._tree.builds_seen(), self._problems_now(state),
            not_counted=self._tree.not_counted(), agent_faults=faults, counted=counted,
            started=self._started, url=self._url, settings=self._settings,
        )

    def _problems_now(self, state: Health) -> list[Problem]:
        refused = self._endpoints.problems if self._endpoints is not None else ()
        found = [*self._problems, *refused, *of_words(state.problems)]
        if self._access.fault:
            found.append(Problem(f"{self._access.fault}; what was read before goes on", "mend the file"))
        if self._exporting is not None and self._exporting.failing() and not refused:
            found.append(Problem("the last export of metrics over OTLP failed", "see what the collector says of it"))
        return found

    def fault(self, error: BaseException) -> None:
        """Count a fault of ours and write it to the bounded log."""
        self._complain("".join(traceback.format_exception(error)))

    def _complain(self, text: str) -> None:
        self._count("agent")
        self._note(text)

    def _note(self, text: str) -> None:
        private_directory.note(self._directory, text)

    def _count(self, place: str) -> None:
        """Count a fault in a place; the first one of each is noted in the log."""
        self._faults[place] += 1
        if self._faults[place] == 1 and place != "agent":
            self._note(f"first fault counted in {place}; a failed export counts in otel")

    def serve(self, ready: Callable[[], object] = lambda: None) -> None:
        """Serve until no process is left, or, without an app, until asked to stop; ``ready`` is called first."""
        self._listen_to_signals()
        self._try(self._say_who)
        ready()
        self._server.serve(self._stop)
        if self._exporting is not None:
            # Bounded, since the directory must still be removed after it.
            shutdown, hurry = self._exporting.shutdown, self._asked_to_end or self._port_is_wanted
            self._try(lambda: shutdown(EXPORT_WHEN_ASKED if hurry else EXPORT_AT_END))
        self._try(self._tree.close)

    def _say_who(self) -> None:
        me = named(os.getpid())
        self._claim.write_facts({
            "version": __version__, "url": self._url, "pid": os.getpid(), "started": self._started,
            "start": int(me.partition("-")[2] or 0), "agent": me,
            "app": f"{self._app.pid}-{self._app.start}" if self._app is not None else "",
        })

    def _listen_to_signals(self) -> None:
        for number in ENDING:
            signal.signal(number, self._on_ending)
        if self._beside:
            signal.signal(PLEASE_LEAVE, self._on_please_leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (*ENDING, PLEASE_LEAVE))

    def _on_ending(self, *_: object) -> None:
        self._asked_to_end = True
        if self._app is not None and self._app.pid == 1:
            # An init signals us when its app has gone, or did not get the signal (kill -1). Registered processes count.
            self._monitor.app = None
        if not self._beside:
            self._stop.set()
        self._server.hurry(TICK_AT_END)

    def _on_please_leave(self, *_: object) -> None:
        self._port_is_wanted = True
        self._server.hurry(TICK_AT_END)

    def _tick(self) -> None:
        # If one step fails the next ones are still taken, above all the last one.
        self._try(self._renew)
        self._try(self._look)
        if not self._stop.is_set():
            self._try(self._live.note)

    def _try(self, step: Callable[[], T]) -> T | None:
        try:
            return step()
        except Exception as error:  # noqa: BLE001  what fails now may work again
            self.fault(error)
            return None

    def _renew(self) -> None:
        if self._claim.renew():
            self._complain("the directory had been removed and was made again")

    def _look(self) -> None:
        now = time.monotonic()
        leaving = self._asked_to_end or self._port_is_wanted
        # The time of a process's death is the time at which it is noticed here.
        counting = self._try(self._tree.builds)
        # True even if the files have been removed since.
        self._data = self._data or bool(counting) or private_directory.has_data(self._directory)
        self._try(self._monitor.look_now_and_then)
        if counting or self._monitor.anyone_left():
            self._last_seen = now
        elif self._beside:
            # If nothing was ever counted, no scraper needs the agent.
            linger = self._linger if self._data else min(self._linger, NO_DATA_LINGER)
            alone = now - self._last_seen
            # Such a process is a shell that will start a Python, or a daemon, for which the full time is enough.
            if leaving or alone > self._linger or (alone > linger and not processes_with_directory(self._directory)):
                self._stop.set()

    def _start_export(self, config: Config) -> Exporting | None:
        try:
            from ..otel.metrics import start_exporting

            return start_exporting(self.take, config, on_error=self._count)
        except Exception as error:  # noqa: BLE001  no exporter, or no OpenTelemetry here: /metrics is served
            self.fault(error)
            if not any("OTLP" in problem.what for problem in self._problems):
                fix = install.here("otlp") if isinstance(error, ImportError) else "check the OTEL_ variables"
                self._problems.append(Problem(f"OTLP metrics are not sent: {type(error).__name__}", fix))
            return None


def _use_all_descriptors() -> None:
    """Raise the limit of descriptors: each mapped file takes one (agent/reader.py)."""
    with contextlib.suppress(OSError, ValueError):
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def serve_beside_app(
    directory: str, url: str, app: str, problems: Sequence[Problem], watch: EndpointWatch, settings: str
) -> None:
    """Run the agent under `streamvitals run`: serve, linger, remove the directory.

    If this raises, the caller reports it and the files stay where they are.
    """
    listener = socket.socket(fileno=LISTENER)
    with contextlib.suppress(OSError):
        Path("/proc/self/comm").write_text("streamvitals")
    os.chdir("/")
    _use_all_descriptors()
    try:
        config, _ = Config.read()
        main = parse_identity(app) or Identity(0, 0)
        agent = Agent(directory, listener, url, config, main, problems, watch, settings)
    except BlockingIOError:
        return
    private_directory.sweep(directory)
    agent.serve(_say_ready)
    private_directory.remove(directory)


def _say_ready() -> None:
    os.write(READY, SERVING)
    os.close(READY)


def serve_directory(directory: str, listener: socket.socket, url: str, config: Config) -> None:
    """Serve the data of an agent that died, until asked to stop; the directory stays.

    Raises BlockingIOError if an agent is serving it, OSError if it cannot be read.
    """
    _use_all_descriptors()
    Agent(directory, listener, url, config).serve()
