"""What the fault server plays for requests that do not say so themselves."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterator

import openai
import pytest

from streamvitals.faults import SCENARIOS, FaultServer, InTurn, Mix, ThreadedFaultServer, listing
from streamvitals.faults.ask import Ask, BadAsk, Params, parse_spec
from streamvitals.faults.script import Script, played_on


@pytest.fixture
def faults() -> Iterator[ThreadedFaultServer]:
    with ThreadedFaultServer(default="ok") as server:
        yield server


@pytest.fixture
def client(faults: ThreadedFaultServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=faults.base_url, api_key="any", max_retries=0) as client:
        yield client


def chunks(client: openai.OpenAI, model: str = "m") -> int:
    with client.chat.completions.create(model=model, messages=[], stream=True) as stream:
        return sum(1 for _ in stream)


def test_in_turn_and_then_the_last_one_for_good() -> None:
    turn = InTurn("reset", "429?delay=1", "ok")
    assert [turn() for _ in range(5)] == ["reset", "429?delay=1", "ok", "ok", "ok"]


@pytest.mark.parametrize("specs", [(), ("ok", "nonsense"), ("ok?nonsense=1",)])
def test_what_is_unknown_is_refused_at_once(specs: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"scenario|parameter"):
        InTurn(*specs)


def test_a_mix_has_the_shares_that_it_was_given() -> None:
    mix = Mix({"reset": 0.3, "429": 0.1}, seed=3, otherwise="length")
    drawn = Counter(mix() for _ in range(20_000))
    shares = {spec: round(count / 20_000, 1) for spec, count in drawn.items()}
    assert shares == {"reset": 0.3, "429": 0.1, "length": 0.6}


def test_a_mix_may_be_all_there_is() -> None:
    assert {Mix.parse("reset=0.7, fin=0.2,429=0.1", seed)() for seed in range(200)} == {"reset", "fin", "429"}
    assert {Mix.parse("")() for _ in range(5)} == {"ok"}


@pytest.mark.parametrize(
    ("named", "model", "other", "expected"),
    [
        ("429", "gpt-4o", "", ("429", False)),  # the request says so
        ("", "gpt-4o", "", ("length", True)),  # this model's
        ("", "sv-stall", "", ("stall", False)),  # the name of the model says so
        ("", "reset", "", ("reset-after-n", False)),
        ("", "llama", "", ("content-filter", True)),  # the default
        ("", "", "resp_123", ("content-filter", True)),
        ("", "", "429", ("429", False)),
        ("", "ok-unheard-of", "", ("content-filter", True)),
    ],
)
def test_who_chooses(named: str, model: str, other: str, expected: tuple[str, bool]) -> None:
    script = Script(default="content-filter")
    script.by_model["gpt-4o"] = lambda: "length"
    scenario, _, chosen = script.choose(named, model, other)
    assert (scenario, chosen) == expected


@pytest.mark.parametrize("model", ["", "gpt-4o", "sv-nonsense"])
def test_without_a_default_what_names_no_scenario_is_refused(model: str) -> None:
    with pytest.raises(BadAsk, match=f"unknown scenario {model!r}"):
        Script().choose("", model)


def test_a_misspelt_scenario_is_refused_though_there_is_a_default() -> None:
    with pytest.raises(BadAsk, match="sv-rset"):
        Script(default="ok").choose("", "sv-rset")


def test_a_surface_without_the_scenario_plays_ok_unless_the_client_named_it() -> None:
    assert played_on(Ask("length", Params(), chosen=True), {"ok"}, "images").scenario == "ok"
    with pytest.raises(BadAsk, match="no scenario 'length' for images"):
        played_on(Ask("length", Params()), {"ok"}, "images")


def test_play_is_for_every_surface(faults: ThreadedFaultServer, client: openai.OpenAI) -> None:
    faults.play("silent-cut?after=2")
    assert chunks(client) == 2
    events = [event.type for event in client.responses.create(model="m", input="hi", stream=True)]
    assert "response.completed" not in events
    faults.play("length")
    assert len(client.embeddings.create(model="m", input="hi").data) == 1
    images = client.images.generate(model="m", prompt="a dog", stream=True)
    assert [event.type for event in images][-1] == "image_generation.completed"
    faults.wait_idle()
    assert [(e.surface, e.scenario) for e in faults.log] == [
        ("", "silent-cut"), ("responses", "silent-cut"), ("", "length"), ("images", "ok"),
    ]


def test_play_is_for_websockets_too(faults: ThreadedFaultServer, client: openai.OpenAI) -> None:
    if not hasattr(client, "realtime"):
        pytest.skip("this SDK has no WebSockets")
    faults.play("failed")
    with client.realtime.connect(model="gpt-realtime") as connection:
        connection.send({"type": "response.create"})
        event = next(event for event in connection if event.type == "response.done")
    assert event.response.status == "failed"


def test_what_chat_does_not_have_is_refused_with_a_reason(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="no scenario 'failed' for chat"):
        chunks(client, "sv-failed")


def test_the_header_is_outranked_by_the_body(client: openai.OpenAI) -> None:
    answer = client.with_options(default_headers={"sv-scenario": "429"})
    with pytest.raises(openai.RateLimitError):
        chunks(answer, "sv-ok")
    whole = answer.chat.completions.create(model="m", messages=[], extra_body={"sv_scenario": "ok"})
    assert whole.choices[0].finish_reason == "stop"


def test_reset_forgets_everything(faults: ThreadedFaultServer, client: openai.OpenAI) -> None:
    faults.by_model["m"] = "429-then-ok?fails=1"
    with pytest.raises(openai.RateLimitError):
        chunks(client)
    faults.wait_idle()
    faults.reset()
    assert (faults.log, faults.by_model) == ([], {})
    faults.by_model["m"] = "429-then-ok?fails=1"
    with pytest.raises(openai.RateLimitError):
        chunks(client)


def test_embeddings_of_every_kind_of_input(faults: ThreadedFaultServer, client: openai.OpenAI) -> None:
    for inputs, count in (("hi", 1), (["a", "b"], 2), ([1, 2, 3], 1), ([[1, 2], [3]], 2)):
        # The SDK asks for base64 unless it is told otherwise.
        for more in ({}, {"encoding_format": "float"}):
            found = client.embeddings.create(model="m", input=inputs, **more)  # type: ignore[arg-type]
            assert [one.index for one in found.data] == list(range(count))
            assert found.data[0].embedding == pytest.approx([0.6, 0.0, 0.8])
    faults.by_model["m"] = "500-then-ok?fails=1"
    with pytest.raises(openai.InternalServerError):
        client.embeddings.create(model="m", input="x")
    assert client.embeddings.create(model="m", input="x").model == "m"


def test_an_address_of_ipv6_is_a_url() -> None:
    async def url() -> str:
        server = FaultServer()
        try:
            await server.start("::1")
        except OSError:
            pytest.skip("no IPv6 here")
        async with server:
            return server.base_url

    assert asyncio.run(url()).startswith("http://[::1]:")


def test_the_list_has_everything_that_can_be_named() -> None:
    names = {name for one in listing.played() for name in (one.name, *listing.short_names(one))}
    assert names >= {name for name, one in SCENARIOS.items() if one.kind == "server"}
    for name in names:
        parse_spec(name)
    assert [name for name, _, _ in listing.defaults()] == list(json.loads(json.dumps(vars(Params()))))


def test_a_number_is_the_scenario_of_that_name(faults: ThreadedFaultServer, client: openai.OpenAI) -> None:
    faults.by_model["m"] = 429  # type: ignore[assignment]
    with pytest.raises(openai.RateLimitError):
        chunks(client)
    faults.by_model.clear()
    faults.play(500, "ok")
    with pytest.raises(openai.InternalServerError):
        chunks(client)
    assert {Mix({429: 1.0})() for _ in range(3)} == {"429"}


@pytest.mark.parametrize("choose", [
    lambda server: server.by_model.__setitem__("m", "nonsense"),
    lambda server: server.by_model.update({"m": "nonsense"}),
    lambda server: server.play("nonsense"),
    lambda server: FaultServer(default="nonsense"),
    lambda server: Mix({"reset": "x"}),
])
def test_a_choice_that_is_unknown_is_refused_where_it_is_made(choose: object, faults: ThreadedFaultServer) -> None:
    with pytest.raises(ValueError, match=r"nonsense|number from 0 to 1"):
        choose(faults)  # type: ignore[operator]
