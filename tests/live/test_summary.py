"""What the page says of the last minutes and the last hour."""

from __future__ import annotations

import json
import sys

import pytest

from live_support import BEGAN, Lived
from store_support import LABELS, NO_GAPS, progress
from streamvitals import names
from streamvitals.alerts.promql import FAILED_OUTCOMES
from streamvitals.live import counts, headline
from streamvitals.live.history import EVERY, KEEP, MOST_MODELS, History, Note
from streamvitals.outcome import Outcome
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.snapshot import Snapshot
from streamvitals.stream.record import ChainRecord, RateLimit, RetryRecord

RESET = {"outcome": Outcome.RESET, "error_type": "connection_reset"}


@pytest.fixture
def lived() -> Lived:
    lived = Lived()
    lived.live.note()
    return lived


def test_recent_is_five_minutes_and_the_hour_an_hour(lived: Lived) -> None:
    lived.end(10)
    lived.end(2, **RESET)
    lived.pass_time(3000.0)
    lived.end(5)
    lived.pass_time(120.0)
    found = lived.live.summary()
    assert (found["recent"]["ended"], found["hour"]["ended"]) == (5, 17)
    assert found["hour"]["outcomes"] == {"completed": 15, "reset": 2}
    assert found["hour"]["errors"] == [{"outcome": "reset", "error_type": "connection_reset", "count": 2}]
    assert found["recent"]["seconds"] == 300.0
    assert found["recent"]["per_second"] == round(5 / 300, 3)
    lived.pass_time(600.0)
    found = lived.live.summary()
    assert (found["recent"]["ended"], found["hour"]["ended"]) == (0, 5), "what is older than an hour is gone"
    assert found["hour"]["seconds"] == KEEP


def test_the_course_has_a_point_a_minute_that_add_up(lived: Lived) -> None:
    for count in (3, 0, 4):
        lived.end(count)
        lived.pass_time(60.0)
    lived.end(1, **RESET)
    lived.now += 5.0
    points = lived.live.summary()["course"]["points"]
    assert [point["results"] for point in points] == [{"completed": 3}, {}, {"completed": 4}, {"failed": 1}]
    assert [point["time"] for point in points][:2] == [BEGAN + 1060.0, BEGAN + 1120.0]
    lived.pass_time(2 * KEEP)
    assert 60 <= len(lived.live.summary()["course"]["points"]) <= 61


def test_operations_are_counted_as_the_alerts_count_them(lived: Lived) -> None:
    lived.end(8)
    lived.end(3, **RESET)
    for _ in range(2):
        lived.sink.on_retry(RetryRecord(LABELS, "app", "reset", 1.5))
    lived.sink.on_chain(ChainRecord(LABELS, "failed", 2))
    recent = lived.live.summary()["recent"]
    assert (recent["operations"], recent["operations_failed"]) == (9, 1)
    assert recent["retries"] == {"sdk": {}, "app": {"reset": 2}}
    assert recent["backoff_seconds"] == 3.0


def test_where_nothing_ends_well_everything_fails(lived: Lived) -> None:
    lived.end(4, **RESET)
    for _ in range(3):
        lived.sink.on_retry(RetryRecord(LABELS, "app", "reset", 0.0))
    recent = lived.live.summary()["recent"]
    assert (recent["operations"], recent["operations_failed"]) == (4, 4)


@pytest.mark.parametrize(("q", "expected"), [(0.5, 0.15), (0.95, 0.339)])
def test_quantiles_are_what_prometheus_estimates(q: float, expected: float) -> None:
    """histogram_quantile over the same buckets, as promtool gives it."""
    filled = [0.0] * (len(names.FIRST_EDGES) + 1)
    filled[names.FIRST_EDGES.index(0.1)] = 5.0
    filled[names.FIRST_EDGES.index(0.2)] = 6.0
    filled[names.FIRST_EDGES.index(0.35)] = 4.0
    found = counts.quantile(q, names.TIME_TO_FIRST_TOKEN, filled)
    rank = q * 15 - (5 if q == 0.5 else 11)
    low, high, count = (0.1, 0.2, 6) if q == 0.5 else (0.2, 0.35, 4)
    assert found == pytest.approx(low + (high - low) * rank / count, abs=1e-4)
    assert found == pytest.approx(expected, abs=0.02)
    assert counts.quantile(q, names.TIME_TO_FIRST_TOKEN, [0.0] * len(filled)) is None
    assert counts.quantile(q, names.TIME_TO_FIRST_TOKEN, [0.0] * (len(filled) - 1) + [1.0]) == names.FIRST_EDGES[-1]


def test_distributions_models_waits_and_limits(lived: Lived) -> None:
    gaps = list(NO_GAPS)
    gaps[3] = 20
    lived.end(4, rate_limits=(RateLimit("requests", 5.0, 100.0), RateLimit("tokens", 900.0, 1000.0)), progress=progress(
        first_chunk=0.3, first_token=0.3, gap_counts=tuple(gaps), gap_sum=0.2, wait=3.0, hold=1.0, stalls=2,
    ))
    lived.end(1, labels=LABELS._replace(model="m2"), **RESET)
    lived.open(LABELS._replace(model="m3"))
    lived.sink.on_loop_lag(0.3)
    lived.now += 10.0
    found = lived.live.summary()
    assert sum(found["distributions"]["first_token"]["recent"]) == 4
    assert found["distributions"]["gap"]["hour"][3] == 80
    assert (found["recent"]["wait_seconds"], found["recent"]["hold_seconds"], found["recent"]["stalls"]) == (12, 4, 8)
    assert found["recent"]["loop_lag"]["count"] == 1
    assert [(row["model"], row["ended"], row["operations_failed"], row["open"]) for row in found["models"]] == [
        ("m2", 1, 1, 0), ("gpt-4o-mini", 4, 0, 0), ("m3", 0, 0, 1),
    ]
    assert [(one["kind"], one["remaining"], one["limit"]) for one in found["limits"]] == [
        ("requests", 5.0, 100.0), ("tokens", 900.0, 1000.0),
    ]
    json.dumps(found, allow_nan=False)


