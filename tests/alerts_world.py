"""Series for promtool's rule tests: a service of three replicas that is well, then ill, then well again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from streamvitals import names
from streamvitals.names import Metric
from streamvitals.outcome import ERROR_TYPES, Outcome, result

STEP = 30.0
SERVER = "api.example"
REPLICAS = ("a:9464", "b:9464", "c:9464")
MODELS = ("gpt-4o", "o-large")
# What goes on at all times, a minute and replica: streams that complete, and users who leave.
COMPLETED, CANCELLED = 60.0, 2.0
SPELLED = {"counter": "_total", "gauge": "", "histogram": ""}

# A minute, or a gauge's value; maybe by the minutes since the illness began; None: there is no such series.
Rate = float | Callable[[float], float] | None
Shape = Literal["steady", "reset", "gap", "replica gone", "outcomes absent"]
SHAPES: tuple[Shape, ...] = ("steady", "reset", "gap", "replica gone", "outcomes absent")


@dataclass(frozen=True)
class Thing:
    """One series of every replica: ``metric`` with its own labels, of one model."""

    metric: Metric | str
    labels: tuple[tuple[str, str], ...] = ()
    model: str = MODELS[0]

    @property
    def gauge(self) -> bool:
        return isinstance(self.metric, str) or self.metric.kind == "gauge"

    def name(self, replica: str) -> str:
        """As promtool has it."""
        labels = {"job": "chat", "instance": replica}
        if isinstance(self.metric, str):
            return self.metric + _braces(labels | dict(self.labels))
        if self.metric.per_stream:
            values = ("chat", "openai", self.model, SERVER)
            labels |= dict(zip(names.STREAM_LABELS, values, strict=True))
        suffix = dict(self.labels).get("suffix", SPELLED[self.metric.kind])
        own = {k: v for k, v in self.labels if k != "suffix"}
        return self.metric.prometheus + suffix + _braces(labels | own)


def _braces(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def streams(outcome: str, error_type: str = "", **more: str) -> Thing:
    """``streams_total`` of one outcome; ``model`` may be given."""
    means = result(Outcome(outcome), error_type)
    return Thing(names.STREAMS, (("outcome", outcome), ("result", means)), **more)  # type: ignore[arg-type]


def calls(means: str, **more: str) -> Thing:
    """``calls_total`` of one result; ``model`` may be given."""
    return Thing(names.CALLS, (("result", means),), **more)  # type: ignore[arg-type]


def errors(outcome: str, error_type: str) -> Thing:
    means = result(Outcome(outcome), error_type)
    return Thing(names.STREAM_ERRORS, (("outcome", outcome), ("error_type", error_type), ("result", means)))


def retries(source: str, reason: str) -> Thing:
    return Thing(names.RETRIES, (("source", source), ("reason", reason)))


def bucket(metric: Metric, le: float | str, model: str = MODELS[0]) -> Thing:
    text = f"{le:g}" if isinstance(le, float) else le
    return Thing(metric, (("suffix", "_bucket"), ("le", text)), model)


def count(metric: Metric, model: str = MODELS[0]) -> Thing:
    return Thing(metric, (("suffix", "_count"),), model)


def latency(
    metric: Metric, seconds: float, share: float, rate: float, model: str = MODELS[0]
) -> dict[Thing, Rate]:
    """A histogram's rates a minute, where ``share`` of the values lie at ``seconds`` and the others are the least."""
    rates: dict[Thing, Rate] = {bucket(metric, "+Inf", model): rate, count(metric, model): rate}
    for edge in metric.edges:
        rates[bucket(metric, edge, model)] = rate if edge >= seconds else rate * (1 - share)
    return rates


