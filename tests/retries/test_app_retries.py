"""Which requests are recognised as the application's own retries, by the rule and with an injected clock."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamvitals.retries.failures import (
    Chain,
    Failure,
    Origin,
    PendingFailures,
    Waiting,
    nothing,
)
from streamvitals.stream.record import StreamLabels
from streamvitals.stream.request_key import fingerprint, request_key_of

LABELS = StreamLabels("chat", "other", "m", "h")
HERE, ELSEWHERE = Origin(1), Origin(2)


class Task:
    """Something that a weak reference would lead to."""


def in_task(task: Task, trace: int = 0) -> Origin:
    return Origin(1, lambda: task, trace)


def failure(at: float = 0.0, origin: Origin = HERE, asked: bytes = b"q", attempt: int = 1) -> Failure:
    return Failure(LABELS, "reset", at, attempt, origin, asked, Chain(at))


class Pending:
    """PendingFailures with a window of 60 s, and what it gave up on."""

    def __init__(self) -> None:
        self.gave_up: list[Failure] = []
        self.gone: set[int] = set()
        self.found = PendingFailures(60.0, lambda origin: origin.thread not in self.gone, self.gave_up.append)

    def match(self, origin: Origin = HERE, now: float = 1.0, asked: bytes = b"q") -> Failure | None:
        return self.found.match(lambda: asked, origin, now)


@pytest.fixture
def pending() -> Pending:
    return Pending()


def test_the_same_request_of_the_same_thread_is_a_retry_once(pending: Pending) -> None:
    pending.found.add(failure())
    assert pending.match() is not None
    assert pending.match() is None
    assert not pending.found.failures


@pytest.mark.parametrize(
    ("origin", "now", "asked"),
    [(ELSEWHERE, 1.0, b"q"), (HERE, 60.1, b"q"), (HERE, 1.0, b"another"), (in_task(Task()), 1.0, b"q")],
    ids=["another thread", "too late", "another question", "a task of the same thread"],
)
def test_what_is_no_retry(pending: Pending, origin: Origin, now: float, asked: bytes) -> None:
    pending.found.add(failure())
    assert pending.match(origin, now, asked) is None
    assert pending.found.failures


def test_tasks_are_told_apart_and_traces_join_them(pending: Pending) -> None:
    mine, other = Task(), Task()
    pending.found.add(failure(origin=in_task(mine)))
    assert pending.match(in_task(other)) is None
    assert pending.match(in_task(mine)) is not None
    pending.found.add(failure(origin=in_task(mine, trace=7)))
    assert pending.match(in_task(other, trace=8)) is None
    assert pending.match(in_task(other, trace=7)) is not None


def test_the_newest_failure_is_the_one_that_is_retried(pending: Pending) -> None:
    pending.found.add(failure(at=0.0))
    pending.found.add(failure(at=1.0, attempt=2))
    found = pending.match(now=2.0)
    assert found is not None
    assert found.attempt == 2


def test_a_fingerprint_is_only_asked_for_where_somebody_of_this_origin_failed(pending: Pending) -> None:
    pending.found.add(failure())

    def never() -> bytes:
        raise AssertionError

    assert pending.found.match(never, ELSEWHERE, 1.0) is None


def test_given_up_when_the_window_has_passed_or_nobody_is_left(pending: Pending) -> None:
    early, late = failure(at=0.0), failure(at=50.0)
    pending.found.add(early)
    pending.found.add(late)
    pending.found.sweep(61.0)
    assert pending.gave_up == [early]
    pending.gone.add(1)
    pending.found.sweep(61.0)
    assert pending.gave_up == [early, late]
    assert not pending.found.failures


def test_bounded_and_what_makes_room_counts_as_given_up(pending: Pending) -> None:
    for number in range(10_088):
        pending.found.add(failure(at=float(number)))
    assert len(pending.gave_up) == 88
    pending.found.close()
    assert len(pending.gave_up) == 10_088


def ask(text: Any, model: str = "m", before: int = 0, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "x"}] * before
    return {"model": model, "messages": [*messages, {"role": "user", "content": text}], **more}


def printed(body: Any) -> bytes:
    return fingerprint(request_key_of(body))


def test_a_fingerprint_says_model_count_role_and_the_ends_of_the_last_message() -> None:
    base = printed(ask("hello"))
    assert base == printed(ask("hello", stream=True, temperature=1))
    assert base != printed(ask("hello "))
    assert base != printed(ask("hello", model="n"))
    assert base != printed(ask("hello", before=1))
    assert base != printed({"model": "m", "messages": [{"role": "system", "content": "hello"}]})
    assert printed({"model": "m", "input": "hello"}) != printed({"model": "m", "input": "hallo"})
    parts = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "data:a"}}]
    others = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": "data:b"}}]
    assert printed(ask(parts)) != printed(ask(others))


def test_a_fingerprint_is_bounded_and_tells_nothing() -> None:
    middle = "a" * 4096 + "b" * 100_000 + "c" * 4096
    other = "a" * 4096 + "x" * 100_000 + "c" * 4096
    assert printed(ask(middle)) == printed(ask(other))
    assert len(printed(ask(middle))) == 16


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(JSON | st.fixed_dictionaries({"messages": JSON}) | st.fixed_dictionaries({"input": JSON}))
def test_a_fingerprint_never_raises_and_is_stable(body: Any) -> None:
    assert printed(body) == printed(body)


# -- what a request costs in an outage


def test_a_request_looks_at_a_few_whatever_is_pending() -> None:
    looked_at: list[Origin] = []

    def alive(origin: Origin) -> bool:
        looked_at.append(origin)
        return True

    pending = PendingFailures(60.0, alive, lambda _: None)
    for number in range(512):
        pending.add(failure(origin=Origin(number)))
    for _ in range(256):
        looked_at.clear()
        pending.sweep_some(1.0)
        assert len(looked_at) == 2
    assert pending.match(lambda: b"q", Origin(3), 1.0) is not None
    assert pending.match(lambda: b"q", Origin(3), 1.0) is None


def test_thousands_that_failed_are_each_found_again_and_no_more_are_held(pending: Pending) -> None:
    tasks = [Task() for _ in range(12_000)]
    for task in tasks[:10_000]:
        pending.found.add(failure(origin=in_task(task)))
    assert not pending.gave_up, "each may be tried again"
    for task in tasks[10_000:]:
        pending.found.add(failure(origin=in_task(task)))
    assert [one.origin.flow() for one in pending.gave_up if one.origin.flow is not None] == tasks[:2_000]
    assert all(pending.match(in_task(task)) is not None for task in tasks[2_000:])
    assert not pending.found.failures


def test_the_newest_of_thousands_that_failed_alike_is_found_without_looking_at_all(
    pending: Pending, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(5_000):
        pending.found.add(failure(float(at)))
    looked_at = 0

    def same(earlier: Origin, later: Origin) -> bool:
        nonlocal looked_at
        looked_at += 1
        return False

    monkeypatch.setattr(Origin, "same", same)
    pending.found._window = 10_000.0
    assert pending.match(now=5_000.0) is None
    assert looked_at == 16
    monkeypatch.undo()
    found = pending.match(now=5_000.0)
    assert found is not None
    assert found.at == 4_999.0


def test_all_are_swept_in_turn(pending: Pending) -> None:
    for number in range(100):
        pending.found.add(failure(origin=Origin(number)))
    pending.gone.update(range(0, 100, 2))
    for _ in range(50):
        pending.found.sweep_some(1.0)
    assert sorted(f.origin.thread for f in pending.gave_up) == list(range(0, 100, 2))
    assert len(pending.found.failures) == 50


def test_of_a_fan_out_that_failed_each_question_is_found_again(pending: Pending) -> None:
    """All of them wait for the same task, which asks all of them again."""
    parent, questions = Task(), [b"%d" % number for number in range(300)]

    def child() -> Origin:
        own = Task()
        return Origin(1, lambda: own, waiting=(Waiting(lambda: parent, nothing),))

    for question in questions:
        pending.found.add(failure(origin=child(), asked=question))
    assert all(pending.match(child(), asked=question) is not None for question in questions)


def test_a_task_tries_again_what_it_has_failed_at_itself(pending: Pending) -> None:
    mine, parent = Task(), Task()
    child = Origin(1, Task, waiting=(Waiting(lambda: mine, nothing),))
    waiting = Origin(1, lambda: mine, waiting=(Waiting(lambda: parent, nothing),))
    for origin, at in ((waiting, 1.0), (child, 2.0), (in_task(Task()), 3.0)):
        pending.found.add(failure(origin=origin)._replace(at=at))
    asked: list[bytes] = []

    def print_of() -> bytes:
        asked.append(b"q")
        return b"q"

    assert pending.found.match_own(print_of, Task(), 3.0) is None
    assert not asked, "nothing is computed for a task of which nothing is pending"
    assert pending.found.match_own(lambda: b"another", mine, 3.0) is None
    assert pending.found.match_own(print_of, mine, 100.0) is None, "too long ago"
    found = pending.found.match_own(print_of, mine, 3.0)
    assert found is not None
    assert found.at == 1.0, "not its child's, which is newer"
    assert pending.found.match_own(print_of, mine, 3.0) is None
    assert pending.found.match(print_of, waiting, 3.0) is not None, "that is for whoever looks further"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "match", "take_up", "sweep", "sweep_some"]), st.integers(0, 3), st.integers(0, 2),
        st.sampled_from([b"p", b"q"]), st.integers(0, 20),
    ),
    max_size=40,
)


@given(STEPS)
def test_it_finds_what_looking_at_all_would_find(steps: list[Any]) -> None:
    pending, tasks, now = Pending(), [Task() for _ in range(4)], 0.0
    origins = [HERE, ELSEWHERE, in_task(tasks[0]), in_task(tasks[1], trace=5)]
    for what, who, response, text, later in steps:
        now += later
        held = list(pending.found.failures.values())
        recent = [one for one in reversed(held) if now - one.at <= 60.0]
        if what == "add":
            made = Failure(LABELS, "reset", now, 1, origins[who], text, Chain(now), response=response or None)
            pending.found.add(made)
        elif what == "match":
            fit = (one for one in recent if one.origin.same(origins[who]) and one.fingerprint == text)
            assert pending.match(origins[who], now, text) is next(fit, None)
        elif what == "take_up":
            assert pending.found.take_up(response, now) is next((f for f in recent if f.response == response), None)
        else:
            getattr(pending.found, what)(now)
    pending.found.close()
    assert pending.found._by_asker == pending.found._by_response == pending.found._askers == {}
