"""The generators that stand between the SDK's iterator and the app.

Their frames appear in the app's tracebacks, hence their names. They never close the inner generator: it is dropped or
closed by the same code, at the same time, as without us.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from typing import Any

from .chunks import ERRORS, IN_CHOICE, NOT_YET
from .observation import Observation
from .tracebacks import is_foreign


def streamvitals_observe(inner: Iterator[Any], observation: Observation) -> Generator[Any, None, None]:
    """Yield the SDK's chunks that ``inner`` yields, raise what it raises, and report both to ``observation``.

    A common chunk shows only that the stream goes on. It is handled here, without a call; every other chunk is read by
    ``observation.arrived``.
    """
    clock, pace = observation.clock, observation.pace
    view, at, note = pace.view, pace.at, pace.note
    kind, choices, thinks = NOT_YET
    try:
        pace.view[pace.at] = pace.waiting_since = clock()
        for item in inner:
            try:
                now = clock()
                if choices is not None:
                    # The dict, as for a model's attribute Python would look up the class's __getattr__ first.
                    part = item.__dict__
                    (each,) = part["choices"]
                    common = (
                        part["usage"] is None
                        and (not (part := item.__pydantic_extra__) or ERRORS.isdisjoint(part))
                        and (not (part := each.__pydantic_extra__) or IN_CHOICE.isdisjoint(part))
                        and not (part := each.__dict__)["finish_reason"] and part["index"] in choices
                        and (thinks is None or thinks(each))
                    )
                else:
                    common = kind is not None and item.__dict__["type"] == kind
                if common and now < pace.flush_at:
                    view[at] = -now
                    view[at + 3] = pace.chunks = pace.chunks + 1.0
                    pace.arrived_at = now
                    gap = now - pace.waiting_since
                    pace.wait += gap
                    if not pace.low < gap <= pace.high:
                        pace.gap(gap, now)
                    if note is not None:
                        note(now)
                else:
                    kind, choices, thinks = observation.arrived(item, now)
            except Exception as error:
                if is_foreign(error):
                    raise
                kind, choices, thinks = observation.puzzled(item, error)
            yield (item, item := (part := (each := None)))[0]  # no frame that waits keeps the chunk alive
            pace.view[pace.at] = pace.waiting_since = clock()
        observation.exhausted()
    except GeneratorExit:
        observation.dropped()
        raise
    except BaseException as error:
        observation.failed(error)
        raise


async def streamvitals_observe_async(
    inner: AsyncIterator[Any], observation: Observation
) -> AsyncGenerator[Any, None]:
    """The async twin; the differences are the keywords."""
    clock, pace = observation.clock, observation.pace
    view, at, note = pace.view, pace.at, pace.note
    kind, choices, thinks = NOT_YET
    try:
        pace.view[pace.at] = pace.waiting_since = clock()
        async for item in inner:
            try:
                now = clock()
                if choices is not None:
                    # The dict, as for a model's attribute Python would look up the class's __getattr__ first.
                    part = item.__dict__
                    (each,) = part["choices"]
                    common = (
                        part["usage"] is None
                        and (not (part := item.__pydantic_extra__) or ERRORS.isdisjoint(part))
                        and (not (part := each.__pydantic_extra__) or IN_CHOICE.isdisjoint(part))
                        and not (part := each.__dict__)["finish_reason"] and part["index"] in choices
                        and (thinks is None or thinks(each))
                    )
                else:
                    common = kind is not None and item.__dict__["type"] == kind
                if common and now < pace.flush_at:
                    view[at] = -now
                    view[at + 3] = pace.chunks = pace.chunks + 1.0
                    pace.arrived_at = now
                    gap = now - pace.waiting_since
                    pace.wait += gap
                    if not pace.low < gap <= pace.high:
                        pace.gap(gap, now)
                    if note is not None:
                        note(now)
                else:
                    kind, choices, thinks = observation.arrived(item, now)
            except Exception as error:
                if is_foreign(error):
                    raise
                kind, choices, thinks = observation.puzzled(item, error)
            yield (item, item := (part := (each := None)))[0]  # no frame that waits keeps the chunk alive
            pace.view[pace.at] = pace.waiting_since = clock()
        observation.exhausted()
    except GeneratorExit:
        observation.dropped()
        raise
    except BaseException as error:
        observation.failed(error)
        raise


def streamvitals_watch(
    inner: Iterator[Any], observation: Observation, arrived: Callable[[Any], object]
) -> Generator[Any, None, None]:
    """As ``streamvitals_observe``, for items that are no chunks of the SDK: ``arrived`` is called with each."""
    clock, pace, following = observation.clock, observation.pace, next
    try:
        while True:
            pace.view[pace.at] = pace.waiting_since = clock()
            item = following(inner)
            arrived(item)
            yield (item, item := None)[0]
    except StopIteration:
        observation.exhausted()
    except GeneratorExit:
        observation.dropped()
        raise
    except BaseException as error:
        observation.failed(error)
        raise


async def streamvitals_watch_async(
    inner: Any, observation: Observation, arrived: Callable[[Any], object], owns_inner: bool = False
) -> AsyncGenerator[Any, None]:
    """The async twin. ``owns_inner`` is for a generator that only we can close: httpx closes its byte generators
    explicitly, but would reach only the generator that we have put around it."""
    clock, pace, following = observation.clock, observation.pace, inner.__anext__
    try:
        while True:
            pace.view[pace.at] = pace.waiting_since = clock()
            item = await following()
            arrived(item)
            yield (item, item := None)[0]
    except StopAsyncIteration:
        observation.exhausted()
    except GeneratorExit:
        observation.dropped()
        if owns_inner and not inner.ag_running:
            await inner.aclose()
        raise
    except BaseException as error:
        observation.failed(error)
        raise


def streamvitals_look(inner: Iterator[bytes], look: Callable[[bytes], None]) -> Generator[bytes, None, None]:
    """Yield the bytes of ``inner`` and call ``look`` with each piece; the stream's begin and end are seen elsewhere."""
    for raw in inner:
        look(raw)
        yield raw


async def streamvitals_look_async(
    inner: Any, look: Callable[[bytes], None], owns_inner: bool = False
) -> AsyncGenerator[bytes, None]:
    """The async twin."""
    try:
        async for raw in inner:
            look(raw)
            yield raw
    finally:
        if owns_inner and not inner.ag_running:
            await inner.aclose()
