"""A sink hears what it overrides, and every sink has the ids of the span that another one makes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from dispatch_support import Home
from otel_support import record
from streamvitals.outcome import Outcome
from streamvitals.stream.dispatch import Fault, LoopLag, Start
from streamvitals.stream.record import StreamLabels, StreamRecord, TraceIds
from streamvitals.stream.sink import METHODS, Sink, overrides

LABELS = StreamLabels("chat", "openai", "m", "api")
CONTEXT = SimpleNamespace(trace_id=0xABC, span_id=0xDEF)
IDS = TraceIds(f"{0xABC:032x}", f"{0xDEF:016x}")


class Outcomes(Sink):
    """The whole of a new sink."""

    def __init__(self) -> None:
        self.seen: list[Outcome] = []

    def on_end(self, record: StreamRecord) -> None:
        self.seen.append(record.outcome)


class Spans(Sink):
    def __init__(self, *made: object) -> None:
        self.made = list(made)

    def make_span(self, record: StreamRecord) -> object | None:
        made = self.made.pop(0)
        if isinstance(made, BaseException):
            raise made
        return made


class Ended(Sink):
    def __init__(self) -> None:
        self.ids: list[TraceIds | None] = []

    def on_end(self, record: StreamRecord) -> None:
        self.ids.append(record.trace_ids)


def test_a_new_sink_is_a_class_with_one_method() -> None:
    sink = Outcomes()
    home = Home(sink)
    home.end(home.begin())
    home.dispatch.submit(LoopLag(0.1))
    home.dispatch.submit(Start(LABELS))
    assert sink.seen == [Outcome.COMPLETED]
    assert [method for method in METHODS if overrides(sink, method)] == ["on_end"]
    assert [method for method, sinks in home.dispatch._listeners.items() if sinks] == ["on_end"]


def test_a_start_is_worth_an_item_only_where_a_sink_hears_it() -> None:
    class Starts(Sink):
        def __init__(self) -> None:
            self.seen: list[StreamLabels] = []

        def on_start(self, labels: StreamLabels) -> None:
            self.seen.append(labels)

    sink = Starts()
    home = Home(Outcomes())
    assert not home.dispatch.hears_start
    end = home.dispatch.add(sink)
    assert home.dispatch.hears_start
    home.dispatch.submit(Start(LABELS))
    end()
    assert not home.dispatch.hears_start
    assert sink.seen == [LABELS]


def test_a_class_without_the_base_is_a_sink_if_it_has_a_method_of_one() -> None:
    faults: list[str] = []
    alike: Any = SimpleNamespace(on_internal_error=faults.append)
    home = Home(alike)
    home.dispatch.submit(Fault("sink"))
    home.end(home.begin())
    assert faults == ["sink"]
    assert len(home.recorded) == 1


@pytest.mark.parametrize("add", [lambda what: Home(what), lambda what: Home().dispatch.add(what)])
def test_what_is_no_sink_is_refused(add: Any) -> None:
    with pytest.raises(TypeError, match="list is no sink: it has none of the methods on_start, "):
        add([])


@pytest.mark.parametrize(("context", "ids"), [(CONTEXT, IDS), (None, None)], ids=["sampled", "not sampled"])
def test_no_sink_must_come_before_another_to_have_the_ids(context: object, ids: TraceIds | None) -> None:
    before, after = Ended(), Ended()
    home = Home(before, Spans(context), after)
    home.end(home.begin())
    assert before.ids == after.ids == [ids]
    assert home.recorded[0].trace_ids == ids


def test_a_span_that_cannot_be_made_costs_no_record() -> None:
    faults: list[str] = []
    ended = Ended()
    broken = [ValueError("ours") for _ in range(3)]
    home = Home(Spans(*broken, CONTEXT), ended, SimpleNamespace(on_internal_error=faults.append))
    for _ in range(4):
        home.end(home.begin())
    assert ended.ids == [None] * 4, "it is switched off after the third"
    assert faults == ["sink"] * 3


def test_a_context_is_nothing_that_a_record_shows() -> None:
    one = record()
    assert one.with_span(CONTEXT).span is CONTEXT
    assert one.with_span(CONTEXT)._replace(span=None) == one
    assert type(one.with_span(CONTEXT)) is StreamRecord
    assert repr(one.with_span(CONTEXT)) == repr(one)
