"""Random draws that a seed reproduces, with nothing but the standard library."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise
from random import Random


def poisson(rng: Random, mean: float) -> int:
    """Draw how many events come where ``mean`` are expected; by the normal distribution where there are many."""
    if mean <= 0:
        return 0
    if mean > 30:
        return max(0, round(rng.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, rng.random()
    while product > limit:
        count += 1
        product *= rng.random()
    return count


def binomial(rng: Random, count: int, share: float) -> int:
    """Draw how many of ``count`` are hit."""
    if share <= 0 or count <= 0:
        return 0
    if share >= 1:
        return count
    if count > 60:
        deviation = math.sqrt(count * share * (1 - share))
        if deviation > 3:
            return min(count, max(0, round(rng.gauss(count * share, deviation))))
        return min(count, poisson(rng, count * share))
    return sum(rng.random() < share for _ in range(count))


@lru_cache(maxsize=4096)
def _weights(median: float, sigma: float, edges: tuple[float, ...]) -> tuple[float, ...]:
    """Return the share of a lognormal distribution in each bucket, the overflow last."""
    below = [0.5 * (1 + math.erf(math.log(edge / median) / (sigma * math.sqrt(2)))) for edge in edges]
    return tuple(b - a for a, b in pairwise((0.0, *below, 1.0)))


def spread(rng: Random, count: int, median: float, sigma: float, edges: tuple[float, ...]) -> list[int]:
    """Draw ``count`` lognormal values, counted by bucket."""
    weights = _weights(round(median, 3), sigma, edges)
    if count <= 40:
        found = [0] * len(weights)
        for bucket in rng.choices(range(len(weights)), weights, k=count):
            found[bucket] += 1
        return found
    return [poisson(rng, count * weight) for weight in weights]
