"""Identifies a request, so that it is recognised when it is sent again. Nothing of it is shown.

A fingerprint is taken when a stream fails, and compared only while a failure is pending. It is a keyed hash
with a key of this process that is never shown; the inputs are bounded, since hashing whole prompts would
cost milliseconds on the event loop.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

_SAMPLE = 2048  # characters that are hashed of each end of the last message
_MAX_DEPTH = 4
_MAX_PARTS = 8
_secret = os.urandom(32)
# The fields of a RequestKey: most streams need no more, and a tuple is made in a tenth of the time.
Parts = tuple[object, int, object, bool]


class RequestKey(NamedTuple):
    """The parts of a request's body that are hashed if its stream fails.

    ``size`` is the number of messages (-1 where the input is no list of messages), ``last`` the last message: the other
    messages need not be held while the stream is open. A response in the ``background`` goes on without the stream.
    """

    model: object
    size: int
    last: object
    background: bool = False


NO_KEY = RequestKey(None, -1, None)


def parts_of(body: Any) -> Parts:
    """Find what identifies a request in its body, which may be anything."""
    if not isinstance(body, (dict, Mapping)):
        return NO_KEY
    what = body.get("messages")
    if what is None:
        what = body.get("input")
    if what is None:
        what = body.get("prompt")
    size, last = -1, what
    if isinstance(what, (list, tuple)):
        size, last = len(what), what[-1] if what else None
    return body.get("model"), size, last, body.get("background") is True


def request_key_of(body: Any) -> RequestKey:
    """As ``parts_of``, to be compared now."""
    return RequestKey(*parts_of(body))


def digested(body: Any) -> RequestKey:
    """As ``request_key_of``, for a body of which nothing may be held while the stream is open."""
    return request_key_of({"input": fingerprint(request_key_of(body)).hex()})


def fingerprint(key: RequestKey) -> bytes:
    """Hash what a request asks for, bounded: model, number of messages, role and the ends of the last message."""
    digest = blake2b(key=_secret, digest_size=16)
    digest.update(_bytes(str(key.model)[:128]))
    digest.update(b"%d" % key.size)
    _sample(digest, key.last, _MAX_DEPTH)
    return digest.digest()


def _sample(digest: Any, value: Any, depth: int) -> None:
    if isinstance(value, (str, bytes)):
        ends = value if len(value) <= 2 * _SAMPLE else value[:_SAMPLE] + value[-_SAMPLE:]  # type: ignore[operator]
        digest.update(b"%d:" % len(value) + (_bytes(ends) if isinstance(ends, str) else ends))
    elif depth and isinstance(value, Mapping):
        for name in sorted(map(str, value))[:_MAX_PARTS]:
            digest.update(_bytes(name[:64]))
            _sample(digest, value.get(name), depth - 1)
    elif depth and isinstance(value, (list, tuple)):
        digest.update(b"[%d" % len(value))
        for part in (*value[: _MAX_PARTS // 2], *value[-_MAX_PARTS // 2 :]):
            _sample(digest, part, depth - 1)
    elif depth and hasattr(value, "__dict__"):
        _sample(digest, vars(value), depth - 1)  # a message object of the SDK, from an earlier answer
    else:
        digest.update(_bytes(str(type(value).__name__)))


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
