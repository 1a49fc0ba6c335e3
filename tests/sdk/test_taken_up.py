"""Responses that go on without their stream and are taken up again by their id, over a real socket: one operation,
whose usage is counted once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import openai
import pytest

from retry_support import KINDS, attempts, chains
from streamvitals import names
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.faults.events_agents import SESSION
from streamvitals.faults.events_responses import ID
from streamvitals.process import lifecycle
from streamvitals.sdk.facts import named_by
from streamvitals.sdk.openai_sdk import OPENAI
from streamvitals.store.layout import STREAM_LAYOUT
from streamvitals.stream.request import Place
from streamvitals.testing import RecordList, recorded

CUT = "reset-after-n?chunks=8&after=4"


class App:
    """Makes responses in the background, which the server has all under one id, and takes them up again."""

    def __init__(self, server: ThreadedFaultServer) -> None:
        self.client = openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0)
        if not hasattr(self.client, "responses"):
            pytest.skip("this version of openai has no Responses")
        self.base_url = server.base_url

    def create(self, scenario: str = "ok", question: str = "q", *, background: bool = True) -> Any:
        asked: dict[str, Any] = {"model": "m", "input": question, "background": background, "stream": True}
        return self.client.post("/responses", body={**asked, "sv_scenario": scenario}, stream=True, **_events())

    def fetch(self, scenario: str = "ok", response_id: str = ID, after: int | None = None) -> Any:
        query = {"stream": True, "sv_scenario": scenario, **({} if after is None else {"starting_after": after})}
        options = {"params": query}
        return self.client.get(f"/responses/{response_id}", options=options, stream=True, **_events())  # type: ignore[arg-type]

    def poll(self, scenario: str = "ok", *, done: bool = True) -> Any:
        from openai.types.responses import Response

        query = {"sv_scenario": scenario, **({} if done else {"background": "true"})}
        return self.client.get(f"/responses/{ID}", options={"params": query}, cast_to=Response)

    async def afetch(self, scenario: str = "ok") -> None:
        async with openai.AsyncOpenAI(api_key="k", base_url=self.base_url, max_retries=0) as client:
            stream = await client.responses.retrieve(ID, stream=True, extra_query={"sv_scenario": scenario})
            async for _ in stream:
                pass


def _events() -> dict[str, Any]:
    from openai.types.responses import ResponseStreamEvent

    return {"cast_to": ResponseStreamEvent, "stream_cls": openai.Stream[ResponseStreamEvent]}


@pytest.fixture
def app(server: ThreadedFaultServer) -> Iterator[App]:
    made = App(server)
    yield made
    made.client.close()


def read(ask: Callable[[], Any]) -> None:
    """To the end, whatever that is."""
    with contextlib.suppress(*KINDS):
        for _ in ask():
            pass


def elsewhere(act: Callable[[], Any]) -> None:
    """In a thread that is gone afterwards."""
    thread = threading.Thread(target=act)
    thread.start()
    thread.join()


def counted(metric: names.Metric, *values: str) -> float:
    """Over all label sets."""
    current = lifecycle.current()
    assert current is not None
    rows = current.snapshot().streams.values()
    return sum(row[STREAM_LAYOUT.at(metric, *values)] for row in rows)


def output_tokens(records: RecordList) -> list[int | None]:
    told = [record.usage.output if record.usage is not None else None for record in records]
    parts = [part for part in names.TOKEN_PARTS if part[0] == "output"]
    assert sum(counted(names.TOKENS, *part) for part in parts) == sum(filter(None, told))
    return told


# -- one operation


def test_cut_once_and_taken_up_again(app: App, records: RecordList) -> None:
    read(lambda: app.create(CUT))
    read(lambda: app.fetch(after=3))
    assert attempts(records) == [("reset", 1), ("completed", 2)]
    assert [(r.source, r.reason) for r in records.retries] == [("app", "reset")]
    assert chains(records) == []
    assert counted(names.RECOVERIES, "app") == 1


def test_taken_up_several_times_is_one_operation_still(app: App, records: RecordList) -> None:
    read(lambda: app.create(CUT))
    for scenario in ("silent-cut", "500", CUT, "ok"):
        read(lambda scenario=scenario: app.fetch(scenario))  # type: ignore[misc]
    assert [attempt for _, attempt in attempts(records)] == [1, 2, 3, 4, 5]
    assert [r.reason for r in records.retries] == ["reset", "truncated", "500", "reset"]
    assert chains(records) == []
    assert counted(names.RECOVERIES, "app") == 1


def test_whoever_takes_it_up(app: App, records: RecordList) -> None:
    elsewhere(lambda: read(lambda: app.create(CUT)))
    assert chains(records) == []  # though the thread that asked is gone
    asyncio.run(app.afetch("silent-cut"))
    elsewhere(lambda: read(app.fetch))
    assert attempts(records) == [("reset", 1), ("truncated", 2), ("completed", 3)]
    assert chains(records) == []


def test_users_with_the_same_question_have_responses_of_their_own(app: App, records: RecordList) -> None:
    read(lambda: app.create(CUT))
    read(lambda: app.fetch(response_id="resp_of_somebody_else"))
    assert attempts(records) == [("reset", 1), ("completed", 1)]
    assert records.retries == []


def test_what_nobody_takes_up_has_failed_once(app: App) -> None:
    with recorded(Config(retry_window=0.0)) as records:
        read(lambda: app.create(CUT))
        read(lambda: app.fetch("silent-cut"))
        assert [event for event, _ in chains(records)] == ["failed", "failed"]
    with recorded() as records:
        read(lambda: app.create(CUT))
        read(lambda: app.fetch("silent-cut"))
        current = lifecycle.current()
        assert current is not None
        current.retries.close()
        assert chains(records) == [("failed", 2)]
        assert [chain.labels.operation for chain in records.chains] == ["chat"]


def test_a_response_that_is_not_made_in_the_background_ends_with_whoever_asked(app: App, records: RecordList) -> None:
    elsewhere(lambda: read(lambda: app.create(CUT, background=False)))
    assert chains(records) == [("failed", 1)]


def test_asked_anew_it_is_a_retry_as_well(app: App, records: RecordList) -> None:
    read(lambda: app.create(CUT))
    read(lambda: app.create("ok"))
    read(app.fetch)
    assert attempts(records) == [("reset", 1), ("completed", 2), ("completed", 1)]


def test_what_the_provider_called_failed_does_not_go_on(app: App, records: RecordList) -> None:
    read(lambda: app.create("failed"))
    read(lambda: app.fetch("failed"))
    assert attempts(records) == [("api_error", 1), ("api_error", 1)]
    assert records.retries == []


def test_taken_up_while_the_first_stream_hangs(app: App, records: RecordList) -> None:
    first = iter(app.create(CUT + "&delay=0.1"))
    next(first)
    second = iter(app.fetch("ok?delay=0.1"))
    next(second)
    read(lambda: first)
    read(lambda: second)
    assert attempts(records) == [("reset", 1), ("completed", 2)]
    assert [r.reason for r in records.retries] == ["reset"]
    assert chains(records) == []


def test_brought_to_its_end_before_the_first_stream_fails(app: App, records: RecordList) -> None:
    first = iter(app.create(CUT + "&delay=0.2"))
    next(first)
    read(app.fetch)
    read(lambda: first)
    assert [r.reason for r in records.retries] == ["reset"]
    assert chains(records) == [("recovered", 1)]


def test_an_older_fetch_does_not_make_good_what_fails_later(app: App, records: RecordList) -> None:
    """Of gateways that give all responses one id."""
    read(lambda: app.create(CUT))
    read(app.fetch)
    read(lambda: app.create(CUT, "another"))
    current = lifecycle.current()
    assert current is not None
    current.retries.close()
    assert chains(records) == [("failed", 1)]


# -- without streaming


def test_polled_until_it_is_there(app: App, records: RecordList) -> None:
    read(lambda: app.create(CUT))
    for done in (False, False, True, True):
        app.poll(done=done)
    assert chains(records) == [("fallback", 1), ("recovered", 1)]
    assert len(records.retries) == 1


def test_a_poll_that_fails_is_followed_by_another(app: App, records: RecordList) -> None:
    read(lambda: app.create(CUT))
    with pytest.raises(openai.APIError):
        app.poll("500")
    app.poll(done=False)
    app.poll()
    assert chains(records) == [("fallback", 1), ("recovered", 2)]


def test_polled_and_then_taken_up_as_a_stream(app: App, records: RecordList) -> None:
    read(lambda: app.create(CUT))
    app.poll(done=False)
    read(app.fetch)
    assert attempts(records) == [("reset", 1), ("completed", 2)]
    assert chains(records) == [("fallback", 1)]
    assert len(records.retries) == 1


# -- usage once


def test_a_response_that_was_streamed_and_is_then_fetched_counts_once(app: App, records: RecordList) -> None:
    read(lambda: app.create("ok?chunks=8"))
    read(app.fetch)
    read(lambda: app.fetch(after=3))
    assert output_tokens(records) == [8, None, None]


def test_what_takes_it_up_again_counts_if_the_first_stream_could_not(app: App, records: RecordList) -> None:
    read(lambda: app.create(CUT))
    read(lambda: app.fetch("ok?chunks=8"))
    read(lambda: app.fetch("ok?chunks=8"))
    assert output_tokens(records) == [None, 8, None]


def test_left_by_the_browser_and_taken_up_by_its_next_visit(app: App, records: RecordList) -> None:
    first = app.create("ok?delay=0.05")
    next(iter(first))
    first.close()
    read(lambda: app.fetch("ok?chunks=8"))
    assert [record.outcome.value for record in records] == ["abandoned", "completed"]
    assert output_tokens(records) == [None, 8]


def test_a_plain_fetch_counts_nothing(app: App, records: RecordList) -> None:
    read(app.fetch)
    read(app.fetch)
    assert output_tokens(records) == [None, None]


def test_resumed_here_after_another_process_was_cut(app: App, records: RecordList) -> None:
    read(lambda: app.fetch("ok?chunks=8", after=3))
    read(lambda: app.fetch("ok?chunks=8", after=3))
    assert output_tokens(records) == [8, None]


def test_fetched_to_its_end_while_the_first_stream_goes_on(app: App, records: RecordList) -> None:
    first = iter(app.create("ok?chunks=8&delay=0.02"))
    next(first)
    read(lambda: app.fetch("ok?chunks=8", after=0))
    read(lambda: first)
    assert [record.labels.operation for record in records] == ["fetch_response", "chat"]
    assert output_tokens(records) == [8, None]


def test_responses_that_have_all_the_same_id_count_each(app: App, records: RecordList) -> None:
    for _ in range(3):
        read(lambda: app.create("ok?chunks=8"))
        read(app.fetch)
    read(lambda: app.create(CUT))
    read(lambda: app.fetch("ok?chunks=8"))
    read(lambda: app.create("ok?chunks=8"))
    assert output_tokens(records) == [8, None, 8, None, 8, None, None, 8, 8]


def test_a_forked_child_knows_what_was_counted(app: App, records: RecordList) -> None:
    read(lambda: app.create("ok?chunks=8"))
    current = lifecycle.current()
    assert current is not None
    current.forked()
    read(lambda: app.fetch(after=3))
    assert records[-1].usage is None


# -- which request names what


PLACE = Place("127.0.0.1", 80)


@pytest.mark.parametrize(("method", "url", "name"), [
    ("get", "/responses/resp_1", "resp_1"),
    ("GET", "responses/resp_1?beta=true", "resp_1"),
    ("get", "/responses/resp%5F1", "resp_1"),
    ("get", "http://127.0.0.1/v2/responses/resp_1", "resp_1"),
    ("get", "/agents/sessions/session_1/events", "session_1"),
    ("get", "/threads/thread_1/runs/run_1", "run_1"),
    ("get", "/responses/resp_1/input_items", None),
    ("get", "/threads/thread_1/runs/run_1/steps", None),
    ("get", "/agents/sessions/session_1", None),
    ("post", "/responses/resp_1/cancel", None),
    ("delete", "/responses/resp_1", None),
    ("post", "/responses", None),
    ("get", "/models", None),
])
def test_the_id_is_in_the_path(method: str, url: str, name: str | None) -> None:
    client = openai.OpenAI(api_key="k", base_url="http://127.0.0.1/v1")
    options = SimpleNamespace(method=method, url=url)
    assert named_by(OPENAI, client, options) == (None if name is None else PLACE.key(name))
    client.close()


def test_an_agents_session_is_taken_up_by_who_subscribes_to_it(app: App, records: RecordList) -> None:
    asked = {"agent": {"model": "m"}, "input": "q", "stream": True, "sv_scenario": CUT}
    read(lambda: app.client.post("/agents/sessions", body=asked, stream=True, **_events()))
    options: Any = {"params": {"sv_scenario": "ok?chunks=8"}}
    read(lambda: app.client.get(f"/agents/sessions/{SESSION}/events", options=options, stream=True, **_events()))
    assert attempts(records) == [("reset", 1), ("completed", 2)]
    assert output_tokens(records) == [None, 8]
