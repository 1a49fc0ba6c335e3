"""Recognises that the SDK's own helper (``client.chat.completions.stream()``) could not read a stream.

A helper reads the stream as an application does, so its exception is raised above us. All that we see is that the
stream is closed, while the exception is handled or later. The exception's traceback shows where it came from.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

from ..stream.tracebacks import chain, frames_of, is_library, kinds_of, module_of, package_of
from .openai_sdk import OPENAI

_MAX_FRAMES = 16  # most frames between httpx's close and the helper's


class UnreadableError(Exception):
    """Takes the place of a helper's exception that is no longer being handled."""


def error_of_helper(handled: BaseException | None, closing: FrameType | None, response: Any) -> Exception | None:
    """Find the exception of a helper that reads this response.

    It is in the chain of the exception that is handled while the response is closed; or it was raised before, if the
    helper itself closes the response after it has given up reading."""
    if isinstance(handled, Exception):
        return next((e for e in chain(handled) if isinstance(e, Exception) and _raised_by_helper(e, response)), None)
    for _ in range(_MAX_FRAMES):
        if handled is not None or closing is None:
            return None
        if module_of(closing).startswith(OPENAI.helpers) and _gave_up(closing, response):
            return UnreadableError()
        closing = closing.f_back
    return None


def _raised_by_helper(error: Exception, response: Any) -> bool:
    """Whether the helper itself raised the exception.

    If not, it came from the app's code in the helper's callbacks, from a request made there, or from the app's own
    model, which the answer did not fit."""
    frames = frames_of(error)
    apps = [at for at, frame in enumerate(frames) if not is_library(package_of(frame))]
    frames = frames[apps[-1] + 1 :] if apps else frames
    helpers = [frame for frame in frames if module_of(frame).startswith(OPENAI.helpers)]
    if not helpers or any(module_of(frame) == OPENAI.requests for frame in frames):
        return False
    if "ValidationError" in kinds_of(error) and any(module_of(f).startswith(OPENAI.parsing) for f in frames):
        return False
    return all(_reads(frame, response) for frame in helpers)


def _reads(frame: FrameType, response: Any) -> bool:
    """Whether this frame's object reads this response, or no response at all."""
    try:
        values = list(vars(frame.f_locals["self"]).values())
    except (KeyError, TypeError):
        return True
    streams = [value for value in values if hasattr(value, "_iterator") and hasattr(value, "response")]
    return not streams or any(stream.response is response for stream in streams)


def _gave_up(frame: FrameType, response: Any) -> bool:
    """Whether the generator of this frame's helper has ended before the stream has, which means that it raised. If the
    app has given a model or tools, those may have raised instead."""
    helper = frame.f_locals.get("self")
    stream, state = getattr(helper, "_raw_stream", None), getattr(helper, "_state", None)
    if stream is None or state is None or getattr(stream, "response", None) is not response:
        return False
    model = getattr(state, "_response_format", None) or getattr(state, "_text_format", None)
    iterator = getattr(helper, "_iterator", None)
    over = getattr(iterator, "gi_frame", iterator) is None or getattr(iterator, "ag_frame", iterator) is None
    return over and not isinstance(model, type) and not getattr(state, "_input_tools", None)
