"""Services whose users never give up: what fails is asked again every few seconds, for ever.

So many users ask two models at two providers. While all models, one of them or one provider are down, more and more of
them are in a loop; after that each gets an answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from streamvitals import names

from .chance import binomial, poisson
from .events import APART, DAY, FAILURES, HOUR, MINUTE, Event
from .world import Size, World, _Cell, retry_reason

USERS = {f"{users} user{'s'[: users > 1]}": users for users in (1, 10, 100)}
PROVIDERS = ("api.example", "api.other")
# Seconds: a user asks so often, and a loop tries again after so long.
ASKS_EVERY, AGAIN = 20.0, 3.0
# After so many seconds an operation has failed for its users, whatever comes of it.
FAILED_AFTER = 120.0
_DOWN = ("all models down", "one model down", "one provider down", "blip", "users leave")


class EndlessWorld(World):
    """A world of users who never give up.

    With ``one_prompt`` all ask the same, so that each request after a failure passes for the retry of it.
    """

    def __init__(self, users: int, seed: int, weeks: float, scrape: float, *, one_prompt: bool) -> None:
        peak = users / ASKS_EVERY / len(PROVIDERS)
        super().__init__(Size(f"{users} users", peak, peak / 2, 2, 1), seed, weeks, scrape)
        self.users, self.one_prompt, self.waiting = users, one_prompt, 0
        self.app_retries = 0
        self.events = list(_events(self.rng, self.begin + 2 * DAY, self.end - 3 * HOUR))

    def cells(self) -> list[_Cell]:
        return [_Loops(self, model, server) for model in range(2) for server in PROVIDERS]


def _events(rng: Random, begin: float, end: float) -> Iterator[Event]:
    """Draw outages, apart from each other, and what only looks like one."""
    at = begin
    while True:
        at += APART + rng.expovariate(1 / HOUR)
        outcome = rng.choice(list(FAILURES))
        error_type, named = FAILURES[outcome]
        kind = rng.choice(_DOWN)
        if kind == "users leave":
            event = Event(kind, "benign", at, at + rng.uniform(10, 40) * MINUTE, rng.uniform(0.3, 0.9),
                          outcome="cancelled")
        elif kind == "blip":
            event = Event(kind, "benign", at, at + rng.uniform(15, 140), 1.0, outcome=outcome, error_type=error_type)
        else:
            event = Event(
                kind, "page", at, at + rng.uniform(20, 90) * MINUTE, 1.0,
                (named, "StreamvitalsRetryStorm", "StreamvitalsOneModelFailing"),
                rng.randrange(2) if kind == "one model down" else None, None, outcome, error_type,
                {"server": rng.randrange(2)} if kind == "one provider down" else {},
            )
        if event.end > end:
            return
        yield event
        at = event.end


class _Loops(_Cell):
    """One model at one provider: when each user's loop began, and whether it was given up."""

    world: EndlessWorld

    def __init__(self, world: World, model: int, server: str = PROVIDERS[0]) -> None:
        super().__init__(world, model, 0, server)
        self.looping: list[list[float]] = []

    def again(self) -> _Cell:
        return type(self)(self.world, self.model, self.server)

    def _operations(self, asked: int, now: float, here: list[Event]) -> None:
        rng, scrape = self.world.rng, self.world.scrape
        down = next((e for e in here if e.outcome in FAILURES
                     and e.extra.get("server", PROVIDERS.index(self.server)) == PROVIDERS.index(self.server)), None)
        part = down.part(now - scrape, now) if down else 0.0
        # Who waits asks nothing else.
        asked = min(asked, max(0, self.world.users - self.world.waiting)) if self.world.waiting or down else asked
        caught = binomial(rng, asked, part) if down else 0
        was = bool(self.looping)
        self.world.waiting += caught
        self.looping += [[now, 0.0] for _ in range(caught)]
        if down:
            again = poisson(rng, (len(self.looping) - caught / 2) * scrape * part / AGAIN)
            self._end(down.outcome, down.error_type, caught + again)
            first = 0 if was and self.world.one_prompt else min(caught, 1) if self.world.one_prompt else caught
            self._bump(names.RETRIES, caught + again - first, "app", retry_reason(down.outcome, down.error_type))
            overdue = [user for user in self.looping if not user[1] and now - user[0] >= FAILED_AFTER]
            known = self.world.one_prompt and any(user[1] for user in self.looping)
            failed = min(len(overdue), 1) if self.world.one_prompt else len(overdue)
            self._bump(names.OPERATIONS_FAILED, 0 if known else failed)
            for user in overdue:
                user[1] = 1.0
        elif self.looping:
            saved = sum(1 for user in self.looping if not user[1])
            self._bump(names.RETRIES, len(self.looping), "app", "reset")
            self._bump(names.RECOVERIES, saved, "app")
            self._completed(len(self.looping), here)
            self.world.waiting -= len(self.looping)
            self.looping = []
        super()._operations(asked - caught, now, [e for e in here if e is not down and e.outcome not in FAILURES])
