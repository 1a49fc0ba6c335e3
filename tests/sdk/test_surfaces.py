"""Every streaming surface of the SDK, in every form: what is reported is what was injected, and the app sees what
it would see without us. What the installed SDK does not have is not asked for."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app_support import App, run, verdicts
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.faults.payloads import PROMPT_TOKENS
from streamvitals.faults.routes import SURFACES, plays_of
from streamvitals.faults.surface_scenarios import WHOLE, scenarios_of, truth
from streamvitals.faults.surfaces import speech_plays
from streamvitals.faults.websocket_plays import WEBSOCKETS
from streamvitals.faults.websocket_plays import plays_of as socket_plays_of
from streamvitals.stream.record import Usage
from streamvitals.testing import RecordList
from surface_acts import (
    ABANDONS,
    LATE,
    LEFT,
    SPEC,
    Answer,
    Call,
    aabandoning,
    abandoning,
    aleaving,
    areading,
    leaving,
    reading,
)
from surface_cases import CALLED, CONNECTED, HELPED, act_of, forms_of, happens, playable, truth_of
from websocket_acts import Socket

# As errors they would stop the call itself, bare and observed alike.
pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:use .stream. instead:DeprecationWarning"),
]

# Of the calls that share a surface one is taken through everything, the others and other forms through these.
ESSENTIAL = (
    "ok", "length", "content-filter", "failed", "cancelled", "requires-action", "silent-cut", "reset-after-n",
    "fin-in-chunk", "stall", "broken-json", "error-event", "empty-stream", "429",
)
AT_LEAST = ("ok", "failed", "silent-cut", "reset-after-n", "stall", "error-event")
PRIMARY = {"responses", "fetched response", "completions", "run", "image", "transcription", "speech",
           "speech events", "agent's events"}


@pytest.fixture(scope="module", autouse=True)
def _warm(server: ThreadedFaultServer) -> None:
    """The SDK imports and builds most of its types at first use; full collections need not walk them any more."""
    for call in (*CALLED, *HELPED):
        form = "lines" if call.bytes_only else "stream"
        run(reading(call, form, "ok?json=1"), server)
        run(areading(call, form, "ok?json=1"), server)
    for socket in CONNECTED:
        run(act_of(socket, "events", "sync", "ok"), server)
        run(act_of(socket, "events", "async", "ok"), server)
    gc.collect()
    gc.freeze()


def _cases() -> Iterator[Any]:
    for call in CALLED:
        forms = forms_of(call)
        for form in forms if call.name in PRIMARY else forms[:1]:
            for mode in ("sync", "async"):
                if call.name in PRIMARY and form == forms[0] and mode == "sync":
                    scenarios = scenarios_of(call.surface)
                else:
                    scenarios = playable(call, ESSENTIAL if form == forms[0] else AT_LEAST)
                for scenario in scenarios:
                    yield pytest.param(call, form, mode, scenario, id=f"{call.name}-{form}-{mode}-{scenario}")
    for call in HELPED:
        for mode in ("sync", "async"):
            for scenario in playable(call, ESSENTIAL):
                yield pytest.param(call, "helper", mode, scenario, id=f"{call.name}-{mode}-{scenario}")
    for socket in CONNECTED:
        for form in forms_of(socket):
            for mode in ("sync", "async"):
                scenarios = scenarios_of(socket.surface) if form in ("events", "bytes") else playable(socket, AT_LEAST)
                for scenario in scenarios:
                    if happens(socket, mode, scenario):
                        name = f"{socket.name}-{form}-{mode}-{scenario}"
                        yield pytest.param(socket, form, mode, scenario, id=name)


@pytest.mark.parametrize(("call", "form", "mode", "scenario"), list(_cases()))
def test_reported_is_injected(
    call: Call | Socket, form: str, mode: str, scenario: str, observe: Callable[..., RecordList]
) -> None:
    records = observe(act_of(call, form, mode, scenario), Config(stall_after=5.0))
    assert verdicts(records) == [truth_of(call, scenario)]
    assert records[0].labels.operation == call.operation


# -- what else a record says ------------------------------------------------------------------------------------

USAGE = {
    "responses": Usage(PROMPT_TOKENS, 8, 3, 2),
    "responses-fetch": None,  # whoever streamed it at first has counted it
    "completions": None,  # not asked for
    "runs": Usage(PROMPT_TOKENS, 8),
    "images": Usage(PROMPT_TOKENS, 8, text_input=PROMPT_TOKENS, image_input=0, audio_input=0),
    "transcriptions": Usage(PROMPT_TOKENS, 8, text_input=PROMPT_TOKENS, image_input=0, audio_input=0),
    "speech": None,
    "speech-events": Usage(PROMPT_TOKENS, 8),
    "agents": Usage(PROMPT_TOKENS, 8, 3, 2),
}
# These say something before the first token.
OPENING = {"responses", "responses-fetch", "runs", "agents"}


def _whole() -> Iterator[Any]:
    for call in CALLED:
        for form in ("bytes",) if call.bytes_only else ("stream", "lines"):
            yield pytest.param(call, form, id=f"{call.name}-{form}")


@pytest.mark.parametrize(("call", "form"), list(_whole()))
def test_usage_tokens_and_chunks(
    call: Call, form: str, observe: Callable[..., RecordList], server: ThreadedFaultServer
) -> None:
    record = observe(reading(call, form, LATE))[0]
    assert record.usage == USAGE[call.surface]
    assert record.first_chunk is not None
    assert record.first_token is not None
    if call.surface in OPENING:
        assert record.first_token > record.first_chunk
    else:
        assert record.first_token == record.first_chunk
    server.wait_idle()
    if call.surface != "speech":  # whose bytes come in pieces of any size
        assert record.chunks == server.log[-1].chunks


def test_usage_of_completions_when_asked_for(observe: Callable[..., RecordList]) -> None:
    call = Call(
        "completions", "completions", "completions.create", "text_completion",
        {"model": "sv-ok", "prompt": "x", "extra_body": {"stream_options": {"include_usage": True}}},
    )
    assert observe(reading(call, "stream", "ok"))[0].usage == Usage(PROMPT_TOKENS, 8, 0, 0)


@pytest.mark.parametrize("scenario", ["length", "content-filter", "failed", "cancelled"])
def test_usage_of_responses_that_end_early(scenario: str, observe: Callable[..., RecordList]) -> None:
    """An incomplete response was paid for; a failed one has no usage, which is not a usage of 0."""
    call = next((call for call in CALLED if call.name == "responses"), None)
    if call is None:
        pytest.skip("no responses in this SDK")
    expected = USAGE["responses"] if scenario in ("length", "content-filter") else None
    assert observe(reading(call, "stream", scenario))[0].usage == expected


def _abandoned() -> Iterator[Any]:
    for call in CALLED:
        if not call.bytes_only:
            for how, told in ABANDONS.items():
                for mode in ("async",) if how == "cancel" else ("sync", "async"):
                    yield pytest.param(call, how, mode, told, id=f"{call.name}-{how}-{mode}")


@pytest.mark.parametrize(("call", "how", "mode", "told"), list(_abandoned()))
def test_the_apps_own_ends(
    call: Call, how: str, mode: str, told: tuple[str, str], observe: Callable[..., RecordList]
) -> None:
    act = abandoning(call, how) if mode == "sync" else aabandoning(call, how)
    assert verdicts(observe(act)) == [told]


def _left() -> Iterator[Any]:
    for call in (*CALLED, *HELPED):
        for form in forms_of(call):
            # Audio has no lines: the first one is the whole body.
            if form not in ("stream", "raw") and (call.surface, form) != ("speech", "lines"):
                for mode in ("sync", "async"):
                    yield pytest.param(call, form, mode, id=f"{call.name}-{form}-{mode}")


@pytest.mark.parametrize(("call", "form", "mode"), list(_left()))
def test_leaving_the_with_block(call: Call, form: str, mode: str, observe: Callable[..., RecordList]) -> None:
    act = leaving(call, form) if mode == "sync" else aleaving(call, form)
    assert verdicts(observe(act)) == [LEFT]


# Asked without streaming: the same call as without us, and no stream to count.
PARSED = (
    Call("responses.parse", "responses", "responses.parse", "chat",
         {"model": SPEC, "input": "x", "text_format": Answer}, asked=False),
    Call("chat.parse", "chat", "chat.completions.parse", "chat",
         {"model": SPEC, "messages": [], "response_format": Answer}, asked=False),
    Call("beta chat.parse", "chat", "beta.chat.completions.parse", "chat",
         {"model": SPEC, "messages": [], "response_format": Answer}, asked=False),
)


@pytest.mark.parametrize("call", [call for call in PARSED if call.exists()], ids=lambda call: call.name)
@pytest.mark.parametrize("scenario", ["ok", "500"])
def test_parsing_without_streaming(call: Call, scenario: str, observe: Callable[..., RecordList]) -> None:
    def act(app: App) -> None:
        with app.catching():
            answer = call.bound(app.client())(**call.keywords(scenario))
            app.saw.append(answer.to_dict(warnings=False))

    assert observe(act) == []


def test_every_play_is_listed() -> None:
    """The fault server's plays and the table of what they must be reported as are of the same extent."""
    for surface in SURFACES:
        assert set(scenarios_of(surface.name)) <= set(plays_of(surface))
        for scenario in plays_of(surface):
            truth(surface.name, scenario)
    assert set(scenarios_of("speech")) <= set(speech_plays())
    for surface in WEBSOCKETS:
        assert set(scenarios_of(surface.name)) == set(socket_plays_of(surface))
    assert all(truth("responses", scenario) == ("completed", "") for scenario in WHOLE)
