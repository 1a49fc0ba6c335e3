"""What panels ask of Prometheus. Every name is from streamvitals.names, so that a rename is one diff.

Rates are taken over `$__rate_interval`, which Grafana makes four scrapes long at least, and what is said to be "now"
over five minutes, as the alerts do. Where nothing streams there is no answer, never NaN: dividing by `> 0` drops the
sample, and so does comparing a NaN.
"""

from __future__ import annotations

import re

from streamvitals import names
from streamvitals.alerts.promql import COUNTED, FAILED, WELL
from streamvitals.names import Metric

_SELECTED = re.compile(r"\b([A-Za-z_]\w*)\{")

NOW = "5m"
RATE = "$__rate_interval"
RANGE = "$__range"

OPERATION, PROVIDER, MODEL, SERVER = names.STREAM_LABELS
JOB, INSTANCE = "job", "instance"
# Variable -> the label that it chooses of.
VARIABLES = {
    "job": JOB, "instance": INSTANCE, "provider": PROVIDER, "model": MODEL, "operation": OPERATION, "server": SERVER,
}
FAILED_OUTCOMES, COUNTED_OUTCOMES = "|".join(FAILED), "|".join(COUNTED)

failed = f'outcome=~"{FAILED_OUTCOMES}"'
counted = f'outcome=~"{COUNTED_OUTCOMES}"'
well = f'outcome=~"{"|".join(WELL)}"'
# What the application tried again; reasons that are no failure of a stream's are "other".
retried = 'source="app",reason!="other"'


def series(metric: Metric, matchers: str = "", suffix: str = "") -> str:
    """The selector of a metric, restricted to what the variables say."""
    name = metric.prometheus + (suffix or {"counter": "_total", "gauge": "", "histogram": "_bucket"}[metric.kind])
    chosen = VARIABLES if metric.per_stream else {"job": JOB, "instance": INSTANCE}
    selected = ",".join(f'{label}=~"${variable}"' for variable, label in chosen.items())
    return f"{name}{{{selected}{',' if matchers else ''}{matchers}}}"


def metrics_in(expression: str) -> set[str]:
    """The names of the series that an expression selects."""
    return set(_SELECTED.findall(expression))


def total(expression: str, *by: str) -> str:
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def rate(metric: Metric, *by: str, where: str = "", over: str = RATE, suffix: str = "", offset: str = "") -> str:
    """Per second, summed over all labels but ``by``."""
    shifted = f" offset {offset}" if offset else ""
    return total(f"rate({series(metric, where, suffix)}[{over}]{shifted})", *by)


def increase(metric: Metric, *by: str, where: str = "", over: str = RANGE, suffix: str = "", offset: str = "") -> str:
    shifted = f" offset {offset}" if offset else ""
    return total(f"increase({series(metric, where, suffix)}[{over}]{shifted})", *by)


def quantile(q: float, metric: Metric, *by: str, where: str = "", over: str = RATE, offset: str = "") -> str:
    """Of a histogram; no sample where nothing was observed."""
    shifted = f" offset {offset}" if offset else ""
    buckets = total(f"rate({series(metric, where)}[{over}]{shifted})", "le", *by)
    return f"histogram_quantile({q:g}, {buckets}) >= 0"


def buckets(metric: Metric, where: str = "") -> str:
    """For a heatmap: how many values fell into each bucket between two points."""
    return total(f"increase({series(metric, where)}[{RATE}])", "le")


def ratio(part: str, whole: str, match: str = "") -> str:
    """No sample where the whole is nothing. ``match`` is how the parts find their whole, if not by all labels."""
    return f"{part} /{match and ' '}{match} ({whole} > 0)"


def stream_failures(*by: str, over: str = RATE, offset: str = "") -> str:
    """The share of streams that the provider or a quota made fail, of those that could have gone well."""
    part, whole = (increase(names.STREAMS, *by, where=w, over=over, offset=offset) for w in (failed, counted))
    return ratio(part, whole)


def operation_failures(*by: str, over: str = RATE, offset: str = "") -> str:
    """The share of operations that failed for good: what the app tried again is not counted, as in the alerts. All,
    where nothing ended well, be it tried again for ever."""
    again, fallbacks, saved = (
        increase(metric, *by, where=where, over=over, offset=offset)
        for metric, where in ((names.RETRIES, retried), (names.FALLBACKS, ""), (names.RECOVERIES, 'source="app"'))
    )
    bad, good, asked = (
        increase(names.STREAMS, *by, where=w, over=over, offset=offset) for w in (failed, well, counted)
    )
    # A fallback is a retry too, but not a stream.
    some = ratio(f"clamp_min({bad} - {again}, 0)", f"({asked} - {again} + {fallbacks})")
    return f"({ratio(bad, bad)} unless {good} > 0 unless {saved} > 0) or {some}"
