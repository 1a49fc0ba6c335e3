"""What /api/v1/incidents answers: the shape, the filters, the bounds, and what may be asked."""

from __future__ import annotations

import json
from typing import Any

import pytest

from streamvitals.incidents.answer import answer
from streamvitals.incidents.page import FRESH, IncidentsPage
from streamvitals.incidents.query import MOST, BadQueryError, Query, parse, seconds
from streamvitals.store.incident_record import ENDED, SLOW_FIRST_TOKEN, IncidentRecord, Tried
from streamvitals.stream.record import Stall, StreamLabels

NOW = 1_700_000_000.0
LABELS = StreamLabels("chat", "openai", "gpt-4o", "api.example", (("tenant", "acme"),))


def one(number: int, ago: float, **facts: Any) -> IncidentRecord:
    plain = IncidentRecord(f"1-1-{number}", ENDED, 1, LABELS, "reset", "connection_reset", NOW - ago, 12.0, 20)
    return plain._replace(**{"run_since": NOW - ago, **facts})


def test_the_shape_is_that_of_the_documentation() -> None:
    made = answer([one(
        1, 30.0, bytes=4096, silence=2.0, headers=0.2, first_chunk=0.4, first_token=0.5, longest_gap=3.0,
        longest_gap_at=4.0, stalls=1, stalled=6.0, first_stalls=(Stall(2.0, 6.0, "between_chunks"),),
        first_attempts=(Tried(0.0, 0.25, 503, "503", 0.75),), causes=("ReadError",), operation="1-1-7",
        attempts=2, backoff=0.75, request_id="req_1", trace_id="ab" * 16,
    )], 4, Query(), NOW)
    (incident,) = made.pop("incidents")
    sentence, following = incident.pop("sentence"), incident.pop("next")
    assert sentence == "The connection to api.example was reset; the provider's doing."
    assert "idle timeout" in following
    assert len(incident.pop("id")) == 8
    assert incident == {
        "outcome": "reset", "error_type": "connection_reset", "owner": "provider", "operation": "chat",
        "provider": "openai", "model": "gpt-4o", "server": "api.example", "labels": {"tenant": "acme"},
        "count": 1, "kept": 1, "first": NOW - 30, "last": NOW - 30, "recovered": 0, "given_up": 0,
        "chunks": 20, "seconds": 12.0,
        "runbook": "StreamvitalsResetStorm", "records": ["1-1-1"],
    }
    assert made == {
        "version": 1, "now": NOW, "truncated": 0, "lost": 4, "slowest": {"first_token": [], "gap": []},
        "records": [{
            "id": "1-1-1", "kind": "ended", "time": NOW - 30, "outcome": "reset", "error_type": "connection_reset",
            "owner": "provider", "operation": "chat", "provider": "openai", "model": "gpt-4o",
            "server": "api.example", "labels": {"tenant": "acme"}, "chunk_index": 20, "bytes": 4096, "seconds": 12.0,
            "silence": 2.0, "attempts": 2, "chain_attempt": 1, "backoff": 0.75, "operation_id": "1-1-7",
            "recovered": None, "given_up": None, "request_id": "req_1", "trace_id": "ab" * 16,
            "causes": ["ReadError"], "pid": 1, "stalls": 1, "stalled_seconds": 6.0, "repeats": 0,
            "timeline": {
                "start": NOW - 42, "headers": 0.2, "first_chunk": 0.4, "first_token": 0.5, "end": 12.0,
                "attempts": [{"start": 0.0, "seconds": 0.25, "status": 503, "reason": "503", "backoff": 0.75}],
                "stalls": [{"at": 2.0, "seconds": 6.0, "phase": "between_chunks", "keep_alive": False}],
                "longest_gap": {"at": 4.0, "seconds": 3.0},
            },
        }],
    }


def test_an_incident_that_went_on_since_then_is_shown_whole() -> None:
    long = one(2, 10.0, run_since=NOW - 1000, run_number=50)
    made = answer([one(1, 1000.0), long, one(3, 2000.0, outcome="timeout")], 0, Query(since=60.0), NOW)
    assert [(i["outcome"], i["count"], i["first"]) for i in made["incidents"]] == [("reset", 50, NOW - 1000)]
    assert {record["id"] for record in made["records"]} == {"1-1-1", "1-1-2"}


@pytest.mark.parametrize(("asked", "found"), [
    ({}, {1, 2, 3}), ({"outcome": ["timeout"]}, {2}), ({"outcome": ["timeout,reset"]}, {1, 2, 3}),
    ({"outcome": ["timeout", "reset"], "model": ["other"]}, {3}), ({"provider": ["groq"]}, {2}),
    ({"label.tenant": ["acme"]}, {1, 2}), ({"label.tenant": ["x"]}, set()), ({"label.region": ["eu"]}, set()),
    ({"model": [""]}, set()),
])
def test_filters(asked: Any, found: set[int]) -> None:
    records = [
        one(1, 1.0), one(2, 1.0, outcome="timeout", labels=LABELS._replace(provider="groq")),
        one(3, 1.0, labels=LABELS._replace(model="other", custom=())),
    ]
    made = answer(records, 0, parse(asked), NOW)
    assert {int(record["id"].rpartition("-")[2]) for record in made["records"]} == found


