"""Standing between a response and its reader: SSE streams, and bodies that the app reads as bytes."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from ..stream.observation import Observation
from ..stream.observe import streamvitals_observe, streamvitals_observe_async
from ..stream.sse import ByteWatch
from . import facts
from .closing import Closing


def attach(stream: Any, observation: Observation, is_async: bool) -> None:
    """Put a generator before the iterator of an SDK Stream that was just made. ``parse(to=...)`` makes a
    second Stream over the same response: it shares the observation."""
    if observation.ended:
        return
    response = stream.response
    closing = _respond(response, observation, is_async)
    _tap_done(stream, observation)
    observe: Callable[..., Any] = streamvitals_observe_async if is_async else streamvitals_observe
    generator = observe(stream._iterator, observation, observation.arrived)
    closing.add_reader(generator)
    observation.byte_level = False
    stream._iterator = generator


def watch(result: Any, observation: Observation, is_async: bool) -> None:
    """The call has returned: a Stream (attached by then), or a raw response that may be parsed later, read as
    bytes, or never touched."""
    try:
        response = getattr(result, "response", None) or getattr(result, "http_response", None) or result
        if observation.response is None:
            closing = _respond(response, observation, is_async)
            observation.byte_level = True
            _watch_bytes(response, observation, closing, is_async)
    except Exception:  # noqa: BLE001 - ours; the app has its result all the same
        observation.host.fault("observe")


def _respond(response: Any, observation: Observation, is_async: bool) -> Closing:
    if isinstance(observation.closing, Closing):
        return observation.closing
    closing = Closing(observation)
    observation.closing = closing
    observation.responded(facts.response_facts(response))
    reference = weakref.ref(response)
    observation.bytes_received = lambda: getattr(reference(), "num_bytes_downloaded", None)
    closing.watch_response(response, is_async)
    return closing


def _tap_done(stream: Any, observation: Observation) -> None:
    """Notice ``[DONE]``, which the SDK swallows: one plain call per line."""
    decoder, reader = stream._decoder, observation.reader
    original = decoder.decode

    def decode(line: str) -> Any:
        if len(line) < 16 and line.startswith("data:") and line[5:].lstrip().startswith("[DONE]"):
            reader.done = True
        return original(line)

    decoder.decode = decode
    # The tap and its decoder hold each other: without this a stream would leave garbage for the collector.
    observation.at_end.append(lambda: vars(decoder).pop("decode", None))


def _watch_bytes(response: Any, observation: Observation, closing: Closing, is_async: bool) -> None:
    """See the bytes of a response that no Stream reads. Through a weak reference: a closure over the response
    would keep it, and its connection, alive."""
    name = "aiter_raw" if is_async else "iter_raw"
    original, reference = getattr(type(response), name), weakref.ref(response)
    encoding = facts.content_encoding(response)

    def iter_raw(*args: Any, **kwargs: Any) -> Any:
        inner = original(reference(), *args, **kwargs)
        if not observation.byte_level or observation.ended:
            return inner
        whole = observation.reader.ends_with_body
        arrived = observation.arrived if whole else ByteWatch(observation, encoding).arrived
        generator: Any = (
            streamvitals_observe_async(inner, observation, arrived, owns_inner=True)
            if is_async
            else streamvitals_observe(inner, observation, arrived)
        )
        closing.add_reader(generator)
        return generator

    setattr(response, name, iter_raw)
