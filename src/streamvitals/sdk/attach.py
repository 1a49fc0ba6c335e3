"""Puts our code between a response and its reader: SSE streams, and bodies that the app reads as bytes.

The ways to observe a stream are independent: where one fails, the others report what can still be known.
"""

from __future__ import annotations

from types import AsyncGeneratorType, GeneratorType
from typing import Any

from ..stream.observation import Observation
from ..stream.observe import (
    streamvitals_observe,
    streamvitals_observe_async,
    streamvitals_watch,
    streamvitals_watch_async,
)
from ..stream.tracebacks import is_foreign
from .bodies import Bodies, read_before
from .closing import Closing, closing_of
from .taps import Taps


class ClassHooks:
    """The hooks that observe a stream by a method on its class."""

    __slots__ = ("bodies", "taps")

    def __init__(self, bodies: Bodies, taps: Taps) -> None:
        self.bodies = bodies
        self.taps = taps


def attach(stream: Any, observation: Observation, is_async: bool, hooks: ClassHooks) -> None:
    """Put our generator around the iterator of an SDK Stream that was just made.

    ``parse(to=...)`` makes a second Stream over the same response: both share the observation."""
    if observation.ended:
        return
    generator = _observing(stream._iterator, observation, is_async)
    try:
        closing = _respond(stream.response, observation, is_async, hooks)
        closing.tapped = hooks.taps.tap(stream._decoder, observation)
        closing.sees_lines = closing.sees_lines or closing.tapped
    except Exception as error:
        if is_foreign(error):
            raise
        observation.host.fault("observe")
    stream._iterator = generator


def watch(result: Any, observation: Observation, is_async: bool, hooks: ClassHooks) -> None:
    """Observe what the call has returned: a Stream (attached by then), or a raw response.

    A raw response may be parsed later, read as bytes, or never touched."""
    try:
        if observation.ended:
            return
        response = getattr(result, "response", None) or getattr(result, "http_response", None) or result
        closing = _respond(response, observation, is_async, hooks)
        if not read_before(response, observation) and not closing.hooked:
            observation.mute("unread_body")
    except Exception as error:
        if is_foreign(error):
            raise
        observation.broken()


def _respond(response: Any, observation: Observation, is_async: bool, hooks: ClassHooks) -> Closing:
    if isinstance(observation.hooks, Closing):
        return observation.hooks
    # Made before anything that may fail: a stream of an unknown kind then still ends when its response is collected.
    closing = closing_of(response, observation)
    observation.responded()
    try:
        # The headers are read at the end, when the app does not wait for a chunk, and it may have dropped the response.
        closing.status, closing.headers = response.status_code, response.headers
    except Exception as error:
        if is_foreign(error):
            raise
        observation.host.fault("observe")
    try:
        hooks.bodies.hook(response.stream, closing, is_async)
        closing.hooked = True
    except (AttributeError, TypeError, LookupError):
        pass  # a stream that takes no hook: reads of it are not seen
    except Exception as error:
        if is_foreign(error):
            raise
        observation.host.fault("observe")
    return closing


def _observing(inner: Any, observation: Observation, is_async: bool) -> Any:
    if not isinstance(inner, (GeneratorType, AsyncGeneratorType)):
        # A class that is not the SDK's: it is not known whether it can be iterated.
        watch: Any = streamvitals_watch_async if is_async else streamvitals_watch
        return watch(inner, observation, observation.arrived)
    observe: Any = streamvitals_observe_async if is_async else streamvitals_observe
    return observe(inner, observation)
