"""What the store counts, in both kinds of memory; what the tree of processes makes of it is in test_tree."""

from __future__ import annotations

from typing import Any

import pytest

from store_support import (
    LABELS,
    NO_GAPS,
    OTHER_SET,
    assert_consistent,
    ended,
    progress,
    record,
    total,
    value,
)
from streamvitals import names
from streamvitals.outcome import ERROR_TYPES, RESULTS, Outcome, result
from streamvitals.store import segment
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.store.snapshot import Snapshot
from streamvitals.store.store import Store, StoreSink
from streamvitals.stream.record import Attempt, ChainRecord, RateLimit, RetryRecord, StallAfter, StreamLabels, Usage

NOW = 1000.0


def look(store: Store, now: float = NOW, stall_after: float = 5.0) -> Snapshot:
    return store.snapshot(now, StallAfter(stall_after, stall_after))


# -- open streams


def test_all_series_of_a_label_set_stand_at_zero_from_its_first_stream_on(store: Store) -> None:
    assert look(store).streams == {}
    store.open_slot(LABELS, NOW)
    assert look(store).streams == {LABELS: [0.0] * STREAM_LAYOUT.size}


def test_an_open_stream_is_active_and_ages(store: Store) -> None:
    store.open_slot(LABELS, NOW - 7)
    store.open_slot(LABELS, NOW - 2)
    snapshot = look(store)
    assert snapshot.active == {LABELS: 2}
    assert snapshot.oldest == {LABELS: 7.0}


def test_only_a_stream_whose_reader_is_blocked_for_longer_than_the_threshold_is_stalled(store: Store) -> None:
    blocked = store.open_slot(LABELS, NOW - 60)
    blocked.view[blocked.at] = NOW - 5.5
    held = store.open_slot(LABELS, NOW - 60)
    held.view[held.at] = -(NOW - 30)
    fresh = store.open_slot(LABELS, NOW - 60)
    fresh.view[fresh.at] = NOW - 5.0
    assert look(store).stalled == {(LABELS, "first_token"): 1}
    assert look(store, stall_after=4.0).stalled == {(LABELS, "first_token"): 2}


def test_how_long_is_too_long_depends_on_whether_the_answer_has_begun(store: Store) -> None:
    thinks, pauses = store.open_slot(LABELS, NOW - 30), store.open_slot(LABELS, NOW - 60)
    pauses.view[pauses.at] = NOW - 30
    pauses.view[pauses.at + segment.ANSWERED] = 1.0
    assert store.snapshot(NOW, StallAfter(60.0, 5.0)).stalled == {(LABELS, "between_chunks"): 1}
    assert store.snapshot(NOW, StallAfter(20.0, 60.0)).stalled == {(LABELS, "first_token"): 1}
    for slot in (thinks, pauses):
        store.close_slot(slot)
    again = [store.open_slot(LABELS, NOW - 30) for _ in range(2)]
    assert store.snapshot(NOW, StallAfter(60.0, 5.0)).stalled == {}, "a slot forgets the stream before"
    assert len(again) == 2


@pytest.mark.parametrize(("kept_alive", "phase"), [
    (0.0, "first_token"),  # none came
    (NOW - 101, "first_token"),  # before this wait
    (NOW - 60, "keep_alive"),
    (NOW - 61, "first_token"),  # one came, and then nothing
])
def test_a_stream_to_which_comments_come_is_kept_alive(store: Store, kept_alive: float, phase: str) -> None:
    slot = store.open_slot(LABELS, NOW - 100)
    slot.view[slot.at + segment.KEPT_ALIVE] = kept_alive
    assert look(store).stalled == {(LABELS, phase): 1}


@pytest.mark.parametrize(("since", "stalled"), [(6.0, {(LABELS, "keep_alive"): 1}), (5.0, {})])
def test_keep_alives_that_come_to_the_app_do_not_end_its_wait(
    store: Store, since: float, stalled: dict[tuple[StreamLabels, str], int]
) -> None:
    slot = store.open_slot(LABELS, NOW - 100)
    slot.view[slot.at] = NOW - 1
    slot.view[slot.at + segment.KEPT_ALIVE] = -(NOW - since)
    assert look(store).stalled == stalled


def test_the_wait_for_headers_counts_as_blocked(store: Store) -> None:
    store.open_slot(LABELS, NOW - 6)
    assert look(store).stalled == {(LABELS, "first_token"): 1}


