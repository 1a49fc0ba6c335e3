"""The providers: how fast each model is, and what goes wrong with it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Literal

Phase = Literal["healthy", "broken", "mended"]


@dataclass(frozen=True)
class Model:
    """A model, its host, and medians in seconds: of the first token and of the gaps between chunks."""

    host: str
    first: float
    gap: float
    chunks: tuple[int, int]


HOSTS = {"api.example.com": "openai", "vllm.example.net": "vllm"}
MODELS = {
    "gpt-4o": Model("api.example.com", first=0.40, gap=0.018, chunks=(20, 60)),
    "gpt-4o-mini": Model("api.example.com", first=0.20, gap=0.009, chunks=(20, 60)),
    "qwen3-32b": Model("vllm.example.net", first=0.10, gap=0.028, chunks=(10, 40)),
}
# The one that breaks.
VICTIM = "gpt-4o"
# A stream's own speed about its model's: the deviation of the logarithm.
SPREAD = 0.3

# Shares of the requests; the rest is fine. With no failures at all nobody could see that they are looked for.
HEALTHY = {"500": 0.012, "429": 0.008, "error-event": 0.002, "length": 0.01}
BROKEN = {
    "reset-after-n": 0.42, "silent-cut": 0.18, "stall": 0.07, "stall-before-first": 0.02, "500": 0.08, "429": 0.05,
    "error-event-rate-limit": 0.03,
}
# While it is broken first tokens and chunks come so many times later.
SLOWER_FIRST, SLOWER_GAP = 8.0, 2.5


class Provider:
    """A provider that draws each answer. ``phase`` may be changed from another thread."""

    def __init__(self, name: str, seed: str, stall: float) -> None:
        self.name, self.model = name, MODELS[name]
        self.phase: Phase = "healthy"
        self._random = random.Random(f"{seed} {name}")
        self._stall = stall
        # However short the incident, it has some of everything.
        self._due = self._random.sample(list(BROKEN), len(BROKEN))

    def __call__(self) -> str:
        """Draw a scenario of the fault server."""
        broken = self.phase == "broken" and self.name == VICTIM
        shares = BROKEN if broken else HEALTHY
        (scenario,) = self._random.choices([*shares, "ok"], [*shares.values(), 1 - sum(shares.values())])
        if broken and self._due:
            scenario = self._due.pop()
        first = self.model.first * self._spread() * (SLOWER_FIRST if broken else 1)
        gap = self.model.gap * self._spread() * (SLOWER_GAP if broken else 1)
        chunks = self._random.randint(*self.model.chunks)
        after = self._random.randint(1, chunks)
        return (
            f"{scenario}?first={first:.3f}&gap={gap:.4f}&chunks={chunks}&after={after}&stall={self._stall}&delay=0.03"
        )

    def _spread(self) -> float:
        return self._random.lognormvariate(0, SPREAD)
