"""The bodies of the event streams: pure generators of steps, without head and end."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from itertools import chain, islice
from typing import Any

from . import payloads
from .ask import Ask
from .payloads import DONE, choice, chunk, sse
from .steps import Pause, Play, Send, Steps

BIG = 1_572_864


def one(ask: Ask, delta: dict[str, Any], finish: str | None = None, index: int = 0, **extra: Any) -> bytes:
    return sse(chunk(ask.model, [choice(delta, finish, index, **extra)]))


def tokens(ask: Ask, count: int, key: str = "content", start: int = 0) -> Steps:
    for number in range(start, start + count):
        delta = {key: payloads.piece(ask.params, number)}
        yield Send(one(ask, delta if number else {"role": "assistant", **delta}), "token")


def finish(ask: Ask, reason: str = "stop", done: bool = True, **extra: Any) -> Steps:
    yield Send(one(ask, {}, reason, **extra), "chunk")
    if ask.include_usage:
        yield Send(sse(chunk(ask.model, [], usage=payloads.usage(ask.params.chunks))), "chunk")
    if done:
        yield Send(DONE)


def fine(ask: Ask) -> Steps:
    return chain(tokens(ask, ask.params.chunks), finish(ask))


def cut(ask: Ask) -> Steps:
    return tokens(ask, ask.params.after)


def finishing(reason: str, **extra: Any) -> Play:
    return lambda ask: chain(tokens(ask, ask.params.chunks), finish(ask, reason, **extra))


def cut_then(*events: bytes, done: bool = False) -> Play:
    return lambda ask: chain(cut(ask), (Send(event) for event in events), [Send(DONE)] if done else [])


def keyed(key: str) -> Play:
    """Half of the tokens under another key of the delta, then the rest as content."""

    def events(ask: Ask) -> Steps:
        half = ask.params.chunks // 2
        yield from tokens(ask, half, key)
        yield from tokens(ask, ask.params.chunks - half, start=half)
        yield from finish(ask)

    return events


def only(key: str) -> Play:
    return lambda ask: chain(tokens(ask, ask.params.chunks, key), finish(ask))


def tool_calls(ask: Ask) -> Steps:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "lookup", "arguments": ""}}
    yield Send(one(ask, {"role": "assistant", "content": None, "tool_calls": [call]}), "token")
    for number in range(1, ask.params.chunks):
        part = {"index": 0, "function": {"arguments": '{"a":1}' if number == 1 else " "}}
        yield Send(one(ask, {"tool_calls": [part]}), "token")
    yield from finish(ask, "tool_calls")


def function_call(ask: Ask) -> Steps:
    yield Send(one(ask, {"role": "assistant", "function_call": {"name": "lookup", "arguments": ""}}), "token")
    for number in range(1, ask.params.chunks):
        yield Send(one(ask, {"function_call": {"arguments": "{}" if number == 1 else " "}}), "token")
    yield from finish(ask, "function_call")


def empty_first_chunk(ask: Ask) -> Steps:
    filters = [{"prompt_index": 0, "content_filter_results": {}}]
    unnamed = {"id": "", "object": "", "created": 0, "model": ""}
    yield Send(sse({**unnamed, "choices": [], "prompt_filter_results": filters}), "chunk")
    yield from fine(ask)


def role_first(ask: Ask) -> Steps:
    yield Send(one(ask, {"role": "assistant", "content": "", "refusal": None}), "chunk")
    yield Pause(ask.params.first_token)
    yield from fine(ask)


def thinking(ask: Ask) -> Steps:
    """What OpenRouter sends while a model thinks."""
    yield Send(one(ask, {"role": "assistant", "content": ""}), "chunk")
    for _ in range(6):
        yield Pause(ask.params.first_token / 6)
        yield Send(b": OPENROUTER PROCESSING\n\n")
    yield from fine(ask)


def usage_in_finish(ask: Ask) -> Steps:
    yield Send(sse(chunk(ask.model, [choice({}, "stop")], usage=payloads.usage(ask.params.chunks))), "chunk")
    yield Send(DONE)


def usage_last(ask: Ask) -> Steps:
    return chain(tokens(ask, ask.params.chunks), usage_in_finish(ask))


def usage_every_chunk(ask: Ask) -> Steps:
    for number in range(ask.params.chunks):
        delta = {"content": f"token{number} "}
        yield Send(sse(chunk(ask.model, [choice(delta)], usage=payloads.usage(number + 1))), "token")
    yield from usage_in_finish(ask)


def two_choices(finished: tuple[int, ...]) -> Play:
    def events(ask: Ask) -> Steps:
        for number in range(ask.params.chunks):
            yield Send(one(ask, {"content": f"token{number} "}, index=number % 2), "token")
        for index in finished:
            yield Send(one(ask, {}, "stop", index), "chunk")
        yield Send(DONE)

    return events


def index_per_chunk(ask: Ask) -> Steps:
    for number in range(ask.params.chunks):
        yield Send(one(ask, {"content": f"token{number} "}, index=number), "token")
    yield Send(one(ask, {}, "stop", ask.params.chunks), "chunk")
    yield Send(DONE)


def index_per_chunk_cut(ask: Ask) -> Steps:
    return islice(index_per_chunk(ask), ask.params.after)


def empty_finish_reason(ask: Ask) -> Steps:
    return chain(tokens(ask, ask.params.chunks), [Send(one(ask, {}, ""), "chunk"), Send(DONE)])


def done_without_finish(ask: Ask) -> Steps:
    return chain(tokens(ask, ask.params.chunks), [Send(DONE)])


def finish_error(ask: Ask) -> Steps:
    problem = {"code": 502, "message": "injected: the upstream provider failed"}
    return chain(cut(ask), [Send(one(ask, {"content": ""}, "error", error=problem), "chunk"), Send(DONE)])


def truncated_json(ask: Ask) -> Steps:
    event = one(ask, {"content": "never whole"})
    return chain(cut(ask), [Send(event[: len(event) // 2])])


def half_a_chunk(ask: Ask) -> Steps:
    """The HTTP chunk says how long it is, and is half that long."""
    event = one(ask, {"content": "never whole"})
    return chain(cut(ask), [Send(b"%x\r\n%b" % (len(event), event[: len(event) // 2]), framed=False)])


def stalling(ask: Ask) -> Steps:
    """Silence after a few chunks, then the rest."""
    yield from cut(ask)
    yield Pause(ask.params.stall)
    yield from tokens(ask, max(0, ask.params.chunks - ask.params.after), start=ask.params.after)
    yield from finish(ask)


def stalling_first(ask: Ask) -> Steps:
    yield Pause(ask.params.stall)
    yield from fine(ask)


def heartbeats_first(ask: Ask) -> Steps:
    for _ in range(5):
        yield Send(b": heartbeat\n\n")
        yield Pause(ask.params.gap)
    yield from fine(ask)


def big_event(ask: Ask) -> Steps:
    yield from tokens(ask, max(0, ask.params.chunks - 1))
    yield Send(one(ask, {"content": "x" * BIG}), "token")
    yield from finish(ask)


def whole_in_one(ask: Ask) -> Steps:
    steps = [step for step in fine(ask) if isinstance(step, Send)]
    chunks = sum(step.what != "other" for step in steps)
    yield Send(b"".join(step.data for step in steps), "token", chunks=chunks)


# The same events in other clothes ---------------------------------------------------------------------------


def dressed(dress: Callable[[bytes, int], bytes], events: Play = fine) -> Play:
    """Every event's bytes, with its number, through `dress`."""

    def play(ask: Ask) -> Steps:
        for number, step in enumerate(events(ask)):
            yield Send(dress(step.data, number), step.what, step.framed) if isinstance(step, Send) else step

    return play


def multi_line(event: bytes, number: int) -> bytes:
    if event == DONE:
        return event
    lines = json.dumps(json.loads(event.removeprefix(b"data: ")), indent=1).encode().splitlines()
    return b"".join(b"data: %b\n" % line for line in lines) + b"\n"


def gzipped(ask: Ask) -> Steps:
    packer = zlib.compressobj(wbits=31)
    for step in fine(ask):
        if isinstance(step, Send):
            yield Send(packer.compress(step.data) + packer.flush(zlib.Z_SYNC_FLUSH), step.what)
    yield Send(packer.flush(zlib.Z_FINISH))


def broken_gzip(ask: Ask) -> Steps:
    packer = zlib.compressobj(wbits=31)
    for step in cut(ask):
        if isinstance(step, Send):
            yield Send(packer.compress(step.data) + packer.flush(zlib.Z_SYNC_FLUSH), step.what)
    yield Send(b"\xff" * 64)


def torn(ask: Ask) -> Steps:
    for step in fine(ask):
        if isinstance(step, Send):
            third = len(step.data) // 3
            yield Send(step.data[:third])
            yield Send(step.data[third : 2 * third])
            yield Send(step.data[2 * third :], step.what)