def test_a_stream_that_starts_at_the_zero_of_its_clock_is_open_too(store: Store) -> None:
    store.open_slot(LABELS, 0.0)
    assert look(store, now=1.0).active == {LABELS: 1}


def test_a_closed_slot_is_free_and_counts_nothing(store: Store) -> None:
    slot = store.open_slot(LABELS, NOW)
    store.close_slot(slot)
    store.close_slot(slot)
    assert look(store).active == {}
    assert ended(look(store)) == {}
    assert store.open_slot(LABELS, NOW).at != store.open_slot(LABELS, NOW).at


def test_thousands_of_streams_may_be_open(store: Store) -> None:
    slots = [store.open_slot(LABELS, NOW) for _ in range(5000)]
    assert len({(id(slot.view), slot.at) for slot in slots}) == 5000
    assert look(store).active == {LABELS: 5000}
    for slot in slots:
        store.close_slot(slot)
    assert look(store).active == {}


# -- ends


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_with_every_error_type_is_counted_where_it_belongs(
    store: Store, sink: StoreSink, outcome: Outcome
) -> None:
    errors = ERROR_TYPES.get(outcome, ("",))
    for error in errors:
        sink.on_end(record(store.open_slot(LABELS, NOW), outcome=outcome, error_type=error))
    snapshot = look(store)
    assert ended(snapshot) == {outcome.value: len(errors)}
    assert total(snapshot, names.CHUNKS) == 3 * len(errors)
    for means in RESULTS:
        assert value(snapshot, names.CHUNKS, means) == 3 * sum(result(outcome, error) == means for error in errors)
    for ends in names.OUTCOME_ERRORS:
        assert value(snapshot, names.STREAM_ERRORS, *ends) == (ends[0] == outcome.value)
    assert_consistent(snapshot)
    assert snapshot.active == {}
    assert not any(snapshot.process)


def test_an_error_type_that_is_not_listed_is_other(store: Store, sink: StoreSink) -> None:
    sink.on_end(record(outcome=Outcome.REJECTED, error_type="418"))
    assert value(look(store), names.STREAM_ERRORS, "rejected", "other") == 1
    assert not any(look(store).process)


def test_where_there_is_no_other_the_stream_is_counted_all_the_same_and_the_fault_too(
    store: Store, sink: StoreSink
) -> None:
    sink.on_end(record(outcome=Outcome.TRUNCATED, error_type="no such type"))
    assert_consistent(look(store))
    assert value(look(store), names.INTERNAL_ERRORS, "classify") == 1


def test_a_record_is_counted_once_however_often_it_is_handed_over(store: Store, sink: StoreSink) -> None:
    one = record(store.open_slot(LABELS, NOW))
    sink.on_end(one)
    other = store.open_slot(LABELS, NOW)
    sink.on_end(one)
    assert ended(look(store)) == {"completed": 1}
    assert look(store).active == {LABELS: 1}, "the slot is another stream's by now"
    assert not other.ended


def test_progress_and_end_add_up(store: Store, sink: StoreSink) -> None:
    gaps = list(NO_GAPS)
    gaps[0], gaps[-1] = 4, 1
    gathered = progress(gap_counts=tuple(gaps), gap_sum=70.25, wait=71.0, hold=0.5, stalls=1)
    sink.on_progress(gathered._replace(first_chunk=0.2, first_token=0.3))
    sink.on_end(record(store.open_slot(LABELS, NOW), progress=progress(gap_counts=tuple(gaps), gap_sum=0.75, wait=1.0)))
    row = look(store).streams[LABELS]
    at = STREAM_LAYOUT.at(names.CHUNK_GAP)
    assert row[at : at + len(NO_GAPS) + 1] == [8.0, *[0.0] * (len(NO_GAPS) - 2), 2.0, 71.0]
    assert value(look(store), names.WAIT) == 72.0
    assert value(look(store), names.HOLD) == 0.5
    assert value(look(store), names.STALLS) == 1
    assert value(look(store), names.TIME_TO_FIRST_CHUNK) == 1
    assert value(look(store), names.TIME_TO_FIRST_TOKEN) == 1


def test_a_value_on_an_edge_belongs_to_the_bucket_that_it_bounds(store: Store, sink: StoreSink) -> None:
    for duration in (0.1, 0.1000001, 600.0, 600.1):
        sink.on_end(record(duration=duration))
    at = STREAM_LAYOUT.at(names.DURATION, "completed")
    assert look(store).streams[LABELS][at : at + len(names.DURATION_EDGES) + 1] == [1, 1, *[0] * 10, 1, 1]


