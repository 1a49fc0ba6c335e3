"""Calls without a stream: each is counted once, as it ended, and the application sees what it would see without us."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from contextvars import copy_context
from typing import Any

import openai
import pytest
from openai import _base_client
from openai.types.chat import ChatCompletion
from pydantic import BaseModel

from app_support import LONG, MESSAGES, VERSION, App, observe, run
from plain_support import counted, ends, open_calls
from streamvitals import names
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.outcome import Outcome
from streamvitals.process import lifecycle
from streamvitals.sdk import patch
from streamvitals.sinks.exposition import Exposition
from streamvitals.stream.chunks import ChatChunks
from streamvitals.stream.events import ResponsesEvents
from streamvitals.stream.plain import _end_of
from streamvitals.testing import recorded

# Of the SDK's own images and translations, which read a file.
pytestmark = pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
_FILE = ("a.bin", b"not really a file")
# Method below the client, what it is called with besides the model, and the operation that must be reported.
CALLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "chat": ("chat.completions.create", {"messages": MESSAGES}, "chat"),
    "responses": ("responses.create", {"input": "hello"}, "chat"),
    "completions": ("completions.create", {"prompt": "hello"}, "text_completion"),
    "embeddings": ("embeddings.create", {"input": "hello"}, "embeddings"),
    "moderations": ("moderations.create", {"input": "hello"}, "moderation"),
    "image": ("images.generate", {"prompt": "hello"}, "generate_content"),
    "edited image": ("images.edit", {"prompt": "hello", "image": _FILE}, "generate_content"),
    "image variation": ("images.create_variation", {"image": _FILE}, "generate_content"),
    "transcription": ("audio.transcriptions.create", {"file": _FILE}, "transcription"),
    "translation": ("audio.translations.create", {"file": _FILE}, "translation"),
    "speech": ("audio.speech.create", {"input": "hello", "voice": "alloy"}, "speech"),
}


def method_of(client: Any, name: str, wrapper: str = "") -> Any:
    *resources, last = CALLS[name][0].split(".")
    for part in (*resources, *filter(None, [wrapper])):
        client = getattr(client, part)
    return getattr(client, last)


def exists(name: str) -> bool:
    try:
        return callable(method_of(openai.OpenAI(api_key="none", base_url="http://localhost"), name))
    except AttributeError:
        return False


EXISTING = [name for name in CALLS if exists(name)]


def calling(name: str, mode: str, wrapper: str = "", model: str = "sv-ok", **options: Any) -> Callable[[App], Any]:
    """Make one call, and note what came of it."""
    asked = {"model": model, **CALLS[name][1]}

    def see(app: App, answer: Any) -> None:
        app.saw.append((type(answer).__qualname__, answer.model_dump() if hasattr(answer, "model_dump") else None))
        if wrapper:
            parsed = answer.parse()
            app.saw.append(type(parsed).__qualname__)

    def act(app: App) -> None:
        with app.catching() if model != "sv-ok" else contextlib.nullcontext():
            see(app, method_of(app.client(**options), name, wrapper)(**asked))

    async def aact(app: App) -> None:
        with app.catching() if model != "sv-ok" else contextlib.nullcontext():
            see(app, await method_of(app.async_client(**options), name, wrapper)(**asked))

    return act if mode == "sync" else aact


MODES = pytest.mark.parametrize("mode", ["sync", "async"])


@MODES
@pytest.mark.parametrize("wrapper", ["", "with_raw_response"])
@pytest.mark.parametrize("name", EXISTING)
def test_every_kind_of_call_is_counted_once(name: str, wrapper: str, mode: str, server: ThreadedFaultServer) -> None:
    found = observe(calling(name, mode, wrapper), server)
    assert list(found) == [], "no stream"
    (call,) = found.calls
    assert (call.outcome, call.result, call.error_type) == (Outcome.COMPLETED, "completed", "")
    assert call.labels == (CALLS[name][2], "other", "sv-ok", "127.0.0.1", ())
    assert call.duration > 0
    if not (name == "speech" and wrapper):
        log = server.log[-1]
        limits = {(limit.kind, limit.remaining, limit.limit) for limit in call.rate_limits}
        assert limits == {
            (kind, log.ratelimit[f"remaining-{kind}"], log.ratelimit[f"limit-{kind}"])
            for kind in ("requests", "tokens")
        }


# What a scenario makes of a call without a stream, with its client's options and the attempts that are made again.
ENDS: list[tuple[str, str, dict[str, Any], tuple[str, str, str], int]] = [
    (name, *case)
    for name in ("chat", "embeddings")
    for case in (
        ("400", {}, ("rejected", "rejected", "400"), 0),
        ("401", {}, ("rejected", "rejected", "401"), 0),
        ("429", {}, ("rate_limited", "failed", "429"), 0),
        ("503", {}, ("http_error", "failed", "503"), 0),
        ("retries-exhausted", {"max_retries": 2}, ("http_error", "failed", "500"), 2),
        ("500-then-ok", {"max_retries": 2}, ("completed", "completed", ""), 2),
        ("connect-reset-then-ok", {"max_retries": 1}, ("completed", "completed", ""), 1),
        ("reset-before-headers", {}, ("reset", "failed", "connection_reset"), 0),
        ("fin-before-headers", {}, ("reset", "failed", "server_disconnected"), 0),
        ("stall-before-headers", {"timeout": 0.3}, ("timeout", "failed", "read_timeout"), 0),
        ("stall-before-headers", {"timeout": 0.3, "max_retries": 1}, ("timeout", "failed", "read_timeout"), 1),
        ("html-200", {}, ("malformed", "failed", "unexpected_content_type"), 0),
        ("fin-in-chunk?plain=1", {}, ("truncated", "failed", "incomplete_read"), 0),
        ("content-length-short?plain=1", {}, ("truncated", "failed", "incomplete_read"), 0),
        ("reset-after-n?plain=1", {}, ("reset", "failed", "connection_reset"), 0),
        ("stall?plain=1", {"timeout": 0.3}, ("timeout", "failed", "read_timeout"), 0),
    )
]
ENDS += [
    ("chat", "length", {}, ("length", "limit", ""), 0),
    ("chat", "content-filter", {}, ("content_filter", "limit", ""), 0),
    ("completions", "404", {}, ("rejected", "rejected", "404"), 0),
    ("chat", "error-event-first?plain=1", {}, ("malformed", "failed", "unexpected_content_type"), 0),
    ("responses", "length", {}, ("length", "limit", ""), 0),
    ("responses", "content-filter", {}, ("content_filter", "limit", ""), 0),
    ("responses", "failed", {}, ("api_error", "failed", "server_error"), 0),
    ("responses", "failed-rate-limit", {}, ("rate_limited", "failed", "rate_limit_exceeded"), 0),
    ("speech", "fin-in-chunk?plain=1", {}, ("truncated", "failed", "incomplete_read"), 0),
]


@MODES
@pytest.mark.parametrize(
    ("name", "scenario", "options", "end", "retries"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{case[4]}") for case in ENDS if case[0] in EXISTING],
)
def test_reported_is_injected(
    name: str, scenario: str, options: dict[str, Any], end: tuple[str, str, str], retries: int, mode: str,
    server: ThreadedFaultServer,
) -> None:
    act = calling(name, mode, model=f"sv-{scenario}", **options)
    found = observe(act, server)
    assert [(call.outcome.value, call.result, call.error_type) for call in found.calls] == [end]
    assert list(found) == []
    with recorded():
        run(act, server)
        assert counted(names.CALL_RETRIES) == retries
        assert counted(names.CALLS, end[1]) == 1


class Title(BaseModel):
    text: str


@pytest.mark.skipif(VERSION < (1, 40), reason="has no parse()")
def test_a_parsed_answer_is_one_call(server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        completions = app.client().chat.completions if VERSION >= (1, 92) else app.client().beta.chat.completions
        with app.catching():
            completions.parse(model="sv-ok", messages=MESSAGES, response_format=Title)
        with app.catching():
            completions.parse(model="sv-length", messages=MESSAGES, response_format=Title)

    found = observe(act, server)
    assert ends(found.calls) == [("malformed", "validation"), ("length", "")]


@pytest.mark.parametrize("scenario", ["length", "content-filter"])
def test_an_answer_that_is_taken_unparsed_is_read_all_the_same(scenario: str, server: ThreadedFaultServer) -> None:
    found = observe(calling("chat", "sync", "with_raw_response", f"sv-{scenario}"), server)
    assert found.calls[0].result == "limit"


def test_an_error_in_an_answer_of_status_200_is_a_failure() -> None:
    """As gateways answer: https://openrouter.ai/docs/api/reference/errors"""
    body: Any = {"error": {"code": 502, "message": "Provider returned error"}}
    for answer in (body, ChatCompletion.construct(**body)):
        verdict = _end_of(ChatChunks(), answer)
        assert verdict is not None
        assert verdict.outcome is Outcome.API_ERROR


