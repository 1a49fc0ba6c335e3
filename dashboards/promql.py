"""The queries of panels: the measures that alerts go by, of what the dashboard's variables choose.

Rates are taken over `$__rate_interval`, which Grafana makes four times the least step of a query long, and what is
"now" over the alerts' windows. Where nothing streams there is no answer, never NaN: dividing by `> 0` drops the sample,
and so does comparing a NaN. Quantiles and buckets are asked of classic histograms or else of native ones, into which
some Prometheus servers convert them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from streamvitals import names
from streamvitals.alerts import measures, promql
from streamvitals.alerts.language import FAST, MID, Language
from streamvitals.alerts.objectives import SERVICE, Objectives
from streamvitals.alerts.promql import RESULT, Matcher, Where, equals, matching, ratio, total
from streamvitals.alerts.series import WHOLE
from streamvitals.export.dashboards import BUDGET
from streamvitals.names import Metric

_SELECTED = re.compile(r"(?<![\w:])([A-Za-z_][\w:]*)\{")

# The alerts' own windows: what is going on, and what has gone on lately where little is asked.
_WORDS = Language(Objectives())
NOW, LATELY = map(_WORDS.fill, (FAST, MID))
# What an error budget is commonly for.
MONTH = "30d"
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
        classic = f"histogram_quantile({q}, {counted(metric, *by, 'le', over=over, suffix='_bucket')})"
    else:
        classic = promql.quantile(q, metric, *by, over=over, where=chosen(metric), offset=offset)
    native = f"rate({_native(metric)}[{over}]{offset and ' offset '}{offset})"
    return f"({classic} or histogram_quantile({q}, {total(native, *by)})) >= 0"


def buckets(metric: Metric, *where: Matcher) -> str:
    """Count the values that fell into each bucket between two points, for a heatmap."""
    classic = increase(metric, "le", where=where, over=RATE, suffix="_bucket")
    return f"{classic} or {total(f'increase({_native(metric, *where)}[{RATE}])')}"


def _native(metric: Metric, *where: Matcher) -> str:
    """Select a histogram whose buckets Prometheus has put into one series, which has the name of the metric."""
    return matching(metric.prometheus, *chosen(metric), *where)


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

    As the alerts do, it looks at each model of each service before it sums up: what is tried again more often than it
    failed in one must not hide the failures of another.
    """
    each_model = Counts(tuple(dict.fromkeys((*SERVICE, MODEL, *by))), over, offset)
    fallbacks = f"({measures.fallbacks(each_model)})"
    retried = f"({measures.retried(each_model, fallbacks)})"
    failed, operations = (
        total(measure(each_model, retried, fallbacks), *by) for measure in (measures.failed, measures.operations)
    )
    none_well = f"({measures.none_well(Counts(by, over, offset))})"
    return in_one_line(measures.failure_ratio(none_well, failed, operations))


def recorded(count: promql.Recorded, window: str) -> str:
    """Select a count that the rules record for each service, which knows of no variable but the job."""
    return matching(_WORDS.fill(count[window]), f'{JOB}=~"$job"')


def budget_left() -> str:
    """The share of the failures that a month allows which has not happened yet; of what the rules record."""
    failed, operations = (
        total(f"sum_over_time({recorded(count, FAST)}[{MONTH}:{NOW}])") for count in (WHOLE.failed, WHOLE.operations)
    )
    return f"1 - {ratio(failed, operations)} / ${BUDGET}"


def burn(window: str) -> str:
    """How many times faster than the objective allows operations fail, over a window that the rules record."""
    failed, operations = (total(recorded(count, window)) for count in (WHOLE.failed, WHOLE.operations))
    return f"{ratio(failed, operations)} / ${BUDGET}"


# What a rate limit is known by.
_REPLICA = (*SERVICE, INSTANCE, MODEL, SERVER)


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
