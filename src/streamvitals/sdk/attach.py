"""Standing between a response and its reader: SSE streams, and bodies that the app reads as bytes.

Each of the ways to see a stream is taken on its own: where one fails, the others tell what can still be known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..stream.observation import Observation
from ..stream.observe import streamvitals_observe, streamvitals_observe_async
from ..stream.request import EVENT_STREAM, ResponseFacts
from ..stream.sse import SHORT
from ..stream.tracebacks import is_foreign
from . import facts
from .bodies import Bodies, read_before
from .closing import Closing


def attach(stream: Any, observation: Observation, is_async: bool, bodies: Bodies) -> None:
    """Put a generator before the iterator of an SDK Stream that was just made. ``parse(to=...)`` makes a
    second Stream over the same response: it shares the observation."""
    if observation.ended:
        return
    observe: Callable[..., Any] = streamvitals_observe_async if is_async else streamvitals_observe
    generator = observe(stream._iterator, observation, observation.arrived)
    try:
        closing = _respond(stream.response, observation, is_async, bodies)
        closing.add_reader(generator)
        _tap(stream, observation, closing)
    except Exception as error:
        if is_foreign(error):
            raise
        observation.host.fault("observe")
    stream._iterator = generator


def watch(result: Any, observation: Observation, is_async: bool, bodies: Bodies) -> None:
    """The call has returned: a Stream (attached by then), or a raw response that may be parsed later, read as
    bytes, or never touched."""
    try:
        if observation.hooks is not None or observation.ended:
            return
        response = getattr(result, "response", None) or getattr(result, "http_response", None) or result
        closing = _respond(response, observation, is_async, bodies)
        if not read_before(response, observation) and not closing.hooked:
            observation.unread("unread_body")
    except Exception as error:
        if is_foreign(error):
            raise
        observation.broken()


def _respond(response: Any, observation: Observation, is_async: bool, bodies: Bodies) -> Closing:
    if isinstance(observation.hooks, Closing):
        return observation.hooks
    # Before what may fail: a stream of an unknown kind is still told of when the collector takes its response.
    closing = Closing(observation, response)
    try:
        told = facts.response_facts(response)
    except Exception as error:
        if is_foreign(error):
            raise
        observation.host.fault("observe")
        told = ResponseFacts(200, EVENT_STREAM)
    observation.responded(told)
    try:
        closing.hook(response.stream, is_async)
        bodies.hook(response.stream, is_async)
        closing.hooked = True
    except (AttributeError, TypeError, LookupError):
        pass  # a stream that takes no hook: who reads it is not seen
    except Exception as error:
        if is_foreign(error):
            raise
        observation.host.fault("observe")
    return closing


def _tap(stream: Any, observation: Observation, closing: Closing) -> None:
    try:
        decoder = stream._decoder
        # Only of the SDK's own is it known that each line goes through `decode`. Others are not asked for one.
        if type(decoder).__module__.startswith("openai."):
            closing.tap(decoder, _Tap(decoder, observation).decode)
    except Exception as error:
        if is_foreign(error):
            raise
        observation.host.fault("observe")


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
