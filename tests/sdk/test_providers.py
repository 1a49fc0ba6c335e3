"""What the providers do differently: who is named as the provider of a stream, and every quirk of their streams
that somebody has written down, served over a socket and read by the SDK.

A file of providers/ is a head (where the quirk is written down, what it is, what must be reported) and,
after an empty line, the body as it is sent. Frames that only have a name, bodies of several encodings and events
larger than 1 MiB are scenarios of the fault server's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import openai
import pytest

import bodies
from app_support import VERSION, verdicts
from streamvitals import names
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.faults.surface_scenarios import truth
from streamvitals.sdk import providers
from streamvitals.sdk.openai_sdk import OPENAI
from streamvitals.stream.record import Usage
from streamvitals.testing import RecordList
from surface_acts import CALLS, SPEC, Call, areading, reading

FOLDER = Path(__file__).parent / "providers"
CHAT = Call("chat", "chat", "chat.completions.create", "chat", {"model": SPEC, "messages": []})
FORMS = {"sync": "stream", "lines": "lines"}
# Before 1.9 the SDK passes over every event that has a name.
OLD: dict[str, dict[str, Any]] = {
    "anthropic-error": {"outcome": ("truncated", "missing_terminal")},
    "sse-names-and-ids": {"token": "first"},
}
DRESSES: dict[str, Callable[[bytes], bytes]] = {
    "": lambda body: body,
    "crlf": lambda body: body.replace(b"\n", b"\r\n"),
    "cr": lambda body: body.replace(b"\n", b"\r"),
    "bom": lambda body: b"\xef\xbb\xbf" + body,
}


class Quirk(NamedTuple):
    """A fixture. ``usage``: input, output, cached and reasoning tokens. ``token`` says which chunk has the first
    one: the first, a later one, or none."""

    name: str
    outcome: tuple[str, str]
    usage: Usage | None
    finish: list[str]
    token: str
    body: bytes

    @property
    def events(self) -> list[bytes]:
        """The body, cut behind every event."""
        return re.findall(rb".+?(?:(?:\r\n|\r|\n){2,}|$)", self.body, re.DOTALL)


def load(path: Path) -> Quirk:
    head, _, body = path.read_text(encoding="utf-8").partition("\n\n")
    told = dict(line.split(": ", 1) for line in head.splitlines())
    assert set(told) <= {"source", "says", "outcome", "usage", "finish", "first token", "sent"}, path.name
    assert told["source"].startswith("https://")
    assert told["says"]
    outcome, _, error_type = told["outcome"].partition(" ")
    counts = [None if text == "-" else int(text) for text in told.get("usage", "").split()]
    sent = DRESSES[told.get("sent", "")](body.encode())
    finish = told.get("finish", "").split()
    return Quirk(
        path.stem, (outcome, error_type), Usage(*counts) if counts else None, finish, told["first token"], sent
    )


QUIRKS = {quirk.name: quirk for quirk in map(load, sorted(FOLDER.glob("*.sse")))}


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Callable[[Quirk], str]:
    """Makes the fault server play a fixture; gives the name to ask for."""

    def serve(quirk: Quirk) -> str:
        return bodies.play(monkeypatch, quirk.name, quirk.events)

    return serve


@pytest.mark.parametrize("form", ["sync", "async", "lines"])
@pytest.mark.parametrize("name", QUIRKS)
def test_quirks(name: str, form: str, served: Callable[[Quirk], str], observe: Callable[..., RecordList]) -> None:
    quirk = QUIRKS[name]
    if VERSION < (1, 9) and form != "lines":
        quirk = quirk._replace(**OLD.get(name, {}))
    spec = served(quirk)
    records = observe(areading(CHAT, "stream", spec) if form == "async" else reading(CHAT, FORMS[form], spec))
    assert verdicts(records) == [quirk.outcome]
    record = records[0]
    assert record.usage == quirk.usage
    assert list(record.finish_reasons) == quirk.finish
    if form == "lines" and name == "sse-bom":
        return  # the event behind the mark is lost to the SDK only
    if quirk.token == "none":
        assert record.first_token is None
    else:
        assert record.first_token is not None
        assert (record.first_token == record.first_chunk) == (quirk.token == "first")


@pytest.mark.parametrize("form", ["sync", "async", "lines"])
def test_the_last_events_id(form: str, served: Callable[[Quirk], str], observe: Callable[..., RecordList]) -> None:
    """From where a server that numbers its events would go on. What is too long for a number is none."""
    chunk = b'data: {"id": "1", "choices": [{"index": 0, "delta": {"content": "x"}, "finish_reason": null}]}'
    body = b"".join(b"id: %s\n%s\n\n" % (name, chunk) for name in (b"m-1", b"m-2", b"m" * 100))
    spec = served(Quirk("numbered", ("truncated", "missing_terminal"), None, [], "first", body))
    records = observe(areading(CHAT, "stream", spec) if form == "async" else reading(CHAT, FORMS[form], spec))
    assert [(record.last_event_id, record.chunks) for record in records] == [("m-2", 3)]


def test_an_event_of_two_mebibytes(served: Callable[[Quirk], str], observe: Callable[..., RecordList]) -> None:
    large = {"id": "1", "choices": [{"index": 0, "delta": {"content": "x" * (2 << 20)}, "finish_reason": "stop"}]}
    body = b"data: " + json.dumps(large).encode() + b"\n\ndata: [DONE]\n\n"
    quirk = Quirk("large", ("completed", ""), None, ["stop"], "first", body)
    spec = served(quirk)
    for act in (reading(CHAT, "stream", spec), reading(CHAT, "lines", spec), areading(CHAT, "raw", spec)):
        assert verdicts(observe(act)) == [quirk.outcome]


def test_a_server_that_never_finishes_may_be_believed(
    served: Callable[[Quirk], str], observe: Callable[..., RecordList]
) -> None:
    spec = served(QUIRKS["ollama-never-finished"])
    config = Config(finish_optional_hosts=frozenset({"127.0.0.1"}))
    assert verdicts(observe(reading(CHAT, "stream", spec), config)) == [("completed", "")]


# -- who it is ------------------------------------------------------------------------------------------------

HOSTS = {
    "https://api.openai.com/v1": "openai",
    "https://eu.api.openai.com/v1": "openai",
    "https://mine.openai.azure.com/openai/v1": "azure.ai.openai",
    "https://mine.openai.azure.us/openai/v1": "azure.ai.openai",
    "https://mine.cognitiveservices.azure.com/openai/deployments/x": "azure.ai.openai",
    "https://mine.services.ai.azure.com/openai/v1": "azure.ai.openai",
    "https://mine.services.ai.azure.com/api/projects/p/openai/v1": "azure.ai.openai",
    "https://mine.services.ai.azure.com/models": "azure.ai.inference",
    "https://mine.eastus2.models.ai.azure.com/v1": "azure.ai.inference",
    "https://bedrock-runtime.us-west-2.amazonaws.com/openai/v1": "aws.bedrock",
    "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/openai/v1": "aws.bedrock",
    "https://bedrock-mantle.us-east-1.api.aws/v1": "aws.bedrock",
    "https://vpce-1.bedrock-runtime.eu-west-1.vpce.amazonaws.com/openai/v1": "aws.bedrock",
    "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/openapi": "gcp.vertex_ai",
    "https://us-central1-aiplatform.googleapis.com/v1/projects/p": "gcp.vertex_ai",
    "https://aiplatform.eu.rep.googleapis.com/v1/projects/p": "gcp.vertex_ai",
    "https://generativelanguage.googleapis.com/v1beta/openai/": "gcp.gemini",
    "https://openrouter.ai/api/v1": "openrouter",
    "https://api.deepseek.com": "deepseek",
    "https://api.groq.com/openai/v1": "groq",
    "https://api.x.ai/v1": "x_ai",
    "https://eu-west-1.api.x.ai/v1": "x_ai",
    "https://api.mistral.ai/v1": "mistral_ai",
    "https://api.perplexity.ai": "perplexity",
    "https://api.together.xyz/v1": "together_ai",
    "https://api.fireworks.ai/inference/v1": "fireworks_ai",
    "https://api.cohere.ai/compatibility/v1": "cohere",
    "https://api.anthropic.com/v1/": "anthropic",
    "https://us-south.ml.cloud.ibm.com/ml/gateway/v1": "ibm.watsonx.ai",
    # Somebody's own servers, whatever runs there.
    "http://localhost:11434/v1": "other",
    "http://localhost:4000": "other",
    "http://127.0.0.1:8000/v1": "other",
    "https://vllm-1234.eu-west-1.elb.amazonaws.com/v1": "other",
    "https://bedrock-proxy.example.com/v1": "other",
    "https://api.openai.com.example.org/v1": "other",
    "https://notapi.x.ai.example/v1": "other",
    "https://storage.googleapis.com/v1": "other",
    "https://vpn.ibm.com/v1": "other",
}


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
@pytest.mark.parametrize("url", HOSTS)
def test_by_host(url: str, kind: Any) -> None:
    assert provider_of(kind(api_key="key", base_url=url)) == HOSTS[url]


def provider_of(client: Any) -> str:
    return providers.provider_of(OPENAI, client, client.base_url.host, client.base_url.path)


@pytest.mark.parametrize("kind", [openai.AzureOpenAI, openai.AsyncAzureOpenAI])
@pytest.mark.parametrize("options", [{"azure_endpoint": "https://gateway.corp"}, {"base_url": "https://gateway.corp/v1"}])
def test_azure_by_class(kind: Any, options: dict[str, str]) -> None:
    """The same API behind a gateway of one's own."""
    assert provider_of(kind(api_key="key", api_version="2024-10-21", **options)) == "azure.ai.openai"


