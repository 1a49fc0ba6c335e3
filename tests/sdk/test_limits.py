"""Rate-limit headers in every provider's spelling, and whether the app waited as long as it was asked to."""

from __future__ import annotations

import contextlib
import time

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvitals.faults import ThreadedFaultServer, payloads, plays
from streamvitals.sdk.limits import PREFIXES, LimitHeaders
from streamvitals.stream.record import RateLimit
from streamvitals.testing import RecordList

NOW = 1_800_000_000.0  # 2027-01-15T08:00:00Z


def read(*headers: tuple[str, str]) -> LimitHeaders:
    found = LimitHeaders(NOW)
    for name, value in headers:
        assert name.encode().startswith(PREFIXES)
        found.note(name.encode(), value.encode())
    return found


def per(prefix: str, *kinds: str, **values: str) -> list[tuple[str, str]]:
    """``prefix``-limit-``kind`` and so on, the values of several kinds separated by commas."""
    return [
        (f"{prefix}-{what}-{kind}", value)
        for what, told in values.items()
        for kind, value in zip(kinds, told.split(","), strict=True)
    ]


# Who says it, where that is written, the headers, and what they mean.
SPELLINGS: dict[str, tuple[str, list[tuple[str, str]], tuple[RateLimit, ...]]] = {
    "openai": (
        "https://developers.openai.com/api/docs/guides/rate-limits",
        per("x-ratelimit", "requests", "tokens", limit="60,150000", remaining="59,149984", reset="1s,6m0s"),
        (RateLimit("requests", 59, 60, 1), RateLimit("tokens", 149984, 150000, 360)),
    ),
    "openai, two limits of tokens": (
        "https://community.openai.com/t/1268905",
        per("x-ratelimit", "tokens", "tokens_usage_based", limit="160000,160000", remaining="159976,20",
            reset="9ms,21ms"),
        (RateLimit("tokens", 20, 160000, 0.021),),
    ),
    "azure": (
        "https://clemenssiebler.com/posts/understanding-azure-openai-x-ratelimit-remaining-tokens-"
        "x-ratelimit-remaining-requests-headers/",
        per("x-ratelimit", "requests", "tokens", remaining="19,19913"),
        (RateLimit("requests", 19), RateLimit("tokens", 19913)),
    ),
    "groq": (
        "https://console.groq.com/docs/rate-limits",
        per("x-ratelimit", "requests", "tokens", limit="14400,18000", remaining="14370,17997", reset="2m59.56s,7.66s"),
        (RateLimit("requests", 14370, 14400, 179.56), RateLimit("tokens", 17997, 18000, 7.66)),
    ),
    "openrouter": (
        "https://openrouter.ai/docs/api-reference/limits",
        [("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", f"{int(NOW + 30)}000")],
        (RateLimit("requests", 0, 20, 30),),
    ),
    "together": (
        "https://docs.together.ai/docs/serverless/rate-limits",
        [("x-ratelimit-limit", "10"), ("x-tokenlimit-limit", "3000"), ("x-tokenlimit-remaining", "2990")],
        (RateLimit("requests", None, 10), RateLimit("tokens", 2990, 3000)),
    ),
    "mistral": (
        "https://github.com/mistralai/client-ts/issues/169",
        [
            ("x-ratelimit-limit-tokens-minute", "5000000"), ("x-ratelimit-remaining-tokens-minute", "4999911"),
            ("x-ratelimit-tokens-query-cost", "52"), ("x-ratelimit-limit-req-minute", "720"),
            ("x-ratelimit-remaining-req-minute", "717"),
        ],
        (RateLimit("requests", 717, 720), RateLimit("tokens", 4999911, 5000000)),
    ),
    "mistral, older": (
        "https://docs.mistral.ai/deployment/laplateforme/tier/",
        [("x-ratelimitbysize-limit-minute", "500000"), ("x-ratelimitbysize-remaining-minute", "499000")],
        (RateLimit("tokens", 499000, 500000),),
    ),
    "cerebras": (
        "https://inference-docs.cerebras.ai/support/rate-limits",
        per("x-ratelimit", "requests-day", "tokens-minute", limit="1000,60000", remaining="999,50000",
            reset="33011.382867,11.382867"),
        (RateLimit("requests", 999, 1000, 33011.382867), RateLimit("tokens", 50000, 60000, 11.382867)),
    ),
    "fireworks: prompt and generated tokens have limits of their own": (
        "https://docs.fireworks.ai/serverless/rate-limits",
        [
            ("x-ratelimit-limit-requests", "600"), ("x-ratelimit-remaining-requests", "599"),
            ("x-ratelimit-over-limit", "no"), ("x-ratelimit-limit-tokens-prompt", "60000"),
            ("x-ratelimit-limit-tokens-generated", "6000"), ("x-ratelimit-remaining-tokens-generated", "1"),
        ],
        (RateLimit("requests", 599, 600),),
    ),
    "digitalocean: the limit with the least left, whole": (
        "https://docs.digitalocean.com/products/inference/reference/quota-specific-response-headers/",
        per("x-ratelimit", "tokens-per-day", "tokens-per-minute", limit="1000000,20000", remaining="500,19000",
            reset=f"{int(NOW + 3600)},{int(NOW + 2)}"),
        (RateLimit("tokens", 500, 1000000, 3600),),
    ),
    "the same in another order": (
        "https://docs.digitalocean.com/products/inference/reference/quota-specific-response-headers/",
        per("x-ratelimit", "tokens-per-minute", "tokens-per-day", limit="20000,1000000", reset="2,3600",
            remaining="19000,500"),
        (RateLimit("tokens", 500, 1000000, 3600),),
    ),
    "github models": (
        "https://docs.github.com/en/github-models/use-github-models/prototyping-with-ai-models#rate-limits",
        [
            *per("x-ratelimit", "requests", limit="15", remaining="14"), ("x-ratelimit-renewalperiod-requests", "60"),
            ("x-ratelimit-type", "UserByModelByDay"), ("x-ratelimit-timeremaining", "58123"),
        ],
        (RateLimit("requests", 14, 15),),
    ),
    "anthropic": (
        "https://docs.claude.com/en/api/rate-limits",
        [
            ("anthropic-ratelimit-requests-remaining", "49"), ("anthropic-ratelimit-requests-limit", "50"),
            ("anthropic-ratelimit-requests-reset", "2027-01-15T08:00:05Z"),
            ("anthropic-ratelimit-input-tokens-remaining", "1"),
        ],
        (RateLimit("requests", 49, 50, 5),),
    ),
    "ietf draft 2 to 6": (
        "https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/06/",
        [("ratelimit-limit", "100, 100;w=60"), ("ratelimit-remaining", "50"), ("ratelimit-reset", "30")],
        (RateLimit("requests", 50, 100, 30),),
    ),
    "ietf draft 7": (
        "https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-ratelimit-headers-07",
        [("ratelimit", "limit=100, remaining=50, reset=5"), ("ratelimit-policy", "100;w=60")],
        (RateLimit("requests", 50, 100, 5),),
    ),
    "ietf draft since 8": (
        "https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/",
        [("ratelimit-policy", '"burst";q=100;w=60,"daily";q=1000;w=86400'), ("ratelimit", '"burst";r=50;t=30')],
        (RateLimit("requests", 50, 100, 30),),
    ),
    "ietf draft, units": (
        "https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/10/",
        [
            ("ratelimit", '"a";r=7;t=3, "b";r=9, "c";r=1'),
            ("ratelimit-policy", '"a";q=10;qu="tokens", "b";q=10;qu="requests", "c";q=2;qu="concurrent-requests"'),
        ],
        (RateLimit("requests", 9, 10), RateLimit("tokens", 7, 10, 3)),
    ),
    "nothing to show": (
        "", [("x-ratelimit-limit-requests", "unlimited"), ("x-ratelimit-remaining-tokens", "-1"),
             ("ratelimit", "soon"), ("ratelimit-policy", '"";q=')], (),
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings(name: str) -> None:
    _, headers, expected = SPELLINGS[name]
    assert read(*headers).limits() == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1.0), ("6m0s", 360.0), ("1ms", 0.001), ("21ms", 0.021), ("1h2m3s", 3723.0), ("1d", 86400.0),
        ("59.5", 59.5), ("0", 0.0), ("2027-01-15T08:00:05Z", 5.0), ("2027-01-15T09:00:05+01:00", 5.0),
        (f"{NOW + 30:.0f}", 30.0), (f"{NOW + 30:.0f}000", 30.0), ("2027-01-15T07:00:00Z", 0.0),
        ("Fri, 15 Jan 2027 08:00:10 GMT", 10.0), ("1x", None), ("s", None), ("1s later", None), ("", None),
    ],
)
def test_resets(text: str, seconds: float | None) -> None:
    told = read(("x-ratelimit-reset", text)).limits()
    assert told == (() if seconds is None else (RateLimit("requests", reset=seconds),))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([("retry-after", "20")], 20.0),
        ([("retry-after", "20"), ("retry-after-ms", "1500")], 1.5),
        ([("retry-after-ms", "1500"), ("retry-after", "20")], 1.5),
        ([("retry-after", "Fri, 15 Jan 2027 08:00:10 GMT")], 10.0),
        ([("retry-after", "soon")], None),
        ([], None),
    ],
)
def test_retry_after(headers: list[tuple[str, str]], seconds: float | None) -> None:
    assert read(*headers).retry_after == seconds


