"""The agent's life: serve one directory until everybody in it has gone, then a little longer."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from prometheus_client import CollectorRegistry

from .. import names
from .._version import __version__
from ..config import Config
from ..sinks.layout import PROCESS_LAYOUT
from ..sinks.prometheus import SnapshotCollector
from ..sinks.snapshot import Snapshot
from . import directory as private
from .http import AgentServer
from .processes import Identity, entry_of
from .tree import Tree
from .watch import Health, Watcher

# How often to see who is left; how long to stay after an app that never streamed anything. Seconds.
TICK = 0.5
NO_DATA_LINGER = 1.0
# How long the last export may take. Seconds.
EXPORT_AT_END = 4.0


class Agent:
    """Serves one directory. ``linger`` is for how long after the last process, in seconds; None: for ever."""

    def __init__(
        self, directory: str, listener: socket.socket, url: str, config: Config, linger: float | None
    ) -> None:
        self._directory = directory
        self._url = url
        self._linger = linger
        self._tree = Tree(directory, stall_after=config.stall_after)
        self._watcher = Watcher(directory)
        self._faults: Counter[str] = Counter()
        self._started = time.time()
        self._last_seen = time.monotonic()
        self._stop = threading.Event()
        registry = CollectorRegistry()
        registry.register(SnapshotCollector(self.take))
        self._server = AgentServer(listener, registry, self.health, self._tick, self.fault, TICK)
        self._end_export = self._start_export(config) if config.otlp_metrics else None

    def take(self) -> Snapshot:
        """What the whole tree has counted, our own faults added."""
        snapshot = self._tree.snapshot()
        for place, count in tuple(self._faults.items()):
            snapshot.process[PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, place)] += count
        snapshot.unreported = len(self._state().silent)
        return snapshot

    def _state(self) -> Health:
        return self._watcher.health({Identity(i.pid, i.start): i.image for i in self._tree.builds()})

    def health(self) -> dict[str, object]:
        """The answer to /healthz. No argument and no variable of any process is in it."""
        state = self._state()
        return {
            "status": "ok",
            "version": __version__,
            "uptime_seconds": round(time.time() - self._started, 1),
            "agent_pid": os.getpid(),
            "agent_faults": self._faults.total(),
            "processes": {"seen": state.seen, "alive": state.alive},
            "not_reporting": [silent._asdict() for silent in state.silent],
            "not_patched": [{"pid": pid, "error": error} for pid, error in state.faults],
        }

    def fault(self, error: BaseException) -> None:
        """Count a fault of ours and leave it in the bounded log."""
        self._count("agent")
        private.note(self._directory, "".join(traceback.format_exception(error)))

    def _count(self, place: str) -> None:
        self._faults[place] += 1

    def serve(self) -> bool:
        """Serve until nobody is left, or until SIGTERM or SIGINT; whether nobody is left."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        entry = entry_of(os.getpid())
        private.write_facts(
            self._directory,
            {
                "version": __version__, "url": self._url, "pid": os.getpid(), "started": self._started,
                "start": entry.identity.start if entry is not None else 0,
            },
        )
        self._server.serve(self._stop)
        if self._end_export is not None:
            try:
                self._end_export(EXPORT_AT_END)
            except Exception as error:  # noqa: BLE001  the directory is still to be seen to
                self.fault(error)
        self._tree.close()
        return not self._watcher.anyone_left()

    def _tick(self) -> None:
        now = time.monotonic()
        # When a process died is when that was noticed.
        self._tree.sweep()
        if self._watcher.anyone_left():
            self._last_seen = now
        elif self._linger is not None:
            # Where nothing was ever counted there is nothing to come for.
            linger = self._linger if private.has_data(self._directory) else min(self._linger, NO_DATA_LINGER)
            if now - self._last_seen > linger:
                self._stop.set()

    def _start_export(self, config: Config) -> Callable[[float], object] | None:
        try:
            from ..sinks.otel_metrics import start_exporting

            end: Callable[[float], object] = start_exporting(self.take, config, on_error=self._count).shutdown
        except Exception as error:  # noqa: BLE001  no exporter, or no OpenTelemetry here: /metrics is served
            self.fault(error)
            return None
        return end


def serve_beside_app(directory: str, listener: socket.socket, url: str) -> None:
    """The agent's process under `streamvitals run`: serve, linger, remove the directory."""
    try:
        with contextlib.suppress(OSError):
            Path("/proc/self/comm").write_text("streamvitals")
        os.chdir("/")
        if private.lock(directory) is None:
            return
        config = Config.from_env()
        agent = Agent(directory, listener, url, config, config.linger)
        private.sweep(directory)
        nobody_left = agent.serve()
    except Exception as error:
        # There is no terminal to say it on, and what was counted stays where it is.
        private.note(directory, "".join(traceback.format_exception(error)))
        raise SystemExit(1) from error
    if nobody_left:
        private.remove(directory)


def serve_directory(directory: str, listener: socket.socket, url: str, config: Config) -> None:
    """Serve what an agent that died left behind, until told to stop; the directory stays.

    Raises BlockingIOError where an agent is serving it, OSError where it cannot be read.
    """
    if private.lock(directory) is None:
        raise BlockingIOError(f"{directory} is served already")
    Agent(directory, listener, url, config, None).serve()
