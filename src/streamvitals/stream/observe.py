"""The two generators that stand between the SDK's iterator and the app.

Their frame appears in the app's tracebacks, hence the name. They never close the inner generator: whoever
drops or closes it does so exactly as without us.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any, TypeVar

from .observation import Observation

T = TypeVar("T")


def streamvitals_observe(
    inner: Iterator[T], observation: Observation, arrived: Callable[[Any], Any]
) -> Generator[T, None, None]:
    """Yield what ``inner`` yields, raise what it raises, and let ``observation`` know.

    ``arrived`` is called with every item and gives it back: ``observation.arrived``, or what stands in for it.
    """
    clock, following = observation.clock, next
    try:
        while True:
            observation.view[observation.at] = observation.asked = clock()
            # No variable for the item: a frame that waits at its yield would keep the chunk alive.
            yield arrived(following(inner))
    except StopIteration:
        observation.exhausted()
    except GeneratorExit:
        observation.dropped()
        raise
    except BaseException as error:
        observation.failed(error)
        raise


async def streamvitals_observe_async(
    inner: Any, observation: Observation, arrived: Callable[[Any], Any], owns_inner: bool = False
) -> AsyncGenerator[Any, None]:
    """The async twin; the differences are the keywords. ``owns_inner`` is for a generator that nobody else
    can close: httpx closes its byte generators explicitly, and would reach only ours."""
    clock, following = observation.clock, inner.__anext__
    try:
        while True:
            observation.view[observation.at] = observation.asked = clock()
            yield arrived(await following())
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
    """Show bytes to ``look`` on their way; where a stream begins and ends is seen elsewhere."""
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
