"""Quantiles of a histogram as Prometheus estimates them, and of plain numbers."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

from .scrape import Buckets


def of_histogram(q: float, buckets: Buckets) -> float:
    """`histogram_quantile()`: linear within the bucket; in the overflow bucket the highest edge. NaN if empty.

    https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile
    """
    rank, below = q * buckets.total, 0.0
    if not buckets.total:
        return math.nan
    for index, count in enumerate(buckets.counts[:-1]):
        if below + count >= rank and count:
            low = buckets.edges[index - 1] if index else 0.0
            return low + (buckets.edges[index] - low) * (rank - below) / count
        below += count
    return buckets.edges[-1]


def of_values(q: float, values: Sequence[float]) -> float:
    """The smallest value that at least the share ``q`` of all does not exceed. NaN if there are none."""
    if not values:
        return math.nan
    return sorted(values)[max(0, math.ceil(q * len(values)) - 1)]


def bucket_of(value: float, edges: Sequence[float]) -> int:
    """The index of the bucket that a value falls in; the overflow bucket is the one after the last edge."""
    return bisect_left(edges, value)


def bounds(index: int, edges: Sequence[float]) -> tuple[float, float]:
    """From (exclusive) and to (inclusive) where a bucket goes."""
    return (edges[index - 1] if index else 0.0, edges[index] if index < len(edges) else math.inf)
