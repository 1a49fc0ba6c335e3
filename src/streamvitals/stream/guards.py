"""Guards around the methods that the SDK's iterators call: what goes wrong in ours is counted and not raised."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, cast

from .tracebacks import is_foreign

Method = TypeVar("Method", bound=Callable[..., None])


def guarded(method: Method) -> Method:
    """Count a fault of ours instead of raising it: the caller is between the SDK and the app."""

    @functools.wraps(method)
    def guarding(self: Any, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:
            if is_foreign(error):
                raise
            self.host.fault("observe")

    return cast(Method, guarding)


def ends(method: Method) -> Method:
    """As ``guarded``, for methods that end a stream: if an exception of the app interrupts one, it still ends."""

    @functools.wraps(method)
    def ending(self: Any, *args: Any) -> None:
        try:
            method(self, *args)
        except BaseException as error:
            if is_foreign(error):
                if not self.ended:
                    ending(self, *args)
                raise
            self.host.fault("observe")

    return cast(Method, ending)
