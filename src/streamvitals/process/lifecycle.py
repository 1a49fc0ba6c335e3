"""The one runtime of this process: its start and stop, and what it does at a fork and at exit."""

from __future__ import annotations

import atexit
import itertools
import sys
from collections.abc import Iterable

from ..config import Config
from ..otel.patience import at_exit
from ..startup import importhook
from ..stream.dispatch import Fault
from ..stream.sink import Sink
from ..system import forks
from . import visible
from .problems import report, show_and_check
from .runtime import Runtime
from .wiring import MetricsFactory, Tracing, TracingFactory, build, start_tracing_if_possible

_runtime: Runtime | None = None
_fork_hook = itertools.count()


def current() -> Runtime | None:
    """The runtime of this process, if one was started."""
    return _runtime


def start(
    config: Config,
    tracing: TracingFactory | None = None,
    sinks: Iterable[Sink] = (),
    metrics: MetricsFactory | None = None,
) -> Runtime:
    """Make this process's runtime, or return the existing one. Does not patch anything yet."""
    global _runtime
    if _runtime is None:
        _runtime = build(config, tracing, sinks, metrics=metrics, on_error=count_fault)
        if next(_fork_hook) == 0:
            forks.in_child(_after_fork)
        # To run before the exit functions that exporters have registered, so that they send what ours counts.
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)
    return _runtime


def count_fault(where: str) -> None:
    """Count a fault of ours; any thread."""
    if _runtime is not None:
        _runtime.submit(Fault(where))


def stop() -> None:
    """Remove the patches and forget the runtime; open streams are counted with what is known of them."""
    global _runtime
    visible.hide()
    importhook.uninstall()
    if _runtime is not None:
        ending, _runtime = _runtime, None
        ending.stop()


def activate() -> None:
    """Start observing, when the program under ``streamvitals run`` has imported openai.

    `run` has reported the problems of the environment; problems that only this process has are reported now.
    """
    config, _ = Config.read()
    if config.disabled:
        return
    problems: list[str] = []
    if _runtime is None:  # if there is one, the program has called instrument(), which has checked
        config, problems = show_and_check(config)
    start(config, lambda: _tracing_under_run(config, problems)).patch()
    report(problems)


def _tracing_under_run(config: Config, problems: list[str]) -> Tracing | None:
    """The span pipeline, only if the standard variables ask for spans or failures or the app has loaded OpenTelemetry.

    An app whose environment lacks the exporter is observed all the same.
    """
    if not (config.otlp_traces or config.otlp_logs or "opentelemetry" in sys.modules):
        return None
    return start_tracing_if_possible(config, None, count_fault, problems)


def _after_fork() -> None:
    if _runtime is not None:
        _runtime.forked()


def _at_exit() -> None:
    if _runtime is not None:
        patience = at_exit()
        _runtime.close()
        _runtime.exporters.shut_down_all(patience)
