"""Replaces attributes of the SDK's classes by ours, and restores them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any


class Replacements:
    """The originals of the replaced attributes, by owner and name."""

    def __init__(self) -> None:
        self._made: list[tuple[Any, str, Any, Any]] = []

    def make(self, owner: Any, name: str, ours: Any) -> None:
        """Replace an attribute by ``ours``."""
        self._made.append((owner, name, _found(owner, name), ours))
        setattr(owner, name, ours)

    def undo(self) -> None:
        """Restore the originals. Where another patch is over ours, ours stays underneath and must do nothing."""
        for owner, name, original, ours in reversed(self._made):  # one may be over another
            if _found(owner, name) is not ours:
                continue
            if original is None:
                delattr(owner, name)  # it was a base class's
            else:
                setattr(owner, name, original)
        self._made.clear()


def same_parameters(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two methods can be called in just the same ways. One may then call the other with what it was given: to
    pass on ``*args`` and ``**kwargs`` takes six times as long."""
    try:
        ones, others = ([*inspect.signature(method).parameters.values()][1:] for method in (one, other))
    except (TypeError, ValueError):
        return False  # it has no signature
    return [(p.name, p.kind, p.default) for p in ones] == [(p.name, p.kind, p.default) for p in others]


def _found(owner: Any, name: str) -> Any:
    return vars(owner).get(name) if isinstance(owner, type) else getattr(owner, name, None)
