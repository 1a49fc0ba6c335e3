"""A provider with bad hours: the fault server that streamvitals is tested with, playing incidents in turn.

    python provider.py --port 8080        # ten minutes a turn: four of peace, then six of trouble

What it says for a model that it is asked for is drawn from a seed; what goes on is printed as it begins.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from streamvitals.faults import FaultServer
from streamvitals.faults.script import ByModel

PEACE, TROUBLE = 4.0, 6.0  # minutes
# Of a hundred answers on a good day.
USUAL = {"reset-after-n?after=6": 0.3, "429": 0.4, "500": 0.2, "length?chunks=40&gap=0.02": 2.0, "content-filter": 0.3}


class Incident(NamedTuple):
    """``share`` of the answers of ``models`` are ``scenario``; the others come so much slower."""

    what: str
    models: tuple[str, ...]
    scenario: str = "ok"
    share: float = 0.0
    slower: float = 1.0


HOSTED, MINI, OWN = "gpt-4o", "gpt-4o-mini", "llama-3.3-70b"
INCIDENTS = (
    Incident("two thirds of gpt-4o's streams are reset", (HOSTED,), "reset-after-n?after=12&gap=0.02", 0.65),
    Incident("llama-3.3-70b hangs in mid-stream", (OWN,), "stall?after=8&gap=0.02&stall=40", 0.5),
    Incident("gpt-4o-mini stops early and says nothing", (MINI,), "silent-cut?after=10&gap=0.02", 0.3),
    Incident("the hosted models are eight times slower", (HOSTED, MINI), slower=8.0),
    Incident("the hosted models' limit is used up", (HOSTED, MINI), "429", 0.7),
    Incident("llama-3.3-70b is overloaded", (OWN,), "error-event-overloaded?after=4", 0.4),
)


class Weather(ByModel):
    """What the fault server plays for a model, drawn anew for every request."""

    def __init__(self, seed: str, minute: float, now: Callable[[], float] = time.monotonic) -> None:
        """``minute`` is how many seconds one lasts."""
        super().__init__()
        self._draw = random.Random(seed)
        self._minute = minute
        self._now = now
        self._began = now()

    def incident(self) -> Incident | None:
        """What goes on now."""
        turn, minutes = divmod((self._now() - self._began) / self._minute, PEACE + TROUBLE)
        return None if minutes < PEACE else INCIDENTS[int(turn) % len(INCIDENTS)]

    def get(self, model: str, default: str = "") -> str:  # type: ignore[override]
        draw, incident = self._draw, self.incident()
        slower = 1.0
        if incident is not None and model in incident.models:
            slower = incident.slower
            if draw.random() < incident.share:
                return incident.scenario
        (usual,) = draw.choices(["", *USUAL], [100.0 - sum(USUAL.values()), *USUAL.values()])
        if usual:
            return usual
        first, gap = draw.lognormvariate(-1.0, 0.4) * slower, draw.lognormvariate(-3.9, 0.3) * slower
        return f"ok?chunks={draw.randrange(15, 60)}&first={first:.3f}&gap={gap:.3f}"


async def _serve(host: str, port: int, weather: Weather) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = FaultServer()
    server.by_model = weather
    await server.start(host, port)
    told: Incident | None = None
    while not stop.is_set():
        if (now := weather.incident()) != told:
            told = now
            print(time.strftime("%H:%M:%S"), told.what if told else "all is well", flush=True)
        try:
            await asyncio.wait_for(stop.wait(), 0.2)
        except asyncio.TimeoutError:
            continue
    await server.stop()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--minute", type=float, default=60.0, metavar="SECONDS", help="how long a minute is")
    given = parser.parse_args(arguments)
    asyncio.run(_serve(given.host, given.port, Weather(given.seed, given.minute)))


if __name__ == "__main__":
    main()