NAMES = ("x-ratelimit-reset", "x-ratelimit-limit-tokens", "retry-after", "ratelimit", "ratelimit-policy")
FRAGMENTS = st.lists(st.sampled_from(['"a"', ";", "r=5", "q=", ",", "t=9", '"', "qu=tokens", " ", "="])).map("".join)


@given(st.dictionaries(st.sampled_from(NAMES), st.text() | FRAGMENTS))
def test_no_header_raises_or_gives_nonsense(headers: dict[str, str]) -> None:
    found = LimitHeaders(NOW)
    for name, value in headers.items():
        found.note(name.encode(), value.encode())
    for limit in found.limits():
        assert all(number is None or number >= 0 for number in (limit.remaining, limit.limit, limit.reset))


def test_what_is_kept_of_hostile_headers_is_bounded() -> None:
    found = LimitHeaders(NOW)
    for number in range(1000):
        found.note(f"x-ratelimit-limit-{number}".encode(), b"1")
        found.note(b"ratelimit", f'"{number}";r=1'.encode())
    assert len(found._found["requests"]) <= 16
    assert len(found._policies) <= 16


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


@pytest.mark.parametrize(
    "headers",
    [
        (("retry-after", "60"),),
        (("Retry-After-Ms", "60000"), ("retry-after", "1")),
        (("retry-after", "1"), ("retry-after-ms", "60000")),
    ],
    ids=["seconds", "milliseconds first", "milliseconds last"],
)
def test_an_app_that_comes_back_too_soon(
    headers: tuple[tuple[str, str], ...], server: ThreadedFaultServer, records: RecordList,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = payloads.dumps(payloads.status_error(429))
    monkeypatch.setitem(plays.PLAYS, "429", lambda ask: plays.page(429, "application/json", body, headers))  # type: ignore[arg-type]
    with openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        for _ in range(2):
            with contextlib.suppress(openai.RateLimitError):
                client.chat.completions.create(model="sv-429", messages=[], stream=True)
    assert [(record.retry_after, record.retry_after_honored) for record in records] == [(60.0, None), (60.0, False)]
