"""Every end has a sentence, an owner in it, and a next step that leads to a runbook that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamvitals.incidents.sentences import _ENDS, explain
from streamvitals.outcome import ERROR_TYPES, Outcome, owner, result

RUNBOOKS = Path(__file__).resolve().parents[2] / "alerts" / "runbooks"
ENDS = [(outcome, error) for outcome in Outcome for error in ERROR_TYPES.get(outcome, ("",))]


@pytest.mark.parametrize(("outcome", "error_type"), ENDS)
def test_every_end_is_explained(outcome: Outcome, error_type: str) -> None:
    said = explain(outcome.value, error_type, model="gpt-4o", server="api.example")
    assert said.sentence[0].isupper() or said.sentence.startswith("api.example")
    assert said.sentence.endswith(".")
    assert said.next.endswith(".")
    assert "{" not in said.sentence + said.next
    owners = {"provider": "provider's", "caller": "caller's", "quota": "owns the quota", "app": "application's own",
              "limit": "a limit", "nobody": "nothing failed"}
    assert owners[owner(outcome, error_type)] in said.sentence
    if result(outcome, error_type) in ("failed", "rejected"):
        assert (RUNBOOKS / f"{said.runbook}.md").is_file()


def test_every_outcome_has_a_sentence_of_its_own_and_no_row_is_out_of_reach() -> None:
    assert {outcome for outcome, error in _ENDS if not error} == set(Outcome)
    assert {error for _, error in _ENDS} <= {"", *(error for errors in ERROR_TYPES.values() for error in errors)}
    assert len({explain(outcome.value, "").sentence for outcome in Outcome}) == len(Outcome)


def test_names_from_outside_are_put_in_as_they_are() -> None:
    said = explain("reset", "connection_reset", server="{model} <b>")
    assert "{model} <b>" in said.sentence


def test_an_end_of_a_later_version_is_no_fault() -> None:
    assert "does not know" in explain("evaporated", "x").sentence
