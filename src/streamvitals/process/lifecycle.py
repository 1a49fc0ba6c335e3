"""The one runtime of this process: started, found, stopped, and what becomes of it at a fork and at the exit."""

from __future__ import annotations

import atexit
import itertools
import sys
from collections.abc import Iterable

from ..config import Config
from ..otel.patience import Patience, at_exit
from ..startup import importhook
from ..stream.dispatch import Fault
from ..stream.record import Sink
from ..system import forks
from . import visible
from .problems import report, show_and_check
from .runtime import Runtime
from .wiring import Tracing, TracingFactory, build, start_tracing_if_possible

_runtime: Runtime | None = None
_fork_hook = itertools.count()


def current() -> Runtime | None:
    """The runtime of this process, if one was started."""
    return _runtime


def start(config: Config, tracing: TracingFactory | None = None, sinks: Iterable[Sink] = ()) -> Runtime:
    """Make this process's runtime, or return the one that there is. Does not patch anything yet.

    ``tracing`` makes the sink for spans, if there are to be any.
    """
    global _runtime
    if _runtime is None:
        _runtime = build(config, tracing, sinks, count_fault)
        if next(_fork_hook) == 0:
            forks.in_child(_after_fork)
            atexit.register(_at_exit)
    return _runtime


def count_fault(where: str) -> None:
    """Count a fault of ours; any thread."""
    if _runtime is not None:
        _runtime.submit(Fault(where))


def stop() -> None:
    """Remove the patches and forget the runtime; open streams are counted as they stand."""
    global _runtime
    visible.hide()
    importhook.uninstall()
    if _runtime is not None:
        ending, _runtime = _runtime, None
        ending.patches.remove()
        ending.close()
        ending.end_exporters(Patience())
        for function in ending.at_stop:
            function()


def activate() -> None:
    """Called when the program under ``streamvitals run`` has imported openai.

    What was wrong in the environment has been said by `run`; what is wrong only in here is said now.
    """
    config, _ = Config.read()
    if config.disabled:
        return
    said: list[str] = []
    if _runtime is None:  # else the program has called instrument(), which has looked
        config, said = show_and_check(config)
    start(config, lambda: _tracing_under_run(config, said)).patch()
    report(said)


def _tracing_under_run(config: Config, said: list[str]) -> Tracing | None:
    """Spans only if the standard variables ask for them, or the app has OpenTelemetry loaded; and an app whose
    environment lacks the exporter is observed all the same."""
    if not (config.otlp_traces or "opentelemetry" in sys.modules):
        return None
    return start_tracing_if_possible(config, None, count_fault, said)


def _after_fork() -> None:
    if _runtime is not None:
        _runtime.forked()


def end_before_others() -> None:
    """Run our exit function before those that were registered since: what it counts is for them to send."""
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)


def _at_exit() -> None:
    if _runtime is not None:
        patience = at_exit()
        _runtime.close()
        _runtime.end_exporters(patience)
