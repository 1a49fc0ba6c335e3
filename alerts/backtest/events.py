"""Events of a world: incidents that should page or deserve a ticket, and what only looks like one.

Every draw comes from the world's own seed. An incident that hurts fewer than ``HURT`` users is not drawn: nobody can
tell it from a bad day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import Literal

Label = Literal["page", "ticket", "benign"]
# Whom an event hurts: streams, calls without one, or either.
STREAMS, CALLS, BOTH = "streams", "calls", "both"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
HURT = 8
# So large a share of the operations that fails in the end is a page's business, and so small a one is not. What lies
# between is not drawn: people would disagree. In one model it takes twice as much.
FELT, UNFELT = 0.1, 0.03
# Time to recover between events, so that it is clear what a page is for.
APART = 2.5 * HOUR


@dataclass(frozen=True)
class Event:
    """An event, and what rules are to make of it.

    ``named`` are the alerts of which one must fire for the cause to be named, or the ticket to be filed. ``model`` and
    ``replica`` are indexes, None for all; ``size`` is a share or a factor, by kind; ``of`` says whom it hurts.
    """

    kind: str
    label: Label
    start: float
    end: float
    size: float
    named: tuple[str, ...] = ()
    model: int | None = None
    replica: int | None = None
    outcome: str = ""
    error_type: str = ""
    extra: dict[str, float] = field(default_factory=dict)
    of: str = STREAMS

    def part(self, since: float, now: float) -> float:
        """Return the share of this time that it lasted; what comes and goes lasts ``for`` so long of ``every``."""
        since, until, over = max(since, self.start), min(now, self.end), now - since
        if until <= since:
            return 0.0
        if "every" not in self.extra:
            return (until - since) / over
        every, lasts = self.extra["every"], self.extra["for"]
        return (self._ill(until - self.start, every, lasts) - self._ill(since - self.start, every, lasts)) / over

    @staticmethod
    def _ill(after: float, every: float, lasts: float) -> float:
        """How long it was there in so many seconds."""
        return after // every * lasts + min(after % every, lasts)

    def hits(self, since: float, now: float, model: int, replica: int) -> bool:
        """Whether it struck this model on this replica in this time."""
        return self.part(since, now) > 0 and self.model in (None, model) and self.replica in (None, replica)


EVENING, ENDLESS = "all evening", "endless retries"
# Seconds: who asks again for ever waits so long in between.
AGAIN = 10.0

FAILURES = {
    "reset": ("connection_reset", "StreamvitalsResetStorm"),
    "truncated": ("missing_terminal", "StreamvitalsTruncationWave"),
    "api_error": ("overloaded_error", "StreamvitalsApiErrors"),
    "malformed": ("unexpected_content_type", "StreamvitalsMalformedReplies"),
    "http_error": ("503", "StreamvitalsServerErrors"),
    "connect_error": ("connection_refused", "StreamvitalsUnreachable"),
    "rate_limited": ("429", "StreamvitalsRateLimited"),
    "timeout": ("read_timeout", "StreamvitalsTimeouts"),
}


def log_uniform(rng: Random, least: float, most: float) -> float:
    return math.exp(rng.uniform(math.log(least), math.log(most)))


def _failing(rng: Random, start: float, models: int, replicas: int) -> Event:
    outcome = rng.choice(list(FAILURES))
    error_type, alert = FAILURES[outcome]
    end = start + rng.uniform(20, 120) * MINUTE
    scope = rng.random()
    if scope < 0.25 and models > 1:
        named = (alert, "StreamvitalsOneModelFailing")
        return Event(
            "one model fails", "page", start, end, rng.uniform(0.5, 1.0), named, rng.randrange(models), None, outcome,
            error_type,
        )
    if scope < 0.35 and replicas > 1:
        named = (alert, "StreamvitalsOneReplicaFailing")
        size = rng.uniform(0.7, 1.0)
        return Event(
            "one replica fails", "page", start, end, size, named, None, rng.randrange(replicas), outcome, error_type
        )
    return Event(
        f"{outcome} wave", "page", start, end, log_uniform(rng, 0.1, 1.0), (alert,), None, None, outcome, error_type
    )


def _hanging(rng: Random, start: float, models: int, replicas: int) -> Event:
    end = start + rng.uniform(20, 90) * MINUTE
    return Event(
        "streams hang", "page", start, end, rng.uniform(0.3, 1.0), ("StreamvitalsStalled", "StreamvitalsTimeouts"),
        extra={"timeout": rng.choice([30.0, 60.0, 120.0, 600.0])},
    )


def _slow(rng: Random, start: float, models: int, replicas: int) -> Event:
    end = start + rng.uniform(30, 120) * MINUTE
    if rng.random() < 0.7:
        return Event("first token slow", "page", start, end, rng.uniform(5, 12), ("StreamvitalsFirstTokenRegression",))
    return Event("chunks slow", "page", start, end, rng.uniform(15, 40), ("StreamvitalsChunkGapRegression",))


def _revoked(rng: Random, start: float, models: int, replicas: int) -> Event:
    end = start + rng.uniform(30, 120) * MINUTE
    named = ("StreamvitalsRejected", "StreamvitalsRefused")
    return Event("key revoked", "page", start, end, 1.0, named, None, None, "rejected", "401")


def _no_traffic(rng: Random, start: float, models: int, replicas: int) -> Event:
    end = start + rng.uniform(45, 120) * MINUTE
    return Event("traffic gone", "page", start, end, 0.0, ("StreamvitalsTrafficGone",))


def _flapping(rng: Random, start: float, models: int, replicas: int) -> Event:
    """Two minutes of every quarter of an hour, for an evening."""
    outcome = rng.choice(list(FAILURES))
    error_type, alert = FAILURES[outcome]
    return Event(
        "flapping", "page", start, start + 3 * HOUR, rng.uniform(0.4, 0.6), (alert,), None, None, outcome, error_type,
        {"every": 15 * MINUTE, "for": 2 * MINUTE},
    )


def _evening(rng: Random, start: float, models: int, replicas: int) -> Event:
    outcome = rng.choice(list(FAILURES))
    error_type, alert = FAILURES[outcome]
    size = rng.uniform(0.08, 0.095)
    return Event(EVENING, "page", start, start + 5 * HOUR, size, (alert,), None, None, outcome, error_type)


def _blind(rng: Random, start: float, models: int, replicas: int) -> Event:
    """All targets are down, or no process is observed any more, while users come as ever."""
    end = start + rng.uniform(30, 60) * MINUTE
    if rng.random() < 0.5:
        return Event("telemetry lost", "page", start, end, 1.0, ("StreamvitalsBlind",))
    return Event("SDK not patched", "page", start, end, 1.0, ("StreamvitalsNotPatched", "StreamvitalsBlind"))


def _endless(rng: Random, start: float, models: int, replicas: int) -> Event:
    """A part of the users asks again for ever what fails every time."""
    outcome = rng.choice(("reset", "truncated", "api_error", "http_error"))
    error_type, alert = FAILURES[outcome]
    end = start + rng.uniform(20, 90) * MINUTE
    named = (alert, "StreamvitalsRetryStorm")
    return Event(ENDLESS, "page", start, end, rng.uniform(0.3, 1.0), named, None, None, outcome, error_type)


def _ticket(rng: Random, start: float, models: int, replicas: int) -> Event:
    def event(kind: str, hours: tuple[float, float], size: float, *named: str, **more: object) -> Event:
        end = start + rng.uniform(*hours) * HOUR
        return Event(kind, "ticket", start, end, size, tuple(f"Streamvitals{name}" for name in named), **more)  # type: ignore[arg-type]

    choices: list[Callable[[], Event]] = [
        lambda: event("slow burn", (9, 14), rng.uniform(0.02, 0.045), "BudgetBurn", outcome="http_error",
                      error_type="500"),
        lambda: event("retry storm", (1, 3), rng.uniform(0.25, 0.8), "RetryStorm"),
        lambda: event("fallback wave", (1, 3), rng.uniform(0.15, 0.5), "FallbackWave", outcome="truncated",
                      error_type="incomplete_read"),
        lambda: event("bad requests", (1, 3), rng.uniform(0.12, 0.4), "Rejected", outcome="rejected",
                      error_type="400"),
        lambda: event("streams leak", (6, 10), rng.uniform(0.02, 0.1), "StreamsLeaked"),
        lambda: event("quota low", (1, 4), rng.uniform(0.02, 0.1), "QuotaLow"),
        lambda: event("own errors", (0.2, 1), 1, "InternalErrors", replica=rng.randrange(replicas)),
        lambda: event("not patched", (2, 5), 1, "NotPatched", replica=rng.randrange(replicas)),
        lambda: event("target missing", (1, 3), 1, "TargetMissing", replica=rng.randrange(replicas)),
        lambda: event("agent silent", (2, 4), 1, "AgentSilent", replica=rng.randrange(replicas)),
        lambda: event("first token slower", (2, 4), rng.uniform(2.2, 2.6), "FirstTokenRegression"),
        lambda: event("chunks slower", (2, 4), rng.uniform(2.5, 3.8), "ChunkGapRegression"),
        lambda: event("event loop lags", (1, 3), rng.uniform(0.5, 2.0), "EventLoopLag"),
    ]
    return rng.choice(choices)()


def _benign(rng: Random, start: float, models: int, replicas: int) -> Event:
    def event(kind: str, seconds: float, size: float = 1.0, **more: object) -> Event:
        return Event(kind, "benign", start, start + seconds, size, **more)  # type: ignore[arg-type]

    outcome = rng.choice(list(FAILURES))
    choices: list[Callable[[], Event]] = [
        lambda: event("blip", rng.uniform(15, 140), rng.uniform(0.3, 1.0), outcome=outcome,
                      error_type=FAILURES[outcome][0]),
        lambda: event("slow minute", rng.uniform(30, 140), rng.uniform(4, 10)),
        lambda: event("deployment", 90.0 * replicas, 1.0),
        lambda: event("scrape gap", rng.uniform(2, 8) * MINUTE),
        lambda: event("users leave", rng.uniform(10, 40) * MINUTE, rng.uniform(0.3, 0.9), outcome="cancelled"),
        lambda: event("somebody's bad requests", rng.uniform(5, 20) * MINUTE, rng.uniform(0.02, 0.04),
                      outcome="rejected", error_type="400"),
        lambda: event("rush", rng.uniform(20, 60) * MINUTE, rng.uniform(2, 4)),
        lambda: event("limits reached", rng.uniform(20, 60) * MINUTE, rng.uniform(0.2, 0.6), outcome="length"),
        lambda: event("quiet hours", rng.uniform(3, 8) * HOUR, rng.uniform(0.3, 0.6)),
        lambda: event("somewhat slower", rng.uniform(20, 60) * MINUTE, rng.uniform(1.2, 1.5)),
    ]
    return rng.choice(choices)()


# Which draw, and how often.
_DRAWS = (
    (_failing, 8), (_hanging, 2), (_slow, 3), (_revoked, 1), (_no_traffic, 1), (_flapping, 1), (_evening, 1),
    (_blind, 2), (_endless, 1), (_ticket, 12), (_benign, 13),
)


def felt(event: Event, retries: int, replicas: int) -> Event | None:
    """Return the event as it is to be judged in a service that asks ``retries`` times more, or None.

    What the attempts after it mend, users do not feel. None stands where that is hard to say.
    """
    if event.kind == "target missing" and replicas == 1:
        return None  # all that there is
    if event.kind == "slow burn" and retries:
        return replace(event, label="benign")
    if event.outcome not in FAILURES or event.label != "page" or event.kind == ENDLESS:
        return event
    if event.kind == EVENING:
        return None if retries else event
    # Only a model's own operations count: its users do not care for the others.
    part = event.size ** (retries + 1) / (replicas if event.replica is not None else 1)
    felt_by_all, felt_by_none = (2 * FELT, 2 * UNFELT) if event.model is not None else (FELT, UNFELT)
    if felt_by_none < part < felt_by_all:
        return None
    return event if part >= felt_by_all else replace(event, label="ticket")


def of_calls(rng: Random, event: Event) -> Event:
    """Say whom an event hurts in a service that also calls without streams: where streams fail, calls may, or alone.

    A call is not tried again, so that what retries mend for streams is felt by it.
    """
    if event.outcome not in FAILURES or event.kind in ("fallback wave", "slow burn"):
        return event
    of = rng.choice((STREAMS, CALLS, BOTH))
    if of == STREAMS:
        return replace(event, of=of)
    felt = event.label != "ticket" or (event.size >= (2 * FELT if event.model is not None else FELT)
                                       and event.replica is None)
    label = "page" if felt and event.label == "ticket" else event.label
    named = (*event.named, "StreamvitalsCallsFailing")
    return replace(event, of=of, label=label, named=named, kind=f"{event.kind} of {of}")


def draw(
    rng: Random, begin: float, end: float, models: int, replicas: int, retries: int,
    expected: Callable[[float, float], float],
) -> Iterator[Event]:
    """Draw events between ``begin`` and ``end``, apart from each other.

    ``expected`` is how many operations to expect between two times.
    """
    draws, weights = zip(*_DRAWS, strict=True)
    at = begin
    while True:
        at += APART + rng.expovariate(1 / HOUR)
        event = felt(rng.choices(draws, weights)[0](rng, at, models, replicas), retries, replicas)
        if event is None:
            continue
        if event.end > end:
            return
        share = event.size if event.kind not in ("first token slow", "chunks slow", "traffic gone") else 1.0
        if "every" in event.extra:
            share *= event.extra["for"] / event.extra["every"]
        if event.outcome in FAILURES and event.label == "page" and event.kind != ENDLESS:
            share **= retries + 1
        share /= models if event.model is not None else 1
        share /= replicas if event.replica is not None else 1
        asked = expected(event.start, event.end)
        # Tickets that are about streams need some, too.
        enough = {"page": HURT, "ticket": 30}.get(event.label, 0)
        if event.kind in ("traffic gone", "telemetry lost", "SDK not patched"):
            enough = 60
        if asked * min(share, 1.0) < enough:
            continue
        yield event
        at = event.end
