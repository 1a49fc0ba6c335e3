"""What the page says of open streams."""

from __future__ import annotations

import pytest

from live_support import BEGAN, Lived
from store_support import LABELS, call, progress
from streamvitals.live.streams import MOST_MODELS, STATES


@pytest.fixture
def lived() -> Lived:
    return Lived()


def states(lived: Lived) -> list[str]:
    return [one["state"] for one in lived.streams()["streams"]]


def test_a_stream_is_shown_from_its_request_on(lived: Lived) -> None:
    slot = lived.open(LABELS._replace(custom=(("tenant", "a"),)))
    first = lived.streams()
    (one,) = first["streams"]
    assert one == {
        "id": one["id"], "pid": one["pid"], "operation": "chat", "provider": "openai", "model": "gpt-4o-mini",
        "server": "api.example.com", "labels": {"tenant": "a"}, "state": "waiting", "phase": None, "age": 0.5,
        "silence": 0.5, "chunks": 0, "stalled_after": 60.0,
    }
    assert first["now"] == BEGAN + lived.now
    lived.set(slot, chunks=7.0, answered=1.0, state=lived.now)
    (two,) = lived.streams()["streams"]
    assert (two["id"], two["state"], two["chunks"], two["stalled_after"]) == (one["id"], "streaming", 7, 5.0)
    lived.store.close_slot(slot)
    assert lived.streams()["streams"] == []


def test_it_is_stalled_past_the_threshold_of_its_phase_and_not_before(lived: Lived) -> None:
    slot = lived.open()
    lived.now += 59.0
    assert states(lived) == ["waiting"]
    lived.now += 1.0
    assert states(lived) == ["stalled"]
    lived.set(slot, answered=1.0, state=lived.now)
    lived.now += 4.0
    assert states(lived) == ["streaming"]
    lived.now += 1.0
    (one,) = lived.streams()["streams"]
    assert (one["state"], one["phase"], one["silence"]) == ("stalled", "between_chunks", 6.0)


def test_before_its_first_token_a_slow_model_is_given_twice_its_usual_time(lived: Lived) -> None:
    lived.live.note()
    lived.end(100, first_token=38.0, progress=progress(first_chunk=38.0, first_token=38.0))
    lived.pass_time(15.0)
    lived.open()
    lived.open(LABELS._replace(model="other-one"))
    lived.now += 70.0
    answer = lived.streams()
    found = {one["model"]: one for one in answer["streams"]}
    assert found["other-one"]["state"] == "stalled", "nothing is known of it but the threshold"
    assert found["gpt-4o-mini"]["state"] == "waiting"
    assert 70.0 < found["gpt-4o-mini"]["stalled_after"] <= 80.0
    lived.now += 10.0
    assert states(lived) == ["stalled", "stalled"]


def test_what_the_app_holds_is_not_the_providers_silence(lived: Lived) -> None:
    lived.open(answered=1.0, state=-lived.now)
    assert states(lived) == ["streaming"], "it works on a chunk"
    lived.now += 60.0
    (one,) = lived.streams()["streams"]
    assert (one["state"], one["silence"]) == ("held", 0.0)


def test_keep_alives_do_not_hide_a_stall(lived: Lived) -> None:
    slot = lived.open(answered=1.0)
    lived.now += 8.0
    lived.set(slot, state=lived.now, kept_alive=-(lived.now - 8.0))
    (one,) = lived.streams()["streams"]
    assert (one["state"], one["phase"], one["silence"]) == ("stalled", "keep_alive", 8.5)


def test_many_are_folded_by_model_with_what_beats(lived: Lived) -> None:
    slots = [lived.open(LABELS._replace(model=f"m{i % 3}"), answered=1.0) for i in range(300)]
    lived.streams()
    for slot in slots[:3]:
        lived.set(slot, chunks=5.0)
    new = lived.open(LABELS._replace(model="m0"), answered=1.0, chunks=2.0)
    answer = lived.streams(limit=10)
    assert (answer["open"], len(answer["streams"]), answer["truncated"]) == (301, 10, 291)
    assert [(line["model"], line["open"], line["beats"]) for line in answer["models"]] == [
        ("m0", 101, 7), ("m1", 100, 5), ("m2", 100, 5),
    ]
    lived.set(new, state=lived.now - 60.0)
    answer = lived.streams(limit=10)
    assert answer["streams"][0]["state"] == "stalled", "what is stalled is never folded away first"
    assert answer["states"] == {"waiting": 0, "streaming": 300, "stalled": 1, "held": 0} == {
        state: answer["states"][state] for state in STATES
    }


def test_the_number_of_models_is_bounded(lived: Lived) -> None:
    for i in range(45):
        for provider in ("openai", "groq"):
            lived.open(LABELS._replace(model=f"m{i}", provider=provider))
    models = lived.streams()["models"]
    assert len(models) == MOST_MODELS
    assert sum(line["open"] for line in models) == 90


def test_those_who_ask_at_once_share_a_sample(lived: Lived) -> None:
    lived.open()
    assert lived.live.streams() is not None
    lived.open()
    assert lived.live.streams()["open"] == 1
    lived.now += 0.5
    assert lived.live.streams()["open"] == 2


def test_calls_without_a_stream_are_only_counted(lived: Lived) -> None:
    call(lived.store)
    answer = lived.streams()
    assert (answer["open"], answer["calls_open"]) == (0, 1)
