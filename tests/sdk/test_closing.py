"""The hook on a response's close: what it notes, what it lets pass, and that it is gone when it has fired."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from observation_support import Host
from streamvitals.sdk.closing import Closing
from streamvitals.stream.observation import Observation


class Transport:
    """What belongs to the connection."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1


class Bound(Transport):
    """httpx's stream of one response, around the transport's."""

    def __init__(self) -> None:
        super().__init__()
        self._stream = Transport()


class Response:
    def __init__(self) -> None:
        self.stream = Bound()


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def is_async(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def close(response: Any, is_async: bool) -> None:
    if is_async:
        asyncio.run(response.stream.aclose())
    else:
        response.stream.close()


def watched(host: Host, is_async: bool) -> tuple[Observation, Response, Closing]:
    observation, response = host.streaming(), Response()
    closing = Closing(observation, response)
    closing.hook(response.stream, is_async)
    closing.hooked = True
    return observation, response, closing


def test_a_close_is_noted_and_passed_on_and_the_hook_is_gone(is_async: bool) -> None:
    host = Host()
    observation, response, _ = watched(host, is_async)
    close(response, is_async)
    assert vars(response.stream).keys() == vars(Bound()).keys()
    close(response, is_async)
    assert response.stream.closed == 2
    assert host.ended().error_type == "closed"
    assert observation.closed_by_app


def test_a_close_out_of_what_our_generator_reads_is_not_the_apps(is_async: bool) -> None:
    """Whatever it is called: a Stream of a class of the app's own, say."""
    host = Host()
    observation, response, closing = watched(host, is_async)

    def read() -> Iterator[int]:
        close(response, is_async)
        yield 1

    generator = read()
    closing.add_reader(generator)
    next(generator)
    assert response.stream.closed == 1
    assert not observation.ended
    assert not observation.closed_by_app
    assert host.records == []


@pytest.mark.parametrize("name", ["__stream__", "iter_raw", "aiter_raw"])
def test_an_app_may_call_its_generators_as_the_sdk_and_httpx_do(name: str, is_async: bool) -> None:
    host = Host()
    _, response, _ = watched(host, is_async)
    space: dict[str, Any] = {}
    exec(f"def {name}(close): close()", space)  # noqa: S102 - a function of that name
    space[name](lambda: close(response, is_async))
    assert host.ended().error_type == "closed"


def test_the_sdks_own_generator_closes_when_the_collector_takes_it() -> None:
    """And so does that of a subclass. Nobody reads by then."""
    host = Host()
    observation, response, _ = watched(host, is_async=False)

    class Stream(openai.Stream[Any]):
        def __init__(self) -> None:
            self._iterator = self.__stream__()

        def __stream__(self) -> Iterator[Any]:
            try:
                yield 1
            finally:
                close(response, is_async=False)

    stream = Stream()
    next(stream)
    del stream
    gc.collect()
    assert response.stream.closed == 1
    assert not observation.ended


def test_while_somebody_reads_the_reader_has_the_last_word() -> None:
    """And whatever error it gets is then the app's doing."""
    host = Host()
    observation, response, closing = watched(host, is_async=False)

    def read() -> Iterator[int]:
        thread = threading.Thread(target=close, args=(response, False))
        thread.start()
        thread.join()
        yield 1

    generator = read()
    closing.add_reader(generator)
    assert not closing.being_read()
    next(generator)
    assert observation.closed_by_app
    assert not observation.ended
    observation.failed(ValueError("whatever a reader gets of a connection that was closed under it"))
    record = host.ended()
    assert (record.outcome.value, record.error_type) == ("abandoned", "closed")


def test_neither_the_response_nor_its_stream_is_kept_alive(is_async: bool) -> None:
    host = Host()
    _, response, _ = watched(host, is_async)
    gone = [weakref.ref(response), weakref.ref(response.stream)]
    gc.disable()
    try:
        del response
        assert [reference() for reference in gone] == [None, None]
    finally:
        gc.enable()
    assert host.ended().error_type == "never_iterated"


def test_a_response_that_cannot_be_hooked_is_told_of_when_it_is_dropped(is_async: bool) -> None:
    host, response = Host(), Response()
    closing = Closing(host.streaming(), response)
    with pytest.raises((AttributeError, TypeError)):
        closing.hook(object(), is_async)
    del response
    record = host.ended()
    assert (record.error_type, record.hints) == ("dropped", ("unread_body",))


def test_a_stream_that_the_collector_has_taken_still_frees_its_connection(is_async: bool) -> None:
    """The SDK's generator, finalized together with the stream, closes: weak references are dead by then."""
    host = Host()
    _, response, _ = watched(host, is_async)
    transport = response.stream._stream
    hook = vars(response.stream)["aclose" if is_async else "close"]
    del response
    gc.collect()
    if is_async:
        asyncio.run(hook())
    else:
        hook()
    assert transport.closed == 1
