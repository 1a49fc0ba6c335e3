"""What the words of providers mean: where they stand, however they are spelt, and that nobody's text is told on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvitals.outcome import ERROR_TYPES, Outcome, Verdict
from streamvitals.stream import vocabulary
from streamvitals.stream.vocabulary import TABLE, Place, classify_error_event, finish, incomplete

FILTER, LENGTH, WHOLE, FAILED = "content_filter", "length", "completed", "api_error other"
RATE, QUOTA = "rate_limited rate_limit_exceeded", "rate_limited insufficient_quota"
OVERLOADED, UNAVAILABLE = "api_error overloaded_error", "api_error service_unavailable"


def said(verdict: Verdict) -> str:
    return f"{verdict.outcome.value} {verdict.error_type}".strip()


# -- the table


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row.place.name} {row.words.split()[0]}")
def test_every_row_has_a_source_and_a_verdict_of_the_closed_list(row: vocabulary.Row) -> None:
    assert row.source.startswith("https://")
    assert row.verdict.error_type in ERROR_TYPES.get(row.verdict.outcome, ("",))
    for word in row.words.split():
        assert vocabulary._normal(word) == word, "nobody's spelling would find it"


@pytest.mark.parametrize("place", list(Place))
def test_no_word_stands_twice_in_one_place(place: Place) -> None:
    words = [word for row in TABLE if row.place is place for word in row.words.split()]
    assert len(words) == len(set(words))


def test_failures_among_the_finish_words_add_no_error_type() -> None:
    """The closed list of ``finish_<reason>`` is a list of series: other failures are ``other``."""
    failed = {row.verdict.error_type for row in TABLE if row.place is Place.FINISH and row.verdict.error_type}
    own = {"finish_error", "finish_abort", "finish_insufficient_system_resource"}
    assert failed == own | {"other", "rate_limit_exceeded", "insufficient_quota"}


# -- finish words

FINISHES = {
    WHOLE: "stop STOP tool_calls tool-calls toolCalls end_turn endTurn stop_sequence STOP_SEQUENCE tool_use pause_turn"
           " COMPLETE TOOL_CALL eos eos_token FinishReason.STOP load normal",
    LENGTH: "length LENGTH max_tokens MAX_TOKENS FinishReason.MAX_TOKENS FINISH_REASON_MAX_TOKENS maxTokens"
            " max_output_tokens model_length model_context_window_exceeded ERROR_LIMIT repetition"
            " max_new_tokens token_limit_reached max_length max_turns max_steps",
    FILTER: "content_filter content-filter CONTENT_FILTER SAFETY RECITATION BLOCKLIST PROHIBITED_CONTENT SPII LANGUAGE"
            " IMAGE_SAFETY IMAGE_PROHIBITED_CONTENT IMAGE_RECITATION FINISH_REASON_SAFETY refusal ERROR_TOXIC"
            " guardrail_intervened content_filtered sensitive moderation_blocked blocked"
            " blocked_by_policy flagged censored",
    FAILED: "network_error server_error MALFORMED_FUNCTION_CALL UNEXPECTED_TOOL_CALL malformed_model_output"
            " malformed_tool_use OTHER TIMEOUT upstream_error failed",
    "api_error finish_error": "error ERROR",
    "api_error finish_abort": "abort",
    "api_error finish_insufficient_system_resource": "insufficient_system_resource",
    "cancelled other": "USER_CANCEL cancelled cancel",
    RATE: "rate_limit rate_limit_exceeded",
}


@pytest.mark.parametrize(
    ("word", "want"), [(word, want) for want, words in FINISHES.items() for word in words.split()]
)
def test_finish_words(word: str, want: str) -> None:
    found = finish(word)
    assert found is not None
    assert said(found[1]) == want
    assert found[0] in vocabulary.REPORTED


@pytest.mark.parametrize(("word", "told", "want"), [
    ("content_filter: PROHIBITED_CONTENT", "prohibited_content", FILTER),
    ("function_call_filter: MALFORMED_FUNCTION_CALL", "malformed_function_call", FAILED),
    ("function_call_filter: SOMETHING_NEW", "function_call_filter", FAILED),
])
def test_geminis_own_openai_endpoint_says_it_twice(word: str, told: str, want: str) -> None:
    found = finish(word)
    assert found is not None
    assert (found[0], said(found[1])) == (told, want)


@pytest.mark.parametrize("word", ["banana", "the weather in Paris", "unknown", "FINISH_REASON_UNSPECIFIED", "…", "🍌"])
def test_a_word_that_nobody_knows_is_completed_and_told_as_other(word: str) -> None:
    assert finish(word) == ("other", Verdict(Outcome.COMPLETED))


@pytest.mark.parametrize("word", ["null", "None", "NOT_FINISHED"])
def test_words_that_say_that_it_goes_on_are_no_finish(word: str) -> None:
    assert finish(word) is None


@given(st.text(max_size=300))
def test_whatever_is_said_is_told_in_words_of_the_table(word: str) -> None:
    found = finish(word)
    assert found is None or found[0] in vocabulary.REPORTED
    assert found is None or found[1].error_type in ERROR_TYPES.get(found[1].outcome, ("",))


# -- reasons of what is incomplete


@pytest.mark.parametrize(("reason", "want"), [
    ("max_output_tokens", LENGTH), ("max_messages", LENGTH), ("max_prompt_tokens", LENGTH),
    ("max_completion_tokens", LENGTH), ("content_filter", FILTER), ("steered", WHOLE),
    ("MAX_TOKENS", LENGTH), ("SAFETY", FILTER), ("refusal", FILTER), ("model_context_window_exceeded", LENGTH),
    ("network_error", FAILED), ("banana", FAILED), ("stop", FAILED), ("", FAILED), (None, FAILED), (7, FAILED),
    ({}, FAILED),
])
def test_reasons_of_what_is_incomplete(reason: Any, want: str) -> None:
    assert said(incomplete(reason)) == want


# -- errors

ERRORS = {
    FILTER: "content_filter data_inspection_failed DataInspectionFailed cyber_policy misalignment_policy_violation"
            " bio_policy content_policy_violation ContentPolicyViolationError ResponsibleAIPolicyViolation"
            " InputTextSensitiveContentDetected.SevereViolation OutputTextRiskDetection 1301 sensitive_words_detected"
            " prompt_blocked",
    RATE: "rate_limit_exceeded RateLimitError ThrottlingException throttlingException Throttling Throttling.RateQuota"
          " Throttling.AllocationQuota error.rate_limit RESOURCE_EXHAUSTED resource-exhausted too_many_requests"
          " TooManyRequestsException limit_requests rpm_rate_limit_exceeded com.amazonaws.bedrock#ThrottlingException"
          " ThrottlingException:http://internal.amazon.com/coral/com.amazon.coral.availability/"
          " ModelAccountTpmRateLimitExceeded SetLimitExceeded tokens limit 1302 InflightBatchsizeExceeded",
    QUOTA: "insufficient_quota QuotaExceeded quota_exceeded ServiceQuotaExceededException Arrearage"
           " AllocationQuota.FreeTierOnly AccountOverdueError exceeded_current_quota_error insufficient_balance_error"
           " insufficient_user_quota credit_balance_exhausted session_budget_exceeded 402 1113",
    OVERLOADED: "overloaded_error engine_overloaded engine_overloaded_error OverloadedException server_overloaded"
                " ServerOverloaded server_is_overloaded provider_overloaded over_capacity 529"
                " queue_full",
    UNAVAILABLE: "UNAVAILABLE serviceUnavailableException service_unavailable 503 502",
    "api_error timeout_error": "ModelTimeoutException DEADLINE_EXCEEDED timeout 504",
    "api_error server_error": "server_error InternalServerError internalServerException 500 INTERNAL",
    "api_error context_length_exceeded": "context_length_exceeded ContextWindowExceededError"
                                             " exceed_context_size_error",
    "api_error invalid_request_error": "BadRequestError ValidationException INVALID_ARGUMENT 400"
                                       " request_too_large string_above_max_length",
    "rate_limited 429": "429",
    LENGTH: "max_output_tokens",
    FAILED: "connection_failed invalid_credentials load_balancer_error 777 banana",
}


@pytest.mark.parametrize(("word", "want"), [(word, want) for want, words in ERRORS.items() for word in words.split()])
def test_words_of_errors(word: str, want: str) -> None:
    for told in (word, {"code": word}, {"type": word}, {"status": word}, {"error": {"code": word}},
                 SimpleNamespace(code=word, type=None)):
        assert said(classify_error_event(told)) == want
    if word.isdigit():
        assert said(classify_error_event({"code": int(word)})) == want


@pytest.mark.parametrize(("error", "want"), [
    ({"code": "429", "type": "insufficient_quota"}, QUOTA),
    ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, RATE),
    ({"code": 429, "type": "engine_overloaded_error"}, OVERLOADED),
    ({"code": 500, "type": "overloaded_error"}, OVERLOADED),
    ({"code": "context_length_exceeded", "type": "invalid_request_error"}, "api_error context_length_exceeded"),
    ({"code": 502, "metadata": {"error_type": "provider_overloaded"}}, OVERLOADED),
    ({"code": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}, FILTER),
    ({"error": {"error": {"code": "rate_limit_exceeded"}}}, RATE),
    ("Rate limit exceeded", RATE),
    ("Too Many Requests", RATE),
    ("the model is overloaded: retry", FAILED),  # a sentence is not looked into
    ({"message": "rate_limit_exceeded"}, FAILED),  # nor a message
    ({"code": True, "type": ["rate_limit"]}, FAILED),
    (None, FAILED), ({}, FAILED), ([], FAILED), (object(), FAILED),
])
def test_of_several_words_the_one_that_names_what_it_was_counts(error: Any, want: str) -> None:
    assert said(classify_error_event(error)) == want


def test_an_error_that_holds_itself() -> None:
    error: dict[str, Any] = {"type": "banana"}
    error["error"] = error
    assert said(classify_error_event(error)) == FAILED


def test_a_limit_means_another_thing_as_a_finish_word_than_as_an_error() -> None:
    for word in ("limit", "limit_exceeded"):
        found = finish(word)
        assert found is not None
        assert (said(found[1]), said(classify_error_event(word))) == (LENGTH, RATE)
