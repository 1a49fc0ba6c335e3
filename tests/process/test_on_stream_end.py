"""``instrument(on_stream_end=f)``: f gets the record of each stream, and whatever it does harms nobody."""

from __future__ import annotations

import asyncio
import functools
import logging
import queue
import subprocess
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import openai
import pytest

import streamvitals
from run_support import RUN, environment, python
from streamvitals import Outcome, StreamRecord
from streamvitals.config import Config
from streamvitals.faults import ThreadedFaultServer
from streamvitals.process import lifecycle
from streamvitals.stream.dispatch import MAX_FAULTS

QUIET = Config(quiet=True)


@pytest.fixture(autouse=True)
def _back() -> Iterator[None]:
    yield
    streamvitals.uninstrument()


def ask(server: ThreadedFaultServer, *models: str) -> None:
    with openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
        for model in models:
            try:
                list(client.chat.completions.create(model=model, messages=[], stream=True))
            except (openai.OpenAIError, ConnectionError, OSError):
                continue
            except Exception as error:  # httpx's own before openai 3.10
                if "httpx" not in type(error).__module__:
                    raise


def internal_errors() -> float:
    current = lifecycle.current()
    assert current is not None
    from streamvitals import names
    from streamvitals.store.layout import PROCESS_LAYOUT

    return current.snapshot().process[PROCESS_LAYOUT.at(names.INTERNAL_ERRORS, "sink")]


def test_it_gets_the_record_of_each_stream(server: ThreadedFaultServer) -> None:
    records: list[StreamRecord] = []
    streamvitals.instrument(config=QUIET, on_stream_end=records.append)
    ask(server, "sv-ok", "sv-silent-cut", "sv-reset")
    assert [record.outcome for record in records] == [Outcome.COMPLETED, Outcome.TRUNCATED, Outcome.RESET]
    assert records[1].error_type == "missing_terminal"
    assert records[1].request_id


def test_a_later_call_takes_its_place_and_none_leaves_it(server: ThreadedFaultServer) -> None:
    first: queue.SimpleQueue[StreamRecord] = queue.SimpleQueue()
    second: list[StreamRecord] = []
    streamvitals.instrument(config=QUIET, on_stream_end=first.put)
    streamvitals.instrument()
    ask(server, "sv-ok")
    streamvitals.instrument(on_stream_end=second.append)
    ask(server, "sv-ok")
    assert (first.qsize(), len(second)) == (1, 1)
    streamvitals.uninstrument()
    streamvitals.instrument(config=QUIET)
    ask(server, "sv-ok")
    assert (first.qsize(), len(second)) == (1, 1)


def test_its_fault_is_counted_and_switches_it_off_by_its_name(
    server: ThreadedFaultServer, caplog: pytest.LogCaptureFixture
) -> None:
    called = []

    def broken(record: StreamRecord) -> None:
        called.append(record)
        raise LookupError("what the record holds")

    streamvitals.instrument(config=QUIET, on_stream_end=broken)
    with caplog.at_level(logging.WARNING, "streamvitals"):
        ask(server, *["sv-ok"] * (MAX_FAULTS + 2))
    assert (len(called), internal_errors()) == (MAX_FAULTS, MAX_FAULTS)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("on_stream_end=test_on_stream_end.")
    assert "broken raised LookupError, 3 times in a row, and is switched off" in line
    assert "what the record holds" not in caplog.text
    mended: list[StreamRecord] = []
    streamvitals.instrument(on_stream_end=mended.append)
    ask(server, "sv-ok")
    assert len(mended) == 1


def test_a_mock_which_has_every_attribute_is_called(server: ThreadedFaultServer) -> None:
    ended = Mock(return_value=None)
    streamvitals.instrument(config=QUIET, on_stream_end=ended)
    ask(server, "sv-ok")
    ended.assert_called_once()