def test_the_last_bit_of_a_difference_lowers_no_counter(store: Store, sink: StoreSink) -> None:
    sink.on_progress(progress(wait=-1e-17, hold=-0.25, gap_sum=-1e-9))
    assert not any(look(store).streams[LABELS])


def test_retries_and_backoff_are_counted_when_they_happen_and_not_again_at_the_end(
    store: Store, sink: StoreSink
) -> None:
    sink.on_retry(RetryRecord(LABELS, "sdk", "429", 0.5))
    sink.on_retry(RetryRecord(LABELS, "app", "no such reason", 0.25))
    attempts = (Attempt(1, 0.0, 1.0, 429, "429", 0.5), Attempt(2, 1.5, 2.0, 200))
    sink.on_end(record(attempts=attempts, backoff=0.5))
    snapshot = look(store)
    assert value(snapshot, names.RETRIES, "sdk", "429") == 1
    assert value(snapshot, names.RETRIES, "app", "other") == 1
    assert value(snapshot, names.BACKOFF, "sdk") == 0.5
    assert value(snapshot, names.BACKOFF, "app") == 0.25


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_recovery_is_a_good_end_after_a_failed_attempt(store: Store, sink: StoreSink, outcome: Outcome) -> None:
    error = ERROR_TYPES.get(outcome, ("",))[0]
    attempts = (Attempt(1, 0.0, 1.0), Attempt(2, 1.0, 2.0))
    sink.on_end(record(outcome=outcome, error_type=error, attempts=attempts[:1]))
    assert value(look(store), names.RECOVERIES, "sdk") == 0
    sink.on_end(record(outcome=outcome, error_type=error, attempts=attempts))
    good = outcome in (Outcome.COMPLETED, Outcome.LENGTH, Outcome.CONTENT_FILTER)
    assert value(look(store), names.RECOVERIES, "sdk") == good
    assert value(look(store), names.RECOVERIES, "app") == 0


def test_a_stream_that_worked_after_others_failed_is_the_apps_recovery(store: Store, sink: StoreSink) -> None:
    sink.on_end(record(chain_attempt=1))
    sink.on_end(record(chain_attempt=2, outcome=Outcome.RESET, error_type="other"))
    assert value(look(store), names.RECOVERIES, "app") == 0
    sink.on_end(record(chain_attempt=3))
    assert value(look(store), names.RECOVERIES, "app") == 1
    assert value(look(store), names.RECOVERIES, "sdk") == 0


@pytest.mark.parametrize(
    ("event", "metric", "values"),
    [
        ("failed", names.OPERATIONS_FAILED, ()),
        ("fallback", names.FALLBACKS, ()),
        ("recovered", names.RECOVERIES, ("app",)),
    ],
)
def test_what_became_of_a_chain_is_counted_where_it_belongs_and_nowhere_else(
    store: Store, sink: StoreSink, event: str, metric: names.Metric, values: tuple[str, ...]
) -> None:
    sink.on_chain(ChainRecord(LABELS, event, 2))
    assert value(look(store), metric, *values) == 1
    assert sum(look(store).streams[LABELS]) == 1


def test_a_failed_stream_alone_is_no_failed_operation_yet(store: Store, sink: StoreSink) -> None:
    for outcome in Outcome:
        sink.on_end(record(outcome=outcome, error_type=ERROR_TYPES.get(outcome, ("",))[0]))
    assert value(look(store), names.OPERATIONS_FAILED) == 0


def test_tokens_are_those_that_the_provider_reported(store: Store, sink: StoreSink) -> None:
    sink.on_end(record(usage=Usage(input=100, output=20, cached=None, reasoning=5)))
    sink.on_end(record(usage=Usage(output=1)))
    sink.on_end(record())
    snapshot = look(store)
    assert [value(snapshot, names.TOKENS, *part) for part in names.TOKEN_PARTS] == [100, 0, 0, 16, 5]
    assert [value(snapshot, names.TOKENS, kind) for kind in ("input", "output")] == [100, 21]