@pytest.mark.parametrize("name", ["BedrockOpenAI", "AsyncBedrockOpenAI"])
def test_bedrock_by_class(name: str) -> None:
    kind = getattr(openai, name, None)
    if kind is None:
        pytest.skip("no such client in this SDK")
    assert provider_of(kind(api_key="key", base_url="https://gateway.corp/v1")) == "aws.bedrock"


CONFIGURED = {"vertex": "gcp.vertex_ai", "bedrock": "aws.bedrock"}


def configured(name: str, url: str) -> dict[str, Any]:
    """Arguments for a client that is configured with `provider=`."""
    make = getattr(pytest.importorskip("openai.providers", reason="no `provider=` in this SDK"), name, None)
    if make is None:
        pytest.skip(f"no {name} in this SDK")
    key: dict[str, Any] = {"token_provider": lambda: "token"} if name == "vertex" else {"api_key": "key"}
    return {"provider": make(base_url=url, **key), "base_url": None, "api_key": None}


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
@pytest.mark.parametrize("name", CONFIGURED)
def test_by_the_clients_configuration(name: str, kind: Any) -> None:
    """Again behind a gateway of one's own."""
    assert provider_of(kind(**configured(name, "https://gateway.corp/v1"))) == CONFIGURED[name]


@pytest.mark.parametrize("mode", ["sync", "async"])
@pytest.mark.parametrize("name", CONFIGURED)
@pytest.mark.parametrize("scenario", ["ok", "reset-after-n"])
def test_streams_of_clients_configured_so(
    name: str, mode: str, scenario: str, server: ThreadedFaultServer, observe: Callable[..., RecordList]
) -> None:
    """They sign every request and look at every response on the way."""
    call = next(call for call in CALLS if call.name == "responses")
    make = reading if mode == "sync" else areading
    record = observe(make(call, "stream", scenario, **configured(name, server.base_url)))[0]
    assert (record.outcome.value, record.error_type) == truth("responses", scenario)
    assert record.labels.provider == CONFIGURED[name]


