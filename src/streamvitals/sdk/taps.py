"""Notices ``[DONE]``, event ids and comments, which the SDK's decoder of lines drops.

The decoder's class gets a method of ours, once. A method on the instance would cost a slow look-up for each line, and
memory for each open stream.
"""

from __future__ import annotations

import functools
from typing import Any

from ..stream.observation import Observation
from ..stream.sse import SHORT
from .replacing import Replacements

_OBSERVATION = "_streamvitals_observation"  # on a decoder


class Taps:
    """The classes of decoders that have a method of ours, which can be removed again."""

    def __init__(self, package: str) -> None:
        self._package = package + "."
        self._hooked: set[type] = set()
        self._replaced = Replacements()

    def tap(self, decoder: Any, observation: Observation) -> bool:
        """Report to the observation what this decoder drops; False for a decoder that is not the SDK's.

        Another decoder may not pass each line through ``decode``. Raises where the decoder takes no attribute."""
        kind = type(decoder)
        if kind not in self._hooked:
            if not kind.__module__.startswith(self._package):
                return False
            self._replaced.make(kind, "decode", _noticing(kind.decode))
            self._hooked.add(kind)
        decoder._streamvitals_observation = observation
        return True

    def remove(self) -> None:
        """Put back what was there."""
        self._replaced.undo()
        self._hooked.clear()


def _noticing(original: Any) -> Any:
    @functools.wraps(original)
    def streamvitals_decode(decoder: Any, line: str) -> Any:
        if line and len(line) < SHORT:
            _notice(getattr(decoder, _OBSERVATION, None), line)
        return original(decoder, line)

    return streamvitals_decode


def _notice(observation: Observation | None, line: str) -> None:
    if observation is None:
        return
    first = line[0]
    if first == "d":
        if line.startswith("data:") and line[5:].lstrip().startswith("[DONE]"):
            observation.done()
    elif first == "i":
        if line.startswith("id:"):
            observation.event_id(line[3:].strip())
    elif first == ":":
        observation.kept_alive()
