"""Flushes and shuts down everything that sends telemetry to a collector, within one bound."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..otel.patience import Patience

Begin = tuple[Callable[[], object], ...]
Finish = tuple[Callable[[float], object], ...]


class Exporters(NamedTuple):
    """Starts all exporters before it waits for the first; each gets the seconds that are left."""

    begin_flush: Begin = ()
    flush: Finish = ()
    begin_shutdown: Begin = ()
    shutdown: Finish = ()

    def flush_all(self, patience: Patience) -> None:
        """Make all exporters send what they hold."""
        _all(self.begin_flush, self.flush, patience)

    def shut_down_all(self, patience: Patience) -> None:
        """Make all exporters send what they hold for the last time; a collector that refuses is not waited for."""
        _all(self.begin_shutdown, self.shutdown, patience)


def _all(begin: Begin, finish: Finish, patience: Patience) -> None:
    for start in begin:
        start()
    for end in finish:
        end(patience.left())