def test_a_class_of_the_apps_own_is_not_taken_for_the_sdks() -> None:
    class BedrockOpenAI(openai.OpenAI):
        """Called like the SDK's, and none of it."""

    assert provider_of(BedrockOpenAI(api_key="key", base_url="https://gateway.corp/v1")) == "other"


@pytest.mark.parametrize(
    ("told", "expected"),
    [({}, "other"), ({"127.0.0.1": "vllm"}, "vllm"), ({"{}": "litellm", "127.0.0.1": "vllm"}, "litellm"),
     ({"127.0.0.1:1": "ollama"}, "other")],
)
def test_the_users_word_for_servers_of_their_own(
    told: dict[str, str], expected: str, server: ThreadedFaultServer, observe: Callable[..., RecordList]
) -> None:
    """By host, or by host and port."""
    named = {key.format(f"127.0.0.1:{server.port}"): provider for key, provider in told.items()}
    record = observe(reading(CHAT, "stream", "ok"), Config(providers=named))[0]
    assert (record.labels.provider, record.labels.server) == (expected, "127.0.0.1")


def test_the_vocabulary_is_closed() -> None:
    known = {*providers._BY_HOST.values(), *OPENAI.client_providers.values(), *OPENAI.runtime_providers.values()}
    assert known | {*HOSTS.values()} | {"litellm", "ollama", "vllm"} == {*names.PROVIDERS}


def test_the_conventions_names_are_used_as_they_are() -> None:
    conventions = pytest.importorskip("opentelemetry.semconv._incubating.attributes.gen_ai_attributes")
    theirs = {value.value for value in conventions.GenAiProviderNameValues} - {"gcp.gen_ai"}  # of an unknown backend
    assert theirs <= {*names.PROVIDERS}
