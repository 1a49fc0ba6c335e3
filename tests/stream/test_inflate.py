"""Compressed bodies: read in any encoding that the app can read, and not past what a look may cost."""

from __future__ import annotations

import json
import sys
import zlib
from types import SimpleNamespace
from typing import Any

import pytest

from observation_support import Host
from streamvitals.stream import inflate
from streamvitals.stream.record import StreamRecord
from streamvitals.stream.sse import ByteWatch

FINISH = json.dumps({"id": "1", "choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}).encode()


def packed(*parts: bytes, wbits: int = 31) -> bytes:
    packer = zlib.compressobj(9, wbits=wbits)
    return b"".join(map(packer.compress, parts)) + packer.flush()


def read(pieces: list[bytes], encoding: str = "gzip", cpu: Any = int) -> StreamRecord:
    host = Host()
    observation = host.streaming()
    watch = ByteWatch(observation, encoding, cpu)
    for piece in pieces:
        host.ask(observation)
        watch.arrived(piece)
    observation.exhausted()
    return host.ended()


BOMBS = {
    "blanks": packed(*[b" " * 1_000_000] * 20),
    "one long line of JSON": packed(b"data: [", *[b"[]," * 333_333] * 15, b"0]\n\n"),
    "many small events": packed(*[b"data: {}\n\n" * 10_000] * 20),
}


@pytest.mark.parametrize("bomb", list(BOMBS))
@pytest.mark.parametrize("size", [1 << 30, 65536, 1000], ids=["at once", "by reads", "by drops"])
def test_a_bomb_is_not_read_to_its_end(bomb: str, size: int) -> None:
    body = BOMBS[bomb]
    record = read([body[at : at + size] for at in range(0, len(body), size)])
    assert (record.outcome.value, record.hints) == ("completed", ("inflate_limit",))


def test_of_a_bomb_no_more_than_the_bound_is_ever_inflated() -> None:
    pieces = inflate.inflater("gzip", int)
    assert pieces is not None
    inflated: list[int] = []
    with pytest.raises(inflate.Unreadable):
        inflated.extend(map(len, pieces(BOMBS["blanks"])))
    assert sum(inflated) <= inflate.MAX_READ


def test_a_read_that_takes_too_long_is_the_last_one_that_is_looked_at() -> None:
    noise = [json.dumps({"n": n, "noise": hash(n * 7919)}).encode() for n in range(8000)]
    body = packed(b"".join(b"data: " + event + b"\n\n" for event in noise))
    ticks = iter(range(1000))
    record = read([body], cpu=lambda: next(ticks) * inflate.MAX_SECONDS * 2)
    assert record.hints == ("inflate_limit",)
    assert read([body]).hints == ()


def test_few_events_that_are_all_alike_are_no_bomb() -> None:
    """However well they pack."""
    body = packed(*[b'data: {"choices": []}\n\n'] * 2000, b"data: " + FINISH + b"\n\n")
    record = read([body])
    assert (record.outcome.value, record.hints) == ("length", ())


def test_a_body_in_one_piece_is_read_to_its_end() -> None:
    noise = b"".join(b'data: {"n": %d}\n\n' % (n * 7919 % 104729) for n in range(12_000))
    record = read([packed(noise, b"data: " + FINISH + b"\n\n")])
    assert (record.outcome.value, record.chunks, record.hints) == ("length", 12_001, ())


# -- encodings that the standard library lacks


class Xor:
    """Stands for a library: each byte is flipped, and a read gives no more than it was asked for."""

    eof, unused_data = False, b""

    def __init__(self) -> None:
        self._left = b""

    @property
    def needs_input(self) -> bool:
        return not self._left

    def decompress(self, raw: bytes, max_length: int) -> bytes:
        self._left += bytes(byte ^ 1 for byte in raw)
        piece, self._left = self._left[:max_length], self._left[max_length:]
        return piece

    def process(self, raw: bytes, output_buffer_limit: int) -> bytes:
        return self.decompress(raw, output_buffer_limit)


class Old:
    """Of a version whose calls cannot be bounded."""

    def process(self, raw: bytes) -> bytes:
        return raw


class Cffi(Xor):
    """The other binding of brotli."""

    def decompress(self, raw: bytes, output_buffer_limit: int) -> bytes:  # type: ignore[override]
        return super().decompress(raw, output_buffer_limit)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("brotli", "brotlicffi", "compression.zstd", "backports.zstd"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return monkeypatch


def flipped(body: bytes) -> bytes:
    return bytes(byte ^ 1 for byte in body)


@pytest.mark.parametrize(("encoding", "module", "library"), [
    ("br", "brotlicffi", SimpleNamespace(Decompressor=Cffi)),
    ("zstd", "backports.zstd", SimpleNamespace(ZstdDecompressor=Xor)),
    ("zstd", "compression.zstd", SimpleNamespace(ZstdDecompressor=Xor)),
])
def test_what_the_app_has_loaded_is_used(
    encoding: str, module: str, library: Any, libraries: pytest.MonkeyPatch
) -> None:
    body = flipped(b"data: " + FINISH + b"\n\n")
    assert read([body], encoding).hints == ("unread_encoding",)
    libraries.setitem(sys.modules, module, library)
    record = read([body[:9], body[9:]], encoding)
    assert (record.outcome.value, record.hints) == ("length", ())


def test_what_cannot_be_bounded_is_not_used(libraries: pytest.MonkeyPatch) -> None:
    libraries.setitem(sys.modules, "brotli", SimpleNamespace(Decompressor=Old))
    assert read([b"anything"], "br").hints == ("unread_encoding",)


@pytest.mark.parametrize(("encoding", "name"), [("br", "brotli"), ("zstd", "backports.zstd")])
def test_with_the_library_itself(encoding: str, name: str) -> None:
    library = pytest.importorskip(name)
    event = b"data: " + FINISH + b"\n\n"
    body = library.compress(event)
    record = read([body[:7], body[7:]], encoding)
    assert (record.outcome.value, record.hints) == ("length", ())
    if encoding == "zstd":
        assert read([library.compress(b": ping\n\n"), body], encoding).outcome.value == "length"
    assert read([library.compress(b" " * 20_000_000)], encoding).hints == ("inflate_limit",)
    assert read([b"\xff\xff\xff nothing of that"], encoding).outcome.value == "malformed"
