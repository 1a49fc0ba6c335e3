"""Decompresses bodies, for as long as that is cheap: the server that sent them may be hostile.

For an encoding that the standard library lacks, the library that the application has loaded for httpx is used, if its
calls can be bounded: https://pypi.org/project/Brotli/ from 1.2, and zstd as in Python 3.14 or its backport.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator
from typing import Any

MAX_READ = 1 << 20  # bytes that one read may be inflated to
MAX_RATIO = 100  # bytes inflated per byte received
MAX_SECONDS = 0.005  # CPU time in which one read is inflated and parsed
_PIECE = 1 << 16
_FREE = 1 << 16  # bytes inflated before the ratio is checked: a few events that are all alike compress very well
_CODINGS = ("gzip", "deflate", "br", "zstd")  # httpx ignores any other name

Pieces = Callable[[bytes], Iterator[bytes]]


class Unreadable(Exception):
    """These bytes cannot, or must not, be read any further; ``hint`` is one of ``names.HINTS``."""

    def __init__(self, hint: str) -> None:
        super().__init__(hint)
        self.hint = hint


class Damaged(Exception):
    """These bytes are not valid in their encoding."""


def inflater(encoding: str, cpu: Callable[[], float]) -> Pieces | None:
    """A decompressor for this encoding, to be fed piece by piece; None where there is none. ``cpu`` is a clock.

    The decompressor raises ``Damaged``, or ``Unreadable`` past the bounds above."""
    codings = [word for word in map(str.strip, encoding.split(",")) if word in _CODINGS]
    if not codings:
        return _as_it_is
    made = _MAKERS[codings[0]]() if len(codings) == 1 else None
    return _Bounded(made, cpu).pieces if made is not None else None


def _as_it_is(raw: bytes) -> Iterator[bytes]:
    yield raw


class _Bounded:
    """Stops a decompression that gives too much, too fast or for too long. ``inflate`` is called without bytes for the
    rest of what the last bytes gave."""

    def __init__(self, inflate: Callable[[bytes], bytes], cpu: Callable[[], float]) -> None:
        self._inflate = inflate
        self._cpu = cpu
        self._came = 0
        self._inflated = 0

    def pieces(self, raw: bytes) -> Iterator[bytes]:
        self._came += len(raw)
        read, began = 0, 0.0
        try:
            piece = self._inflate(raw)
            while piece:
                if not read:
                    began = self._cpu()
                elif self._cpu() - began > MAX_SECONDS:
                    raise Unreadable("inflate_limit")
                read += len(piece)
                self._inflated += len(piece)
                dense = self._inflated > _FREE and self._inflated > MAX_RATIO * self._came
                if read > MAX_READ or dense:
                    raise Unreadable("inflate_limit")
                yield piece
                piece = self._inflate(b"")
        except Unreadable:
            raise
        except Exception as error:
            # Each library has its own exception class.
            raise Damaged from error


class _Zlib:
    def __init__(self, wbits: int = zlib.MAX_WBITS) -> None:
        self._wbits = wbits
        self._object = zlib.decompressobj(wbits)

    def __call__(self, raw: bytes) -> bytes:
        return self._object.decompress(self._object.unconsumed_tail + raw, _PIECE)


class _Deflate:
    """Either of the two formats that servers mean by "deflate": with zlib's header, or without it."""

    def __init__(self) -> None:
        self._inflate: _Zlib | None = None
        self._begun = b""

    def __call__(self, raw: bytes) -> bytes:
        if self._inflate is None:
            self._begun += raw
            if len(self._begun) < 2:  # the header's length
                return b""
            raw, self._begun = self._begun, b""
            try:
                zlib.decompressobj().decompress(raw[:2])
                self._inflate = _Zlib()
            except zlib.error:
                self._inflate = _Zlib(-zlib.MAX_WBITS)
        return self._inflate(raw)


def _brotli() -> Callable[[bytes], bytes] | None:
    library = sys.modules.get("brotli") or sys.modules.get("brotlicffi")
    if library is None:
        return None
    made = library.Decompressor()
    process: Callable[..., bytes] = getattr(made, "decompress", None) or made.process
    try:
        process(b"", output_buffer_limit=_PIECE)
    except TypeError:
        return None  # an older version: its calls cannot be bounded
    return lambda raw: process(raw, output_buffer_limit=_PIECE)


def _zstd() -> Callable[[bytes], bytes] | None:
    library = sys.modules.get("compression.zstd") or sys.modules.get("backports.zstd")
    return _Zstd(library.ZstdDecompressor) if library is not None else None


class _Zstd:
    """Decompresses frame after frame: a server may end a frame with each flush."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._object = make()

    def __call__(self, raw: bytes) -> bytes:
        while True:
            if self._object.eof:
                raw = self._object.unused_data + raw
                if not raw:
                    return b""
                self._object = self._make()
            elif not raw and self._object.needs_input:
                return b""
            piece: bytes = self._object.decompress(raw, _PIECE)
            if piece or not self._object.eof:
                return piece
            raw = b""


_MAKERS: dict[str, Callable[[], Callable[[bytes], bytes] | None]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": _Deflate,
    "br": _brotli,
    "zstd": _zstd,
}
