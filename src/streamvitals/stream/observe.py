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
    inner: Iterator[T], observation: Observation, arrived: Callable[[Any], None]
) -> Generator[T, None, None]:
    """Yield what ``inner`` yields, raise what it raises, and let ``observation`` know.

    ``arrived`` is called with every item: ``observation.arrived``, or what stands in for it.
    """
    clock = observation.clock
    observation.view[observation.at] = observation.asked = clock()
    try:
        for item in inner:
            arrived(item)
            yield item
            observation.view[observation.at] = observation.asked = clock()
    except GeneratorExit:
        observation.dropped()
        raise
    except BaseException as error:
        observation.failed(error)
        raise
    observation.exhausted()


async def streamvitals_observe_async(
    inner: Any, observation: Observation, arrived: Callable[[Any], None], owns_inner: bool = False
) -> AsyncGenerator[Any, None]:
    """The async twin; the differences are the keywords. ``owns_inner`` is for a generator that nobody else
    can close: httpx closes its byte generators explicitly, and would reach only ours."""
    clock = observation.clock
    observation.view[observation.at] = observation.asked = clock()
    try:
        async for item in inner:
            arrived(item)
            yield item
            observation.view[observation.at] = observation.asked = clock()
    except GeneratorExit:
        observation.dropped()
        if owns_inner and not inner.ag_running:
            await inner.aclose()
        raise
    except BaseException as error:
        observation.failed(error)
        raise
    observation.exhausted()
