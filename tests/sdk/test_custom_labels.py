"""The values of custom labels: only what was named is read, no code of the app's runs, and nothing secret is shown."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping
from enum import Enum, IntEnum
from typing import Any

import pytest
from openai import NOT_GIVEN

from streamvitals.config.labels import parse
from streamvitals.sdk.custom_labels import CustomLabels, Request, looks_secret, shown
from streamvitals.stream.record import StreamLabels
from streamvitals.stream.request import RequestFacts

FACTS = RequestFacts(StreamLabels("chat", "openai", "m", "h"))


def read(declared: str, body: object = None, headers: object = None, extra: object = None) -> RequestFacts:
    return CustomLabels(parse(declared)).put_into(FACTS, Request((extra, body), headers))


def custom(declared: str, body: object = None, headers: object = None, extra: object = None) -> dict[str, str]:
    return dict(read(declared, body, headers, extra).labels.custom)


class Text(str):
    def __str__(self) -> str:
        raise AssertionError("called")

    __repr__ = __format__ = strip = __len__ = __eq__ = encode = isprintable = __str__  # type: ignore[assignment]
    __hash__ = str.__hash__


class Number(int):
    def __str__(self) -> str:
        raise AssertionError("called")

    __repr__ = __lt__ = __gt__ = __abs__ = __int__ = __index__ = __str__  # type: ignore[assignment]


class Raises:
    def __str__(self) -> str:
        raise AssertionError("called")

    __repr__ = __bool__ = __str__  # type: ignore[assignment]

    @property
    def __class__(self) -> Any:
        raise AssertionError("called")


class Plan(str, Enum):
    PRO = "pro"


class Tier(IntEnum):
    GOLD = 3


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("acme", "acme"), ("  acme\t", "acme"), ("", ""), ("   ", ""), (None, ""), (NOT_GIVEN, ""),
        (True, "true"), (False, "false"), (7, "7"), (-7, "-7"), (10**14, str(10**14)), (Plan.PRO, "pro"),
        (Tier.GOLD, "3"), ("a\nb", "a\N{REPLACEMENT CHARACTER}b"),
        ("a\0b", "a\N{REPLACEMENT CHARACTER}b"), ('say "hi"', 'say "hi"'), ("\N{GRINNING FACE}", "\N{GRINNING FACE}"),
        ("\u202eabc", "\N{REPLACEMENT CHARACTER}abc"), ("\ud800", "\N{REPLACEMENT CHARACTER}"), ("é" * 32, "é" * 32),
        ("x" * 64, "x" * 64),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_a_string_a_number_or_a_bool(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize(
    "value",
    [
        "x" * 65, "x" * 10_000, "é" * 33, "\N{GRINNING FACE}" * 17, 10**15, -(10**15), 10**5000, 1.5, float("nan"),
        ["acme"], ("acme",), {"id": "acme"}, b"acme", object(), lambda: "acme", {"a"},
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_neither_or_too_long_is_not_shown(value: object) -> None:
    assert shown(value) is None


def test_no_code_of_the_apps_runs() -> None:
    assert shown(Text("acme")) == "acme"
    assert shown(Number(5)) == "5"
    assert shown(Raises()) is None
    assert shown(Raises) is None
    assert custom("tenant=metadata:t", {"metadata": Raises()}) == {}


SECRETS = (
    "sk-proj-abcdefgh12345678", "sk-ant-api03-abcdefgh", "sk_live_abcdefgh1234", "gsk_abcdefgh1234", "hf_abcdefghijkl",
    "ghp_abcdefghijklmnop", "github_pat_11ABCDEFG0", "xoxb-1234567890-abc", "AKIAIOSFODNN7EXAMPLE",
    "AIzaSyA-abcdefghijklmnop", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi", "Bearer abcdefgh.ijkl", "Basic dXNlcjpwYXNz==",
    "0123456789abcdef0123456789abcdef", "A1b2C3d4E5f6G7h8I9j0K1l2M3n4O5p6", "glpat-abcdefghij", "-----BEGIN RSA",
    "key=sk-abcdefgh12345678", "3Xb9-Kd_72hfLq0sWmZ-p1YtVe84Rn_uGcAo6iJB5",
    "someone@example.com", "Some One <someone@example.com>", "someone%40example.com", "https://u:p@example.com",
    "password=hunter2", "db;pwd:hunter2", "AccountKey=abc123==", "x?api_key=abc1", "Secret: abc",
    "someone\N{FULLWIDTH COMMERCIAL AT}example.com", "user+tag@sub.example.co.uk", "ü@exämple.de",
    "10.0.0.1", "192.168.1.77:8080", "from 203.0.113.9", "user_10.0.0.1", "::1", "2001:db8::ff00:42:8329",
    "[2001:db8::1]:443", "fe80::1%eth0", "2001:0db8:85a3:0000:0000:8a2e:0370:7334", "::ffff:192.0.2.128", "2001:DB8::",
)
HARMLESS = (
    "token-budget", "secret santa", "keys:3", "passage=2", "monkey=4", "tokens=4k",
    "acme", "acme-corp", "Acme Inc.", "tenant_42", "42", "org_2NNEqL2nrIRdJ194ndJqAHwEfxC", "eu-west-1", "search::fast",
    "9f1c2d34-5e6f-4a7b-8c9d-0e1f2a3b4c5d", "01ARZ3NDEKTSV4RRFFQ69G5FAV", "5f7c8ec7c33c6c004bbafe82", "v1.2.3",
    "1.2.3.4.5", "10:30:00", "customer-support-team-emea-2024-q1-long-name", "basic plan", "Basic", "sk-bank", "ask-me",
    "desk-1234567890", "@team", "a @ b", "C++::", "cus_NffrFeUfNV2Hib", "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 20,
    "features/chat/support/tier2/escalation", "task-force-blue-2", "internationalizationdepartments",
    "1234567890123456",
)


@pytest.mark.parametrize("value", SECRETS)
def test_what_looks_like_a_key_a_person_or_a_machine_is_other_and_is_counted(value: str) -> None:
    assert looks_secret(value)
    facts = read("tenant=metadata:t,plan=user", {"metadata": {"t": value}, "user": "pro"})
    assert facts.labels.custom == (("tenant", "other"), ("plan", "pro"))
    assert facts.hints == ("label_withheld",)


@pytest.mark.parametrize("value", HARMLESS)
def test_what_does_not_is_shown(value: str) -> None:
    facts = read("tenant=metadata:t", {"metadata": {"t": value}})
    assert facts.labels.custom == (("tenant", value),)
    assert facts.hints == ()


def test_only_what_was_named_is_read() -> None:
    class Watched(dict[str, Any]):
        def __iter__(self) -> Iterator[str]:
            raise AssertionError("looked through")

    body = {"metadata": {"t": "a", "other": "b"}, "user": "u", "safety_identifier": "s", "prompt_cache_key": "p"}
    assert custom("a=metadata:t", Watched(body)) == {"a": "a"}
    assert custom("a=user,b=safety_identifier,c=prompt_cache_key", body) == {"a": "u", "b": "s", "c": "p"}
    assert custom("a=metadata:missing", body) == {}


def test_the_extra_body_outranks_the_arguments_as_in_the_sdk() -> None:
    body, extra = {"metadata": {"t": "a"}, "user": "u"}, {"metadata": {"t": "b"}}
    assert custom("a=metadata:t,b=user", body, extra=extra) == {"a": "b", "b": "u"}
    assert custom("a=metadata:t", body, extra={"metadata": None}) == {}


@pytest.mark.parametrize("metadata", [None, NOT_GIVEN, "text", 7, ["t"], object(), b"t"])
def test_metadata_that_is_no_dict_has_no_value(metadata: object) -> None:
    facts = read("tenant=metadata:t", {"metadata": metadata})
    assert (facts.labels.custom, facts.hints) == ((), ())
    for body in (None, [], "text", b"bytes", 7):
        assert custom("tenant=metadata:t,account=user", body) == {}


def test_headers_are_found_however_they_are_written() -> None:
    headers = {"X-Route": "chat", "other": "x", 7: "y", "Authorization": "Bearer abc"}
    assert custom("route=header:x-ROUTE", headers=headers) == {"route": "chat"}
    for nothing in (None, NOT_GIVEN, [("x-route", "chat")], "x-route"):
        assert custom("route=header:x-route", headers=nothing) == {}


def test_a_mapping_that_raises_has_no_value_and_is_counted() -> None:
    class Broken(Mapping[str, str]):
        def __getitem__(self, key: str) -> str:
            raise RuntimeError("broken")

        def __iter__(self) -> Iterator[str]:
            raise RuntimeError("broken")

        def __len__(self) -> int:
            raise RuntimeError("broken")

    facts = read("route=header:x-route,plan=user", {"user": "pro"}, Broken())
    assert facts.labels.custom == (("route", "other"), ("plan", "pro"))
    assert facts.hints == ("label_withheld",)


def test_a_dict_that_another_thread_changes_is_read_all_the_same() -> None:
    headers = {f"h{number}": "x" for number in range(100)} | {"x-route": "chat"}
    stop = threading.Event()

    def change() -> None:
        number = 0
        while not stop.is_set():
            headers[f"n{number % 1000}"] = "y"
            headers.pop(f"n{(number + 500) % 1000}", None)
            number += 1

    thread = threading.Thread(target=change)
    thread.start()
    try:
        labels = CustomLabels(parse("route=header:X-Route,tenant=metadata:t"))
        for _ in range(2000):
            facts = labels.put_into(FACTS, Request((headers, {"metadata": headers}), headers))
            assert facts.labels.custom == (("route", "chat"),)
    finally:
        stop.set()
        thread.join()


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPLOYMENT", "blue")
    labels = CustomLabels(parse("deployment=env:DEPLOYMENT,missing=env:NOT_THERE"))
    monkeypatch.setenv("DEPLOYMENT", "green")
    assert labels.put_into(FACTS, Request((), None)).labels.custom == (("deployment", "blue"),)


def test_baggage_is_read_where_the_app_uses_it_and_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "opentelemetry.baggage", raising=False)
    assert custom("tenant=baggage:tenant") == {}
    assert "opentelemetry.baggage" not in sys.modules
    baggage = pytest.importorskip("opentelemetry.baggage")
    from opentelemetry.context import attach, detach

    token = attach(baggage.set_baggage("tenant", "acme"))
    try:
        assert custom("tenant=baggage:tenant,other=baggage:other") == {"tenant": "acme"}
    finally:
        detach(token)
    assert custom("tenant=baggage:tenant") == {}
