"""An incident to play: a fleet, two providers, and a Prometheus with the alerts, for pictures and tests.

At first all is well. Then one model of one provider cuts its streams, with a RST or without a word, hangs, and is
late; programs and SDK try again. Then it is mended, and a replica is restarted. Everything that runs is real:
programs that use openai, against a server that breaks real connections.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from streamvitals.faults import ThreadedFaultServer

from .processes import Replica, SceneError, environment
from .providers import HOSTS, MODELS, Phase, Provider
from .watch import watching

__all__ = ["Scene", "SceneError", "playing"]

CLIENT = Path(__file__).with_name("client.py")


class Service(NamedTuple):
    """A service of the fleet.

    ``agent``: under `streamvitals run`; else it observes itself. ``users`` are a second's.
    """

    surfaces: str
    models: tuple[str, ...]
    users: float
    replicas: int
    agent: bool


SERVICES = {
    "assistant": Service("chat", ("gpt-4o", "gpt-4o-mini"), users=2.0, replicas=3, agent=True),
    "summaries": Service("responses,completions", ("gpt-4o-mini", "qwen3-32b"), users=3.0, replicas=1, agent=False),
}
# Shares of the whole length: when it breaks, is mended, and when a replica is restarted; its height is in between.
BREAKS, HEIGHT, MENDED, RESTART = 0.33, 0.70, 0.74, 0.82
SHORTEST = 40.0
# The longest that a stream may be silent before the program gives up, and until it counts as stalled, by the length.
TIMEOUT, STALLED = (4.0, 12.0), (1.5, 5.0)


class Scene:
    """An incident that is being played.

    ``prometheus`` is an address. ``started``, ``broken``, ``height`` and ``mended`` are in seconds since the epoch, 0
    until they come.
    """

    def __init__(self, prometheus: str, seconds: float, providers: list[Provider], replicas: list[Replica]) -> None:
        self.prometheus, self.seconds = prometheus, seconds
        self.started, self.broken, self.height, self.mended = time.time(), 0.0, 0.0, 0.0
        self._providers, self._replicas = providers, replicas
        self._begun = time.monotonic()
        self._to_come = [
            (BREAKS, self._break), (HEIGHT, self._look), (MENDED, self._mend), (RESTART, replicas[0].restart),
        ]

    def advance(self, share: float) -> None:
        """Play until this share of the whole is over."""
        while self._to_come and self._to_come[0][0] <= share:
            at, act = self._to_come.pop(0)
            self._wait(at)
            act()
        self._wait(share)

    def to_the_height(self) -> None:
        self.advance(HEIGHT)

    def run_through(self) -> None:
        self.advance(1.0)

    def _wait(self, share: float) -> None:
        time.sleep(max(0.0, self._begun + share * self.seconds - time.monotonic()))

    def _break(self) -> None:
        self._turn("broken")
        self.broken = time.time()

    def _look(self) -> None:
        self.height = time.time()

    def _mend(self) -> None:
        self._turn("mended")
        self.mended = time.time()

    def _turn(self, phase: Phase) -> None:
        for provider in self._providers:
            provider.phase = phase


@contextlib.contextmanager
def playing(seconds: float, seed: str = "1") -> Iterator[Scene]:
    """Run the fleet, watched; everything is ended at the end. Raises SceneError."""
    if seconds < SHORTEST:
        raise SceneError(f"{seconds:g} s is too short for the alerts to come: at least {SHORTEST:g}")
    timeout, stalled = (max(low, min(high, seconds / 30)) for low, high in (TIMEOUT, STALLED))
    providers = [Provider(name, seed, stall=2 * timeout) for name in MODELS]
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="scene-")))
        server = stack.enter_context(ThreadedFaultServer())
        server.by_model.update({provider.name: provider for provider in providers})
        # The providers' names lead nowhere: the fault server is the proxy that answers for them.
        env = environment(
            HTTP_PROXY=f"http://127.0.0.1:{server.port}", NO_PROXY="127.0.0.1", OPENAI_API_KEY="sk-scene",
            STREAMVITALS_LINGER_SECONDS="0", STREAMVITALS_STALL_SECONDS=f"{stalled:g}",
            STREAMVITALS_FIRST_TOKEN_STALL_SECONDS=f"{stalled:g}",
            STREAMVITALS_PROVIDERS=",".join(f"{host}={name}" for host, name in HOSTS.items()),
        )
        fleet = {job: _replicas(job, env, timeout, folder) for job in SERVICES}
        replicas = [one for some in fleet.values() for one in some]
        for replica in replicas:
            stack.callback(replica.stop)
            replica.start()
        jobs = {job: [(one.name, one.port) for one in some] for job, some in fleet.items()}
        yield Scene(stack.enter_context(watching(folder, jobs)), seconds, providers, replicas)


def _replicas(job: str, env: dict[str, str], timeout: float, folder: Path) -> list[Replica]:
    service = SERVICES[job]
    asked = [f"{model}=http://{MODELS[model].host}/v1" for model in service.models]
    made = []
    for number in range(service.replicas):
        program = [str(CLIENT), service.surfaces, str(service.users), str(timeout), str(number), *asked]
        name = f"{job}-{number}"
        made.append(Replica(name, program, service.agent, env, folder / f"{name}.log"))
    return made