def test_the_number_of_records_is_bounded_and_each_incident_has_one() -> None:
    rare = one(0, 500.0, outcome="timeout")
    records = [rare, *(one(n, 400.0 - n, run_since=NOW - 400, run_number=n) for n in range(1, 300))]
    made = answer(records, 0, Query(limit=10), NOW)
    assert len(made["records"]) == 10
    assert made["truncated"] == 290
    assert [len(incident["records"]) for incident in made["incidents"]] == [9, 1]
    assert {i for incident in made["incidents"] for i in incident["records"]} == {r["id"] for r in made["records"]}


def test_the_slowest_are_four_of_each_kind_of_the_last_hour() -> None:
    slow = [one(n, 60.0, kind=SLOW_FIRST_TOKEN, first_token=float(n), outcome="completed") for n in range(9)]
    old = one(99, 4000.0, kind=SLOW_FIRST_TOKEN, first_token=99.0, outcome="completed")
    made = answer([*slow, old], 0, Query(), NOW)
    assert made["slowest"] == {"first_token": ["1-1-8", "1-1-7", "1-1-6", "1-1-5"], "gap": []}
    assert made["incidents"] == []
    assert len(made["records"]) == 4


@pytest.mark.parametrize(("asked", "said"), [
    ({"since": ["soon"]}, "10m"), ({"since": ["1m", "2m"]}, "once"), ({"since": ["-1m"]}, "10m"),
    ({"since": ["1e9"]}, "10m"), ({"since": ["\u0661m"]}, "10m"), ({"since": [""]}, "10m"),
    ({"outcome": ["rest"]}, "truncated, reset, timeout"), ({"outcome": ["completed"]}, "truncated, reset"),
    ({"provider": ["nobody"]}, "openai, azure"), ({"limit": ["0"]}, f"1 to {MOST}"),
    ({"limit": ["1001"]}, f"1 to {MOST}"), ({"limit": ["9" * 5000]}, f"1 to {MOST}"), ({"limit": ["²"]}, "1 to"),
    ({"colour": ["red"]}, "since, outcome, model, provider, label.NAME, limit"),
    ({"label.": ["x"]}, "STREAMVITALS_LABELS"),
    ({"label.\u202e<b>": ["x"]}, "STREAMVITALS_LABELS"),
])
def test_what_cannot_be_asked_is_said_with_what_can(asked: Any, said: str) -> None:
    with pytest.raises(BadQueryError) as raised:
        parse(asked)
    assert said in str(raised.value)
    assert "\u202e" not in str(raised.value)
    assert len(str(raised.value)) < 600


def test_times() -> None:
    assert [seconds(text) for text in ("90", "90s", "10m", "1.5h", "2d", "0")] == [90, 90, 600, 5400, 172800, 0]


def test_an_answer_is_read_once_a_moment_and_not_sent_to_who_has_it() -> None:
    clock, unix, taken = [0.0], [NOW], []

    def take() -> tuple[list[IncidentRecord], int]:
        taken.append(clock[0])
        return [one(1, 30.0)], 0

    page = IncidentsPage(take, lambda: clock[0], lambda: unix[0])
    first = page.reply("")
    tag = dict(first.headers)["ETag"]
    assert (first.status, json.loads(first.body)["version"], dict(first.headers)["Cache-Control"]) == (
        200, 1, "private, max-age=1",
    )
    clock[0], unix[0] = FRESH / 2, NOW + 5
    assert page.reply("", f'"x", {tag}')[::2] == (304, b"")
    assert page.reply("outcome=timeout", tag).status == 200, "another question"
    assert len(taken) == 1
    clock[0] = FRESH
    assert page.reply("", tag).status == 304
    assert len(taken) == 2


@pytest.mark.parametrize(("takes", "read_again"), [(0.0, 1.0), (0.04, 1.0), (0.4, 8.0), (60.0, 15.0)])
def test_what_takes_long_to_read_is_read_less_often(takes: float, read_again: float) -> None:
    clock, spent, taken = [0.0], [0.0], []

    def take() -> tuple[list[IncidentRecord], int]:
        taken.append(clock[0])
        spent[0] += takes
        return [one(1, 30.0)], 0

    page = IncidentsPage(take, lambda: clock[0], lambda: NOW, lambda: spent[0])
    for clock[0] in (0.0, read_again - 0.01, read_again):
        assert json.loads(page.reply("").body)["records"]
    assert taken == [0.0, read_again]


def test_different_questions_do_not_keep_an_answer_for_ever() -> None:
    clock, spent, taken = [0.0], [0.0], []

    def take() -> tuple[list[IncidentRecord], int]:
        taken.append(clock[0])
        return [], 0

    def cpu_time() -> float:
        spent[0] += 0.3
        return spent[0]

    page = IncidentsPage(take, lambda: clock[0], lambda: NOW, cpu_time)
    for second in range(16):
        clock[0] = float(second)
        page.reply(f"limit={1 + second}")
    assert taken == [0.0, 15.0]


@pytest.mark.parametrize("query", ["since=soon", "limit=0&limit=1", "x=" + "&x=" * 100, "label.a b=1"])
def test_a_bad_question_is_answered_with_400(query: str) -> None:
    reply = IncidentsPage(lambda: ([], 0)).reply(query)
    assert reply.status == 400
    assert json.loads(reply.body)["error"]
    assert dict(reply.headers)["Cache-Control"] == "no-store"
