"""Calls without a stream: rules on whether they fail, as streams do, and on those that hang; in no ratio of streams."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .. import names
from . import links
from .failing import failing, usual
from .flapping import flapping
from .language import FAST, HALF_HOUR, HOUR, MID, MODEL, PAST, QUARTER_DAY, RATE_WINDOWS, SERVER, SERVICE
from .promql import COUNTED, FAILED, either, increase, ratio, selector, total
from .rule import Alert, Record
from .series import CALLS, CALLS_SINCE, EACH_MODELS_CALLS, Scope
from .texts import COUNT, PERCENT, THE_MODEL, THE_SERVER, label, of_service, query_text, since

_FAILING, _HANGING = "streamvitals:calls:failing", "streamvitals:calls:hanging"
_BY_PLACE = (SERVICE, MODEL, SERVER)
_SHARE = "streamvitals:calls_failure_share:increase"


def _of_label(label: str) -> Scope:
    """The series that are recorded for the calls of each value of a custom label."""
    return Scope(f"calls_by_{label}", f"by_{label}_calls_", SERVICE, label)


def counts() -> Iterator[Record]:
    """Record how many calls of the service and of each model could have gone well, and how many of them failed.

    What the application asks again after a failure is a call more: nothing tells that it was tried again.
    """
    for scope in (CALLS, EACH_MODELS_CALLS):
        yield from _counts(scope)


def shares() -> Iterator[Record]:
    """Record which share of a model's calls fails, for the texts."""
    for window in (FAST, MID):
        failed, counted = (
            increase(names.CALLS, *_BY_PLACE, over=window, where=(what,)) for what in (FAILED, COUNTED)
        )
        yield Record(f"{_SHARE}{window}", f"{failed} / ({counted} > 0)")


def _counts(scope: Scope, *where: str) -> Iterator[Record]:
    for window in RATE_WINDOWS:
        for count, what in ((scope.operations, COUNTED), (scope.failed, FAILED)):
            yield Record(count[window], increase(names.CALLS, *scope.by, over=window, where=(what, *where)))
        if window != MID:
            yield Record(scope.failure_ratio[window], ratio(scope.failed[window], scope.operations[window]))


def of_each(label: str) -> Iterator[Record]:
    """Record the same of each value of a custom label, and whether it fails."""
    scope = _of_label(label)
    yield from _counts(scope, f'{label}!=""')
    yield usual(scope)
    yield from failing(scope, "$spike", "$model_spike", MID, of_streams=False)


def hours() -> Iterator[Record]:
    """Record the same over hours, what is usual, and whether failures come again and again."""
    for window in (HALF_HOUR, HOUR, PAST, QUARTER_DAY):
        for count in (CALLS.operations, CALLS.failed):
            yield Record(count[window], f"sum_over_time({count[FAST]}[{window}:$fast])")
    yield usual(CALLS)
    yield usual(EACH_MODELS_CALLS)
    yield from flapping(CALLS)


def conditions(by: Sequence[str] = ()) -> Iterator[Record]:
    """Record whether the calls of the service, of a model, or of a custom label's value fail, and which hang."""
    yield from failing(CALLS, "$page_share", "$spike", MID, HALF_HOUR, HOUR, of_streams=False, hours=True)
    yield from failing(EACH_MODELS_CALLS, "$spike", "$model_spike", MID, of_streams=False)
    every = [CALLS.flapping, *(scope.failing for scope in (CALLS, EACH_MODELS_CALLS, *map(_of_label, by)))]
    yield Record(_FAILING, f"group by ({SERVICE}) ({either(*every)})")
    stalled, active = (total(selector(metric), *_BY_PLACE) for metric in (names.CALLS_STALLED, names.CALLS_ACTIVE))
    yield Record("streamvitals:calls_stalled", stalled)
    yield Record("streamvitals:calls_active", active)
    yield Record(_HANGING, """
        min_over_time(streamvitals:calls_stalled[$lasting]) > 0
          unless streamvitals:calls_stalled / (streamvitals:calls_active > 0)
            <= 3 * avg_over_time(streamvitals:calls_stalled[$day] offset $mid)
              / (avg_over_time(streamvitals:calls_active[$day] offset $mid) > 0)""")


def _whose(by: Sequence[str]) -> str:
    """Say of which value the calls fail, where those of the service as a whole do not."""
    return "".join(
        query_text(
            f"topk(1, {of_service(_of_label(name).failing)}) unless on ({SERVICE}) {of_service(CALLS.failing)}",
            f"of {name} {label(name)}: ",
        )
        for name in by
    )


def _worst(window: str, otherwise: str) -> str:
    """Say of which model and server the largest share fails: `34% of gpt-4o calls without a stream fail at …`."""
    return query_text(
        f"topk(1, 100 * {of_service(_SHARE + window)} > 0)",
        f"{PERCENT} of {THE_MODEL} calls without a stream fail at {THE_SERVER} in {window}", otherwise,
    )


def words(by: Sequence[str]) -> dict[str, str]:
    """The word of texts on whose calls fail, where not everybody's."""
    return {"whose_calls": _whose(by)}


_FAILED = f": {COUNT} of {query_text(of_service(CALLS.operations[FAST]), COUNT)} failed in {FAST}"

PAGE = Alert(
    "StreamvitalsCallsFailing", "symptom", "page",
    # Its graph shows what share of the calls fails; a page for one model may have none.
    f"{CALLS.failure_ratio[FAST]} and on ($service) {_FAILING} or on ($service) {_FAILING}",
    summary="$whose_calls" + _worst(FAST, _worst(MID, "calls without a stream fail"))
    + since(CALLS_SINCE),
    description=(
        "Calls that are not streamed get errors: titles, embeddings, judges, the answers of whoever asks without"
        " streaming"
        + query_text(f"{of_service(CALLS.failed[FAST])} > 0", _FAILED)
        + ". Look next: 1. whether streams fail as well, which is a page of its own in the same notification: then it"
        " is the provider, else what only these calls use, such as another model, key or endpoint; 2. the error types"
        " on the dashboard, and the application's own log: there is no log line of ours for a call."
    ),
    dashboard=links.INCIDENT, keep_firing_for=1200,
)

HANGING = Alert(
    "StreamvitalsCallsHanging", "cause", "ticket", f"count by ($service) ({_HANGING})",
    summary=query_text(
        f"topk(1, {of_service('streamvitals:calls_stalled')} > 0)",
        f"{COUNT} calls of {THE_MODEL} without a stream hang: no answer from {THE_SERVER} for two minutes",
        "calls without a stream hang",
    ),
    description=(
        "Calls are open whose attempt has been without an answer for longer than two minutes, and more of them than is"
        " usual. Nothing has failed yet: clients wait up to their timeout, again for every retry of the SDK. Look next:"
        " 1. whether this model is one that takes so long, such as one that thinks or draws; 2. the client's timeout,"
        " which is 10 minutes if nobody has set it, and what stands between the service and the provider."
    ),
    dashboard=links.INCIDENT, for_=60, keep_firing_for=300, cause="timeout",
)
