"""Plans what the demo injects: a seeded list of jobs, and how each must be reported."""

from __future__ import annotations

import math
import random
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from streamvitals.faults.payloads import PROMPT_TOKENS
from streamvitals.faults.scenarios import SCENARIOS, Scenario
from streamvitals.faults.surface_scenarios import WEBSOCKET, WEBSOCKETS, truth
from streamvitals.names import OTHER
from streamvitals.stream.record import StreamLabels

# Each scenario is given to one of these; what is timed has names of its own.
MODELS = ("demo-large", "demo-small", "demo-mini")
HANG, SLOW_READER, SLOW_PROVIDER = "demo-hang", "demo-slow-reader", "demo-slow-provider"
WORKERS = (0, 1)
DOOMED, DYING = 2, 3  # the worker that is killed, and with how many streams open
# Stands in every prompt, and the key in every request: neither may be found in the metrics.
PROMPT = "xyzzy-a-prompt-that-nobody-else-may-read"
API_KEY = "sk-plugh-a-key-that-nobody-else-may-read"

STALL_AFTER = 1.0
HANG_SECONDS = 3.0
PATIENCE = 30.0
# Seconds that the program waits in its cancelled, timed out and interrupted jobs, and before it is killed.
SECONDS = 0.4
PAUSE = 0.1
# A run with fewer streams has only what is in the catalogue.
WITH_EXTRAS = 60
# What ends a response over a WebSocket, each by turns on the two surfaces that have them. A silence without an end
# is left out: what becomes of it depends on the websockets library.
SOCKETS = tuple(name for name in WEBSOCKET if name not in ("stall", "stall-before-first"))
WITH_USAGE = ("ok", "stall-then-fine", "length", "content-filter")
# How often a scenario is drawn once every one of them has been: 1 where nothing is said.
WEIGHTS = {
    "ok": 60, "ok-usage": 24, "tool-calls": 12, "reasoning": 8, "length": 4, "reset-after-n": 4, "429-then-ok": 3,
}
HOW = {
    "break": "break", "close": "close", "exception": "raise", "never-iterated": "leave", "cancelled": "cancel",
    "deadline": "deadline", "keyboard-interrupt": "interrupt", "break-after-finish": "until-finished",
}
# Scenarios that the SDK gets over, or does not, by retrying: the reason of each retry, and whether it helped.
RETRIES = {
    "429-then-ok": (("429", "429"), True),
    "500-then-ok": (("500", "500"), True),
    "connect-reset-then-ok": (("reset",), True),
    "retries-exhausted": (("500", "500"), False),
}


@dataclass(frozen=True)
class Urls:
    """Where the fault server is, and what no server can play; without trailing slash."""

    server: str
    refused: str
    connect_timeout: str
    dns_failure: str
    tls_failure: str

    def of(self, scenario: str, job: int) -> str:
        """The base URL for one job. Its number is in the path: the server's log then tells jobs apart."""
        special = {
            "refused": self.refused, "connect-timeout": self.connect_timeout,
            "dns-failure": self.dns_failure, "tls-failure": self.tls_failure,
        }.get(scenario)
        parts = urlsplit(special or self.server)
        return f"{parts.scheme}://{parts.netloc}/{job_path(job)}/v1"


def job_path(job: int) -> str:
    """The part of the path that names a job."""
    return f"job-{job}"


