"""Clients of other kinds and with other transports than the SDK's usual one."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from app_support import MESSAGES, VERSION, App, verdicts
from streamvitals.testing import RecordList


def _clients() -> Iterator[Any]:
    def azure(app: App) -> Any:
        url = app.server.base_url.removesuffix("/v1")
        return openai.AzureOpenAI(api_key="key", azure_endpoint=url, api_version="2024-02-01", max_retries=0)

    def legacy(app: App) -> Any:
        httpx = pytest.importorskip("httpx")
        if VERSION >= (3, 0) and VERSION < (3, 1):
            pytest.skip("takes no legacy client")
        return app.client(http_client=httpx.Client())

    def sub_path(app: App) -> Any:
        return app.client(base_url=app.server.base_url + "/gateway/v9")

    yield pytest.param(azure, "azure.ai.openai", id="azure")
    yield pytest.param(legacy, "other", id="legacy httpx")
    yield pytest.param(sub_path, "other", id="another path")


@pytest.mark.parametrize(("make", "provider"), list(_clients()))
@pytest.mark.parametrize(("model", "want"), [("sv-ok", ("completed", "")), ("sv-reset", ("reset", "connection_reset"))])
def test_clients(make: Any, provider: str, model: str, want: Any, observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        client = app._made(make(app))
        with app.catching():
            app.read(client.chat.completions.create(model=model, messages=MESSAGES, stream=True))

    records = observe(act)
    assert verdicts(records) == [want]
    assert records[0].labels.provider == provider
    assert records[0].labels.server == "127.0.0.1"


@pytest.mark.parametrize(
    "spelled", ["/chat/completions", "chat/completions", "{}/chat/completions", "/v1/chat/completions"]
)
@pytest.mark.parametrize("model", ["sv-ok", "sv-reset"])
def test_a_path_that_the_app_spells(spelled: str, model: str, observe: Callable[..., RecordList]) -> None:
    """The SDK takes any path, with or without a slash in front, and whole URLs."""
    def act(app: App) -> None:
        # A whole URL may lead elsewhere than the client's own does.
        base = app.server.base_url if "/v1" not in spelled else app.server.base_url.removesuffix("/v1")
        client = app.client(base_url="http://localhost:1/v1" if "{}" in spelled else base)
        with app.catching():
            app.read(client.post(
                spelled.format(app.server.base_url), cast_to=ChatCompletion,
                body={"model": model, "messages": MESSAGES, "stream": True},
                stream=True, stream_cls=openai.Stream[ChatCompletionChunk],
            ))

    records = observe(act)
    assert verdicts(records) == [("completed", "") if model == "sv-ok" else ("reset", "connection_reset")]
    assert records[0].labels[:4] == ("chat", "other", model, "127.0.0.1")
    assert records[0].url_path == "/v1/chat/completions"
    assert records[0].server_port not in (1, None)


@pytest.mark.parametrize(("model", "want"), [
    ("sv-ok", ("completed", "")),
    ("sv-silent-cut", ("truncated", "missing_terminal")),
    ("sv-fin-in-chunk", ("truncated", "incomplete_read")),
    ("sv-reset", ("reset", "connection_reset")),
    ("sv-reset-before-headers", ("reset", "connection_reset")),
    ("sv-429", ("rate_limited", "429")),
])
def test_aiohttp(model: str, want: tuple[str, str], observe: Callable[..., RecordList]) -> None:
    if importlib.util.find_spec("aiohttp") is None or not hasattr(openai, "DefaultAioHttpClient"):
        pytest.skip("openai[aiohttp] is not installed")

    async def act(app: App) -> None:
        client = app.async_client(http_client=openai.DefaultAioHttpClient())
        with app.catching():
            await app.aread(await client.chat.completions.create(model=model, messages=MESSAGES, stream=True))

    assert verdicts(observe(act)) == [want]
