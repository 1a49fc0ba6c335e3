"""What is remembered of requests of one kind is never told of one of another kind, and holds nobody's client."""

from __future__ import annotations

import gc
import weakref
from itertools import cycle
from typing import Any

import openai
import pytest
from openai._models import FinalRequestOptions

from streamvitals.sdk import facts, kinds
from streamvitals.sdk.kinds import Kinds
from streamvitals.sdk.openai_sdk import OPENAI
from streamvitals.stream.events import BodyBytes, SpeechEvents


def client(base_url: str = "http://one.example/v1", kind: type[openai.OpenAI] = openai.OpenAI) -> Any:
    return kind(api_key="k", base_url=base_url)


def options(url: str = "/chat/completions", extra: Any = None, **body: Any) -> Any:
    body = {"model": "m", "stream": True, **body}
    return FinalRequestOptions.construct(method="post", url=url, json_data=body, extra_json=extra)


@pytest.fixture
def known() -> Kinds:
    return Kinds(OPENAI, frozenset(), {})


def labels(known: Kinds, asking: Any, asked: Any) -> tuple[str, str]:
    """Model and server, twice the same: from a look, and from memory."""
    found = [known.kind(asking, asked) for _ in range(2)]
    assert found[0] is not None
    assert found[1] is not None
    assert found[0].facts == found[1].facts
    assert found[0].reader is found[1].reader
    return found[0].facts.labels.model, found[0].facts.labels.server


def test_requests_of_one_kind_are_looked_at_once(known: Kinds, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = client()
    first = known.kind(asking, options(messages=[]))
    assert first is not None
    monkeypatch.setattr(facts, "request_facts", lambda *_: pytest.fail("looked at again"))
    for client_of, sent in ((asking, options(messages=["other"])), (asking.with_options(timeout=1), options())):
        again = known.kind(client_of, sent)
        assert again is not None
        assert again.facts is first.facts
        assert again.reader is first.reader


def test_a_base_url_that_is_replaced_is_noticed(known: Kinds) -> None:
    asking = client()
    assert labels(known, asking, options()) == ("m", "one.example")
    asking.base_url = "http://two.example/v1"
    assert labels(known, asking, options()) == ("m", "two.example")
    assert labels(known, asking.with_options(base_url="http://three.example/v1"), options()) == ("m", "three.example")
    asking.base_url = "http://one.example:81/v1"
    assert known.kind(asking, options()).facts.server_port == 81  # type: ignore[union-attr]


def test_a_base_url_of_the_apps_own_is_asked_for_every_time(known: Kinds) -> None:
    urls = cycle([openai.OpenAI(api_key="k", base_url=f"http://{name}.example").base_url for name in ("one", "two")])

    class Turning(openai.OpenAI):
        base_url = property(lambda self: next(urls), lambda self, url: None)  # type: ignore[assignment]

    asking = client(kind=Turning)
    found = [known.kind(asking, options()) for _ in range(6)]
    assert {kind.facts.labels.server for kind in found if kind is not None} == {"one.example", "two.example"}


@pytest.mark.parametrize(("asked", "model"), [
    (options(model="other"), "other"),
    (options(extra={"model": "extra"}), "extra"),
    (options(extra={"top_k": 1}), "m"),
    (options(model=""), "unknown"),
    (options(model=["m"]), "unknown"),
])
def test_the_model_is_the_one_that_is_sent(known: Kinds, asked: Any, model: str) -> None:
    asking = client()
    assert labels(known, asking, options()) == ("m", "one.example")
    assert labels(known, asking, asked) == (model, "one.example")


def test_what_else_says_how_a_body_is_read_is_looked_at(known: Kinds) -> None:
    asking = client()
    for _ in range(2):
        for form, reader in (("audio", BodyBytes), ("sse", SpeechEvents)):
            found = known.kind(asking, options("/audio/speech", stream_format=form))
            assert found is not None
            assert found.reader is reader


def test_paths_and_classes_are_told_apart(known: Kinds) -> None:
    asking = client()
    calls = [known.kind(asking, options(url)) for url in ("/chat/completions", "/completions")]
    assert [call.facts.labels.operation for call in calls if call is not None] == ["chat", "text_completion"]
    assert known.kind(asking, options("/embeddings")) is None


def test_it_is_bounded_and_holds_no_client(known: Kinds, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_MAX_KINDS", 4)
    asking = client()
    for number in range(50):
        known.kind(asking, options(model=f"m{number}"))
        assert len(known._known) <= 4
    gone = weakref.ref(asking)
    del asking
    gc.collect()
    assert gone() is None


def test_a_url_that_has_gone_is_taken_for_no_other(known: Kinds) -> None:
    """What comes after it may lie where it lay."""
    for number in range(100):
        assert labels(known, client(f"http://s{number}.example/v1"), options()) == ("m", f"s{number}.example")


def test_a_url_is_not_kept_for_there_may_be_a_password_in_it(known: Kinds) -> None:
    asking = openai.OpenAI(api_key="k", base_url="http://user:SECRET@one.example/v1")
    assert known.kind(asking, options()) is not None
    url = weakref.ref(asking.base_url)
    del asking
    gc.collect()
    assert url() is None
