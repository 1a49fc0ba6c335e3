"""Fills names, windows and thresholds into expressions, and fails on a name that names.py does not have."""

from __future__ import annotations

import re
from string import Template

from .. import names
from ..names import Metric
from ..stream.outcome import Outcome, owner
from .objectives import PAGE_BURN, TICKET_WAIT, Objectives

FAILED = tuple(o.value for o in Outcome if owner(o) in ("provider", "quota"))
# What the error ratio is taken of: what could have failed and did not, and what failed.
COUNTED = tuple(o.value for o in Outcome if owner(o) in ("nobody", "limit", "provider", "quota"))
# What ended well, for the users.
WELL = tuple(outcome for outcome in COUNTED if outcome not in FAILED)
# Statuses that say "not with this key" or "no such model"; the others say that the request was bad.
REFUSED = ("401", "403", "404")

# Over which rates are taken of the raw counters.
RATE_WINDOWS = ("short", "fast", "mid")

_METRICS: dict[str, Metric] = {
    "streams": names.STREAMS, "errors": names.STREAM_ERRORS, "active": names.ACTIVE, "stalled": names.STALLED,
    "first_token": names.TIME_TO_FIRST_TOKEN, "chunk_gap": names.CHUNK_GAP, "duration": names.DURATION,
    "retries": names.RETRIES, "recoveries": names.RECOVERIES, "operations_failed": names.OPERATIONS_FAILED,
    "fallbacks": names.FALLBACKS, "remaining": names.RATELIMIT_REMAINING, "limit": names.RATELIMIT_LIMIT,
    "internal": names.INTERNAL_ERRORS, "build": names.BUILD_INFO, "unreported": names.UNREPORTED,
    "loop_lag": names.LOOP_LAG,
}
# Placeholder -> OTel key, by which names.py knows the label.
_LABELS = {"model": "gen_ai.request.model", "server": "server.address", "outcome": "outcome", "type": "error.type",
           "source": "source", "reason": "reason", "kind": "kind", "where": "where"}
_VALUES = {
    "outcome": names.OUTCOMES, "source": names.RETRY_SOURCES, "reason": names.RETRY_REASONS,
    "error_type": tuple({error for _, error in names.OUTCOME_ERRORS}), "kind": names.RATELIMIT_KINDS,
    "where": names.INTERNAL_PLACES, "patched": ("true", "false"),
}
_NAME = re.compile(r"\b(?:streamvitals|gen_ai|server)_\w+")
_RECORDED = re.compile(r"\bstreamvitals:[\w:]+")
_MATCHER = re.compile(r'\b(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


class UnknownNameError(KeyError):
    """An expression has a metric, a label or a label's value that names.py does not have."""


def duration(seconds: float) -> str:
    """As Prometheus writes it: 90 is 1m30s."""
    left, text = round(seconds * 1000), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


class Language:
    """What a template may say: `$streams`, `$model`, `$service`, `$fast`, `$spike` and so on."""

    def __init__(self, objectives: Objectives) -> None:
        self.objectives = objectives
        self._words = {**_metric_words(), **_label_words(), **self._windows(), **self._thresholds()}
        self._words["service"] = ", ".join(objectives.service)
        self._words["failed_outcomes"] = "|".join(FAILED)
        self._words["counted_outcomes"] = "|".join(COUNTED)
        self._words["well_outcomes"] = "|".join(WELL)
        self._words["refused_types"] = "|".join(REFUSED)
        self._known = {
            name + suffix
            for metric in names.ALL_METRICS
            for name in (metric.prometheus,)
            for suffix in {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}[
                metric.kind
            ]
        } | names.STREAM_LABELS.keys()

    def fill(self, template: str) -> str:
        """The expression. Raises UnknownNameError for a placeholder or a name that there is not."""
        try:
            lines = (line for line in template.strip().split("\n") if line.strip())
            text = _Template("\n".join(lines)).substitute(self._words)
        except (KeyError, ValueError) as error:
            raise UnknownNameError(f"{error} in {template!r}") from error
        self.check(text)
        return text

    def pace(self, seconds: float) -> str:
        """A `for`, or a window, at the speed asked for."""
        return duration(seconds / self.objectives.speed)

    def check(self, text: str) -> None:
        """Raises UnknownNameError for a metric or a label's value that names.py does not have."""
        for name in _NAME.findall(_RECORDED.sub("", text)):
            if name not in self._known:
                raise UnknownNameError(f"{name} is not in names.py: {text}")
        for label, values in _MATCHER.findall(text):
            unknown = set(values.split("|")) - set(_VALUES.get(label, values.split("|")))
            if unknown:
                raise UnknownNameError(f"{sorted(unknown)} is no value of {label}: {text}")

    def _windows(self) -> dict[str, str]:
        """`short` sees whether it goes on, `fast` what is going on, `mid` is for few requests, the rest for budgets.

        `lasting`, `waiting` and `steady` are for the least or most of what was recorded. They begin between two
        evaluations: Prometheus 3 counts none at the very beginning, Prometheus 2 does.
        """
        def beats(seconds: float) -> float:
            return (seconds // self.objectives.interval + 0.5) * self.objectives.interval

        given = {
            "short": self.objectives.short, "fast": 300.0, "mid": 900.0, "half_hour": 1800.0, "hour": 3600.0,
            "past": 3 * 3600.0, "quarter_day": 6 * 3600.0, "day": 86_400.0, "three_days": 3 * 86_400.0,
            "lasting": beats(self.objectives.short + 90.0), "waiting": beats(self.objectives.short + 120.0),
            "steady": beats(300.0),
            # What has been recorded for so long has fired for a beat longer.
            "ticket_wait": TICKET_WAIT - self.objectives.interval,
            "yesterday": 84_600.0, "last_week": 7 * 86_400.0 - 1800.0,
        }
        return {name: self.pace(seconds) for name, seconds in given.items()}

    def _thresholds(self) -> dict[str, str]:
        """Shares of operations, as multiples of the budget, which is how fast it is burnt."""
        burn = {"ticket_share": 4, "slow_burn": 3, "low": PAGE_BURN, "spike": 20, "model_spike": 40,
                "collapse": 60, "lasting_burn": 1}
        shares = {name: min(times * self.objectives.budget, 0.5) for name, times in burn.items()}
        # What chance alone may bring is reckoned with twice the budget at least: providers have bad days.
        shares["expected"] = min(2 * self.objectives.budget, shares["low"])
        shares["ttft"] = self.objectives.ttft_p95
        shares["gap"] = self.objectives.chunk_gap_p95
        words = {name: f"{round(share, 6):g}" for name, share in shares.items()}
        return words | {"budget": f"{round(100 * self.objectives.budget, 6):g}%"}


class _Template(Template):
    """Names in braces where a suffix follows: ${first_token}_bucket. Go templates' own `$labels` is `$$labels`."""


def _metric_words() -> dict[str, str]:
    return {
        word: metric.prometheus + ("_total" if metric.kind == "counter" else "") for word, metric in _METRICS.items()
    }


def _label_words() -> dict[str, str]:
    by_key = {key: label for label, key in {**names.STREAM_LABELS, **names.OWN_LABELS}.items()}
    return {word: by_key[key] for word, key in _LABELS.items()}


def recorded_in(text: str) -> set[str]:
    """The recorded series that an expression or a text refers to."""
    return set(_RECORDED.findall(text))