@dataclass(frozen=True)
class Job:
    """One stream of the plan.

    ``at`` is in seconds from the start, ``pause`` after each chunk. ``surface`` is that of a WebSocket, "" for chat.
    """

    id: int
    scenario: str
    outcome: str
    error_type: str
    model: str
    server_spec: str
    base_url: str
    at: float = 0.0
    worker: int = 0
    mode: str = "thread"
    how: str = "read"
    stop: int = 0
    pause: float = 0.0
    timeout: float = PATIENCE
    retries: int = 0
    n: int = 1
    include_usage: bool = False
    tokens: tuple[int, int] = (0, 0)
    surface: str = ""

    @property
    def unreachable(self) -> bool:
        """Whether no request of it reaches the server."""
        return self.surface == "" and SCENARIOS[self.scenario].kind == "client"

    @property
    def leaves_early(self) -> bool:
        """Whether the program stops reading before the stream ends."""
        return self.how in ("break", "close", "raise", "leave", "until-finished")

    @property
    def retried(self) -> tuple[str, ...]:
        """The reason of each retry by the SDK."""
        return RETRIES[self.scenario][0] if self.scenario in RETRIES else ()

    @property
    def recovers(self) -> bool:
        """Whether a retry helps."""
        return self.scenario in RETRIES and RETRIES[self.scenario][1]

    @property
    def labels(self) -> StreamLabels:
        """The label set that it must be counted under."""
        return StreamLabels("chat", OTHER, self.model, urlsplit(self.base_url).hostname or "")

    def for_client(self) -> dict[str, object]:
        """The job for the client program: how to ask and how to read, nothing of what will go wrong."""
        extra: dict[str, object] = {"sv_scenario": self.server_spec}
        if self.include_usage:
            extra["stream_options"] = {"include_usage": True}  # older versions of the SDK have no argument for it
        request: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": f"{PROMPT} {self.id}"}],
            "stream": True,
            "user": job_path(self.id),
            "extra_body": extra,
        }
        if self.n > 1:
            request["n"] = self.n
        if self.surface:
            request = {"type": "response.create", "model": self.model, "sv_scenario": self.server_spec}
            request["input"] = f"{PROMPT} {self.id}"
        options = {"base_url": self.base_url, "timeout": self.timeout, "max_retries": self.retries}
        return {
            "id": self.id, "worker": self.worker, "mode": self.mode, "how": self.how, "stop": self.stop,
            "pause": self.pause, "seconds": SECONDS, "together": DYING, "options": options, "request": request,
            "surface": self.surface,
        }


def make_plan(
    seed: int, streams: int, rate: float, urls: Urls, without: Container[str] = (), first_id: int = 0
) -> list[Job]:
    """``streams`` jobs, ``rate`` of them a second, in the order in which they start, ``without`` these scenarios."""
    rng = random.Random(seed)  # noqa: S311  reproducible, not secret
    catalogue = [scenario for scenario in SCENARIOS.values() if scenario.name not in without]
    # Drawn for all of the catalogue, so that a scenario has its model whatever else is in the run.
    models = {scenario.name: rng.choice(MODELS) for scenario in catalogue}
    extras = [*_extras(rng), *_sockets(rng, without)] if streams >= WITH_EXTRAS else []
    mixture = _mixture(rng, catalogue, streams - len(extras))
    jobs = [_job(rng, scenario, models[scenario.name]) for scenario in mixture]
    spread = [replace(job, at=index / rate) for index, job in enumerate(jobs)]
    length = len(jobs) / rate
    placed = [replace(extra, at=extra.at * length) for extra in extras]
    ordered = sorted([*spread, *placed], key=lambda job: job.at)
    numbered = enumerate(ordered, first_id)
    return [replace(job, id=i, base_url=urls.of(job.scenario, i)) for i, job in numbered]


def _mixture(rng: random.Random, catalogue: list[Scenario], count: int) -> list[Scenario]:
    """Every scenario once, as far as they fit, then by weight."""
    chosen = rng.sample(catalogue, min(count, len(catalogue)))
    weights = [WEIGHTS.get(scenario.name, 1) for scenario in catalogue]
    chosen += rng.choices(catalogue, weights, k=count - len(chosen))
    rng.shuffle(chosen)
    return chosen


