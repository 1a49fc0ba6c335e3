"""Recording rules for custom labels (`--by tenant`): a value of one that fails pages, as one of the models does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import names
from . import measures
from .chance import FEW, beyond_chance
from .failing import failing, hanging, usual
from .language import FAST, MID, MODEL, RATE_WINDOWS, SERVICE, SHORT
from .promql import COUNTED, FAILED, RESULT, Matcher, Recorded, increase, matching, selector, total
from .rule import Record
from .series import STREAMS, WHOLE, Scope
from .texts import PERCENT, of_service, query_text
from .texts import label as value_of

# A value whose share is so many times that of all others stands out.
APART = 2
# Windows of texts: the last minutes, and longer where little is asked.
_TOLD = (FAST, MID)


@dataclass(frozen=True)
class _Counts(measures.Counts):
    """Counts of streams that have the label: without it they are nobody's."""

    window: str
    by: tuple[str, ...]
    label: str

    def streams(self, *where: Matcher) -> str:
        return total(matching(_streams(self.label)[self.window], *where), *self.by)

    def increase(self, metric: names.Metric, *where: Matcher) -> str:
        return increase(metric, *self.by, over=self.window, where=(_has(self.label), *where))

    def none(self) -> str:
        return f"0 * {self.streams()}"


def _has(label: str) -> str:
    return f'{label}!=""'


def _streams(label: str) -> Recorded:
    return Recorded(f"streamvitals:by_{label}_streams:increase")


def scope_of(label: str) -> Scope:
    """The series that are recorded for each value of a label, as others are for each model."""
    return Scope(f"by_{label}", f"by_{label}_", SERVICE, label)


def counts(label: str) -> Iterator[Record]:
    """Record operations and failures of each value.

    Each model of a value is counted by itself: what is tried again must not hide what fails of another.
    """
    scope, by = scope_of(label), (SERVICE, label, MODEL)
    fallbacks, retried = (
        Recorded(f"streamvitals:by_{label}_{name}:increase") for name in ("model_fallbacks", "model_retried")
    )
    for window in RATE_WINDOWS:
        yield Record(_streams(label)[window], increase(names.STREAMS, *by, RESULT, over=window, where=(_has(label),)))
        each_model = _Counts(window, by, label)
        yield Record(fallbacks[window], measures.fallbacks(each_model))
        yield Record(retried[window], measures.retried(each_model, fallbacks[window]))
        for count, measure in ((scope.operations, measures.operations), (scope.failed, measures.failed)):
            yield Record(count[window], total(measure(each_model, retried[window], fallbacks[window]), *scope.by))
    for window in (SHORT, FAST):
        ended = _Counts(window, scope.by, label)
        yield Record(scope.none_well[window], measures.none_well(ended))
        yield Record(scope.failure_ratio[window], measures.failure_ratio(
            scope.none_well[window], scope.failed[window], scope.operations[window]
        ))


def conditions(label: str) -> Iterator[Record]:
    """Record whether a value fails, or its streams hang."""
    scope = scope_of(label)
    yield Record(scope.stalled, total(selector(names.STALLED, _has(label)), *scope.by))
    yield Record(scope.active, total(selector(names.ACTIVE, _has(label)), *scope.by))
    yield usual(scope)
    yield from failing(scope, "$spike", "$model_spike", MID)
    yield hanging(scope)


def apart(label: str) -> Iterator[Record]:
    """Record, while it fails, of which values so much more fails than of the others that it is theirs.

    The others are all operations but those of this value, also those without the label. A value of whom much fails
    because a model of its does, for everybody, does not stand out.
    """
    scope, each = scope_of(label), f"- on ({SERVICE}) group_right ()"
    for window in _TOLD:
        failed, operations = scope.failed[window], scope.operations[window]
        others, alike = _others(label)[window], _alike(label)[window]
        yield Record(others, f"""
        clamp_min({WHOLE.failed[window]} {each} {failed}, 0)
          / ({WHOLE.operations[window]} {each} {operations} >= 1)
          and {failed} > {FEW}
          and on ({SERVICE}) ({WHOLE.failing} or {scope.failing})""")
        yield Record(alike, _as_others(label, window))
        yield Record(_apart(label)[window], f"""
        {others}
          and {failed} >= {APART} * {others} * {operations}
          and {failed} >= {APART} * {alike} * {operations}
          and {beyond_chance(failed, operations, alike)}""")


def _as_others(label: str, window: str) -> str:
    """The share of a value's streams that would fail if its models failed for it as they do for the others."""
    all_of_model, each = (SERVICE, MODEL), f"- on ({SERVICE}, {MODEL}) group_right ()"
    its = _Counts(window, (*all_of_model, label), label)
    failed, counted = (
        f"({total(matching(STREAMS[window], what), *all_of_model)} {each} {its.streams(what)})"
        for what in (FAILED, COUNTED)
    )
    ended = _Counts(window, (SERVICE, label), label).streams(COUNTED)
    expected = total(f"{its.streams(COUNTED)} * clamp_min({failed}, 0) / ({counted} >= 1)", SERVICE, label)
    return f"""
        ({expected} or 0 * {ended}) / ({ended} > 0)
          and {_others(label)[window]}"""


def _others(label: str) -> Recorded:
    return Recorded(f"streamvitals:by_{label}_others_failure_ratio:increase")


def _alike(label: str) -> Recorded:
    return Recorded(f"streamvitals:by_{label}_alike_failure_ratio:increase")


def _apart(label: str) -> Recorded:
    return Recorded(f"streamvitals:by_{label}_apart:increase")


def words(by: Sequence[str]) -> dict[str, str]:
    """The words of texts: whose it is, where not everybody's, and in which series to look for it besides."""
    whose = "".join(_who_fails(label) + _who_hangs(label) for label in by)
    return {"whose": whose, "or_theirs": "".join(f" or {scope_of(label).failing}{{%[1]s}}" for label in by)}


def _who_fails(label: str) -> str:
    """Say of which value most fails, and how little of the others, if it stands out; else who alone fails."""
    scope = scope_of(label)
    text = query_text(
        f"topk(1, {of_service(scope.failing)}) unless on ({SERVICE}) {of_service(WHOLE.failing)}",
        f"operations of {label} {value_of(label)} fail; ",
    )
    for window in reversed(_TOLD):
        share, others = (
            query_text(f"100 * {of}", PERCENT, of=label) for of in (
                f"{of_service(scope.failed[window], of=label)} / {of_service(scope.operations[window], of=label)}",
                of_service(_apart(label)[window], of=label),
            )
        )
        text = query_text(
            f"topk(1, {of_service(scope.failed[window])} and {of_service(_apart(label)[window])})",
            f"{share} of {label} {value_of(label)}'s operations fail, {others} of the others'; ", text,
        )
    return text


def _who_hangs(label: str) -> str:
    """Say whose streams hang, unless those of the others do as well."""
    scope, each = scope_of(label), f"- on ({SERVICE}) group_right ()"
    stalled, active = scope.stalled, scope.active
    alone = f"""\
topk(1, {of_service(scope.hanging)}
  and {stalled} * ({WHOLE.active} {each} {active}) >= {APART} * {active} * ({WHOLE.stalled} {each} {stalled}))
  unless on ({SERVICE}) {of_service(WHOLE.failing)}"""
    return query_text(" ".join(alone.split()), f"streams of {label} {value_of(label)} hang; ")
