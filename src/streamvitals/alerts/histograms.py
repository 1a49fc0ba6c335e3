"""Histograms as Prometheus has them: classic, or converted to native ones, which have no series for their buckets.

`convert_classic_histograms_to_nhcb`, and a Collector that exports exponential histograms, leave one series of the bare
name. Where there is none of a kind its half of the expression finds nothing.
"""

from __future__ import annotations

from ..names import Metric
from . import promql
from .promql import total


def quantile(q: str, metric: Metric, *by: str, over: str) -> str:
    """Estimate a quantile by these labels."""
    native = total(f"rate({metric.prometheus}[{over}])", *by)
    return f"({promql.quantile(q, metric, *by, over=over)} or histogram_quantile({q}, {native}))"


def count(metric: Metric, *by: str, over: str) -> str:
    """Sum up by these labels how many values were counted."""
    native = total(f"increase({metric.prometheus}[{over}])", *by)
    return f"({promql.increase(metric, *by, over=over, suffix='_count')} or histogram_count({native}))"


def sum_rate(metric: Metric, *by: str, over: str) -> str:
    """Sum up by these labels how fast the sum of all values grows."""
    native = total(f"rate({metric.prometheus}[{over}])", *by)
    return f"({promql.rate(metric, *by, over=over, suffix='_sum')} or histogram_sum({native}))"
