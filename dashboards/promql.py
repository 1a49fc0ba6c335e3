"""The queries of panels: the measures that alerts go by, of what the dashboard's variables choose.

Rates are taken over `$__rate_interval`, which Grafana makes four scrapes long at least, and what is "now" over the
alerts' windows. Where nothing streams there is no answer, never NaN: dividing by `> 0` drops the sample, and so does
comparing a NaN.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamvitals import names
from streamvitals.alerts import measures, promql
from streamvitals.alerts.language import FAST, MID, Language
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.promql import RESULT, Matcher, Where, equals, total
from streamvitals.names import Metric

_SELECTED = re.compile(r"\b([A-Za-z_]\w*)\{")

# The alerts' own windows: what is going on, and what has gone on lately where little is asked.
NOW, LATELY = map(Language(Objectives()).fill, (FAST, MID))
RATE = "$__rate_interval"
RANGE = "$__range"

OPERATION, PROVIDER, MODEL, SERVER = names.STREAM_LABELS
JOB, INSTANCE = "job", "instance"
# Variable -> the label that it chooses of.
VARIABLES = {
    "job": JOB, "instance": INSTANCE, "provider": PROVIDER, "model": MODEL, "operation": OPERATION, "server": SERVER,
}


def chosen(metric: Metric) -> Where:
    """Return the matchers that restrict a metric to what the variables choose."""
    variables = VARIABLES if metric.per_stream else {"job": JOB, "instance": INSTANCE}
    return tuple(f'{label}=~"${variable}"' for variable, label in variables.items())


def series(metric: Metric, *where: Matcher, suffix: str = "") -> str:
    """Select the samples of a metric that the variables choose."""
    return promql.selector(metric, *chosen(metric), *where, suffix=suffix)


def metrics_in(expression: str) -> set[str]:
    """Find the names of the series that an expression selects."""
    return set(_SELECTED.findall(expression))


def rate(metric: Metric, *by: str, where: Where = (), over: str = RATE, suffix: str = "", offset: str = "") -> str:
    """Sum up by these labels how fast a counter grows, per second."""
    where = (*chosen(metric), *where)
    return promql.rate(metric, *by, over=over, where=where, suffix=suffix, offset=offset)


def increase(metric: Metric, *by: str, where: Where = (), over: str = RANGE, suffix: str = "", offset: str = "") -> str:
    """Sum up by these labels how much a counter has grown."""
    where = (*chosen(metric), *where)
    return promql.increase(metric, *by, over=over, where=where, suffix=suffix, offset=offset)


def counted(metric: Metric, *by: str, where: Where = (), over: str = RANGE, suffix: str = "") -> str:
    """Sum up how much a counter has grown that may have begun with its first count."""
    where, replicas = (*chosen(metric), *where), chosen(names.INTERNAL_ERRORS)
    return in_one_line(promql.counted(metric, *by, over=over, where=where, suffix=suffix, replicas=replicas))


def quantile(q: str, metric: Metric, *by: str, over: str = RATE, offset: str = "") -> str:
    """Estimate a quantile of a histogram by these labels; no sample where nothing was observed."""
    if metric.hidden_at_zero:
        return f"histogram_quantile({q}, {counted(metric, *by, 'le', over=over, suffix='_bucket')}) >= 0"
    return promql.quantile(q, metric, *by, over=over, where=chosen(metric), offset=offset) + " >= 0"


def buckets(metric: Metric, *where: Matcher) -> str:
    """Count the values that fell into each bucket between two points, for a heatmap."""
    return increase(metric, "le", where=where, over=RATE, suffix="_bucket")


@dataclass(frozen=True)
class Counts(measures.Counts):
    """The counts of panels: of what the variables choose, as it is scraped."""

    by: tuple[str, ...]
    over: str
    offset: str = ""

    def streams(self, *where: Matcher) -> str:
        return self.increase(names.STREAMS, *where)

    def increase(self, metric: Metric, *where: Matcher) -> str:
        return increase(metric, *self.by, where=where, over=self.over, offset=self.offset)

    def none(self) -> str:
        # Everything that streams has this series from its first stream on. All outcomes would cost three times more.
        return f"0 * {self.streams(equals(RESULT, 'completed'))}"


def stream_failures(*by: str, over: str = RATE, offset: str = "") -> str:
    """The share of streams that failed, whether they were tried again or not."""
    return measures.failing_streams(Counts(by, over, offset))


def operation_failures(*by: str, over: str = RATE, offset: str = "") -> str:
    """The share of operations that failed for good, or 1 where no stream ended well: the measure that pages.

    As the alerts do, it looks at each model of each job before it sums up: what is tried again more often than it
    failed in one must not hide the failures of another.
    """
    each_model = Counts(tuple(dict.fromkeys((JOB, MODEL, *by))), over, offset)
    fallbacks = f"({measures.fallbacks(each_model)})"
    retried = f"({measures.retried(each_model, fallbacks)})"
    failed, operations = (
        total(measure(each_model, retried, fallbacks), *by) for measure in (measures.failed, measures.operations)
    )
    none_well = f"({measures.none_well(Counts(by, over, offset))})"
    return in_one_line(measures.failure_ratio(none_well, failed, operations))


# What a rate limit is known by.
_REPLICA = (JOB, INSTANCE, MODEL, SERVER)


def limit_left(*by: str) -> str:
    """The share that is left of the nearest rate limit."""
    return in_one_line(measures.limit_left(
        ", ".join(by), series(names.RATELIMIT_REMAINING), series(names.RATELIMIT_LIMIT), known_lately(),
    ))


def known_lately() -> str:
    """Restrict a rate limit to replicas that have asked lately."""
    return in_one_line(measures.known_lately(", ".join(_REPLICA), increase(names.STREAMS, *_REPLICA, over=LATELY)))


def in_one_line(expression: str) -> str:
    return " ".join(expression.split())