@pytest.mark.parametrize(("usage", "parts"), [
    (Usage(100, 20, 60, 5), [40, 60, 0, 15, 5]), (Usage(100, 20), [100, 0, 0, 20, 0]),
    (Usage(100, 20, 100, 20), [0, 100, 0, 0, 20]), (Usage(100, 20, 60, 5, 30), [10, 60, 30, 15, 5]),
    (Usage(None, None, 7, 3), [0, 7, 0, 0, 3]), (Usage(10, 20, 60, 500), [10, 60, 0, 20, 500]),
    (Usage(10, 20, 6, 0, 5), [10, 6, 5, 20, 0]), (Usage(0, 0, 0, 0, 0), [0] * 5),
])
def test_tokens_are_in_parts_that_add_up(
    store: Store, sink: StoreSink, usage: Usage, parts: list[float]
) -> None:
    """Cached tokens are within the input and reasoning within the output, unless there are more of them."""
    sink.on_end(record(usage=usage))
    assert [value(look(store), names.TOKENS, *part) for part in names.TOKEN_PARTS] == parts
    assert value(look(store), names.UNMETERED) == 0


@pytest.mark.parametrize(("outcome", "error", "means"), [
    (Outcome.COMPLETED, "", "completed"), (Outcome.LENGTH, "", "limit"), (Outcome.RESET, "connection_reset", "failed"),
    (Outcome.TIMEOUT, "read_timeout", "failed"), (Outcome.TIMEOUT, "unheard of", "failed"),
    (Outcome.TIMEOUT, "connect_timeout", None), (Outcome.TIMEOUT, "pool_timeout", None),
    (Outcome.RATE_LIMITED, "429", None), (Outcome.RATE_LIMITED, "insufficient_quota", "failed"),
    (Outcome.HTTP_ERROR, "500", None), (Outcome.REJECTED, "400", None), (Outcome.CONNECT_ERROR, "dns", None),
    (Outcome.ABANDONED, "closed", "left"), (Outcome.CANCELLED, "unheard of", "left"),
])
def test_a_stream_without_usage_is_unmetered_where_it_may_be_charged(
    store: Store, sink: StoreSink, outcome: Outcome, error: str, means: str | None
) -> None:
    sink.on_end(record(outcome=outcome, error_type=error, usage=Usage(1, 1)))
    sink.on_end(record(outcome=outcome, error_type=error, usage=None, replayed=True))
    assert value(look(store), names.UNMETERED) == 0, "metered, or another stream's"
    sink.on_end(record(outcome=outcome, error_type=error, usage=None))
    assert value(look(store), names.UNMETERED) == (means is not None)
    if means is not None:
        assert value(look(store), names.UNMETERED, means) == 1


@pytest.mark.parametrize(
    ("facts", "rated"),
    [
        ({}, True),
        ({"outcome": Outcome.LENGTH}, True),
        ({"outcome": Outcome.CONTENT_FILTER}, False),
        ({"outcome": Outcome.RESET, "error_type": "other"}, False),
        ({"usage": Usage(input=5)}, False),
        ({"usage": None}, False),
        ({"first_token": None}, False),
        ({"first_token": 1.5}, False),
        ({"first_token": 1.4999}, False),
    ],
)
def test_the_token_rate_is_that_of_completed_streams(
    store: Store, sink: StoreSink, facts: dict[str, Any], rated: bool
) -> None:
    sink.on_end(record(**{"usage": Usage(output=20), **facts}))
    assert value(look(store), names.TOKEN_RATE) == rated
    if rated:
        row = look(store).streams[LABELS]
        assert row[STREAM_LAYOUT.at(names.TOKEN_RATE) + len(names.RATE_EDGES) + 1] == 20.0


@pytest.mark.parametrize("claim", [10**400, float("inf"), float("nan"), -5, -1e300], ids=lambda c: str(c)[:9])
def test_whatever_a_provider_claims_no_counter_falls_or_becomes_infinite(
    store: Store, sink: StoreSink, claim: Any
) -> None:
    sink.on_end(record(usage=Usage(input=7, output=7)))
    before = look(store).streams[LABELS]
    sink.on_end(record(usage=Usage(claim, claim, claim, claim), rate_limits=(RateLimit("tokens", claim, claim),)))
    after = look(store).streams[LABELS]
    assert ended(look(store)) == {"completed": 2}
    assert all(b <= a <= 2.0**33 for a, b in zip(after, before, strict=True))


