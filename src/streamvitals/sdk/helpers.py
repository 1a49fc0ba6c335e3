"""Whether the SDK's own helper (``client.chat.completions.stream()`` and its like) raised at what a stream said.

A helper reads the stream as an application does, so that its exception arises above us: all that is seen of it is
that somebody closes the stream while handling it. Its traceback says where it came from.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

from ..stream.tracebacks import frames_of, is_library, kinds_of, module_of, package_of

_HELPERS = "openai.lib.streaming"


def raised_by_helper(error: BaseException | None, response: Any) -> bool:
    """Whether a helper that reads this response raised it, and neither the app in the helper's callbacks, nor a
    request made there, nor the app's own model, which found the answer not to be one of its kind."""
    if not isinstance(error, Exception):
        return False
    frames = frames_of(error)
    apps = [at for at, frame in enumerate(frames) if not is_library(package_of(frame))]
    frames = frames[apps[-1] + 1 :] if apps else frames
    helpers = [frame for frame in frames if module_of(frame).startswith(_HELPERS)]
    if not helpers or any(module_of(frame) == "openai._base_client" for frame in frames):
        return False
    if "ValidationError" in kinds_of(error) and any(module_of(f).startswith("openai.lib._parsing") for f in frames):
        return False
    return all(_reads(frame, response) for frame in helpers)


def _reads(frame: FrameType, response: Any) -> bool:
    """Whether this frame's object reads this response, or none at all."""
    try:
        values = list(vars(frame.f_locals["self"]).values())
    except (KeyError, TypeError):
        return True
    streams = [value for value in values if hasattr(value, "_iterator") and hasattr(value, "response")]
    return not streams or any(stream.response is response for stream in streams)
