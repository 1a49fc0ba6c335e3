"""Standing between a response and its reader: SSE streams, and bodies that the app reads as bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any

from ..stream.observation import Blind, Observation
from ..stream.observe import streamvitals_observe, streamvitals_observe_async
from ..stream.sse import SHORT, ByteWatch
from . import facts
from .closing import Closing


def attach(stream: Any, observation: Observation, is_async: bool) -> None:
    """Put a generator before the iterator of an SDK Stream that was just made. ``parse(to=...)`` makes a
    second Stream over the same response: it shares the observation."""
    if observation.ended:
        return
    response = stream.response
    closing = _respond(response, observation, is_async)
    closing.tap(stream._decoder, _Tap(stream._decoder, observation).decode)
    observe: Callable[..., Any] = streamvitals_observe_async if is_async else streamvitals_observe
    generator = observe(stream._iterator, observation, observation.arrived)
    closing.add_reader(generator)
    stream._iterator = generator


def watch(result: Any, observation: Observation, is_async: bool) -> None:
    """The call has returned: a Stream (attached by then), or a raw response that may be parsed later, read as
    bytes, or never touched."""
    try:
        response = getattr(result, "response", None) or getattr(result, "http_response", None) or result
        if observation.response is None:
            closing = _respond(response, observation, is_async)
            _watch_bytes(response, observation, closing, is_async)
    except Exception:  # noqa: BLE001 - ours; the app has its result all the same
        observation.host.fault("observe")


def _respond(response: Any, observation: Observation, is_async: bool) -> Closing:
    if isinstance(observation.hooks, Closing):
        return observation.hooks
    observation.responded(facts.response_facts(response))
    return Closing(observation, response, is_async)


class _Tap:
    """Notices ``[DONE]`` and event ids, which the SDK swallows: one plain call per line. A bound method and not
    a closure, which takes three times the memory per open stream."""

    __slots__ = ("_observation", "_original")

    def __init__(self, decoder: Any, observation: Observation) -> None:
        self._observation = observation
        self._original = decoder.decode

    def decode(self, line: str) -> Any:
        if line and len(line) < SHORT:
            if line.startswith("data:"):
                if line[5:].lstrip().startswith("[DONE]"):
                    self._observation.reader.done = True
            elif line.startswith("id:"):
                self._observation.last_event_id = line[3:].strip()
        return self._original(line)


def _watch_bytes(response: Any, observation: Observation, closing: Closing, is_async: bool) -> None:
    """See the bytes of a response that no Stream reads, where httpx itself reads them: its streams and their
    generators hold what they read from, so that nothing of ours has to hold the response. Who reads is seen
    when the reading begins: a Stream may have been made, by another instrumentation say, and never be read."""
    bound = response.stream
    if not hasattr(bound, "_stream"):
        # Of a client that is not httpx's nobody knows how it reads: nothing is said of these bytes.
        observation.reader = Blind(observation.reader)
        return
    watched = ByteWatch(observation, facts.content_encoding(response)).arrived
    arrived = observation.arrived if observation.reader.ends_with_body else watched

    def observed(inner: Any) -> Any:
        try:
            if observation.ended or closing.being_read():
                return inner
            generator: Any = (
                streamvitals_observe_async(inner, observation, arrived, owns_inner=isinstance(inner, AsyncGenerator))
                if is_async
                else streamvitals_observe(inner, observation, arrived)
            )
            closing.add_reader(generator)
            return generator
        except Exception:  # noqa: BLE001 - ours; the app gets its bytes all the same
            observation.broken()
            return inner

    bound._stream = _Body(bound._stream, observed)


class _Body:
    """In place of the transport's stream of bytes."""

    def __init__(self, inner: Any, observed: Callable[[Any], Any]) -> None:
        self._inner = inner
        self._observed = observed

    def __iter__(self) -> Any:
        return self._observed(iter(self._inner))

    def __aiter__(self) -> Any:
        return self._observed(self._inner.__aiter__())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)  # close, aclose, and whatever else a transport offers
