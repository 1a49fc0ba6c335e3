"""What stands between a response and its reader is broken on purpose: that is told as ours, and as nobody else's."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app_support import LONG, MESSAGES, App, run, settle
from streamvitals.faults import ThreadedFaultServer
from streamvitals.sdk import bodies, closing, facts, taps
from streamvitals.stream import sse
from streamvitals.stream.chunks import ChatChunks
from streamvitals.testing import RecordList, recorded

PLACES: list[tuple[Any, str]] = [
    (facts, "response_facts"), (closing, "content_encoding"), (taps.Taps, "tap"), (taps, "_noticing"),
    (closing, "closing_of"), (closing.Closing, "add_reader"), (bodies.Bodies, "hook"),
    (bodies, "_arrived"), (bodies, "_read"), (sse.ByteWatch, "__init__"),
    (sse.ByteWatch, "_read"), (sse.ByteWatch, "_line"), (ChatChunks, "read"), (ChatChunks, "has_token"),
    (sse, "inflater"),
]
# Broken there, nobody of ours is in the way of the bytes.
UNSEEN = {"hook", "add_reader", "_read"}


def create(app: App, model: str, form: str) -> Any:
    completions = app.client().chat.completions
    ask: dict[str, Any] = {"model": model, "messages": MESSAGES, "stream": True}
    if form == "stream":
        return completions.create(**ask)
    if form == "lines below a stream":
        return completions.create(**ask).response.iter_lines()
    return completions.with_raw_response.create(**ask).http_response.iter_lines()


FORMS = ("stream", "lines below a stream", "lines")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.getLogger("streamvitals").setLevel(logging.CRITICAL)
    yield
    logging.getLogger("streamvitals").setLevel(logging.NOTSET)


def told(act: Callable[[App], Any], server: ThreadedFaultServer, place: Any, name: str) -> RecordList:
    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("broken on purpose")

    with recorded() as records, pytest.MonkeyPatch.context() as patched:
        patched.setattr(place, name, broken)
        run(act, server)
        settle()
    return records


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("place", "name"), PLACES, ids=lambda value: getattr(value, "__name__", value))
def test_a_fault_of_ours_is_nobody_elses(place: Any, name: str, form: str, server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        for model in ("sv-ok", "sv-reset"):
            with app.catching():
                app.read(create(app, model, form))

    records = told(act, server, place, name)
    by_model = {record.labels.model: (record.outcome.value, record.error_type) for record in records}
    if form != "stream" and name in UNSEEN and place is not sse.ByteWatch:
        # Only the close tells how the reading ended; older httpx leaves a response open that has failed.
        assert all("unread_body" in record.hints for record in records if record.outcome.value == "abandoned")
        assert by_model["sv-ok"] in (("completed", ""), ("abandoned", "dropped"))
        assert by_model["sv-reset"] in (("reset", "connection_reset"), ("abandoned", "dropped"))
    else:
        assert by_model == {"sv-ok": ("completed", ""), "sv-reset": ("reset", "connection_reset")}
    judged = [record for record in records if record.outcome.value == "completed" and not record.finish_reasons]
    assert all("unread_body" in record.hints for record in judged)


def test_a_reader_that_is_at_fault_praises_nobody_who_left(server: ThreadedFaultServer) -> None:
    def act(app: App) -> None:
        with create(app, LONG, "stream") as stream:
            app.chunk(next(stream))

    (record,) = told(act, server, ChatChunks, "read")
    assert (record.outcome.value, record.error_type, record.hints) == ("abandoned", "closed", ("unread_body",))


def test_a_reader_that_is_broken_all_over_harms_nobody(server: ThreadedFaultServer) -> None:
    class Broken:
        done = ends_with_body = named_events = reads_errors = False

        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("broken on purpose")

    def act(app: App) -> None:
        stream = create(app, "sv-ok", "stream")
        stream.response.request.extensions["streamvitals"].reader = Broken()
        app.read(stream)

    with recorded() as records:
        run(act, server)
        settle()
    assert [(record.outcome.value, record.hints) for record in records] == [("completed", ("unread_body",))]
    assert records.faults == ["observe"]
