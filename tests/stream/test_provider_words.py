"""How providers and gateways say that a stream was filtered, limited, refused or broken, each in words of its own:
served over a socket, read by the SDK and as bytes, on every surface that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import bodies
from app_support import verdicts
from bodies import DONE, chunk, event
from conversation_support import Talk, created, done
from observation_support import Host
from streamvitals.testing import RecordList
from surface_acts import CALLS, SPEC, Call, areading, reading

CHAT = Call("chat", "chat", "chat.completions.create", "chat", {"model": SPEC, "messages": []})
RESPONSES, RUN, AGENT, COMPLETIONS = (
    next(call for call in CALLS if call.name == name) for name in ("responses", "run", "agent's events", "completions")
)
FORMS = ["sync", "async", "lines"]
FILTER, LENGTH, WHOLE, FAILED = ("content_filter", ""), ("length", ""), ("completed", ""), ("api_error", "other")
RATE, QUOTA = ("rate_limited", "rate_limit_exceeded"), ("rate_limited", "insufficient_quota")
OVERLOADED, FINISH_ERROR = ("api_error", "overloaded_error"), ("api_error", "finish_error")

pytestmark = pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")
Observe = Callable[..., RecordList]


@pytest.fixture(params=FORMS)
def told(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, observe: Observe) -> Callable[..., Any]:
    """What is recorded of a stream of these events, read in one of the forms."""

    def read(call: Call, *events: bytes) -> Any:
        if not call.exists():
            pytest.skip("this SDK does not have it")
        spec = bodies.play(monkeypatch, "words", events)
        if request.param == "async":
            records = observe(areading(call, "stream", spec))
        else:
            records = observe(reading(call, "lines" if request.param == "lines" else "stream", spec))
        (record,) = records
        return record

    return read


def ended(record: Any) -> tuple[str, str]:
    return verdicts([record])[0]


# -- the last word of a chat


@pytest.mark.parametrize(("word", "want", "reason"), [
    ("SAFETY", FILTER, "safety"),
    ("content_filter: PROHIBITED_CONTENT", FILTER, "prohibited_content"),
    ("sensitive", FILTER, "sensitive"),
    ("MAX_TOKENS", LENGTH, "max_tokens"),
    ("model_context_window_exceeded", LENGTH, "model_context_window_exceeded"),
    ("MALFORMED_FUNCTION_CALL", FAILED, "malformed_function_call"),
    ("network_error", FAILED, "network_error"),
    ("end_turn", WHOLE, "end_turn"),
    ("COMPLETE", WHOLE, "complete"),
])
def test_finish_words(told: Callable[..., Any], word: str, want: tuple[str, str], reason: str) -> None:
    record = told(CHAT, chunk("a"), chunk(finish=word), DONE)
    assert (ended(record), record.finish_reasons, record.hints) == (want, (reason,), ())


def test_a_word_that_nobody_knows_is_completed_but_not_silently(told: Callable[..., Any]) -> None:
    record = told(CHAT, chunk("a"), chunk(finish="banana"), DONE)
    assert (ended(record), record.finish_reasons, record.hints) == (WHOLE, ("other",), ("unknown_finish_reason",))


@pytest.mark.parametrize(("more", "want"), [
    ({"finish_reason": "stop", "native_finish_reason": "SAFETY"}, FILTER),
    ({"finish_reason": "stop", "native_finish_reason": "STOP"}, WHOLE),
    ({"finish_reason": "stop", "native_finish_reason": "a new word"}, WHOLE),
    ({"finish_reason": "length", "native_finish_reason": "STOP"}, LENGTH),
    # LiteLLM says "stop" for whatever it does not know.
    ({"finish_reason": "stop",
      "provider_specific_fields": {"native_finish_reason": "insufficient_system_resource"}},
     ("api_error", "finish_insufficient_system_resource")),
])
def test_the_providers_own_word_beside_the_gateways(
    told: Callable[..., Any], more: dict[str, Any], want: tuple[str, str]
) -> None:
    record = told(CHAT, chunk("a"), chunk(**{"finish": more["finish_reason"], **more}), DONE)
    assert (ended(record), record.hints) == (want, ())


def test_a_word_that_nobody_knows_beside_one_that_is_known(told: Callable[..., Any]) -> None:
    record = told(CHAT, chunk("a"), chunk(finish="banana", native_finish_reason="end_turn"), DONE)
    assert (record.finish_reasons, record.hints) == (("end_turn",), ())


def test_legacy_completions_end_in_the_same_words(told: Callable[..., Any]) -> None:
    choices = [{"index": 0, "text": "a", "finish_reason": None}], [{"index": 0, "text": "", "finish_reason": "SAFETY"}]
    record = told(COMPLETIONS, *(event({"id": "c", "choices": one}) for one in choices), DONE)
    assert ended(record) == FILTER


# -- errors within a chunk, whose finish_reason is null

BESIDE: list[tuple[dict[str, Any], dict[str, Any], tuple[str, str]]] = [
    ({"error": {"code": 502, "message": "x"}}, {}, FINISH_ERROR),
    ({"error": {"code": "content_filter"}}, {}, FILTER),
    ({"error": {"code": 429}}, {}, ("rate_limited", "429")),
    ({"error": {"type": "insufficient_quota"}}, {}, QUOTA),
    ({"error": {"type": "overloaded_error"}}, {}, OVERLOADED),
    ({"error": "a sentence"}, {}, FINISH_ERROR),
    ({"error": {"code": 429.0, "message": "x"}}, {}, ("rate_limited", "429")),
    ({"error": [{"code": "content_filter"}]}, {}, FILTER),
    ({"error_code": 336501}, {}, RATE),
    ({}, {"x_groq": {"id": "req_1", "error": "over capacity"}}, FINISH_ERROR),
    ({}, {"x_groq": {"error": "rate_limit_exceeded"}}, RATE),
    ({}, {"error_code": 336501, "error_msg": "x"}, RATE),
    ({}, {"error_code": "internal_error"}, ("api_error", "internal_error")),
    ({}, {"error_code": 336000}, FAILED),
    ({}, {"base_resp": {"status_code": 1008, "status_msg": "x"}}, QUOTA),
    ({}, {"base_resp": {"status_code": 1027}}, FILTER),
]


@pytest.mark.parametrize(("within", "beside", "want"), BESIDE)
def test_an_error_within_a_chunk(
    told: Callable[..., Any], within: dict[str, Any], beside: dict[str, Any], want: tuple[str, str]
) -> None:
    assert ended(told(CHAT, chunk("a"), chunk("b", beside=beside, **within), DONE)) == want


@pytest.mark.parametrize("rest", [(), (chunk("c"),), (chunk(finish="stop"), DONE)], ids=["cut", "content", "stop"])
def test_an_error_within_a_chunk_stands_whatever_follows(told: Callable[..., Any], rest: tuple[bytes, ...]) -> None:
    record = told(CHAT, chunk("a"), chunk(error={"code": 502}), *rest)
    assert (ended(record), record.finish_reasons) == (FINISH_ERROR, ("error",))


@pytest.mark.parametrize("fine", [
    {"error_code": 0}, {"error_code": "0"}, {"error_code": None}, {"x_groq": {"id": "req_1"}}, {"x_groq": None},
    {"base_resp": {"status_code": 0, "status_msg": "success"}}, {"error": None}, {"error": {}}, {"error_code": 0.0},
])
def test_no_error_within_a_chunk(told: Callable[..., Any], fine: dict[str, Any]) -> None:
    assert ended(told(CHAT, chunk("a", beside=fine), chunk(finish="stop"), DONE)) == WHOLE
    assert ended(told(CHAT, chunk("a", **fine), chunk(finish="stop"), DONE)) == WHOLE


def test_an_error_in_a_choice_that_says_nothing_is_none(told: Callable[..., Any]) -> None:
    nothing = {"code": None, "message": "", "param": None}
    assert ended(told(CHAT, chunk("a", error=nothing), chunk(finish="stop", error=nothing), DONE)) == WHOLE


@pytest.mark.parametrize(("alone", "want"), [
    ({"choices": [], "x_groq": {"error": {"code": "rate_limit_exceeded"}}}, RATE),
    ({"x_groq": {"error": "over capacity"}}, FAILED),
    ([{"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "x"}}], RATE),
    ({"__type": "com.amazon.coral.service#ThrottlingException", "message": "x"}, RATE),
    ({"errors": [{"code": "rate_limit_exceeded", "message": "x"}], "success": False}, RATE),
    ({"detail": "a sentence"}, FAILED),
    ({"status": 429, "title": "Too Many Requests"}, ("rate_limited", "429")),
    ({"statusCode": 500, "message": "x"}, ("api_error", "server_error")),
    ({"code": "DataInspectionFailed", "message": "x", "request_id": "r"}, FILTER),
    ({"object": "error", "code": 429, "message": "x"}, ("rate_limited", "429")),
    ({"success": False, "code": 500, "msg": "x"}, ("api_error", "server_error")),
    ({"error_code": 336100, "error_msg": "x"}, OVERLOADED),
    ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}, "choices": None}, RATE),
])
def test_an_error_that_is_the_event_itself(
    told: Callable[..., Any], alone: dict[str, Any], want: tuple[str, str]
) -> None:
    assert ended(told(CHAT, chunk("a"), event(alone))) == want


# -- error events

EVENTS = [
    ({"code": "content_filter", "message": "x"}, FILTER),
    ({"code": None, "type": "data_inspection_failed"}, FILTER),
    ({"code": "Throttling.RateQuota"}, RATE),
    ({"type": "throttlingException"}, RATE),
    ({"code": 429, "status": "RESOURCE_EXHAUSTED"}, RATE),
    ({"code": "Arrearage", "type": "Arrearage"}, QUOTA),
    ({"type": "engine_overloaded_error"}, OVERLOADED),
    ({"code": 400, "innererror": {"code": "ResponsibleAIPolicyViolation"}}, FILTER),
    ("rate_limit_exceeded", RATE),
    ({"code": 529.0}, OVERLOADED),
    ([{"code": "rate_limit_exceeded"}], RATE),
    ({"code": "ServerOverloaded", "type": "TooManyRequests"}, OVERLOADED),
    ({"code": "rate_limit_exceeded", "type": "overloaded_error"}, RATE),
    ({"code": 400, "type": "exceed_context_size_error"}, ("api_error", "context_length_exceeded")),
    ({"code": "banana"}, FAILED),
]


@pytest.mark.parametrize(("error", "want"), EVENTS)
def test_an_error_event_of_a_chat(told: Callable[..., Any], error: Any, want: tuple[str, str]) -> None:
    assert ended(told(CHAT, chunk("a"), event({"error": error}))) == want


@pytest.mark.parametrize(("error", "want"), [case for case in EVENTS if isinstance(case[0], dict)])
def test_a_response_that_failed(told: Callable[..., Any], error: Any, want: tuple[str, str]) -> None:
    record = told(RESPONSES, event({"type": "response.created", "response": {"id": "r"}}, "response.created"),
                  event({"type": "response.failed", "response": {"id": "r", "error": error}}, "response.failed"))
    assert ended(record) == want


@pytest.mark.parametrize(("error", "want"), EVENTS[:3])
def test_a_run_that_failed(told: Callable[..., Any], error: Any, want: tuple[str, str]) -> None:
    record = told(RUN, event({"id": "run", "object": "thread.run"}, "thread.run.created"),
                  event({"id": "run", "object": "thread.run", "last_error": error}, "thread.run.failed"), DONE)
    assert ended(record) == want


@pytest.mark.parametrize(("error", "want"), EVENTS)
def test_a_response_of_a_websocket_that_failed(error: Any, want: tuple[str, str]) -> None:
    talk = Talk(Host())
    talk.asks()
    talk.hears(created())
    talk.hears(done(status="failed", status_details={"error": error}))
    assert talk.ended == [want]


# -- incomplete

INCOMPLETE = [
    ({"reason": "max_output_tokens"}, LENGTH), ({"reason": "MAX_TOKENS"}, LENGTH), ({"reason": "SAFETY"}, FILTER),
    ({"reason": "banana"}, FAILED), ({"reason": None}, FAILED), (None, FAILED),
]


@pytest.mark.parametrize(("details", "want"), INCOMPLETE)
def test_an_incomplete_response(told: Callable[..., Any], details: Any, want: tuple[str, str]) -> None:
    body = {"id": "r", "status": "incomplete", "incomplete_details": details}
    record = told(RESPONSES, event({"type": "response.created", "response": {"id": "r"}}, "response.created"),
                  event({"type": "response.incomplete", "response": body}, "response.incomplete"))
    assert ended(record) == want


@pytest.mark.parametrize(("details", "want"), INCOMPLETE[2:5])
def test_an_incomplete_run(told: Callable[..., Any], details: Any, want: tuple[str, str]) -> None:
    run = {"id": "run", "object": "thread.run", "incomplete_details": details}
    record = told(RUN, event({"id": "run", "object": "thread.run"}, "thread.run.created"),
                  event(run, "thread.run.incomplete"), DONE)
    assert ended(record) == want


@pytest.mark.parametrize(("details", "want"), INCOMPLETE)
def test_an_incomplete_response_of_a_websocket(details: Any, want: tuple[str, str]) -> None:
    talk = Talk(Host())
    talk.asks()
    talk.hears(created())
    talk.hears(done(status="incomplete", status_details=details))
    assert talk.ended == [want]


# -- a session's budget


def session(kind: str, **more: Any) -> bytes:
    return event({"type": f"agent.session.{kind}", "event_id": kind, "session_id": "s", **more})


TURN = {"turn_id": "t", "turn": {"id": "t", "session_id": "s"}}
OPENING = (session("in_progress", session={"id": "s"}), session("turn.created", **TURN))
BUDGET = session("budget_reached", session={"id": "s"})


@pytest.mark.parametrize(("events", "want"), [
    ((*OPENING, BUDGET), LENGTH),
    ((*OPENING, session("turn.cancelled", **TURN), BUDGET), LENGTH),
    ((*OPENING, session("turn.failed", turn={"error": {"code": "session_budget_exceeded"}}), BUDGET), LENGTH),
    # The turn has come to something else by itself.
    ((*OPENING, session("turn.completed", **TURN), BUDGET), WHOLE),
    ((*OPENING, session("turn.failed", turn={"error": {"code": "server_error"}}), BUDGET),
     ("api_error", "server_error")),
    ((BUDGET,), LENGTH),
])
def test_a_session_that_has_used_up_its_budget(
    told: Callable[..., Any], events: tuple[bytes, ...], want: tuple[str, str]
) -> None:
    assert ended(told(AGENT, *events)) == want


@pytest.mark.parametrize(("alone", "want"), [
    ({"code": "Throttling.RateQuota", "message": "x"}, RATE),
    ({"error_code": 336100, "error_msg": "x"}, OVERLOADED),
    ({"detail": "a sentence"}, FAILED),
])
def test_an_error_among_typed_events_that_has_no_type(
    told: Callable[..., Any], alone: dict[str, Any], want: tuple[str, str]
) -> None:
    assert ended(told(RESPONSES, event(created("r")), event(alone))) == want


@pytest.mark.parametrize("alone", [
    {"type": "ping"}, {"status": "processing", "message": "queued"}, {"status": 200}, {"message": "keep-alive"}, [],
])
def test_an_event_that_is_no_chunk_and_no_error_says_nothing(told: Callable[..., Any], alone: Any) -> None:
    assert ended(told(CHAT, chunk("a"), event(alone), chunk(finish="stop"), DONE)) == WHOLE
