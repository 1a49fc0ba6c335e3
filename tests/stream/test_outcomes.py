"""Every way for a stream to end, through the real SDK over real sockets: what is reported is what was injected,
and the app sees what it would see without us."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app_acts import act_of
from app_support import VERSION, verdicts
from streamvitals.config import Config
from streamvitals.faults.scenarios import SCENARIOS, Scenario
from streamvitals.outcome import ERROR_TYPES, RESULTS, Outcome, owner, result
from streamvitals.testing import RecordList

# Ctrl-C reaches a coroutine as a cancellation: the KeyboardInterrupt is asyncio.run's.
ASYNC_TRUTH = {"keyboard-interrupt": ("cancelled", "cancelled")}
# Before 1.9 the SDK passes over SSE frames that only have a name, and takes broken text for text.
OLD_TRUTH = {
    "meta-frames": ("completed", ""),
    "broken-utf8": ("truncated", "missing_finish_reason"),
}


def _cases() -> Iterator[object]:
    for scenario in SCENARIOS.values():
        for mode in ("sync", "async"):
            if act_of(scenario, mode) is not None:
                yield pytest.param(scenario, mode, id=f"{scenario.name}-{mode}")


def truth(scenario: Scenario, mode: str) -> tuple[str, str]:
    if mode == "async" and scenario.name in ASYNC_TRUTH:
        return ASYNC_TRUTH[scenario.name]
    if VERSION < (1, 9) and scenario.name in OLD_TRUTH:
        return OLD_TRUTH[scenario.name]
    return scenario.outcome, scenario.error_type


@pytest.mark.parametrize(("scenario", "mode"), list(_cases()))
def test_reported_is_injected(scenario: Scenario, mode: str, observe: Callable[..., RecordList]) -> None:
    act = act_of(scenario, mode)
    records = observe(act, Config(stall_after=1.0))
    assert verdicts(records) == [truth(scenario, mode)]


def test_the_catalogue_covers_every_outcome() -> None:
    assert {scenario.outcome for scenario in SCENARIOS.values()} == {outcome.value for outcome in Outcome}


@pytest.mark.parametrize("scenario", list(SCENARIOS.values()), ids=list(SCENARIOS))
def test_every_pair_is_of_the_closed_list(scenario: Scenario) -> None:
    allowed = ERROR_TYPES.get(Outcome(scenario.outcome), ("",))
    assert scenario.error_type in allowed


def test_the_lists_are_closed() -> None:
    """Outcomes where nothing failed have no error type; all others have at least one."""
    assert set(Outcome) - set(ERROR_TYPES) == {Outcome.COMPLETED, Outcome.LENGTH, Outcome.CONTENT_FILTER}
    for types in ERROR_TYPES.values():
        assert types
        assert len(set(types)) == len(types)


@pytest.mark.parametrize(
    ("outcome", "error_type", "whose", "means"),
    [
        (Outcome.COMPLETED, "", "nobody", "completed"),
        (Outcome.LENGTH, "", "limit", "limit"),
        (Outcome.CONTENT_FILTER, "", "limit", "limit"),
        (Outcome.TRUNCATED, "missing_terminal", "provider", "failed"),
        (Outcome.RESET, "connection_reset", "provider", "failed"),
        (Outcome.TIMEOUT, "read_timeout", "provider", "failed"),
        (Outcome.TIMEOUT, "pool_timeout", "caller", "rejected"),
        (Outcome.MALFORMED, "json_decode", "provider", "failed"),
        (Outcome.API_ERROR, "server_error", "provider", "failed"),
        (Outcome.RATE_LIMITED, "429", "quota", "failed"),
        (Outcome.HTTP_ERROR, "500", "provider", "failed"),
        (Outcome.REJECTED, "401", "caller", "rejected"),
        (Outcome.CONNECT_ERROR, "dns", "provider", "failed"),
        (Outcome.CANCELLED, "cancelled", "app", "left"),
        (Outcome.ABANDONED, "closed", "app", "left"),
    ],
)
def test_whose_doing_it_was_and_what_it_means(outcome: Outcome, error_type: str, whose: str, means: str) -> None:
    assert owner(outcome, error_type) == whose
    assert result(outcome, error_type) == means
    assert means in RESULTS


def test_an_outcome_has_one_result_but_for_what_was_waited_for() -> None:
    several = {o for o, types in ERROR_TYPES.items() if len({result(o, kind) for kind in types}) > 1}
    assert several == {Outcome.TIMEOUT}
