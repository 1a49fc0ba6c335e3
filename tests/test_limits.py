"""Rate-limit headers in every provider's spelling, and whether the app waited as long as it was asked to."""

from __future__ import annotations

import contextlib
import time

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvitals.demo.fault_server import ThreadedFaultServer
from streamvitals.sdk.limits import PREFIXES, LimitHeaders
from streamvitals.stream.record import RateLimit
from streamvitals.testing import RecordList

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def read(**headers: str) -> LimitHeaders:
    found = LimitHeaders(lambda: NOW)
    for name, value in headers.items():
        spelled = name.replace("_", "-").encode()
        assert spelled.startswith(PREFIXES)
        found.note(spelled, value.encode())
    return found


SPELLINGS = {
    "openai": (
        {
            "x_ratelimit_limit_requests": "60", "x_ratelimit_remaining_requests": "59",
            "x_ratelimit_reset_requests": "1s", "x_ratelimit_limit_tokens": "150000",
            "x_ratelimit_remaining_tokens": "149984", "x_ratelimit_reset_tokens": "6m0s",
        },
        (RateLimit("requests", 59, 60, 1), RateLimit("tokens", 149984, 150000, 360)),
    ),
    "groq": (
        {"x_ratelimit_remaining_tokens": "17997", "x_ratelimit_reset_tokens": "7.66s"},
        (RateLimit("tokens", 17997, None, 7.66),),
    ),
    "azure": ({"x_ratelimit_remaining_tokens": "119999"}, (RateLimit("tokens", 119999),)),
    "openrouter": (
        {"x_ratelimit_limit": "20", "x_ratelimit_remaining": "0", "x_ratelimit_reset": f"{int(NOW + 30)}000"},
        (RateLimit("requests", 0, 20, 30),),
    ),
    "together": (
        {"x_ratelimit_limit": "10", "x_tokenlimit_limit": "3000", "x_tokenlimit_remaining": "2990"},
        (RateLimit("requests", None, 10), RateLimit("tokens", 2990, 3000)),
    ),
    "mistral": (
        {
            "x_ratelimit_limit_req_minute": "60", "x_ratelimit_remaining_req_minute": "58",
            "x_ratelimitbysize_limit_minute": "500000", "x_ratelimitbysize_remaining_minute": "499000",
        },
        (RateLimit("requests", 58, 60), RateLimit("tokens", 499000, 500000)),
    ),
    "anthropic": (
        {
            "anthropic_ratelimit_requests_remaining": "49", "anthropic_ratelimit_requests_limit": "50",
            "anthropic_ratelimit_requests_reset": "2027-01-15T08:00:05Z",
            "anthropic_ratelimit_input_tokens_remaining": "1",
        },
        (RateLimit("requests", 49, 50, 5),),
    ),
    "ietf draft": (
        {"ratelimit_limit": "100, 100;w=60", "ratelimit_remaining": "50", "ratelimit_reset": "30"},
        (RateLimit("requests", 50, 100, 30),),
    ),
    "nothing to show": ({"x_ratelimit_limit_requests": "unlimited", "x_ratelimit_remaining_tokens": "-1"}, ()),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(name: str) -> None:
    headers, expected = SPELLINGS[name]
    assert read(**headers).limits() == expected


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "20"}, 20.0),
        ({"retry_after": "20", "retry_after_ms": "1500"}, 1.5),
        ({"retry_after_ms": "1500", "retry_after": "20"}, 1.5),
        ({"retry_after": "Fri, 15 Jan 2027 08:00:10 GMT"}, 10.0),
        ({"retry_after": "soon"}, None),
        ({}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert read(**headers).retry_after == seconds


@given(st.dictionaries(st.sampled_from(["x-ratelimit-reset", "x-ratelimit-limit-tokens", "retry-after"]), st.text()))
def test_no_header_raises_or_gives_nonsense(headers: dict[str, str]) -> None:
    found = LimitHeaders(lambda: NOW)
    for name, value in headers.items():
        found.note(name.encode(), value.encode())
    for limit in found.limits():
        assert all(number is None or number >= 0 for number in (limit.remaining, limit.limit, limit.reset))


def test_a_refused_stream_says_how_long_to_wait_and_whether_the_app_did(
    server: ThreadedFaultServer, records: RecordList
) -> None:
    with openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        for pause in (0.0, 0.05, 0.0):
            time.sleep(pause)  # what an app does that honors retry-after (20 ms)
            with contextlib.suppress(openai.OpenAIError):
                client.chat.completions.create(model="sv-429", messages=[], stream=True)
    assert [record.retry_after for record in records] == [0.02] * 3
    honored = [record.retry_after_honored for record in records]
    assert honored[:2] == [None, True]
    assert {limit.kind for limit in records[0].rate_limits} == {"requests", "tokens"}
    assert records[0].request_id
