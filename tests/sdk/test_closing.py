"""The hooks on a response: what they note of its close, what they let pass, and that they are gone after it."""

from __future__ import annotations

import asyncio
import gc
import importlib
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from observation_support import Host
from streamvitals.sdk.bodies import Bodies
from streamvitals.sdk.closing import Closing, closing_of
from streamvitals.stream.observation import Observation
from streamvitals.stream.observe import streamvitals_watch


class Transport:
    """What belongs to the connection."""

    def __init__(self) -> None:
        self.closed = 0

    def close(self) -> None:
        self.closed += 1

    async def aclose(self) -> None:
        self.closed += 1

    def __iter__(self) -> Iterator[bytes]:
        return iter(())

    __aiter__ = __iter__


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


http: Any = importlib.import_module("httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "httpx")
bodies = Bodies(lambda where: None)


@pytest.fixture(autouse=True)
def _unpatched() -> Iterator[None]:
    yield
    bodies.remove()


def watched(host: Host, is_async: bool) -> tuple[Observation, Response, Closing]:
    observation, response = host.streaming(), Response()
    closing = closing_of(response, observation)
    bodies.hook(response.stream, closing, is_async)
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
    observation, response, _ = watched(host, is_async)

    def read() -> Iterator[int]:
        close(response, is_async)
        yield 1

    generator = streamvitals_watch(read(), observation, observation.arrived)
    next(generator)
    assert response.stream.closed == 1
    assert not observation.ended
    assert not observation.closed_by_app
    assert host.records == []


def test_a_close_in_the_generator_of_another_stream_is_the_apps(is_async: bool) -> None:
    host = Host()
    _, response, _ = watched(host, is_async)
    other = Host().streaming()

    def read() -> Iterator[int]:
        close(response, is_async)
        yield 1

    next(streamvitals_watch(read(), other, other.arrived))
    assert host.ended().error_type == "closed"


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
    observation, response, _ = watched(host, is_async=False)

    def read() -> Iterator[int]:
        thread = threading.Thread(target=close, args=(response, False))
        thread.start()
        thread.join()
        yield 1

    generator = streamvitals_watch(read(), observation, observation.arrived)
    assert not observation.pace.is_blocked()
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
    closing = closing_of(response, host.streaming())
    with pytest.raises((AttributeError, TypeError)):
        bodies.hook(object(), closing, is_async)
    del response
    record = host.ended()
    assert (record.error_type, record.hints) == ("dropped", ("unread_body",))


def test_a_response_without_weak_references_can_be_read_and_closed(is_async: bool) -> None:
    class Slotted:
        __slots__ = ("stream",)

    host, response = Host(), Slotted()
    response.stream = Bound()
    closing = closing_of(response, host.streaming())
    bodies.hook(response.stream, closing, is_async)
    assert closing.bytes_received() is None
    close(response, is_async)
    assert host.ended().error_type == "closed"


def test_a_stream_that_the_collector_has_taken_still_frees_its_connection(is_async: bool) -> None:
    """The SDK's generator, finalized together with the stream, closes: weak references are dead by then."""
    host = Host()
    _, response, _ = watched(host, is_async)
    stream = response.stream
    del response
    gc.collect()
    if is_async:
        asyncio.run(stream.aclose())
    else:
        stream.close()
    assert stream.closed == 1
    assert host.ended().outcome.value == "abandoned"


def test_a_class_that_closes_by_its_base_notes_one_close(is_async: bool) -> None:
    class Derived(Bound):
        def close(self) -> None:
            super().close()

        async def aclose(self) -> None:
            await super().aclose()

    host = Host()
    watched(host, is_async)
    observation, response = host.streaming(), Response()
    response.stream = Derived()
    bodies.hook(response.stream, closing_of(response, observation), is_async)
    host.deferred.clear()
    close(response, is_async)
    assert response.stream.closed == 1
    assert host.ended().error_type == "closed"


def test_the_headers_are_read_at_the_end_as_they_were_when_they_came() -> None:
    """Though the app has dropped the response by then: a limit's reset is counted from when they came."""
    host = Host()
    observation = host.begin()
    response = http.Response(200, headers={"x-request-id": "req", "x-ratelimit-reset-requests": "1700000060"})
    closing = closing_of(response, observation)
    closing.status, closing.headers = response.status_code, response.headers
    observation.attempting()
    host.now += 10.0  # the request was made at 1700000000
    observation.responded()
    host.now += 30.0
    del response
    record = host.ended()
    assert (record.request_id, record.rate_limits[0].reset) == ("req", 50.0)
