"""Every streaming surface of the SDK, in every form: what is reported is what was injected, and the app sees what
it would see without us. What the installed SDK does not have is not asked for."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app_support import HANGS, run, verdicts
from streamvitals.config import Config
from streamvitals.demo.fault_server import ThreadedFaultServer
from streamvitals.demo.payloads import PROMPT_TOKENS
from streamvitals.demo.routes import SURFACES, plays_of
from streamvitals.demo.scenarios import SCENARIOS
from streamvitals.demo.surface_scenarios import WHOLE, scenarios_of, truth
from streamvitals.demo.surfaces import speech_plays
from streamvitals.stream.record import Usage
from streamvitals.testing import RecordList
from surface_acts import ABANDONS, CALLS, HELPERS, LATE, Call, aabandoning, abandoning, areading, reading

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
QUICK = {"stall-then-fine": "stall-then-fine?stall=0.1"}
PRIMARY = {"responses", "fetched response", "completions", "run", "image", "transcription", "speech",
           "speech events", "agent's events"}
CALLED = [call for call in CALLS if call.exists()]
HELPED = [call for call in HELPERS if call.exists()]


@pytest.fixture(scope="module", autouse=True)
def _warm(server: ThreadedFaultServer) -> None:
    """The SDK imports and builds most of its types at first use; full collections need not walk them any more."""
    for call in (*CALLED, *HELPED):
        form = "lines" if call.bytes_only else "stream"
        run(reading(call, form, "ok?json=1"), server)
        run(areading(call, form, "ok?json=1"), server)
    gc.collect()
    gc.freeze()


def essential(call: Call, names: tuple[str, ...]) -> list[str]:
    chat = tuple(name for name, scenario in SCENARIOS.items() if scenario.kind == "server")
    known = scenarios_of(call.surface) if call.surface != "chat" else chat
    return [name for name in names if name in known]


def options_of(scenario: str) -> dict[str, Any]:
    """What the client must be for a scenario to come about."""
    known = SCENARIOS.get(scenario)
    if known is None:
        return {"timeout": HANGS}
    return {"max_retries": known.retries, "timeout": 0.3 if known.client_timeout else HANGS}


def act_of(call: Call, form: str, mode: str, scenario: str) -> Callable[..., Any]:
    spec = QUICK.get(scenario, scenario)
    if call.structured:
        spec += ("&" if "?" in spec else "?") + "json=1"
    make = reading if mode == "sync" else areading
    return make(call, form, spec, **options_of(scenario))


def truth_of(call: Call, scenario: str) -> tuple[str, str]:
    if call.surface == "chat":
        known = SCENARIOS[scenario]
        return known.outcome, known.error_type
    return truth(call.surface, scenario)


def _cases() -> Iterator[Any]:
    for call in CALLED:
        forms = ("lines", "bytes") if call.bytes_only else ("stream", "raw", "lines", "bytes")
        for form in forms if call.name in PRIMARY else forms[:1]:
            for mode in ("sync", "async"):
                if call.name in PRIMARY and form == forms[0] and mode == "sync":
                    scenarios = scenarios_of(call.surface)
                else:
                    scenarios = essential(call, ESSENTIAL if form == forms[0] else AT_LEAST)
                for scenario in scenarios:
                    yield pytest.param(call, form, mode, scenario, id=f"{call.name}-{form}-{mode}-{scenario}")
    for call in HELPED:
        for mode in ("sync", "async"):
            for scenario in essential(call, ESSENTIAL):
                yield pytest.param(call, "helper", mode, scenario, id=f"{call.name}-{mode}-{scenario}")


@pytest.mark.parametrize(("call", "form", "mode", "scenario"), list(_cases()))
def test_reported_is_injected(
    call: Call, form: str, mode: str, scenario: str, observe: Callable[..., RecordList]
) -> None:
    records = observe(act_of(call, form, mode, scenario), Config(stall_after=5.0))
    assert verdicts(records) == [truth_of(call, scenario)]
    assert records[0].labels.operation == call.operation


# -- what else a record says ------------------------------------------------------------------------------------

USAGE = {
    "responses": Usage(PROMPT_TOKENS, 8, 3, 2),
    "responses-fetch": Usage(PROMPT_TOKENS, 8, 3, 2),
    "completions": None,  # not asked for
    "runs": Usage(PROMPT_TOKENS, 8),
    "images": Usage(PROMPT_TOKENS, 8),
    "transcriptions": Usage(PROMPT_TOKENS, 8),
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


def test_every_play_is_listed() -> None:
    """The fault server's plays and the table of what they must be reported as are of the same extent."""
    for surface in SURFACES:
        assert set(scenarios_of(surface.name)) <= set(plays_of(surface))
        for scenario in plays_of(surface):
            truth(surface.name, scenario)
    assert set(scenarios_of("speech")) <= set(speech_plays())
    assert all(truth("responses", scenario) == ("completed", "") for scenario in WHOLE)
