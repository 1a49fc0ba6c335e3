"""Token counts as APIs and gateways report them: where they stand, what they are called, said once or again."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from observation_support import chunk, finish, token
from streamvitals.stream.chunks import ChatChunks
from streamvitals.stream.events import AgentEvents, AssistantEvents, ResponsesEvents
from streamvitals.stream.record import Usage
from streamvitals.stream.usage import usage_of

REAL = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
ZEROS = dict.fromkeys(REAL, 0)
NOTHING: list[Any] = [None, {}, ZEROS, SimpleNamespace(prompt_tokens=0, completion_tokens=0), [], "11", 7]


def read(*items: Any) -> Usage | None:
    reader = ChatChunks()
    for item in items:
        reader.read(item)
    return reader.usage()


def tail(usage: Any) -> dict[str, Any]:
    """The last chunk, with usage and without choices."""
    return {"choices": [], "usage": usage}


def in_choice(usage: Any, index: int = 0, finish: str | None = "stop") -> dict[str, Any]:
    return {"choices": [{"index": index, "delta": {}, "finish_reason": finish, "usage": usage}]}


@pytest.mark.parametrize("item", [
    tail(REAL),
    chunk({"content": "x"}, "stop", usage=REAL),
    chunk({}, None, usage=SimpleNamespace(**REAL)),
    {"choices": [], "x_groq": {"usage": REAL}},
    {"choices": [], "usage": None, "x_groq": {"usage": REAL}},
    {"choices": [], "usage": REAL, "x_groq": {"usage": ZEROS}},
    {"usage": REAL},
    in_choice(REAL),
    in_choice(REAL, finish=None),
    in_choice(SimpleNamespace(**REAL)),
    tail({"prompt_tokens": 11.0, "completion_tokens": 7.0}),
], ids=["tail", "finish", "object", "groq", "groq beside null", "both", "no choices", "choice", "running", "objects",
        "floats"])
def test_wherever_it_stands(item: Any) -> None:
    assert read(token(), item) == Usage(11, 7)


@pytest.mark.parametrize("nothing", NOTHING)
def test_nothing_after_it_replaces_nothing(nothing: Any) -> None:
    assert read(token(), chunk({}, "stop", usage=REAL), tail(nothing)) == Usage(11, 7)
    assert read(in_choice(REAL), tail(nothing)) == Usage(11, 7)
    assert read(tail(REAL), in_choice(nothing)) == Usage(11, 7)
    assert read(in_choice(REAL), in_choice(nothing)) == Usage(11, 7)


@pytest.mark.parametrize("nothing", NOTHING)
def test_nothing_before_it_or_alone_is_nothing(nothing: Any) -> None:
    assert read(token(), tail(nothing)) is None
    assert read(tail(nothing), token(), tail(REAL)) == Usage(11, 7)


def test_a_running_total_is_its_last_value() -> None:
    running = [chunk({"content": "x"}, usage={"prompt_tokens": 11, "completion_tokens": n}) for n in range(1, 8)]
    assert read(*running, finish(), tail(REAL)) == Usage(11, 7)
    assert read(*running[:3]) == Usage(11, 3)


def test_a_later_part_keeps_what_it_does_not_say() -> None:
    first = {"input_tokens": 11, "output_tokens": 1, "input_tokens_details": {"cached_tokens": 4}}
    assert read(tail(first), tail({"output_tokens": 7})) == Usage(11, 7, 4)
    assert read(tail(first), tail({"input_tokens": 0, "output_tokens": 7})) == Usage(11, 7, 4)


def test_what_the_choices_say_adds_up_unless_the_whole_is_told() -> None:
    choices = [in_choice({"prompt_tokens": 11, "completion_tokens": n, "cached_tokens": 8}, n) for n in (3, 4)]
    assert read(*choices) == Usage(11, 7, 8)
    assert read(*choices, tail({"prompt_tokens": 11, "completion_tokens": 9})) == Usage(11, 9)


@pytest.mark.parametrize(("told", "usage"), [
    ({"input_tokens": 0, "output_tokens": 0, **REAL}, Usage(11, 7)),  # both names, as new-api sends them
    ({**ZEROS, "input_tokens": 11, "output_tokens": 7}, Usage(11, 7)),
    ({**REAL, "cached_tokens": 8}, Usage(11, 7, 8)),
    ({**REAL, "prompt_cache_hit_tokens": 8, "prompt_cache_miss_tokens": 3}, Usage(11, 7, 8)),
    ({**REAL, "cache_read_input_tokens": 8}, Usage(11, 7, 8)),
    ({**REAL, "prompt_tokens_details": {"cached_tokens": 8}, "cached_tokens": 9}, Usage(11, 7, 8)),
    ({**REAL, "prompt_tokens_details": {"cached_tokens": 0}}, Usage(11, 7, 0)),
    ({**REAL, "prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": 5}},
     Usage(11, 7, None, 5)),
    ({**REAL, "reasoning_tokens": 5}, Usage(11, 7, None, 5)),
    ({"billed_units": {"input_tokens": 11, "output_tokens": 7}, "tokens": {"input_tokens": 90}}, Usage(11, 7)),
    ({"tokens": {"input_tokens": 11, "output_tokens": 7}}, Usage(11, 7)),
    ({"input_tokens": 11, "output_tokens": 7, "input_token_details": {"cached_tokens": 3}}, Usage(11, 7, 3)),
    ({"prompt_tokens": 11, "completion_tokens": 0}, Usage(11, 0)),
    ({"total_tokens": 18}, None),
])
def test_the_names_it_goes_by(told: dict[str, Any], usage: Usage | None) -> None:
    assert usage_of(told) == usage
    assert usage_of(SimpleNamespace(**told)) == usage


@pytest.mark.parametrize("claim", [-1, True, "7", 1.5, None, [], {}])
def test_what_is_no_count_is_absent(claim: Any) -> None:
    assert read(tail({"prompt_tokens": claim, "completion_tokens": 7})) == Usage(None, 7)


def test_of_a_response_the_terminal_event_tells() -> None:
    reader = ResponsesEvents()
    told = {"input_tokens": 11, "output_tokens": 7}
    reader.read({"type": "response.created", "response": {"id": "r", "usage": None}})
    reader.read({"type": "response.completed", "response": {"id": "r", "usage": told}})
    reader.read({"type": "error", "usage": {"input_tokens": 0, "output_tokens": 0}})
    assert reader.usage() == Usage(11, 7)


def test_of_a_run_that_needed_tools_the_last_event_tells() -> None:
    reader = AssistantEvents()
    reader.read({"event": "thread.run.requires_action", "data": {"id": "r", "usage": None}})
    reader.read({"event": "thread.run.completed", "data": {"id": "r", "usage": REAL}})
    assert reader.usage() == Usage(11, 7)


def test_the_turns_of_an_agents_session_add_up() -> None:
    reader = AgentEvents()
    for output in (3, 4):
        usage = {"input_tokens": 11, "output_tokens": output}
        reader.read({"type": "agent.session.turn.completed", "session_id": "s", "turn": {"id": "t"}, "usage": usage})
    assert reader.usage() == Usage(22, 7)


COUNTS = st.one_of(st.none(), st.integers(0, 100))


@given(st.lists(st.fixed_dictionaries({"prompt_tokens": COUNTS, "completion_tokens": COUNTS}), max_size=5))
def test_of_each_count_the_last_that_is_not_0(told: list[dict[str, Any]]) -> None:
    usage = read(*map(tail, told)) or Usage()
    for name, found in (("prompt_tokens", usage.input), ("completion_tokens", usage.output)):
        said = [one[name] for one in told if one[name]]
        assert (found or 0) == (said[-1] if said else 0)


DETAILED = {**REAL, "prompt_tokens_details": {"cached_tokens": 5}, "completion_tokens_details": {"reasoning_tokens": 3}}


@pytest.mark.parametrize("later", [
    REAL, {**REAL, "prompt_tokens_details": None}, {**REAL, "prompt_tokens_details": {}},
    {**DETAILED, "prompt_tokens_details": {"cached_tokens": 0}}, {**DETAILED, "completion_tokens_details": [7]},
    SimpleNamespace(**REAL),
])
def test_details_stay_where_a_later_usage_lacks_them(later: dict[str, Any]) -> None:
    """https://github.com/BerriAI/litellm/pull/10284: a last chunk without them had overwritten them."""
    chunks = [chunk({"content": "x"}, usage=usage) for usage in (DETAILED, later)]
    assert read(*chunks) == Usage(input=11, output=7, cached=5, reasoning=3)
    assert read(*chunks, tail({**REAL, "completion_tokens": 9})) == Usage(input=11, output=9, cached=5, reasoning=3)


@pytest.mark.parametrize("name", ["cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens"])
@pytest.mark.parametrize("later", [{}, {"cached_tokens": 0, "prompt_cache_hit_tokens": 0}])
def test_cached_tokens_beside_the_totals_stay_too(name: str, later: dict[str, Any]) -> None:
    """Moonshot and DeepSeek put them there, and a gateway's own last chunk may have the totals alone."""
    assert read(tail({**REAL, name: 5}), tail({**REAL, **later})) == Usage(input=11, output=7, cached=5)


@pytest.mark.parametrize("odd", ["100", -1, None, True, 2.5, math.nan, math.inf])
@pytest.mark.parametrize("kind", [int, float])
def test_what_is_no_count_replaces_none(odd: object, kind: type) -> None:
    real = {name: kind(count) for name, count in REAL.items()}
    assert read(tail(real), tail({**real, "prompt_tokens": odd, "completion_tokens": odd})) == Usage(11, 7)
