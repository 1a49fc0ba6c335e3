"""A service as Prometheus would see it: weeks of samples in our metric schema, with events whose truth is known.

It knows nothing of the rules. Operations arrive by the hour of the day and the day of the week; each is one stream or,
where the app tries again, several; streams fail in the background as they do in life.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import TextIO

from streamvitals import names
from streamvitals.outcome import Outcome, result
from streamvitals.stream.record import STALL_AFTER

from .chance import binomial, poisson, spread
from .events import AGAIN, CALLS, DAY, ENDLESS, HOUR, MINUTE, STREAMS, Event, draw, log_uniform, of_calls

# A Monday, midnight UTC, and a multiple of every block size in use.
EPOCH = 1_699_833_600
MODELS = ("gpt-4o", "gpt-4o-mini", "o-large")
SERVER = "api.example"
# How streams fail when nothing is wrong: shares of them, by outcome and error type.
BACKGROUND = {
    ("reset", "connection_reset"): 0.0010, ("truncated", "incomplete_read"): 0.0005,
    ("timeout", "read_timeout"): 0.0008, ("api_error", "server_error"): 0.0007, ("http_error", "500"): 0.0008,
    ("rate_limited", "429"): 0.0006, ("malformed", "json_decode"): 0.0001,
    ("connect_error", "connection_refused"): 0.0001,
}
ORDINARY = {("cancelled", "cancelled"): 0.03, ("abandoned", "closed"): 0.02, ("rejected", "400"): 0.004}
FAILED = frozenset(outcome for outcome, _ in BACKGROUND)
LIMITS = {"length": 0.03, "content_filter": 0.003}
SDK_RETRIES, STALLS = 0.015, 0.004
FIRST_MEDIAN, FIRST_SIGMA = 0.5, 0.5
GAP_MEDIAN, GAP_SIGMA, CHUNKS = 0.02, 0.6, 40
STREAM_SECONDS = 8.0
# A model that reasons before it answers, in seconds; and streams of which every chunk is late, by how much.
THINKING, DRIPPING = 12.0, 15.0
SLOW_TO_BEGIN = ("first token slow", "first token slower", "somewhat slower", "slow minute")
SLOW_TO_GO_ON = ("chunks slow", "chunks slower")


@dataclass(frozen=True)
class Size:
    """The size of a service; ``peak`` and ``night`` are operations per second of all of it."""

    name: str
    peak: float
    night: float
    models: int
    replicas: int


SIZES = {
    "small": Size("small", 2 / 60, 1 / 3600, 1, 1),
    "modest": Size("modest", 3.6 / 60, 3.6 / 60, 1, 1),
    "medium": Size("medium", 2.0, 0.1, 2, 3),
    "large": Size("large", 100.0, 20.0, 2, 5),
}


@dataclass(frozen=True)
class Manner:
    """How a service lives.

    ``level`` is a factor of its traffic, ``weekend`` of that of its weekends; ``session`` so many requests come
    together; ``background`` is a factor of what fails when nothing is wrong, ``at_peak`` of what first tokens take at
    noon; with ``thinking`` the second model reasons; ``dripping`` is a share of the streams; ``calls`` without a stream
    are made for each operation.
    """

    level: float = 1.0
    weekend: float = 0.4
    session: float = 1.0
    background: float = 1.0
    at_peak: float = 1.0
    thinking: bool = False
    dripping: float = 0.0
    calls: float = 0.0


def rough(rng: Random) -> Manner:
    """Draw how a service lives, none like the other."""
    return Manner(
        level=log_uniform(rng, 0.4, 2.0), weekend=rng.choice((0.05, 0.4, 1.0)), session=rng.choice((1.0, 2.0, 4.0)),
        background=log_uniform(rng, 0.2, 2.5), at_peak=rng.uniform(1.0, 1.4), thinking=rng.random() < 0.5,
        dripping=rng.choice((0.0, 0.01, 0.03)),
    )


class World:
    """Weeks of one service. The first two days are quiet, so that rules have a past to compare with."""

    def __init__(
        self, size: Size, seed: int, weeks: float, scrape: float = 30.0, manner: Manner | None = None
    ) -> None:
        self.size, self.scrape, self.manner = size, scrape, manner or Manner()
        self.begin, self.end = float(EPOCH), EPOCH + weeks * 7 * DAY
        self.rng = Random(f"{size.name} {seed}")
        self.app_retries = self.rng.choice((0, 1, 2))
        quiet, last = self.begin + 2 * DAY, self.end - 3 * HOUR
        self.events = list(
            draw(self.rng, quiet, last, size.models, size.replicas, self.app_retries, self.expected)
        )
        if self.manner.calls:
            self.events = [of_calls(self.rng, event) for event in self.events]

    def rate(self, now: float) -> float:
        """Operations per second."""
        day = int((now - EPOCH) // DAY) % 7
        by_day = (self.size.peak - self.size.night) * self.noon(now) * (self.manner.weekend if day >= 5 else 1.0)
        return self.manner.level * (self.size.night + by_day)

    def noon(self, now: float) -> float:
        """From 0 by night to 1."""
        hour = now % DAY / HOUR
        return max(0.0, math.sin((hour - 6) / 16 * math.pi)) ** 0.7 if 6 <= hour < 22 else 0.0

    def arrivals(self, mean: float) -> int:
        """So many requests, in sessions."""
        session = self.manner.session
        if session == 1.0:
            return poisson(self.rng, mean)
        if mean / session > 30:
            return max(0, round(self.rng.gauss(mean, math.sqrt(mean / session * (session - 1 + session**2)))))
        return sum(1 + poisson(self.rng, session - 1) for _ in range(poisson(self.rng, mean / session)))

    def expected(self, begin: float, end: float) -> float:
        steps = max(1, int((end - begin) / MINUTE))
        return sum(self.rate(begin + (end - begin) * i / steps) for i in range(steps)) * (end - begin) / steps

    def cells(self) -> list[_Cell]:
        """Make what counts: each model on each replica."""
        return [
            _Cell(self, model, replica)
            for replica in range(self.size.replicas)
            for model in range(self.size.models)
        ]

    def write(self, file: TextIO) -> int:
        """Write all samples in OpenMetrics, in the order of time, and return how many."""
        cells = self.cells()
        replicas = [_Replica(self, replica, [c for c in cells if c.replica == replica])
                    for replica in range(self.size.replicas)]
        written, now = 0, self.begin
        while now < self.end:
            near = [event for event in self.events if event.start - HOUR <= now < event.end + HOUR]
            rate = self.rate(now)
            for replica in replicas:
                lines = replica.step(now, rate, near)
                file.writelines(lines)
                written += len(lines)
            now += self.scrape
        file.write("# EOF\n")
        return written


def _braces(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "} "


class _Counts:
    """Series and their values, as the lines that one scrape adds."""

    def __init__(self, labels: dict[str, str]) -> None:
        self._labels = labels
        self._index: dict[tuple[str, tuple[str, ...]], int] = {}
        self._heads: list[str] = []
        self.values: list[float] = []

    def add(self, metric: names.Metric, values: tuple[str, ...] = (), suffix: str = "") -> None:
        self._index[metric.otel + suffix, values] = len(self.values)
        own = dict(zip(("le",) if suffix == "_bucket" else metric.labels, values, strict=True))
        ending = suffix or ("_total" if metric.kind == "counter" else "")
        self._heads.append(metric.prometheus + ending + _braces({**self._labels, **own}))
        self.values.append(0)

    def at(self, metric: names.Metric, *values: str, suffix: str = "") -> int:
        return self._index[metric.otel + suffix, values]

    def lines(self, now: float) -> list[str]:
        time = f" {now:.0f}\n"
        return [f"{head}{value:.12g}{time}" for head, value in zip(self._heads, self.values, strict=True)]


@lru_cache
def _les(metric: names.Metric) -> tuple[str, ...]:
    return (*(f"{edge:g}" for edge in metric.edges), "+Inf")


def means(outcome: str, error_type: str = "") -> str:
    """The result that follows from an end."""
    return result(Outcome(outcome), error_type)


def retry_reason(outcome: str, error_type: str) -> str:
    return error_type if error_type.isdigit() else outcome


class _Cell:
    """One model on one replica, at one server."""

    def __init__(self, world: World, model: int, replica: int, server: str = SERVER) -> None:
        self.world, self.model, self.replica, self.server = world, model, replica, server
        labels = {
            "job": "chat", "instance": f"chat-{replica}:9464", "gen_ai_operation_name": "chat",
            "gen_ai_provider_name": "openai", "gen_ai_request_model": MODELS[model], "server_address": server,
        }
        counts = self.counts = _Counts(labels)
        for metric in (names.STREAMS, names.RECOVERIES, names.OPERATIONS_FAILED, names.FALLBACKS):
            for values in metric.values:
                counts.add(metric, values)
        for key in (*BACKGROUND, *ORDINARY, ("rejected", "401"), ("http_error", "503"), ("truncated",
                    "missing_terminal"), ("api_error", "overloaded_error"), ("malformed", "unexpected_content_type")):
            counts.add(names.STREAM_ERRORS, (*key, means(*key)))
        for reason in sorted({retry_reason(*key) for key in (*BACKGROUND, ("http_error", "503"))}):
            counts.add(names.RETRIES, ("app", reason))
        for reason in ("429", "503"):
            counts.add(names.RETRIES, ("sdk", reason))
        for metric in (names.TIME_TO_FIRST_TOKEN, names.CHUNK_GAP):
            for le in _les(metric):
                counts.add(metric, (le,), "_bucket")
            counts.add(metric, (), "_count")
        counts.add(names.DURATION, ("completed",), "_sum")
        called = (names.CALLS, names.CALLS_ACTIVE, names.CALLS_STALLED) if world.manner.calls else ()
        for metric in (names.ACTIVE, names.STALLED, *called):
            for values in metric.values:
                counts.add(metric, values)
        for metric in (names.RATELIMIT_REMAINING, names.RATELIMIT_LIMIT):
            counts.add(metric, ("requests",))
        self.failed_later: list[tuple[float, int]] = []
        self.hanging: list[tuple[float, float, int]] = []
        # Since when operations are asked again for ever, and how many.
        self.loops: list[tuple[float, int]] = []
        self.leaked = 0.0
        self.seen = False

    def again(self) -> _Cell:
        """The same in a process that has just begun."""
        return _Cell(self.world, self.model, self.replica, self.server)

    def step(self, now: float, rate: float, near: list[Event]) -> None:
        """Let happen what does between the last scrape and ``now``."""
        rng, here = self.world.rng, [e for e in near if e.hits(now - self.world.scrape, now, self.model, self.replica)]
        if self.world.manner.calls:
            self._calls(now, rate, [event for event in here if event.of != STREAMS])
            here = [event for event in here if event.of != CALLS]
        by_kind = {event.kind: event for event in here}
        for kind in ("rush", "quiet hours", "traffic gone"):
            if kind in by_kind:
                rate *= by_kind[kind].size
        share = 1 / (self.world.size.models * self.world.size.replicas)
        asked = self.world.arrivals(rate * share * self.world.scrape)
        self.seen = self.seen or asked > 0
        # What hangs ends, when the client's patience does.
        hung = sum(count for begun, until, count in self.hanging if until <= now)
        self.hanging = [item for item in self.hanging if item[1] > now]
        self._end("timeout", "read_timeout", hung)
        self.failed_later.append((now + 60, hung)) if hung else None
        if "streams hang" in by_kind:
            stuck = binomial(rng, asked, by_kind["streams hang"].size)
            if stuck:
                self.hanging.append((now, now + by_kind["streams hang"].extra["timeout"], stuck))
            asked -= stuck
        self._operations(asked, now, here)
        self._latencies(asked, now, here)
        self._gauges(now, rate * share, by_kind)
        due = sum(count for at, count in self.failed_later if at <= now)
        self.failed_later = [item for item in self.failed_later if item[0] > now]
        self._bump(names.OPERATIONS_FAILED, due)

    def _calls(self, now: float, rate: float, here: list[Event]) -> None:
        """Make calls without a stream, which are not tried again; whoever is hurt by an event is said by its ``of``."""
        rng, manner, scrape = self.world.rng, self.world.manner, self.world.scrape
        share = manner.calls / (self.world.size.models * self.world.size.replicas)
        made = poisson(rng, rate * share * scrape)
        lost = sum(e.size * e.part(now - scrape, now) for e in here if e.outcome and e.outcome in FAILED)
        failed = binomial(rng, made, min(1.0, lost + sum(BACKGROUND.values()) * manner.background))
        self._bump(names.CALLS, failed, "failed")
        self._bump(names.CALLS, made - failed, "completed")
        self.counts.values[self.counts.at(names.CALLS_ACTIVE)] = poisson(rng, rate * share * 2)

    def _operations(self, asked: int, now: float, here: list[Event]) -> None:
        rng = self.world.rng
        asked -= self._endless(asked, now, next((event for event in here if event.kind == ENDLESS), None))
        here = [event for event in here if event.kind != ENDLESS]
        ordinary = dict(ORDINARY)
        failing = {key: share * self.world.manner.background for key, share in BACKGROUND.items()}
        for event in here:
            key, share = (event.outcome, event.error_type), event.size * event.part(now - self.world.scrape, now)
            if event.outcome == "rejected":
                ordinary[key] = ordinary.get(key, 0.0) + share
            elif event.outcome == "cancelled":
                ordinary["cancelled", "cancelled"] += share
            elif event.outcome and event.outcome != "length":
                failing[key] = failing.get(key, 0.0) + share
        for (outcome, error_type), share in ordinary.items():
            ended = binomial(rng, asked, min(1.0, share))
            self._end(outcome, error_type, ended)
            asked -= ended
            if outcome == "rejected" and ended:
                self.failed_later.append((now + 60, ended))
        total, attempt = min(1.0, sum(failing.values())), asked
        fell_back = next((event for event in here if event.kind == "fallback wave"), None)
        retries = 0 if fell_back else self.world.app_retries
        for again in range(retries + 1):
            failed = binomial(rng, attempt, total)
            self._completed(attempt - failed, here)
            if again:
                self._bump(names.RECOVERIES, attempt - failed, "app")
            for reason, count in self._by_cause(failed, failing):
                if again < retries:
                    self._bump(names.RETRIES, count, "app", reason)
                elif fell_back:
                    self._bump(names.RETRIES, count, "app", reason)
                    self._bump(names.FALLBACKS, count)
                    self._bump(names.RECOVERIES, count, "app")
                else:
                    self.failed_later.append((now + 60, count))
            attempt = failed
        storm = next((event.size for event in here if event.kind == "retry storm"), 0.0)
        retried = binomial(rng, asked, SDK_RETRIES + storm)
        self._bump(names.RETRIES, retried, "sdk", "503" if storm else "429")
        self._bump(names.RECOVERIES, retried, "sdk")

    def _endless(self, asked: int, now: float, event: Event | None) -> int:
        """Ask again what fails every time, until the event is over; how many of ``asked`` are caught in it."""
        rng, scrape = self.world.rng, self.world.scrape
        if event is None:
            ended = sum(count for _, count in self.loops)
            if ended:
                self._bump(names.RETRIES, ended, "app", "reset")
                self._bump(names.RECOVERIES, sum(count for begun, count in self.loops if now - begun < 120), "app")
                self._completed(ended, [])
                self.loops = []
            return 0
        caught = binomial(rng, asked, event.size * event.part(now - scrape, now))
        again = poisson(rng, sum(count for _, count in self.loops) * scrape / AGAIN)
        self._end(event.outcome, event.error_type, caught + again)
        self._bump(names.RETRIES, again, "app", retry_reason(event.outcome, event.error_type))
        late = sum(count for begun, count in self.loops if 120 <= now - begun < 120 + scrape)
        self._bump(names.OPERATIONS_FAILED, late)
        # Users have a patience, and a machine its limits.
        if caught and sum(count for _, count in self.loops) < 200:
            self.loops.append((now, caught))
        return caught

    def _by_cause(self, failed: int, failing: dict[tuple[str, str], float]) -> Iterator[tuple[str, int]]:
        """End ``failed`` streams; the reason that a retry of each would have."""
        if failed:
            drawn = self.world.rng.choices(list(failing), list(failing.values()), k=min(failed, 200))
            for outcome, error_type in set(drawn):
                count = round(drawn.count((outcome, error_type)) * failed / len(drawn))
                self._end(outcome, error_type, count)
                if count:
                    yield retry_reason(outcome, error_type), count

    def _completed(self, count: int, here: list[Event]) -> None:
        rng = self.world.rng
        shares = dict(LIMITS)
        for event in here:
            if event.outcome == "length":
                shares["length"] += event.size
        for outcome, share in shares.items():
            some = binomial(rng, count, share)
            self._bump(names.STREAMS, some, outcome, means(outcome))
            count -= some
        self._bump(names.STREAMS, count, "completed", "completed")
        self.counts.values[self.counts.at(names.DURATION, "completed", suffix="_sum")] += count * STREAM_SECONDS

    def _end(self, outcome: str, error_type: str, count: int) -> None:
        if count:
            self._bump(names.STREAMS, count, outcome, means(outcome, error_type))
            self._bump(names.STREAM_ERRORS, count, outcome, error_type, means(outcome, error_type))

    def _latencies(self, asked: int, now: float, here: list[Event]) -> None:
        rng, manner = self.world.rng, self.world.manner
        first = THINKING if manner.thinking and self.model == 1 else FIRST_MEDIAN
        first *= 1 + (manner.at_peak - 1) * self.world.noon(now)
        dripping = binomial(rng, asked, manner.dripping)
        # They are long, too.
        self._spread(names.CHUNK_GAP, 4 * dripping * CHUNKS, GAP_MEDIAN * DRIPPING, GAP_SIGMA)
        for metric, each, median, sigma, kinds, left in (
            (names.TIME_TO_FIRST_TOKEN, 1, first, FIRST_SIGMA, SLOW_TO_BEGIN, asked),
            (names.CHUNK_GAP, CHUNKS, GAP_MEDIAN, GAP_SIGMA, SLOW_TO_GO_ON, asked - dripping),
        ):
            for event in here:
                if event.kind in kinds:
                    slow = binomial(rng, left, event.part(now - self.world.scrape, now))
                    self._spread(metric, slow * each, median * event.size, sigma)
                    left -= slow
            self._spread(metric, left * each, median, sigma)

    def _spread(self, metric: names.Metric, count: int, median: float, sigma: float) -> None:
        if count:
            at, total = self.counts.at(metric, _les(metric)[0], suffix="_bucket"), 0
            for offset, number in enumerate(spread(self.world.rng, count, median, sigma, metric.edges)):
                total += number
                self.counts.values[at + offset] += total
            self.counts.values[self.counts.at(metric, suffix="_count")] += total

    def _gauges(self, now: float, rate: float, by_kind: dict[str, Event]) -> None:
        rng, values, at = self.world.rng, self.counts.values, self.counts.at
        leaking = by_kind.get("streams leak")
        self.leaked = self.leaked + rate * self.world.scrape * leaking.size if leaking else 0.0
        open_now = poisson(rng, rate * STREAM_SECONDS)
        # A provider that hangs answers none of the new requests, and half of these have had a first token.
        before = sum(count // 2 for begun, _, count in self.hanging if now - begun >= STALL_AFTER.first_token)
        later = sum(count - count // 2 for begun, _, count in self.hanging if now - begun >= STALL_AFTER.between_chunks)
        values[at(names.STALLED, names.FIRST_TOKEN)] = before
        values[at(names.STALLED, names.BETWEEN_CHUNKS)] = binomial(rng, open_now, STALLS) + later
        values[at(names.ACTIVE)] = open_now + sum(count for _, _, count in self.hanging) + int(self.leaked)
        values[at(names.RATELIMIT_LIMIT, "requests")] = 10_000
        left = by_kind["quota low"].size if "quota low" in by_kind else rng.uniform(0.5, 0.9)
        values[at(names.RATELIMIT_REMAINING, "requests")] = round(10_000 * left)

    def _bump(self, metric: names.Metric, count: float, *values: str) -> None:
        if count:
            self.counts.values[self.counts.at(metric, *values)] += count


class _Replica:
    """One process and its agent: what all its models share, its restarts, what is not scraped."""

    def __init__(self, world: World, number: int, cells: list[_Cell]) -> None:
        self.world, self.number, self.cells = world, number, cells
        self.labels = {"job": "chat", "instance": f"chat-{number}:9464"}
        self._begin()

    def _begin(self) -> None:
        self.cells = [cell.again() for cell in self.cells]
        self.counts = _Counts(self.labels)
        self.counts.add(names.INTERNAL_ERRORS, ("agent",))
        self.counts.add(names.INTERNAL_ERRORS, ("sink",))
        for le in _les(names.LOOP_LAG):
            self.counts.add(names.LOOP_LAG, (le,), "_bucket")
        self.counts.add(names.LOOP_LAG, (), "_count")
        self.restarting = False

    def step(self, now: float, rate: float, near: list[Event]) -> list[str]:
        here = {e.kind: e for e in near if e.hits(now - self.world.scrape, now, e.model or 0, self.number)}
        up = "up" + _braces(self.labels)
        if "deployment" in here:
            offset = now - here["deployment"].start - 90 * self.number
            if 0 <= offset < 60:
                self.restarting = True
                return [f"{up}0 {now:.0f}\n"]
        if self.restarting:
            self._begin()
        missing, silent = "target missing" in here or "telemetry lost" in here, "agent silent" in here
        if "SDK not patched" in here:
            return self._unpatched(now)
        if silent:
            self._begin()
            return [f"{up}1 {now:.0f}\n", *self.counts.lines(now)]
        for cell in self.cells:
            cell.step(now, rate, near)
        self._process(here, rate)
        if "scrape gap" in here:
            return []
        if missing:
            return [f"{up}0 {now:.0f}\n"]
        lines = [f"{up}1 {now:.0f}\n", *self.counts.lines(now)]
        patched = "false" if "not patched" in here else "true"
        build = {"version": "1.0", "openai_version": "3.51.0", "patched": patched}
        lines.append(f"{names.BUILD_INFO.prometheus}{_braces({**self.labels, **build})}1 {now:.0f}\n")
        for cell in self.cells:
            if cell.seen:
                lines += cell.counts.lines(now)
        return lines

    def _unpatched(self, now: float) -> list[str]:
        """What comes of a program with an SDK that is not known: it runs, and no stream is seen."""
        self._begin()
        self.restarting = True
        build = {"version": "1.0", "openai_version": "9.0.0", "patched": "false"}
        info = f"{names.BUILD_INFO.prometheus}{_braces({**self.labels, **build})}1 {now:.0f}\n"
        return [f"up{_braces(self.labels)}1 {now:.0f}\n", *self.counts.lines(now), info]

    def _process(self, here: dict[str, Event], rate: float) -> None:
        rng, values, at = self.world.rng, self.counts.values, self.counts.at
        if "own errors" in here:
            values[at(names.INTERNAL_ERRORS, "sink")] += poisson(rng, 0.5)
        lag = here["event loop lags"].size if "event loop lags" in here else 0.002
        first, total = at(names.LOOP_LAG, _les(names.LOOP_LAG)[0], suffix="_bucket"), 0
        ticks = min(60, poisson(rng, min(30.0, rate * STREAM_SECONDS * 4)))
        for offset, number in enumerate(spread(rng, ticks, lag, 0.5, names.LOOP_LAG.edges)):
            total += number
            values[first + offset] += total
        values[at(names.LOOP_LAG, suffix="_count")] += total
