"""Windows, thresholds and labels by their names in rules, such as `$fast`, and their values for the objectives."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from string import Template

from .. import names
from .objectives import FAST_WINDOW, MID_WINDOW, TICKET_WAIT, Objectives
from .promql import SUFFIXES, VALUES, UnknownNameError

# Labels. $service stands for one or more of the user's.
SERVICE, MODEL, SERVER = "$service", "$model", "$server"
# Windows. Language.windows says how long they are, and what each is for.
SHORT, FAST, MID, HALF_HOUR, HOUR = "$short", "$fast", "$mid", "$half_hour", "$hour"
PAST, QUARTER_DAY, THREE_DAYS = "$past", "$quarter_day", "$three_days"
# Those that rates are taken over of the raw counters.
RATE_WINDOWS = (SHORT, FAST, MID)

# Word -> OTel key, by which names.py knows the label.
_LABELS = {"model": "gen_ai.request.model", "server": "server.address"}
# Where so large a part of all attempts fails, whatever is tried again: retries that end well are fewer than that.
ATTEMPTS = 0.55
_NAME = re.compile(r"\b(?:streamvitals|gen_ai|server)_\w+")
_RECORDED = re.compile(r"\bstreamvitals:[\w:]+")
# Words of texts for custom labels, where nobody alerts by them.
_SELECTED = re.compile(r"(?<![\w:])(streamvitals[_:][\w:]+|up|ALERTS)\b(\{)?")
NO_CUSTOM = {"whose": "", "or_theirs": "", "whose_calls": ""}
_MATCHER = re.compile(r'\b(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


def duration(seconds: float) -> str:
    """Write seconds as Prometheus does: 90 is 1m30s."""
    left, text = round(seconds * 1000), ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        count, left = divmod(left, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def restricted(expression: str, only: Sequence[tuple[str, str, str]]) -> str:
    """Let every selector of an expression match these conditions on labels, too."""
    matchers = ", ".join(f"{label}{operator}{json.dumps(value)}" for label, operator, value in only)

    def narrowed(found: re.Match[str]) -> str:
        return f"{found[1]}{{{matchers}{', ' if found[2] else '}'}"

    return _SELECTED.sub(narrowed, expression) if only else expression


def recorded_in(text: str) -> set[str]:
    """Find the recorded series that an expression or a text refers to."""
    return set(_RECORDED.findall(text))


class Language:
    """The words of templates, as they are for these objectives."""

    def __init__(self, objectives: Objectives, templates: Mapping[str, str] = NO_CUSTOM) -> None:
        """``templates`` are words for whoever alerts by custom labels (by_label.py)."""
        self.objectives = objectives
        self._words = {**_labels(), **self._windows(), **self._thresholds()}
        self._words["service"] = ", ".join(objectives.service)
        # Histograms of the bare name are native ones.
        self._known = {metric.prometheus for metric in names.ALL_METRICS if metric.kind == "histogram"} | {
            metric.prometheus + suffix for metric in names.ALL_METRICS for suffix in SUFFIXES[metric.kind]
        } | names.STREAM_LABELS.keys()
        self._words |= {word: _Template(template).substitute(self._words) for word, template in templates.items()}

    def fill(self, template: str) -> str:
        """Fill in the words. Raises UnknownNameError for a word, a metric or a label that there is not."""
        try:
            lines = (line for line in template.strip().split("\n") if line.strip())
            text = _Template("\n".join(lines)).substitute(self._words)
        except (KeyError, ValueError) as error:
            raise UnknownNameError(f"{error} in {template!r}") from error
        self.check(text)
        return text

    def pace(self, seconds: float) -> str:
        """Write a `for` or a window, at the speed of the objectives."""
        return duration(seconds / self.objectives.speed)

    def check(self, text: str) -> None:
        """Raise UnknownNameError for a metric or a label's value that names.py does not have."""
        for name in _NAME.findall(_RECORDED.sub("", text)):
            if name not in self._known:
                raise UnknownNameError(f"{name} is not in names.py: {text}")
        for label, values in _MATCHER.findall(text):
            unknown = set(values.split("|")) - set(VALUES.get(label, values.split("|")))
            if unknown:
                raise UnknownNameError(f"{sorted(unknown)} is no value of {label}: {text}")

    def _windows(self) -> dict[str, str]:
        """Return the windows by name.

        `short` sees whether it goes on, `fast` what is going on, `mid` is for few requests, the rest for budgets.
        `lasting`, `waiting` and `steady` are for the least or most of what was recorded. They begin between two
        evaluations: Prometheus 3 counts none at the very beginning, Prometheus 2 does.
        """
        def beats(seconds: float) -> float:
            return (seconds // self.objectives.interval + 0.5) * self.objectives.interval

        short = self.objectives.short
        given = {
            "short": short, "fast": max(300.0, FAST_WINDOW * short), "mid": max(900.0, MID_WINDOW * short),
            "half_hour": 1800.0, "hour": 3600.0,
            "past": 3 * 3600.0, "quarter_day": 6 * 3600.0, "day": 86_400.0, "three_days": 3 * 86_400.0,
            "lasting": beats(self.objectives.short + 90.0), "waiting": beats(self.objectives.short + 30.0),
            "steady": beats(300.0), "beat": self.objectives.interval,
            "hour_and_half": 5400.0, "ten_minutes": 540.0, "five_minutes": 300.0,
            # What has been recorded for so long has fired for a beat longer.
            "ticket_wait": TICKET_WAIT - self.objectives.interval,
            "interval": self.objectives.interval, "yesterday": 84_600.0, "last_week": 7 * 86_400.0 - 1800.0,
        }
        words = {name: self.pace(seconds) for name, seconds in given.items()}
        return words | {"fast_seconds": f"{given['fast'] / self.objectives.speed:g}"}

    def _thresholds(self) -> dict[str, str]:
        """Return the thresholds by name: shares of operations are multiples of the budget, so how fast it is burnt."""
        burn = {
            "lasting_burn": 1, "slow_burn": 3, "ticket_share": 4, "evening": 12, "spike": 20, "model_spike": 40,
            "collapse": 60,
        }
        shares = {name: min(times * self.objectives.budget, 0.5) for name, times in burn.items()}
        shares["attempts"] = ATTEMPTS
        shares["page_share"] = self.objectives.page_share
        # What chance alone may bring is reckoned with twice the budget at least: providers have bad days.
        shares["expected"] = min(2 * self.objectives.budget, shares["page_share"])
        shares["ttft"] = self.objectives.ttft_p95
        shares["gap"] = self.objectives.chunk_gap_p95
        words = {name: f"{round(share, 6):g}" for name, share in shares.items()}
        return words | {"budget": f"{round(100 * self.objectives.budget, 6):g}%"}


class _Template(Template):
    """A template for one or more words. `$labels` of Go's templates is written `$$labels`."""


def _labels() -> dict[str, str]:
    by_key = {key: label for label, key in names.STREAM_LABELS.items()}
    return {word: by_key[key] for word, key in _LABELS.items()}