def test_an_exception_of_the_apps_own_class_from_a_library_stays_out_of_its_streams(
    server: ThreadedFaultServer,
) -> None:
    class OwnError(Exception):
        pass

    streamvitals.instrument(config=QUIET, on_stream_end=Mock(side_effect=OwnError))
    ask(server, "sv-ok")
    assert internal_errors() == 1


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, asyncio.CancelledError])
def test_what_ends_more_than_a_function_ends_this_one_only(
    error: type[BaseException], server: ThreadedFaultServer
) -> None:
    ended = Mock(side_effect=error)
    streamvitals.instrument(config=QUIET, on_stream_end=ended)
    ask(server, *["sv-ok"] * (MAX_FAULTS + 2))
    assert (ended.call_count, internal_errors()) == (MAX_FAULTS, MAX_FAULTS)


def test_ctrl_c_within_it_is_the_apps(server: ThreadedFaultServer) -> None:
    streamvitals.instrument(config=QUIET, on_stream_end=Mock(side_effect=[KeyboardInterrupt, None, None]))
    with pytest.raises(KeyboardInterrupt):
        ask(server, "sv-ok")
    ask(server, "sv-ok")
    assert internal_errors() == 0


async def coroutine(record: StreamRecord) -> None: ...


async def async_generator(record: StreamRecord) -> Any:
    yield record


class Handler:
    async def __call__(self, record: StreamRecord) -> None: ...

    async def method(self, record: StreamRecord) -> None: ...


def generator(record: StreamRecord) -> Iterator[StreamRecord]:
    yield record


@pytest.mark.parametrize(("wrong", "said"), [
    (coroutine, "cannot be the async function .*coroutine: it is called in whichever thread"),
    (async_generator, "cannot be the async function"), (Handler(), "cannot be the async function Handler"),
    (Handler().method, "cannot be the async function"), (functools.partial(coroutine), "cannot be the async function"),
    (generator, "cannot be the generator .*: a call of it runs none of its lines"),
    ("print", "must be a function that takes a StreamRecord, not str"),
    (lambda: None, "is called with one argument, the StreamRecord"),
    (lambda record, more: None, "is called with one argument, .*<lambda>: missing a required argument: 'more'"),
])
def test_what_can_never_work_is_refused_with_the_reason(wrong: Any, said: str) -> None:
    with pytest.raises(TypeError, match=f"on_stream_end {said}"):
        streamvitals.instrument(on_stream_end=wrong)
    assert lifecycle.current() is None, "nothing has begun"


def test_a_coroutine_that_was_hidden_is_a_fault_and_no_warning_of_pythons(
    server: ThreadedFaultServer, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    streamvitals.instrument(config=QUIET, on_stream_end=lambda record: coroutine(record))
    with caplog.at_level(logging.WARNING, "streamvitals"):
        ask(server, *["sv-ok"] * MAX_FAULTS)
    assert "raised ReturnedAwaitableError, 3 times in a row" in caplog.text
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


def test_it_may_stream_itself_and_start_tasks(server: ThreadedFaultServer) -> None:
    seen: list[str] = []
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()

        async def later(record: StreamRecord) -> None:
            seen.append(f"later {record.labels.model}")

        def ended(record: StreamRecord) -> None:
            tasks.append(loop.create_task(later(record)))
            if record.labels.model == "sv-silent-cut":
                ask(server, "sv-ok")

        streamvitals.instrument(config=QUIET, on_stream_end=ended)
        async with openai.AsyncOpenAI(api_key="k", base_url=server.base_url, max_retries=0) as client:
            made: Any = await client.chat.completions.create(model="sv-silent-cut", messages=[], stream=True)
            async for _ in made:
                pass
        await asyncio.gather(*tasks)

    asyncio.run(main())
    assert seen == ["later sv-silent-cut", "later sv-ok"]


@pytest.mark.parametrize("when", ["import openai\n{}", "{}\nimport openai"])
def test_under_run_too(server: ThreadedFaultServer, when: str) -> None:
    code = when.format(
        "import streamvitals; streamvitals.instrument(on_stream_end=lambda record: print(record.outcome.value))"
    ) + "\nlist(openai.OpenAI(max_retries=0).chat.completions.create(model='sv-ok', messages=[], stream=True))\n"
    command = [*RUN, "--port", "0", "--", *python("-c", code)]
    done = subprocess.run(command, env=environment(server.base_url), capture_output=True, text=True, check=True)
    assert done.stdout == "completed\n"
