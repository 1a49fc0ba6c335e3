"""An observation with a clock that only the test moves, and a host that keeps what it is handed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from streamvitals.retries.failures import Chain, Origin
from streamvitals.stream.chunks import ChatChunks
from streamvitals.stream.ending import Ending
from streamvitals.stream.observation import Observation
from streamvitals.stream.record import Progress, RetryRecord, StallAfter, StreamLabels, StreamRecord
from streamvitals.stream.request import RequestFacts, ResponseFacts
from streamvitals.stream.retry import FIRST_ATTEMPT, Retry

LABELS = StreamLabels("chat", "openai", "model", "host")
OK = ResponseFacts(200, "text/event-stream")


class Slot:
    def __init__(self) -> None:
        self.view: Any = [0.0] * 16
        self.at = 8

    @property
    def state(self) -> float:
        return self.view[self.at]


class Host:
    """``now`` in seconds. What is submitted is frozen at once, as the dispatch would. ``first_token``: as
    ``stall_after``, before the first token of the answer; the same if it is not given."""

    def __init__(self, stall_after: float = 5.0, flush_every: float = 1e9, first_token: float | None = None) -> None:
        self.now = 1000.0
        self.stall_after = StallAfter(stall_after if first_token is None else first_token, stall_after)
        self.flush_every = flush_every
        self.progress: list[Progress] = []
        self.retries: list[RetryRecord] = []
        self.records: list[StreamRecord] = []
        self.deferred: list[tuple[Observation, Ending]] = []
        self.discarded: list[Observation] = []
        self.faults: list[str] = []
        self.slot = Slot()

    def clock(self) -> float:
        return self.now

    def origin(self) -> Origin:
        return Origin(1)

    def submit(self, item: Any) -> None:
        if isinstance(item, Progress):
            self.progress.append(item)
        elif isinstance(item, RetryRecord):
            self.retries.append(item)
        else:
            observation, ending = item
            self.records.append(observation.record(observation.end(ending)))

    def defer(self, item: tuple[Observation, Ending]) -> None:
        self.deferred.append(item)

    def append(self, reference: Any) -> None:
        reference.observation.dropped()

    def drain(self) -> None:
        while self.deferred:
            self.submit(self.deferred.pop(0))

    def discard(self, observation: Observation) -> None:
        self.discarded.append(observation)

    def fault(self, where: str) -> None:
        self.faults.append(where)

    def begin_chain(self, now: float) -> Chain:
        return Chain(now)

    def begin(
        self, reader: Any = None, retry: Retry = FIRST_ATTEMPT, parent: object = None, **facts: Any
    ) -> Observation:
        told, read = RequestFacts(LABELS, **facts), reader or ChatChunks()
        return Observation(self, told, read, self.slot, self.now, 1.7e9, None, retry, parent)

    def streaming(self, **facts: Any) -> Observation:
        """An observation whose headers have come at once."""
        observation = self.begin(**facts)
        observation.attempting()
        observation.responded(OK)
        return observation

    def ask(self, observation: Observation) -> None:
        """The app asks for the next chunk, as stream/observe.py stamps it."""
        observation.pace.ask(self.now)

    def chunk(self, observation: Observation, wait: float = 0.0, hold: float = 0.0, item: Any = None) -> None:
        """The app asks, the provider answers ``wait`` seconds later, the app works ``hold`` seconds on it."""
        self.ask(observation)
        self.now += wait
        observation.arrived(item if item is not None else token())
        self.now += hold

    def ended(self) -> StreamRecord:
        """The one record that there must be."""
        while self.deferred:
            observation, ending = self.deferred.pop()
            self.records.append(observation.record(observation.end(ending)))
        (record,) = self.records
        assert self.faults == []
        return record


def chunk(delta: Any = None, finish: str | None = None, index: int = 0, usage: Any = None, **extra: Any) -> Any:
    choice = SimpleNamespace(index=index, delta=SimpleNamespace(**(delta or {})), finish_reason=finish, **extra)
    return SimpleNamespace(id="id", model="told", choices=[choice], usage=usage)


def token(text: str = "token") -> Any:
    return chunk({"content": text})


def finish(reason: str = "stop") -> Any:
    return chunk({}, reason)