# A minute and replica, or the value of a gauge.
HEALTHY: dict[Thing, Rate] = {
    streams("completed"): COMPLETED,
    streams("completed", model=MODELS[1]): COMPLETED,
    streams("cancelled"): CANCELLED,
    **{streams(o.value): 0.0 for o in Outcome if o.value not in ("completed", "cancelled")},
    **{streams(o.value, model=MODELS[1]): 0.0 for o in Outcome if o.value != "completed"},
    **{errors(o.value, types[0]): 0.0 for o, types in ERROR_TYPES.items()},
    errors("rejected", "401"): 0.0,
    **{retries(s, r): 0.0 for s in names.RETRY_SOURCES for r in ("429", "503", "reset")},
    Thing(names.OPERATIONS_FAILED): 0.0,
    Thing(names.FALLBACKS): 0.0,
    **latency(names.TIME_TO_FIRST_TOKEN, 0.5, 1.0, 2 * COMPLETED),
    **latency(names.CHUNK_GAP, 0.02, 1.0, 80 * COMPLETED),
    **latency(names.LOOP_LAG, 0.005, 1.0, 60),
    Thing(names.DURATION, (("suffix", "_sum"), ("result", "completed"))): 16 * COMPLETED,
    Thing(names.ACTIVE): 16.0,
    **{Thing(names.STALLED, (("phase", phase),)): 0.0 for phase in names.PHASES},
    calls("completed"): 10.0,
    calls("failed"): 0.0,
    Thing(names.CALLS_ACTIVE): 2.0,
    Thing(names.CALLS_STALLED): 0.0,
    Thing(names.RATELIMIT_REMAINING, (("kind", "requests"),)): 8000.0,
    Thing(names.RATELIMIT_LIMIT, (("kind", "requests"),)): 10_000.0,
    Thing(names.INTERNAL_ERRORS, (("where", "sink"),)): 0.0,
    Thing(names.BUILD_INFO, (("version", "1.0"), ("openai_version", "3.51.0"), ("patched", "true"))): 1.0,
    Thing("up"): 1.0,
}


@dataclass(frozen=True)
class Course:
    """``well`` minutes, then ``ill`` ones, then ``after``; ``sick`` replaces the rates of HEALTHY meanwhile, on the
    replicas ``where``; ``healthy`` replaces them at all times.
    """

    sick: dict[Thing, Rate]
    well: float = 20.0
    ill: float = 30.0
    after: float = 60.0
    shape: Shape = "steady"
    where: tuple[str, ...] = REPLICAS
    healthy: dict[Thing, Rate] = field(default_factory=dict)
    replicas: tuple[str, ...] = REPLICAS

    def series(self) -> Iterator[dict[str, str]]:
        """As promtool's input_series."""
        for thing in {**HEALTHY, **self.healthy, **self.sick}:
            for replica in self.replicas:
                values = " ".join(self._values(thing, replica))
                if values.strip("_ stale"):
                    yield {"series": thing.name(replica), "values": values}

    def _values(self, thing: Thing, replica: str) -> Iterator[str]:
        gauge = thing.gauge
        present = False
        total, steps = 0.0, int((self.well + self.ill + self.after) * 60 / STEP)
        gone_from = (self.well - 5) if self.shape == "replica gone" and replica == REPLICAS[-1] else float("inf")
        absent = self.shape == "outcomes absent" and thing in HEALTHY and not HEALTHY[thing] and thing not in self.sick
        for step in range(steps + 1):
            minute = step * STEP / 60
            since = minute - self.well
            ill = 0 <= since < self.ill and replica in self.where
            # What HEALTHY does not have is there in illness only, but a counter that there is one of is at 0 before.
            usual = self.healthy.get(thing, HEALTHY.get(thing, None if gauge else 0.0))
            rate = self.sick[thing] if ill and thing in self.sick else usual
            if callable(rate):
                rate = rate(since)
            # Restarts: one while all is well, and then one every other minute.
            if self.shape == "reset" and (since == -8.0 or (since > 0 and since % 2 == 0)):
                total = 0.0
            total += 0.0 if rate is None else rate * STEP / 60
            # Two scrapes in a row are lost, once while all is well and once while it is not.
            lost = self.shape == "gap" and (since in (-6.0, -5.5) or since in (1.0, 1.5))
            missing = rate is None or minute >= gone_from
            if missing or lost or absent:
                # A scrape that fails or has a series no more says so; one that is lost does not.
                yield "stale" if missing and present else "_"
                present = False
            else:
                present = True
                yield f"{rate if gauge else total:.10g}"
