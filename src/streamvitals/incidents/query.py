"""What is asked of the incidents: since when, which outcomes, models, providers and labels, and how many."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..names import OUTCOMES, PROVIDERS, may_be_custom
from ..outcome import Outcome
from ..store.incident_record import IncidentRecord

# What leaves a record by its end. Those that completed are not incidents, but some are among the slowest.
ALLOWED_OUTCOMES = tuple(outcome for outcome in OUTCOMES if outcome != Outcome.COMPLETED)
# Most records in one answer.
MOST, USUAL = 1000, 200
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "": 1.0}
_TIME = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|h|d|)", re.ASCII)
PARAMETERS = ("since", "outcome", "model", "provider", "label.NAME", "limit")


class BadQueryError(ValueError):
    """Something that cannot be asked; the message says what is allowed."""


class Query(NamedTuple):
    """``since`` is a number of seconds before now; None: all that is kept. Empty: any."""

    since: float | None = None
    outcomes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    limit: int = USUAL

    def wants(self, record: IncidentRecord) -> bool:
        """Whether a record is of the outcomes, models, providers and labels that are asked for."""
        labels = record.labels
        return (
            (not self.outcomes or record.outcome in self.outcomes)
            and (not self.models or labels.model in self.models)
            and (not self.providers or labels.provider in self.providers)
            and set(self.labels) <= set(labels.custom)
        )


def parse(given: Mapping[str, Sequence[str]]) -> Query:
    """Read the parameters of a request; a name may be given several times. Raises BadQueryError."""
    labels = []
    for name, values in given.items():
        if name.startswith("label."):
            labels += [(label_name(name.removeprefix("label.")), value) for value in values]
        elif name not in PARAMETERS:
            raise BadQueryError(f"there is no parameter {shortened(name)}; there are: {', '.join(PARAMETERS)}")
    since, limit = given.get("since", ()), given.get("limit", ())
    if len(since) > 1 or len(limit) > 1:
        raise BadQueryError("since and limit can be given once")
    return Query(
        seconds(since[0]) if since else None, one_of("outcome", given.get("outcome", ()), ALLOWED_OUTCOMES),
        tuple(given.get("model", ())), one_of("provider", given.get("provider", ()), PROVIDERS), tuple(labels),
        number(limit[0]) if limit else USUAL,
    )


def seconds(text: str) -> float:
    """A time such as 90s, 10m, 2h, 1d, or a number of seconds. Raises BadQueryError."""
    found = _TIME.fullmatch(text)
    if found is None:
        raise BadQueryError(f"since={shortened(text)} is no time; allowed are numbers with s, m, h or d, as in 10m")
    return float(found[1]) * _SECONDS[found[2]]


def one_of(what: str, given: Iterable[str], allowed: Sequence[str]) -> tuple[str, ...]:
    """Values of a closed list, which may be separated by commas. Raises BadQueryError."""
    values = tuple(value for text in given for value in text.split(","))
    for value in values:
        if value not in allowed:
            raise BadQueryError(f"{what}={shortened(value)} is not known; allowed are: {', '.join(allowed)}")
    return values


def number(text: str) -> int:
    """How many records are wanted. Raises BadQueryError."""
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or not 1 <= int(text) <= MOST:
        raise BadQueryError(f"limit={shortened(text)} is not allowed; it is a number from 1 to {MOST}")
    return int(text)


def label_name(name: str) -> str:
    """The name of an own label. Raises BadQueryError."""
    if not may_be_custom(name):
        raise BadQueryError(f"label.{shortened(name)} is no name of a label; one is as in STREAMVITALS_LABELS")
    return name


def shortened(text: str) -> str:
    """What somebody has given, as it can be shown."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:60])
    return repr(shown + ("..." if len(text) > 60 else ""))
