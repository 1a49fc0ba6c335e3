"""Sinks that can be upset, and what the runtime is to a dispatch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from observation_support import Host
from streamvitals.outcome import Outcome, Verdict
from streamvitals.stream.dispatch import Dispatch
from streamvitals.stream.ending import Ending
from streamvitals.stream.observation import Observation
from streamvitals.stream.record import Progress, StreamEnd, StreamRecord
from streamvitals.testing import RecordList

ENDING = Ending(Verdict(Outcome.COMPLETED), 1000.0)


class Sink(RecordList):
    """Keeps what it is handed; ``upset`` is called first, and may raise."""

    def __init__(self, upset: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self.upset = upset
        self.progress: list[Progress] = []

    def on_progress(self, progress: Progress) -> None:
        self.upset()
        self.progress.append(progress)

    def on_end(self, record: StreamRecord) -> None:
        self.upset()
        self.append(record)

    def on_loop_lag(self, seconds: float) -> None:
        self.upset()
        super().on_loop_lag(seconds)


class Home:
    """What the runtime is to a dispatch: knows which observations have not been recorded yet."""

    def __init__(self, *sinks: Any) -> None:
        self.open: dict[int, Observation] = {}
        self.recorded: list[StreamRecord] = []
        self.dispatch = Dispatch(sinks, self._record, self._recorded)
        self.host = Host()

    def _record(self, observation: Observation, ending: Ending) -> StreamEnd | StreamRecord | None:
        if id(observation) not in self.open:
            return None
        end = observation.end(ending)
        return observation.record(end) if self.dispatch.needs_record(end) else end

    def _recorded(self, observation: Observation, record: StreamRecord) -> None:
        del self.open[id(observation)]
        self.recorded.append(record)

    def begin(self) -> Observation:
        observation = self.host.begin()
        self.open[id(observation)] = observation
        return observation

    def end(self, observation: Observation) -> None:
        self.dispatch.submit((observation, ENDING))
