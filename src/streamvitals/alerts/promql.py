"""PromQL in typed pieces for rules and panels: metrics, labels and their values are those of names.py.

Who builds an expression says over which window and by which labels: a rule says `$fast` and `$model`, which language.py
fills in; a panel says `$__rate_interval` and the label itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from .. import names
from ..names import Metric
from ..outcome import RESULTS, Outcome, result
from .rule import Kind

_LABELS = {key: label for label, key in names.OWN_LABELS.items()}
OUTCOME, RESULT, ERROR_TYPE, SOURCE, REASON, KIND, WHERE, PHASE = (
    _LABELS[key] for key in ("outcome", "result", "error.type", "source", "reason", "kind", "where", "phase")
)
VERSION, OPENAI_VERSION, PATCHED = names.BUILD_INFO.labels
# What a label may say, where that is a closed list.
VALUES: dict[str, tuple[str, ...]] = {
    OUTCOME: names.OUTCOMES, RESULT: RESULTS, ERROR_TYPE: tuple({error for _, error, _ in names.OUTCOME_ERRORS}),
    SOURCE: names.RETRY_SOURCES, REASON: names.RETRY_REASONS,
    # Of limits, and of our alerts.
    KIND: (*names.RATELIMIT_KINDS, *get_args(Kind)),
    WHERE: names.INTERNAL_PLACES, PHASE: names.PHASES, PATCHED: ("true", "false"),
}
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}


class UnknownNameError(KeyError):
    """An expression has a metric, a label or a label's value that names.py does not have."""


@dataclass(frozen=True)
class Matcher:
    """A condition on a label, as it stands in the braces of a selector. Raises UnknownNameError."""

    label: str
    operator: Literal["=", "!=", "=~"]
    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if unknown := set(self.values) - set(VALUES.get(self.label, ())):
            raise UnknownNameError(f"{sorted(unknown)} is no value of {self.label}")

    def __str__(self) -> str:
        return f'{self.label}{self.operator}"{"|".join(self.values)}"'


def equals(label: str, value: str) -> Matcher:
    """Match `label="value"`. Raises UnknownNameError."""
    return Matcher(label, "=", (value,))


def differs(label: str, value: str) -> Matcher:
    """Match `label!="value"`. Raises UnknownNameError."""
    return Matcher(label, "!=", (value,))


def among(label: str, values: Iterable[str]) -> Matcher:
    """Match `label=~"one|other"`. Raises UnknownNameError."""
    return Matcher(label, "=~", tuple(values))


# What the error ratio is taken of: what failed, and with it what could have failed and ended well for the users.
FAILED, COUNTED, WELL = (
    equals(RESULT, "failed"), among(RESULT, ("completed", "limit", "failed")), among(RESULT, ("completed", "limit"))
)
FAILED_OUTCOMES = tuple(o.value for o in Outcome if result(o) == "failed")
REJECTED, RATE_LIMITED = equals(RESULT, "rejected"), equals(OUTCOME, "rate_limited")
# What is "not with this key", "no such model", or no free connection of the application's own; other mistakes of the
# caller are single requests.
REFUSED = among(ERROR_TYPE, ("401", "403", "404", "pool_timeout"))
BY_APP, BY_SDK = equals(SOURCE, "app"), equals(SOURCE, "sdk")

Where = tuple[Matcher | str, ...]


def name_of(metric: Metric, suffix: str = "") -> str:
    """Return the name of a metric's samples; a histogram's are its buckets, unless ``suffix`` says otherwise."""
    return metric.prometheus + (suffix or SUFFIXES[metric.kind][0])


def matching(series: str, *where: Matcher | str) -> str:
    """Select the samples of a series that match: `series{source="app", reason!="other"}`."""
    return series + "{" + ", ".join(map(str, where)) + "}" if where else series


def selector(metric: Metric, *where: Matcher | str, suffix: str = "") -> str:
    """Select the samples of a metric that match."""
    return matching(name_of(metric, suffix), *where)


def total(expression: str, *by: str) -> str:
    """Sum by these labels, or sum up everything."""
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def increase(
    metric: Metric, *by: str, over: str, where: Where = (), suffix: str = "", offset: str = ""
) -> str:
    """Sum up by these labels how much a counter has grown over a window."""
    return total(f"increase({_range(selector(metric, *where, suffix=suffix), over, offset)})", *by)


def counted(
    metric: Metric, *by: str, over: str, where: Where = (), suffix: str = "", replicas: Where = ()
) -> str:
    """Sum up how much a counter has grown that may have begun with its first count, which `increase` does not see.

    The first value in the window is added where Prometheus has looked at the replica before: a series that it sees for
    the first time together with all others of its replica may be old. So two Prometheus say the same. ``replicas``
    matches those that may count.
    """
    series = selector(metric, *where, suffix=suffix)
    # Of this metric every replica has all series from its start.
    always = selector(names.INTERNAL_ERRORS, *replicas, equals(WHERE, names.OTHER))
    first = f"""\
min_over_time({series}[{over}]) unless {series} offset {over}
  and count_over_time({series}[{over}]) < on (job, instance) group_left () count_over_time({always}[{over}])"""
    return total(f'increase({series}[{over}]) or label_replace({first}, "first", "true", "", "")', *by)


def rate(metric: Metric, *by: str, over: str, where: Where = (), suffix: str = "", offset: str = "") -> str:
    """Sum up by these labels how fast a counter grows, per second."""
    return total(f"rate({_range(selector(metric, *where, suffix=suffix), over, offset)})", *by)


def quantile(q: str, metric: Metric, *by: str, over: str, where: Where = (), offset: str = "") -> str:
    """Estimate a quantile of a histogram, such as "0.95", by these labels; NaN where nothing was observed."""
    return f"histogram_quantile({q}, {rate(metric, *by, 'le', over=over, where=where, offset=offset)})"


def ratio(part: str, whole: str, match: str = "") -> str:
    """Divide a part by its whole; no sample, and no NaN, where the whole is nothing.

    ``match`` is how the parts find their whole, if not by all labels.
    """
    return f"{part} /{match and ' '}{match} ({whole} > 0)"


def _range(series: str, window: str, offset: str) -> str:
    return f"{series}[{window}]" + (f" offset {offset}" if offset else "")


class Recorded:
    """A count that is recorded over several windows, as a series each: `failed["$fast"]`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __getitem__(self, window: str) -> str:
        return self.name + window


def at_least(series: str, window: str, whenever: str) -> str:
    """Find the lowest value in a window, if the series was there whenever another was.

    One sample is not lasting.
    """
    there = f"count_over_time({series}[{window}]) >= count_over_time({whenever}[{window}])"
    return f"(min_over_time({series}[{window}]) and {there})"


def either(*alternatives: str) -> str:
    """Join alternatives with `or`."""
    return " or ".join(alternatives)


def block(first: str, *more: str) -> str:
    """Put a condition in parentheses, a line for each part; each of ``more`` begins with `and`, `or` or `unless`."""
    lines = [_indented(first, "  "), *(_indented(part, "    ") for part in more)]
    return "(\n" + "\n".join(lines) + "\n)"


def _indented(part: str, by: str) -> str:
    return "\n".join(by + line for line in part.split("\n"))
