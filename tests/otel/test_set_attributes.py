"""Attributes are kept as the span's own method would keep them, whatever made the span."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import wraps
from typing import Any

import pytest
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Span, SpanLimits, TracerProvider
from opentelemetry.trace import NonRecordingSpan, SpanContext

from streamvitals.otel import set_attributes as module
from streamvitals.otel.set_attributes import set_attributes

AT_START = {"gen_ai.operation.name": "chat", "server.port": 443}
GIVEN: dict[str, Any] = {
    "streamvitals.outcome": "completed", "streamvitals.chunks": 20, "streamvitals.max_gap": 0.25,
    "streamvitals.retry_after_honored": False, "gen_ai.response.finish_reasons": ("stop", "length"),
}
LIMITS = {
    "the defaults": {}, "fewer than there are": {"max_span_attributes": 4}, "none": {"max_span_attributes": 0},
    "as many": {"max_span_attributes": len(AT_START) + len(GIVEN)}, "short values": {"max_span_attribute_length": 3},
    "short values of everything": {"max_attribute_length": 3},
}


@pytest.fixture(autouse=True)
def anew() -> Iterator[None]:
    module._is_known.cache_clear()
    yield
    module._is_known.cache_clear()


def is_asked(span: Any) -> bool:
    """Whether the span's own method is called: it makes a tuple of a list."""
    set_attributes(span, {"list": ["a"]})
    return type(span.attributes["list"]) is tuple


def started(**limits: int) -> Any:
    provider = TracerProvider(span_limits=SpanLimits(**limits), shutdown_on_exit=False)
    return provider.get_tracer("test").start_span("chat", attributes=AT_START)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_a_span_has_what_its_own_method_would_give_it(limits: dict[str, int]) -> None:
    ours, wanted = started(**limits), started(**limits)
    set_attributes(ours, GIVEN)
    wanted.set_attributes(GIVEN)
    for span in (ours, wanted):
        span.end()
    assert list(ours.attributes.items()) == list(wanted.attributes.items())
    assert ours.dropped_attributes == wanted.dropped_attributes
    assert {type(value) for value in ours.attributes.values()} <= {str, int, float, bool, tuple}


def test_values_are_not_looked_at_where_nothing_could_change_them() -> None:
    span = started()
    assert not is_asked(span)
    set_attributes(span, GIVEN)
    span.set_attribute("streamvitals.chunks", 21)
    assert span.attributes["streamvitals.chunks"] == 21


@pytest.mark.parametrize("limits", [{"max_span_attributes": len(AT_START)}, {"max_span_attribute_length": 3}])
def test_where_there_is_a_limit_the_span_is_asked(limits: dict[str, int]) -> None:
    assert is_asked(started(**limits))


def redacted(self: Span, attributes: Mapping[str, Any]) -> None:
    self._attributes["redacted"] = len(attributes)


def test_a_span_of_another_class_is_asked() -> None:
    span = started()
    span.__class__ = type("Redacting", (type(span),), {"set_attributes": redacted})
    set_attributes(span, GIVEN)
    assert dict(span.attributes) == {**AT_START, "redacted": len(GIVEN)}


@pytest.mark.parametrize("patch", [lambda own: redacted, lambda own: wraps(own)(redacted)], ids=["bare", "wrapped"])
def test_who_has_patched_the_sdks_method_is_asked(monkeypatch: pytest.MonkeyPatch, patch: Any) -> None:
    monkeypatch.setattr(Span, "set_attributes", patch(Span.set_attributes))
    span = started()
    set_attributes(span, GIVEN)
    assert dict(span.attributes) == {**AT_START, "redacted": len(GIVEN)}


def test_a_span_that_is_not_the_sdks_is_asked() -> None:
    class Foreign(NonRecordingSpan):
        def set_attributes(self, attributes: Mapping[str, Any]) -> None:
            given.update(attributes)

    given: dict[str, Any] = {}
    set_attributes(Foreign(SpanContext(1, 1, is_remote=False)), GIVEN)
    assert given == GIVEN


@pytest.mark.parametrize("changed", ["another name", "values in another form"])
def test_in_another_version_the_span_is_asked(monkeypatch: pytest.MonkeyPatch, changed: str) -> None:
    span, own = started(), BoundedAttributes.__init__

    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        own(self, *args, **kwargs)
        if changed == "another name":
            self._values = self.__dict__.pop("_dict")
        else:
            self._dict.update((key, [value]) for key, value in list(self._dict.items()))

    monkeypatch.setattr(BoundedAttributes, "__init__", init)
    assert is_asked(span)
