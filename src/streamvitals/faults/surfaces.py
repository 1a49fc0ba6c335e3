"""The other streaming surfaces of the API: what their bodies are made of, and how each can break.

A surface is a vocabulary of events; the scenarios are the chat ones where they apply, chosen by the same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from .ask import Ask
from .payloads import DONE, Json, dumps, named_sse
from .plays import CLOSING, at_first, hang_up, html_200, page, refusing, stream
from .steps import Head, Pause, Play, Send, Steps

AUDIO = b"x" * 1024
Encode = Callable[[Json], bytes]
Ending = Callable[[Ask, str], Iterator[Json]]


@dataclass(frozen=True)
class Surface:
    """The events of one surface.

    ``opening`` are the events before the first token, ``ending`` those after the last one, by how the stream ends; it
    yields nothing for an end that this surface does not have. ``non_streaming_body`` answers a request without
    ``stream``.
    """

    name: str
    token: Callable[[Ask, int], Json]
    ending: Ending
    error: Callable[[str, str | None], Json]
    non_streaming_body: Callable[[Ask], Json]
    opening: Callable[[Ask], Iterator[Json]] = lambda ask: iter(())
    encode: Encode = named_sse
    done: bytes = b""
    ends: tuple[str, ...] = ("completed",)

    # -- bodies

    def _begun(self, ask: Ask) -> Steps:
        for event in self.opening(ask):
            yield Send(self.encode(event), "chunk")
        yield Pause(ask.params.first_token)

    def _tokens(self, ask: Ask, count: int, start: int = 0) -> Steps:
        for number in range(start, start + count):
            yield Send(self.encode(self.token(ask, number)), "token")

    def _finish(self, ask: Ask, how: str) -> Steps:
        for event in self.ending(ask, how):
            # An image's result itself is the token if no partial image came before it.
            yield Send(self.encode(event), "chunk")
        if self.done:
            yield Send(self.done)

    def ending_in(self, how: str) -> Play:
        """A complete body that ends like this."""

        def body(ask: Ask) -> Steps:
            yield from self._begun(ask)
            yield from self._tokens(ask, ask.params.chunks)
            yield from self._finish(ask, how)

        return body

    def cut(self, *then: bytes) -> Play:
        """A body that stops after a few tokens, or says one thing more."""

        def body(ask: Ask) -> Steps:
            yield from self._begun(ask)
            yield from self._tokens(ask, ask.params.after)
            for data in then:
                yield Send(data)

        return body

    def stalling(self, ask: Ask) -> Steps:
        """Silence after a few tokens, then the rest."""
        yield from self.cut()(ask)
        yield Pause(ask.params.stall)
        yield from self._tokens(ask, max(0, ask.params.chunks - ask.params.after), ask.params.after)
        yield from self._finish(ask, "completed")

    def fail(self, type_: str, code: str | None = None) -> bytes:
        """An error event."""
        return self.encode(self.error(type_, code))


def _dressed(dress: Callable[[bytes, int], bytes], body: Play) -> Play:
    """The body with each write changed by ``dress``, which gets the bytes and the number of the write."""

    def play(ask: Ask) -> Steps:
        number = 0
        for step in body(ask):
            if isinstance(step, Send):
                yield Send(dress(step.data, number), step.what)
                number += 1
            else:
                yield step

    return play


def _torn(body: Play) -> Play:
    """The body with each event split over two writes."""

    def play(ask: Ask) -> Steps:
        for step in body(ask):
            if isinstance(step, Send):
                half = len(step.data) // 2
                yield Send(step.data[:half])
                yield Send(step.data[half:], step.what)
            else:
                yield step

    return play


def _in_one(body: Play) -> Play:
    """The body in a single write."""

    def play(ask: Ask) -> Steps:
        sends = [step for step in body(ask) if isinstance(step, Send)]
        yield Send(b"".join(s.data for s in sends), "token", chunks=sum(s.what != "other" for s in sends))

    return play


def _half_a_chunk(body: Play) -> Play:
    """The body, then the first half of an HTTP chunk."""

    def play(ask: Ask) -> Steps:
        yield from body(ask)
        yield Send(b"40\r\nnever whole", framed=False)

    return play


def _first_silence(body: Play) -> Play:
    """Silence after the headers, then the body."""

    def play(ask: Ask) -> Steps:
        yield Pause(ask.params.stall)
        yield from body(ask)

    return play


def _thinking(body: Play) -> Play:
    """The first event, keep-alives for a while, then the rest. OpenAI sends them in Responses, undocumented."""

    def play(ask: Ask) -> Steps:
        steps = body(replace(ask, params=replace(ask.params, first_token=0.0)))
        yield next(steps)
        for number in range(6):
            yield Pause(ask.params.first_token / 6)
            yield Send(named_sse({"type": "keepalive", "sequence_number": number}))
        yield from steps

    return play


def _nothing(ask: Ask) -> Steps:
    return iter(())


def _late(answer: Play) -> Play:
    """Silence before the headers, then the answer."""

    def play(ask: Ask) -> Steps:
        yield Pause(ask.params.stall)
        yield from answer(ask)

    return play


def plays_of(surface: Surface) -> Mapping[str, Play]:
    """Every scenario that this surface can play."""
    fine, cut, head = surface.ending_in("completed"), surface.cut(), Head()
    ok = stream(fine, head)
    json_200: Play = lambda ask: page(200, "application/json", dumps(surface.non_streaming_body(ask)))  # noqa: E731
    return {
        "ok": ok,
        "ok-usage": ok,
        "role-first": ok,
        "thinking": stream(_thinking(fine), head),
        **{how.replace("_", "-"): stream(surface.ending_in(how), head) for how in surface.ends if how != "completed"},
        "close-delimited": stream(fine, CLOSING),
        "crlf": stream(_dressed(lambda data, _: data.replace(b"\n", b"\r\n"), fine), head),
        "bom": stream(_dressed(lambda data, number: data if number else b"\xef\xbb\xbf" + data, fine), head),
        "no-space": stream(_dressed(lambda data, _: data.replace(b": ", b":", 2), fine), head),
        "keep-alive-comments": stream(_dressed(lambda data, _: b": keep-alive\n\n" + data, fine), head),
        "sse-ids": stream(_dressed(lambda data, number: b"id: %d\n%b" % (number, data), fine), head),
        "split-writes": stream(_torn(fine), head),
        "one-write": stream(_in_one(fine), head),
        "stall-then-fine": stream(surface.stalling, head),
        "silent-cut": stream(cut, head),
        "close-delimited-cut": stream(cut, CLOSING),
        "empty-stream": stream(_nothing, head),
        "done-only": stream(lambda ask: iter([Send(DONE)]), head),
        "fin-in-chunk": stream(_half_a_chunk(cut), head, "fin"),
        "fin-at-boundary": stream(cut, head, "fin"),
        "reset-after-n": stream(cut, head, "reset"),
        "reset-before-first-chunk": stream(_nothing, head, "reset"),
        "stall": stream(surface.stalling, head),
        "stall-before-first": stream(_first_silence(fine), head),
        "stall-before-headers": _late(ok),
        "html-200": html_200,
        "json-200": json_200,
        "broken-json": stream(surface.cut(b'data: {"type": }\n\n'), head),
        "error-event": stream(surface.cut(surface.fail("server_error", "server_error")), head),
        "error-event-first": stream(lambda ask: iter([Send(surface.fail("server_error", "server_error"))]), head),
        "error-event-rate-limit": stream(surface.cut(surface.fail("tokens", "rate_limit_exceeded")), head),
        **_refusals(ok),
    }


def _refusals(then: Play) -> dict[str, Play]:
    statuses = (400, 401, 403, 404, 408, 409, 429, 500, 502, 503, 504, 529)
    return {
        **{str(status): refusing(status) for status in statuses},
        "retries-exhausted": refusing(500),
        "429-then-ok": at_first(refusing(429), then),
        "500-then-ok": at_first(refusing(500), then),
        "connect-reset-then-ok": at_first(hang_up("reset"), then),
        "reset-before-headers": hang_up("reset"),
        "fin-before-headers": hang_up("fin"),
    }


def speech_plays() -> Mapping[str, Play]:
    """Speech as bytes: a body that is its own content."""
    audio = Head(content_type="audio/mpeg")

    def bytes_of(count: Callable[[Ask], int]) -> Play:
        return lambda ask: (Send(AUDIO, "token") for _ in range(count(ask)))

    fine, cut = bytes_of(lambda ask: ask.params.chunks), bytes_of(lambda ask: ask.params.after)

    def stalling(ask: Ask) -> Steps:
        yield from cut(ask)
        yield Pause(ask.params.stall)
        yield from cut(ask)

    ok = stream(fine, audio)
    return {
        "ok": ok,
        "close-delimited": stream(fine, Head(content_type="audio/mpeg", framing="close")),
        "content-length-short": stream(cut, Head(200, "audio/mpeg", "length", 1_000_000_000), "fin"),
        "silent-cut": stream(cut, audio),
        "empty-stream": stream(_nothing, audio),
        "fin-in-chunk": stream(_half_a_chunk(cut), audio, "fin"),
        "fin-at-boundary": stream(cut, audio, "fin"),
        "reset-after-n": stream(cut, audio, "reset"),
        "reset-before-first-chunk": stream(_nothing, audio, "reset"),
        "stall": stream(stalling, audio),
        "stall-before-first": stream(_first_silence(fine), audio),
        "stall-before-headers": _late(ok),
        "html-200": html_200,
        "json-200": lambda ask: page(200, "application/json", b"{}"),
        **_refusals(ok),
    }
