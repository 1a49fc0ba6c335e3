"""The course of each scenario: a pure generator of steps, which the server carries out."""

from __future__ import annotations

from collections.abc import Mapping

from . import events, payloads
from .ask import Ask
from .events import cut, cut_then, dressed, fine, finishing
from .payloads import dumps, sse
from .scenarios import SCENARIOS
from .steps import End, Ending, Head, Pause, Play, Send, Steps

EVENTS = Head()
CLOSING = Head(framing="close")
GZIP = Head(headers=(("content-encoding", "gzip"),))


def stream(body: Play = fine, head: Head = EVENTS, end: Ending = "complete") -> Play:
    """An answer with status 200: head, body with the pauses that were asked for, end."""

    def play(ask: Ask) -> Steps:
        params = ask.params
        yield Pause(params.delay)
        yield head
        gap = params.first
        for step in body(ask):
            if isinstance(step, Send) and step.what != "other":
                yield Pause(gap)
                gap = params.gap
            yield step
        if end == "reset":
            yield Pause(params.grace)
        yield End(end)

    return play


def page(status: int, content_type: str, data: bytes, headers: tuple[tuple[str, str], ...] = ()) -> Steps:
    yield Head(status, content_type, "length", len(data), headers)
    yield Send(data)
    yield End()


def refusing(status: int) -> Play:
    def play(ask: Ask) -> Steps:
        yield Pause(ask.params.delay)
        # What the SDK may retry asks it to come back soon, so that a run of retries takes no seconds.
        again = (("retry-after-ms", "20"),) if status in (408, 409, 429) or status >= 500 else ()
        yield from page(status, "application/json", dumps(payloads.status_error(status)), again)

    return play


def html_200(ask: Ask) -> Steps:
    yield Pause(ask.params.delay)
    yield from page(200, "text/html; charset=utf-8", payloads.HTML_PAGE)


# How a whole answer ends that is no stream, where not as usual.
FINISHES = {"length": "length", "content-filter": "content_filter"}


def whole_answer(ask: Ask) -> Steps:
    yield Pause(ask.params.delay)
    finish = FINISHES.get(ask.scenario, "stop")
    yield from page(200, "application/json", dumps(payloads.completion(ask.model, ask.params.chunks, finish)))


def hang_up(how: Ending) -> Play:
    return lambda ask: iter([Pause(ask.params.delay), End(how)])


def stall_before_headers(ask: Ask) -> Steps:
    yield Pause(ask.params.stall)
    yield from stream()(ask)


def at_first(failure: Play, then: Play | None = None) -> Play:
    """Play `failure` as many times as asked for, then an answer that is fine."""
    fine = then or stream()
    return lambda ask: failure(ask) if ask.failed_before < ask.params.fails else fine(ask)


def event_error(type_: str, code: str | None = None) -> bytes:
    return sse(payloads.error("injected error event", type_, code))


