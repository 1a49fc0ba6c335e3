"""Notices ``[DONE]``, event ids and comments, which the SDK's decoder of lines drops.

The decoder's class gets a method of ours, once. A method on the instance would cost a slow look-up for each line, and
memory for each open stream.
"""

from __future__ import annotations

import functools
from types import CodeType
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
    code = getattr(original, "__code__", None)
    return _quick(original) if _is_known(code) else _patient(original)


def _patient(original: Any) -> Any:
    """A decoder's method that notices in short lines what ``original`` drops, and leaves the rest to it."""

    @functools.wraps(original)
    def streamvitals_decode(decoder: Any, line: str) -> Any:
        if line and len(line) < SHORT:
            _notice(getattr(decoder, _OBSERVATION, None), line)
        return original(decoder, line)

    return streamvitals_decode


def _quick(original: Any) -> Any:
    """The same, where ``original`` is known: it is not called for the lines of an event, which takes less than it does.

    Two calls for each line would be the most of what a chunk costs."""
    event_of = original.__globals__["ServerSentEvent"]

    @functools.wraps(original)
    def streamvitals_decode(self: Any, line: str) -> Any:
        if not line:
            if not self._event and not self._data and not self._last_event_id and self._retry is None:
                return None
            event = event_of(
                event=self._event, data="\n".join(self._data), id=self._last_event_id, retry=self._retry
            )
            self._event = None
            self._data = []
            self._retry = None
            return event
        short = len(line) < SHORT
        if line[:6] == "data: ":
            if short:
                _notice(getattr(self, _OBSERVATION, None), line)
            self._data.append(line[6:])
            return None
        if line[:7] == "event: ":
            self._event = line[7:]
            return None
        if short:
            _notice(getattr(self, _OBSERVATION, None), line)
        return original(self, line)

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


def _is_known(code: CodeType | None) -> bool:
    """Whether this is the code of the SDK's own method, which has been the same since its first version."""
    known = _known.__code__
    return code is not None and all(getattr(code, part) == getattr(known, part) for part in _PARTS)


_PARTS = ("co_code", "co_consts", "co_names", "co_varnames", "co_freevars", "co_cellvars")


def _known(self, line):  # type: ignore[no-untyped-def]
    # The SDK's text, word for word: never called, and without a docstring, which would be a part of its code.
    if not line:
        if not self._event and not self._data and not self._last_event_id and self._retry is None:
            return None

        sse = ServerSentEvent(  # type: ignore[name-defined]  # noqa: F821
            event=self._event,
            data="\n".join(self._data),
            id=self._last_event_id,
            retry=self._retry,
        )

        # NOTE: as per the SSE spec, do not reset last_event_id.
        self._event = None
        self._data = []
        self._retry = None

        return sse

    if line.startswith(":"):
        return None

    fieldname, _, value = line.partition(":")

    if value.startswith(" "):
        value = value[1:]

    if fieldname == "event":
        self._event = value
    elif fieldname == "data":
        self._data.append(value)
    elif fieldname == "id":
        if "\0" in value:
            pass
        else:
            self._last_event_id = value
    elif fieldname == "retry":
        try:  # noqa: SIM105
            self._retry = int(value)
        except (TypeError, ValueError):
            pass
    else:
        pass  # Field is ignored.

    return None