def test_without_a_history_all_is_since_the_process_began() -> None:
    lived = Lived(history=False)
    lived.end(3)
    lived.now += 5000.0
    found = lived.live.summary()
    assert (found["recent"]["ended"], found["hour"]["ended"]) == (3, 3)
    assert found["recent"]["seconds"] is found["recent"]["per_second"] is None
    assert found["course"]["points"] == []


def test_an_hour_of_many_models_is_bounded() -> None:
    """All change all the time."""
    history, row, models = History(), [0.0] * STREAM_LAYOUT.size, MOST_MODELS + 5
    for turn in range(int(1.2 * KEEP / EVERY)):
        row[0] += 1.0
        snapshot = Snapshot(streams={LABELS._replace(model=f"m{i}"): list(row) for i in range(models)})
        history.note(snapshot, turn * EVERY, turn * EVERY)
    assert len(history.notes) == KEEP / EVERY + 1
    kept = {id(row): row for note in history.notes for row in (note.streams, *(note.models or {}).values())}
    assert sum(map(sys.getsizeof, kept.values())) < 8_000_000
    now = history.notes[-1]
    assert now.models is not None
    assert len(now.models) == MOST_MODELS
    hour = history.since(KEEP, now)
    assert hour.seconds == KEEP
    assert len(hour.models) == MOST_MODELS
    assert hour.streams[0] == models * KEEP / EVERY, "models that are not kept apart are in the sum"


def test_what_does_not_change_takes_room_once() -> None:
    snapshot = Snapshot(streams={LABELS: [1.0] * STREAM_LAYOUT.size})
    first = Note.of(snapshot, 1.0)
    second = Note.of(snapshot, 2.0, first)
    assert first.models is not None
    assert second.models is not None
    assert first.models[LABELS.provider, LABELS.model] is second.models[LABELS.provider, LABELS.model]


def test_who_asks_again_within_a_moment_gets_the_same_or_nothing(lived: Lived) -> None:
    first = lived.live.answer("/api/v1/summary")
    assert first is not None
    lived.end()
    tag = dict(first.headers)["ETag"]
    again = lived.live.answer("/api/v1/summary", "", tag)
    assert again is not None
    assert (again.status, again.body) == (304, b"")
    assert "max-age=2" in dict(again.headers)["Cache-Control"]
    lived.now += 2.0
    later = lived.live.answer("/api/v1/summary", "", tag)
    assert later is not None
    assert (later.status, json.loads(later.body)["recent"]["ended"]) == (200, 1)


# -- the first line


def said(lived: Lived) -> tuple[str, str]:
    lived.now += 5.0
    found = lived.live.streams()["headline"]
    return found["level"], found["text"]


def test_nothing_yet(lived: Lived) -> None:
    assert said(lived) == ("ok", "No stream yet: the first one is shown here as soon as it is asked for.")


def test_all_is_well(lived: Lived) -> None:
    lived.end(40)
    lived.open(answered=1.0)
    lived.now -= 2.0
    text = "1 stream is open and not stalled; 40 have ended in the last minute, none of them failed."
    assert said(lived) == ("ok", text)


def test_streams_hang_and_operations_fail(lived: Lived) -> None:
    lived.end(66)
    lived.end(34, **RESET)
    for _ in range(3):
        lived.open(answered=1.0)
    lived.pass_time(300.0)
    level, text = said(lived)
    assert level == "bad"
    assert "3 streams of gpt-4o-mini at api.example.com hang: nothing came for up to 305 s." in text
    assert "34% of operations failed in the last 5 minutes, most of them reset mid-stream (gpt-4o-mini)." in text


def test_one_that_hangs_is_amber_and_so_is_one_failure(lived: Lived) -> None:
    lived.open(answered=1.0)
    lived.now += 6.0
    assert said(lived)[0] == "warn"
    lived.end(1, **RESET)
    assert "1 of 1 operations failed" in said(lived)[1]


def test_what_broke_and_was_tried_again_is_amber(lived: Lived) -> None:
    lived.end(8)
    lived.end(2, **RESET)
    for _ in range(2):
        lived.sink.on_retry(RetryRecord(LABELS, "app", "reset", 1.5))
    level, text = said(lived)
    assert level == "warn"
    assert text.startswith("20% of streams broke in the last minute, most of them reset mid-stream (gpt-4o-mini)")


def test_late_first_tokens(lived: Lived) -> None:
    lived.end(20, progress=progress(first_chunk=9.0, first_token=9.0))
    assert said(lived)[0] == "warn"
    assert said(lived)[1].startswith("First tokens are late: one in twenty took longer than 9.8 s")


def test_there_are_words_for_every_failure() -> None:
    assert set(headline.FATES) == set(FAILED_OUTCOMES)