PLAYS: Mapping[str, Play] = {
    "ok": stream(),
    "ok-usage": stream(),
    "length": stream(finishing("length")),
    "content-filter": stream(finishing("content_filter")),
    "tool-calls": stream(events.tool_calls),
    "function-call": stream(events.function_call),
    "reasoning-content": stream(events.keyed("reasoning_content")),
    "reasoning": stream(events.keyed("reasoning")),
    "refusal": stream(events.only("refusal")),
    "empty-first-chunk": stream(events.empty_first_chunk),
    "role-first": stream(events.role_first),
    "thinking": stream(events.thinking),
    "thinking-in-silence": stream(events.role_first),
    "usage-last": stream(events.usage_last),
    "usage-every-chunk": stream(events.usage_every_chunk),
    "unknown-finish-reason": stream(finishing("gave_up")),
    "n2-ok": stream(events.two_choices((0, 1))),
    "index-per-chunk": stream(events.index_per_chunk),
    "keep-alive-comments": stream(dressed(lambda event, _: b": keep-alive\n\n" + event)),
    "heartbeat-only-then-ok": stream(events.heartbeats_first),
    "broken-gzip": stream(events.broken_gzip, GZIP),
    "gzip": stream(events.gzipped, GZIP),
    "close-delimited": stream(head=CLOSING),
    "no-done": stream(finishing("stop", done=False)),
    "slow-headers": stream(),
    "slow-first-chunk": stream(),
    "stall-then-fine": stream(events.stalling),
    "multi-line-data": stream(dressed(events.multi_line)),
    "crlf": stream(dressed(lambda event, _: event.replace(b"\n", b"\r\n"))),
    "bom": stream(dressed(lambda event, number: event if number else b"\xef\xbb\xbf" + event)),
    "no-space": stream(dressed(lambda event, _: event.replace(b"data: ", b"data:", 1))),
    "big-event": stream(events.big_event),
    "sse-ids": stream(dressed(lambda event, number: b"id: %d\nretry: 3000\n%b" % (number, event))),
    "split-writes": stream(events.torn),
    "one-write": stream(events.whole_in_one),
    "meta-frames": stream(dressed(lambda event, number: b"event: ping\n\n" * (number == 3) + event)),
    "id-then-comment": stream(dressed(lambda event, number: b": keep-alive\n\nid: %d\n%b" % (number, event))),
    "silent-cut": stream(cut),
    "close-delimited-cut": stream(cut, CLOSING),
    "truncated-json-event": stream(events.truncated_json),
    "done-without-finish": stream(events.done_without_finish),
    "empty-finish-reason": stream(events.empty_finish_reason),
    "n2-one-finished": stream(events.two_choices((0,))),
    "index-per-chunk-cut": stream(events.index_per_chunk_cut),
    "done-only": stream(lambda ask: iter([Send(payloads.DONE)])),
    "empty-stream": stream(lambda ask: iter(())),
    "fin-in-chunk": stream(events.half_a_chunk, end="fin"),
    "fin-at-boundary": stream(cut, end="fin"),
    "content-length-short": stream(cut, Head(framing="length", length=1_000_000_000), end="fin"),
    "reset-after-n": stream(cut, end="reset"),
    "reset-before-first-chunk": stream(lambda ask: iter(()), end="reset"),
    "reset-after-finish": stream(finishing("stop", done=False), end="reset"),
    "reset-before-headers": hang_up("reset"),
    "fin-before-headers": hang_up("fin"),
    "stall": stream(events.stalling),
    "stall-before-first": stream(events.stalling_first),
    "stall-before-headers": stall_before_headers,
    "html-200": html_200,
    "json-200": whole_answer,
    "broken-json": stream(cut_then(b'data: {"id": "chatcmpl", "choices": [}\n\n', done=True)),
    "broken-utf8": stream(cut_then(b'data: {"id": "\xff\xfe\xc3"}\n\n', done=True)),
    "error-event": stream(cut_then(event_error("server_error"))),
    "error-event-first": stream(lambda ask: iter([Send(event_error("server_error"))])),
    "error-event-overloaded": stream(cut_then(event_error("overloaded_error"))),
    "error-event-rate-limit": stream(cut_then(event_error("rate_limit_exceeded", "rate_limit_exceeded"))),
    "error-event-quota": stream(cut_then(event_error("insufficient_quota", "insufficient_quota"))),
    "finish-error": stream(events.finish_error),
    "finish-abort": stream(finishing("abort")),
    "finish-insufficient-system-resource": stream(finishing("insufficient_system_resource")),
    "retries-exhausted": refusing(500),
    "429-then-ok": at_first(refusing(429)),
    "500-then-ok": at_first(refusing(500)),
    "connect-reset-then-ok": at_first(hang_up("reset")),
    **{name: refusing(int(name)) for name in SCENARIOS if name.isdigit()},
}

# These fail `fails` times for one and the same request body.
COUNTED = frozenset({"429-then-ok", "500-then-ok", "connect-reset-then-ok"})

# A request that does not ask for a stream has only these played to it; to the rest it gets a whole answer.
WITHOUT_STREAM = COUNTED | {name for name in PLAYS if name.isdigit()} | {
    "retries-exhausted", "reset-before-headers", "fin-before-headers", "stall-before-headers", "html-200",
}


def play(ask: Ask) -> Steps:
    return whole_answer(ask) if answers_whole(ask) else PLAYS[ask.scenario](ask)


def answers_whole(ask: Ask) -> bool:
    """Whether a request gets a whole answer: it asks for no stream, and the scenario is none that it can meet."""
    if ask.stream or ask.params.plain:
        return False
    return ask.scenario not in WITHOUT_STREAM or (
        ask.scenario in COUNTED and ask.failed_before >= ask.params.fails
    )