# -- what is not counted ---------------------------------------------------------------------------------------


def test_what_is_no_inference_is_not_counted(server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        client = app.client()
        app.saw.append(len(list(client.models.list())))
        for call in (
            lambda: client.files.list(), lambda: client.batches.create(
                completion_window="24h", endpoint="/v1/embeddings", input_file_id="file_1"
            ),
            lambda: client.responses.retrieve("resp_1"), lambda: client.fine_tuning.jobs.list(),
            lambda: client.chat.completions.list(),
        ):
            with app.catching(openai.APIError, AttributeError):
                call()
                raise AttributeError

    assert observe(act, server).calls == []


def test_a_stream_is_no_call_without_one(server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        app.read(app.create("sv-ok"))

    found = observe(act, server)
    assert (len(found), found.calls) == (1, [])


def test_nothing_was_called_where_nothing_was_sent(server: ThreadedFaultServer) -> None:
    def key() -> str:
        raise LookupError("no key")

    def act(app: App) -> None:
        client = app.client()
        client._prepare_options = lambda options: key()  # type: ignore[method-assign,assignment]
        with app.catching():
            client.embeddings.create(model="sv-ok", input="hello")

    with recorded() as records:
        run(act, server)
        assert records.calls == []
        assert open_calls() == 0


def test_a_call_within_a_call_is_part_of_it(server: ThreadedFaultServer) -> None:
    """A client whose HTTP transport asks another client, as routers and caches do."""

    def act(app: App) -> None:
        inner, outer = app.client(), app.client()
        send = outer._client.send

        def through(request: Any, **kwargs: Any) -> Any:
            inner.embeddings.create(model="sv-ok", input="hello")
            return send(request, **kwargs)

        outer._client.send = through  # type: ignore[method-assign]
        outer.embeddings.create(model="sv-ok", input="hello")
        inner.embeddings.create(model="sv-ok", input="hello")

    assert len(observe(act, server).calls) == 2


def test_a_task_that_a_call_has_started_makes_calls_of_its_own(server: ThreadedFaultServer) -> None:
    async def act(app: App) -> None:
        client, tasks = app.async_client(), []
        send = client._client.send

        async def later() -> None:
            await asyncio.sleep(0.05)
            await client.embeddings.create(model="sv-ok", input="later")

        async def through(request: Any, **kwargs: Any) -> Any:
            if not tasks:
                tasks.append(asyncio.create_task(later()))
            return await send(request, **kwargs)

        client._client.send = through  # type: ignore[method-assign]
        await client.embeddings.create(model="sv-ok", input="first")
        await tasks[0]

    assert len(observe(act, server).calls) == 2


def test_left_out_nothing_is_patched_and_nothing_counted(server: ThreadedFaultServer) -> None:
    before = _base_client.SyncAPIClient._process_response
    left_out = frozenset(metric.otel for metric in names.GROUPS["calls"])
    with recorded(Config(left_out=left_out)) as records:
        run(calling("embeddings", "sync"), server)
        assert _base_client.SyncAPIClient._process_response is before
        assert records.calls == []


def test_answers_are_seen_from_the_first_call_on(server: ThreadedFaultServer) -> None:
    """A program that only streams does not pay for it."""
    before = _base_client.SyncAPIClient._process_response
    for _ in range(2):
        with recorded():
            run(lambda app: app.read(app.create("sv-ok")), server)
            assert _base_client.SyncAPIClient._process_response is before
            run(calling("embeddings", "sync"), server)
            assert _base_client.SyncAPIClient._process_response is not before
        assert _base_client.SyncAPIClient._process_response is before


def test_the_fallback_after_a_broken_stream_counts_as_both(server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        client = app.client()
        asked: dict[str, Any] = {"model": "sv-silent-cut", "messages": MESSAGES}
        app.read(client.chat.completions.create(stream=True, **asked))
        app.saw.append(client.chat.completions.create(**asked).choices[0].finish_reason)

    found = observe(act, server)
    assert [chain.event for chain in found.chains] == ["fallback", "recovered"]
    assert ends(found.calls) == [("completed", "")]


def test_azure(server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        client = openai.AzureOpenAI(
            api_key="key", api_version="2024-06-01", azure_endpoint=server.base_url.removesuffix("/v1"), max_retries=0,
        )
        app.clients.append(client)
        client.chat.completions.create(model="sv-ok", messages=MESSAGES)
        client.embeddings.create(model="sv-ok", input="hello")

    found = observe(act, server)
    assert [(call.labels.provider, call.labels.operation) for call in found.calls] == [
        ("azure.ai.openai", "chat"), ("azure.ai.openai", "embeddings"),
    ]


def test_a_hostile_answer_harms_nobody(server: ThreadedFaultServer) -> None:
    for body in ({}, [], None, 7, "x", {"choices": 3}, {"choices": [None, {}, {"finish_reason": 7}]}, {"status": []},
                 {"status": "failed", "error": "x" * 9000}, json.loads("[" * 500 + "]" * 500)):
        for reader in (ChatChunks, ResponsesEvents):
            _end_of(reader(), body)


def test_streams_and_calls_of_one_model_have_series_of_their_own(server: ThreadedFaultServer) -> None:
    def lines(family: str = "streamvitals") -> list[str]:
        current = lifecycle.current()
        assert current is not None
        text = Exposition().text(current.snapshot()).decode().splitlines()
        return [line for line in text if line.startswith(family) and "127.0.0.1" in line]

    with recorded():
        app = App(server)
        app.client().embeddings.create(model="sv-ok", input="hello")
        of_calls = lines()
        assert {line.partition("{")[0].rpartition("_")[0] for line in of_calls} <= {
            "streamvitals_calls", "streamvitals_call_duration_seconds", "streamvitals_call_retries",
            "streamvitals_ratelimit",
        }
        assert len([line for line in of_calls if "ratelimit" not in line]) == 24
        app.read(app.create("sv-ok"))
        chat = [line for line in lines() if 'name="chat"' in line]
        assert [line for line in chat if "streamvitals_call" in line] == []
        app.client().chat.completions.create(model="sv-ok", messages=MESSAGES)
        both = [line for line in lines() if 'name="chat"' in line]
        assert len(both) == len(chat) + 24
        assert len({line.rpartition(" ")[0] for line in lines()}) == len(lines()), "no series twice"
        assert not [line for line in lines() if names.OF_CALLS in line]
        remaining = server.log[-1].ratelimit["remaining-requests"]
        (limit,) = [x for x in both if x.startswith("streamvitals_ratelimit_remaining") and 'kind="requests"' in x]
        assert limit.endswith(f" {float(remaining)}"), "the newest"
        for client in app.clients:
            client.close()


def test_a_call_while_a_stream_is_open_and_the_reverse(server: ThreadedFaultServer) -> None:
    with recorded() as records:
        app = App(server)
        stream = app.create(LONG)
        next(iter(stream))
        app.client().chat.completions.create(model="sv-ok", messages=MESSAGES)
        assert open_calls() == 0
        stream.close()
        assert (len(records), len(records.calls)) == (1, 1)
        for client in app.clients:
            client.close()


@pytest.mark.parametrize("before", ["call", "stream", "open stream"])
def test_a_call_that_was_interrupted_on_its_way_out_hides_no_later_one(
    before: str, server: ThreadedFaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(app: App) -> None:
        with monkeypatch.context() as interrupted:
            interrupted.setattr(patch._Request, "leave", lambda request: None)
            if before == "call":
                app.client().embeddings.create(model="sv-ok", input="hello")
            else:
                stream = app.create("sv-ok")
                if before == "stream":
                    app.read(stream)
        app.client().embeddings.create(model="sv-ok", input="hello")

    with recorded() as records:
        copy_context().run(run, act, server)
    assert ends(records.calls) == [("completed", "")] * (2 if before == "call" else 1)