def test_rate_limits_are_what_the_provider_said_last(store: Store, sink: StoreSink) -> None:
    limits = (RateLimit("requests", 0.0, 60.0), RateLimit("tokens", None, 9.0), RateLimit("x", 1.0))
    sink.on_end(record(rate_limits=limits))
    row = look(store).streams[LABELS]
    at = STREAM_LAYOUT.at
    assert row[at(names.RATELIMIT_REMAINING, "requests") :][:2] == [0.0, 5000.0]
    assert row[at(names.RATELIMIT_LIMIT, "requests") :][:2] == [60.0, 5000.0]
    assert row[at(names.RATELIMIT_REMAINING, "tokens") :][:2] == [0.0, 0.0]
    assert row[at(names.RATELIMIT_LIMIT, "tokens") :][:2] == [9.0, 5000.0]


def test_the_process_has_numbers_of_its_own(store: Store, sink: StoreSink) -> None:
    store.set_build("1", "2", "true")
    sink.on_loop_lag(0.3)
    sink.on_internal_error("observe")
    sink.on_internal_error("no such place")
    snapshot = look(store)
    assert value(snapshot, names.LOOP_LAG) == 1
    assert value(snapshot, names.INTERNAL_ERRORS, "observe") == 1
    assert value(snapshot, names.INTERNAL_ERRORS, "other") == 1
    assert snapshot.builds == {("1", "2", "true"): 1}
    assert snapshot.streams == {}


def test_a_hint_is_counted_with_the_stream_that_gave_it_once(store: Store, sink: StoreSink) -> None:
    ended = record(store.open_slot(LABELS, 100.0), hints=("unread_body", "no such hint"))
    sink.on_end(ended)
    sink.on_end(ended)
    snapshot = look(store)
    assert value(snapshot, names.HINTS_SEEN, "unread_body") == 1
    assert value(snapshot, names.HINTS_SEEN, "other") == 1
    assert value(snapshot, names.HINTS_SEEN, "unknown_finish_reason") == 0


# -- bounds


HOSTILE = [
    "\x00\x1b[31m\r\n", "\ud800 lone", "\N{SNOWMAN}" * 500, "a" * 10**6, "", " ", '"} 1\nevil 2', "\u202e\u200b\x85",
    "\N{GRINNING FACE}" * 129, None, 17, b"bytes",
]


def test_series_are_bounded_under_hostile_names(store: Store, sink: StoreSink) -> None:
    rounds = 300
    names_there = [*HOSTILE, *(f"model-{i}" for i in range(rounds))]
    for i, name in enumerate(names_there):
        labels = StreamLabels("chat" if i % 3 else f"op{i}", "openai", name, f"{name}.{i}")  # type: ignore[arg-type]
        sink.on_end(record(store.open_slot(labels, NOW), labels=labels))
    snapshot = look(store)
    assert len(snapshot.streams) <= names.MAX_LABEL_SETS + 1
    assert len({s.model for s in snapshot.streams} - {"other"}) <= names.MAX_MODELS
    assert len({s.server for s in snapshot.streams} - {"other"}) <= names.MAX_SERVERS
    assert total(snapshot, names.STREAMS, "completed") == len(names_there)
    for labels in snapshot.streams:
        for text in labels[:4]:
            assert len(text) <= names.MAX_LABEL_LENGTH
            assert text.isprintable()
            text.encode()


def test_a_label_set_folds_by_model_first_then_server_then_whole(store: Store) -> None:
    def fold(model: str, server: str) -> StreamLabels:
        return store.open_slot(StreamLabels("chat", "openai", model, server), NOW).labels

    for i in range(names.MAX_MODELS):
        assert fold(f"m{i}", "s0").model == f"m{i}"
    assert fold("one more", "s0") == StreamLabels("chat", "openai", "other", "s0")
    for i in range(1, names.MAX_SERVERS):
        assert fold("m0", f"s{i}").server == f"s{i}"
    assert fold("m0", "one more") == StreamLabels("chat", "openai", "m0", "other")
    folded = [fold(f"m{i}", f"s{i % names.MAX_SERVERS}") for i in range(names.MAX_MODELS)]
    assert folded[-1] == OTHER_SET
    assert fold("m5", "s0") == StreamLabels("chat", "openai", "m5", "s0"), "who is in stays in"
    assert fold("m99", "s49") == OTHER_SET, "who is out stays out"


def test_what_is_remembered_of_names_is_bounded(store: Store) -> None:
    for i in range(5000):
        store.close_slot(store.open_slot(StreamLabels("chat", "openai", f"m{i}", "s"), NOW))
    assert len(store._blocks) <= 4 * names.MAX_LABEL_SETS
