"""Recording rules for custom labels (`--by tenant`): a value of one that fails pages, as one of the models does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .. import names
from . import measures
from .language import FAST, MODEL, RATE_WINDOWS, SERVICE, SHORT
from .promql import RESULT, Matcher, Recorded, increase, matching, selector, total
from .rule import Record
from .series import WHOLE, Scope
from .texts import label as value_of
from .texts import of_service, query_text


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
    """Record operations, failures and open streams of each value.

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
        yield Record(scope.none_well[window], measures.none_well(_Counts(window, scope.by, label)))
        yield Record(scope.failure_ratio[window], measures.failure_ratio(
            scope.none_well[window], scope.failed[window], scope.operations[window]
        ))
    yield Record(scope.stalled, total(selector(names.STALLED, _has(label)), *scope.by))
    yield Record(scope.active, total(selector(names.ACTIVE, _has(label)), *scope.by))


def words(by: Sequence[str]) -> dict[str, str]:
    """The words of texts: who fails, where not everybody does, and in which series to look for it besides."""
    whose = ""
    for label in by:
        scope = scope_of(label)
        for failing, what in ((scope.failing, "operations of {} fail; "), (scope.hanging, "streams of {} hang; ")):
            alone = f"topk(1, {of_service(failing)}) unless on ($service) {of_service(WHOLE.failing)}"
            whose += query_text(alone, what.format(f"{label} {value_of(label)}"))
    return {"whose": whose, "or_theirs": "".join(f" or {scope_of(label).failing}{{%[1]s}}" for label in by)}
