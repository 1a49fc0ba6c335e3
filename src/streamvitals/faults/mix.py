"""Defaults that differ from request to request: scenarios one after another, or drawn from a seed."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping

from .ask import BadAsk, parse_spec


class InTurn:
    """Play scenarios one after another; the last one is played from then on. Raises ValueError for an unknown one."""

    def __init__(self, *specs: str | int) -> None:
        if not specs:
            raise BadAsk("no scenario is given")
        self._specs = [str(spec) for spec in specs]
        for spec in self._specs:
            parse_spec(spec)
        self._next = 0

    def __call__(self) -> str:
        spec = self._specs[self._next]
        self._next = min(self._next + 1, len(self._specs) - 1)
        return spec


class Mix:
    """Draw a scenario for every request: ``shares`` of the requests get each, the rest ``otherwise``.

    The n-th request gets the n-th draw, retries counted: the same seed gives the same sequence. Raises ValueError for
    an unknown scenario, for a share that is no number from 0 to 1, and if the shares exceed 1 together.
    """

    def __init__(self, shares: Mapping[str | int, float], seed: int = 1, otherwise: str | int = "ok") -> None:
        for spec, share in shares.items():
            parse_spec(str(spec))
            if not (isinstance(share, (int, float)) and math.isfinite(share) and 0 <= share <= 1):
                raise BadAsk(f"the share of {spec} is {share}: a number from 0 to 1 is needed")
        parse_spec(str(otherwise))
        if (rest := 1 - math.fsum(shares.values())) < -1e-9:
            raise BadAsk(f"the shares add up to {1 - rest:g}: at most 1 is possible")
        self._specs = [str(spec) for spec in (*shares, otherwise)]
        self._shares = [*shares.values(), max(rest, 0.0)]
        self._random = random.Random(seed)  # noqa: S311  a lot that anybody can draw again

    @classmethod
    def parse(cls, text: str, seed: int = 1, otherwise: str = "ok") -> Mix:
        """Read `reset=0.1,stall?after=5=0.05`. Raises ValueError, also if a scenario is listed twice."""
        shares: dict[str | int, float] = {}
        for part in filter(None, map(str.strip, text.split(","))):
            spec, equals, share = part.rpartition("=")
            if not equals or not spec:
                raise BadAsk(f"{part!r} is no share: a scenario and a number are needed, as in reset=0.1")
            if spec in shares:
                raise BadAsk(f"{spec} is listed twice")
            try:
                shares[spec] = float(share)
            except ValueError:
                raise BadAsk(f"{part!r} is no share: {share!r} is no number") from None
        return cls(shares, seed, otherwise)

    def __call__(self) -> str:
        (spec,) = self._random.choices(self._specs, self._shares)
        return spec