def _job(rng: random.Random, scenario: Scenario, model: str) -> Job:
    how = HOW.get(scenario.name, "read")
    thread = how == "read" or how not in ("cancel", "deadline", "interrupt")
    mode = "thread" if how == "interrupt" else rng.choice(("thread", "task")) if thread else "task"
    chunks = rng.randint(6, 20)
    name, params = scenario.name, _pace(rng, scenario, chunks)
    if scenario.kind == "client":
        name = "ok"
    elif how in ("cancel", "deadline", "interrupt"):
        # Silent when the moment comes: it must strike while the program waits for a chunk.
        name, params = "stall-then-fine", {**params, "stall": 10.0, "first": 0.05}
    elif scenario.kind == "app":
        name = "ok"
        if how != "until-finished":
            params = {**params, "chunks": 60, "gap": 0.02}
    usage = scenario.usage or scenario.include_usage
    return Job(
        id=0, scenario=scenario.name, outcome=scenario.outcome, error_type=scenario.error_type, model=model,
        server_spec=spec(name, params), base_url="", worker=rng.choice(WORKERS), mode=mode, how=how,
        stop=rng.randint(2, 6) if how in ("break", "close", "raise") else 0,
        timeout=scenario.client_timeout or PATIENCE, retries=scenario.retries, n=scenario.n,
        include_usage=scenario.include_usage, tokens=(PROMPT_TOKENS, chunks) if usage else (0, 0),
    )


def _pace(rng: random.Random, scenario: Scenario, chunks: int) -> dict[str, float]:
    """How fast the server is: slow enough that what it does outweighs what the machine adds to it."""
    longest = 0.2 if scenario.client_timeout else 1.2
    pace: dict[str, float] = {
        "chunks": chunks,
        "first": round(min(longest, rng.lognormvariate(math.log(0.12), 0.6)), 3),
        "gap": round(min(0.06, max(0.006, rng.lognormvariate(math.log(0.013), 0.5))), 4),
        # Time for the client to read before the RST throws away what it has not read.
        "grace": 0.25,
    }
    given = dict(scenario.defaults)
    return {key: value for key, value in pace.items() if key not in given}


def spec(name: str, params: dict[str, float]) -> str:
    """The request to the server, in the form that its `sv_scenario` takes."""
    return name + "?" + "&".join(f"{key}={value:g}" for key, value in params.items())


def _extras(rng: random.Random) -> list[Job]:
    """Jobs beyond the catalogue: timed hangs, slow readers and providers, a process that is killed.

    ``at`` is a fraction of the run's length here.
    """

    def several(
        count: int, at: float, model: str, server_spec: str, scenario: str = "ok", outcome: str = "completed",
        error_type: str = "", worker: int | None = None, how: str = "read", pause: float = 0.0,
    ) -> Iterable[Job]:
        for number in range(count):
            yield Job(
                0, scenario, outcome, error_type, model, server_spec, "", at,
                WORKERS[number % 2] if worker is None else worker,
                "task" if worker is None and number // 2 % 2 else "thread", how, pause=pause,
            )

    hang = f"stall-then-fine?after=3&chunks=6&first=0.05&gap=0.01&stall={HANG_SECONDS}"
    silent = f"slow-headers?chunks=6&gap=0.01&delay={HANG_SECONDS}"
    return [
        *several(4, 0.4, HANG, hang, "stall-then-fine"),
        *several(4, 0.4, HANG, silent, "slow-headers"),
        *several(4, 0.55, SLOW_READER, "ok?chunks=10&first=0.05&gap=0", pause=PAUSE),
        *several(4, 0.6, SLOW_PROVIDER, f"ok?chunks=10&first=0.05&gap={PAUSE}"),
        *several(
            DYING, 0.75, MODELS[0], "stall-before-first?stall=30", "stall-before-first", "abandoned", "process_died",
            DOOMED, "crash",
        ),
    ]


def _sockets(rng: random.Random, without: Container[str]) -> Iterable[Job]:
    surfaces = [surface for surface in WEBSOCKETS if surface not in without]
    for number, name in enumerate(SOCKETS if surfaces else ()):
        surface, chunks = surfaces[number % len(surfaces)], rng.randint(6, 20)
        outcome, error_type = truth(surface, name)
        yield Job(
            0, f"{surface} {name}", outcome, error_type, rng.choice(MODELS),
            spec(name, _pace(rng, SCENARIOS[name if name == "stall-then-fine" else "ok"], chunks)), "",
            (number + 1) / (len(SOCKETS) + 1), rng.choice(WORKERS), rng.choice(("thread", "task")), "talk",
            tokens=(PROMPT_TOKENS, chunks) if name in WITH_USAGE else (0, 0), surface=surface,
        )
