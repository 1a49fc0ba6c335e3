"""The closed catalogue of how a stream can go, well or badly, and how each must be reported.

Pure data. The truth of an entry holds for a chat-completions stream of the openai SDK that is read to its
end by a client with `max_retries=retries` and, where one is given, `timeout=client_timeout`.

`kind` says who acts. "server" entries are played by the fault server and chosen by model name. "client"
entries need a special base URL, named in their description and made by `unreachable`. "app" entries are what
the application does to a stream that is fine; `via` is that stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["server", "client", "app"]


@dataclass(frozen=True)
class Scenario:
    name: str
    outcome: str
    error_type: str  # "" for what is no error: completed, length, content_filter
    description: str
    kind: Kind = "server"
    retries: int = 0  # max_retries the client must have; every one of them is used up
    client_timeout: float | None = None  # read timeout that the client must set
    defaults: tuple[tuple[str, float], ...] = ()  # parameters, where they are not the server's usual ones
    n: int = 1  # choices that the client must ask for
    include_usage: bool = False  # whether the client must ask for usage
    usage: bool = False  # whether usage is then reported
    via: str = ""  # the server scenario, with parameters, that a "client" or "app" entry runs against
    async_only: bool = False

    @property
    def model(self) -> str:
        """The model name that makes the server play this."""
        return "sv-" + (self.via or self.name)


def _catalogue() -> dict[str, Scenario]:
    found: dict[str, Scenario] = {}

    def add(outcome: str, error_type: str, name: str, description: str, **more: Any) -> None:
        if name in found:
            raise ValueError(f"scenario {name!r} is listed twice")
        found[name] = Scenario(name, outcome, error_type, description, **more)

    def good(name: str, description: str, **more: Any) -> None:
        add("completed", "", name, description, **more)

    def by(**defaults: float) -> tuple[tuple[str, float], ...]:
        return tuple(defaults.items())

    # Streams that are fine, in every dress that providers give them.
    good("ok", "tokens, finish_reason stop, [DONE]; usage if asked for")
    good("ok-usage", "usage in a last chunk with no choices, as asked for", include_usage=True, usage=True)
    good("tool-calls", "tool call deltas, finish_reason tool_calls")
    good("function-call", "deltas of the legacy function_call, finish_reason function_call")
    good("reasoning-content", "reasoning in delta.reasoning_content before the content")
    good("reasoning", "reasoning in delta.reasoning before the content")
    good("refusal", "the tokens are in delta.refusal")
    good("empty-first-chunk", "the first chunk has no choices but prompt filter results (Azure)")
    good("role-first", "a chunk without content, then a pause `first_token`", defaults=by(first_token=0.2))
    good("thinking", "a chunk without content, SSE comments for `first_token`, then fine", defaults=by(first_token=0.3))
    good("thinking-in-silence", "the same without the comments", defaults=by(first_token=0.3))
    good("usage-last", "usage unasked, in the chunk of the finish_reason", usage=True)
    good("usage-every-chunk", "the total so far, unasked, in every chunk: the last counts", usage=True)
    good("unknown-finish-reason", "finish_reason is a word of the provider's own")
    good("n2-ok", "two choices, both finished", n=2)
    good("index-per-chunk", "every chunk has the next index, as if it were another choice (Foundry Local)")
    good("keep-alive-comments", "an SSE comment before every chunk")
    good("heartbeat-only-then-ok", "five SSE comments, `gap` apart, then fine", defaults=by(gap=0.05))
    good("gzip", "the body is compressed, and flushed for every chunk")
    good("close-delimited", "no length and no chunks: the body ends with the connection, complete")
    good("no-done", "a finish_reason but no [DONE]; the body ends properly")
    good("slow-headers", "`delay` before the headers", defaults=by(delay=0.3))
    good("slow-first-chunk", "`first` between headers and first chunk", defaults=by(first=0.3))
    good("stall-then-fine", "a pause `stall` after `after` chunks, then the rest", defaults=by(stall=1.5))
    good("multi-line-data", "one event's JSON on several data: lines")
    good("crlf", "lines end in CR LF")
    good("bom", "a byte order mark before the first event, which the SDK therefore skips")
    good("no-space", "no space after data:")
    good("big-event", "one event of 1.5 MiB")
    good("sse-ids", "id: and retry: fields in every event")
    good("split-writes", "every event is torn into three writes")
    good("one-write", "all events in one write")

    # Limits.
    add("length", "", "length", "finish_reason length")
    add("content_filter", "", "content-filter", "finish_reason content_filter")

    # The body stops without saying so, or in the middle of its framing.
    terminal, finish, cut = "missing_terminal", "missing_finish_reason", "incomplete_read"
    add("truncated", terminal, "silent-cut", "the body ends properly, but after `after` chunks")
    add("truncated", terminal, "close-delimited-cut", "a body without framing ends after `after` chunks")
    add("truncated", terminal, "index-per-chunk-cut", "the same with every chunk of the next index")
    add("truncated", terminal, "truncated-json-event", "the body ends properly, but inside an event")
    add("truncated", finish, "done-without-finish", "tokens and [DONE], no finish_reason (Ollama)")
    add("truncated", finish, "empty-finish-reason", 'finish_reason is "", then [DONE]')
    add("truncated", finish, "n2-one-finished", "two choices, one finished, then [DONE]", n=2)
    add("truncated", finish, "done-only", "nothing but [DONE]")
    add("truncated", "empty_stream", "empty-stream", "an event stream of no bytes that ends properly")
    add("truncated", cut, "fin-in-chunk", "FIN in the middle of an HTTP chunk")
    add("truncated", cut, "fin-at-boundary", "FIN between HTTP chunks, without the final one")
    add("truncated", cut, "content-length-short", "FIN long before content-length is reached")

    # The connection breaks.
    add("reset", "connection_reset", "reset-after-n", "RST after `after` chunks")
    add("reset", "connection_reset", "reset-before-first-chunk", "RST after the headers")
    add("reset", "connection_reset", "reset-after-finish", "RST between finish_reason and [DONE]")
    add("reset", "connection_reset", "reset-before-headers", "RST instead of an answer")
    add("reset", "server_disconnected", "fin-before-headers", "FIN instead of an answer")

    # Silence.
    add("timeout", "read_timeout", "stall", "silence after `after` chunks", client_timeout=0.5)
    add("timeout", "read_timeout", "stall-before-first", "silence after the headers", client_timeout=0.5)
    add("timeout", "read_timeout", "stall-before-headers", "silence instead of an answer", client_timeout=0.5)

    # Not a stream, or not any longer.
    add("malformed", "unexpected_content_type", "html-200", "a proxy's HTML page with status 200")
    add("malformed", "unexpected_content_type", "json-200", "a JSON answer though a stream was asked for")
    add("malformed", "json_decode", "broken-json", "after `after` chunks an event that is not JSON")
    add("malformed", "json_decode", "meta-frames", "an SSE frame with an event name but no data")
    add("malformed", "json_decode", "id-then-comment", "id: and comments: to the SDK, events without data")
    add("malformed", "unicode_decode", "broken-utf8", "after `after` chunks an event that is not UTF-8")
    add("malformed", "content_decoding", "broken-gzip", "after `after` chunks bytes that are not gzip")

    # The provider says inside the stream that it failed.
    limit, quota, resource = "rate_limit_exceeded", "insufficient_quota", "insufficient_system_resource"
    add("api_error", "server_error", "error-event", "after `after` chunks an error event, type server_error")
    add("api_error", "server_error", "error-event-first", "an error event instead of the first chunk")
    add("api_error", "overloaded_error", "error-event-overloaded", "an error event, type overloaded_error")
    add("rate_limited", limit, "error-event-rate-limit", f"an error event, code {limit}")
    add("rate_limited", quota, "error-event-quota", f"an error event, code {quota}")
    add("api_error", "finish_error", "finish-error", "finish_reason error and an error object in the choice")
    add("api_error", "finish_abort", "finish-abort", "finish_reason abort, then [DONE] (vLLM)")
    add("api_error", f"finish_{resource}", "finish-insufficient-system-resource", f"finish_reason {resource}")

    # Refused with a status; the ones that the SDK may retry ask it to come back after 20 ms.
    for status in ("400", "401", "403", "404", "405", "413", "415", "422"):
        add("rejected", status, status, f"status {status}")
    for status in ("408", "409", "500", "502", "503", "504", "529"):
        add("http_error", status, status, f"status {status}, every time")
    add("rate_limited", "429", "429", "status 429, every time")
    add("http_error", "500", "retries-exhausted", "status 500 to every one of three attempts", retries=2)
    good("429-then-ok", "status 429 `fails` times, then fine", retries=2)
    good("500-then-ok", "status 500 `fails` times, then fine", retries=2)
    good("connect-reset-then-ok", "one RST instead of an answer, then fine", retries=1, defaults=by(fails=1))

    # What never reaches a working server.
    def unreachable(outcome: str, error_type: str, name: str, description: str, **more: Any) -> None:
        add(outcome, error_type, name, description, kind="client", via="ok", **more)

    unreachable("connect_error", "connection_refused", "refused", "nobody listens (refused_url)")
    unreachable("connect_error", "dns", "dns-failure", "the host name does not exist (dns_failure_url)")
    unreachable("connect_error", "tls", "tls-failure", "https to a plain server (tls_failure_url)")
    unreachable("timeout", "connect_timeout", "connect-timeout", "nobody answers (connect_timeout_url)",
                client_timeout=0.5)

    # What the application does to a stream of 200 chunks, 10 ms apart, after reading a few of them.
    def app(outcome: str, error_type: str, name: str, description: str, **more: Any) -> None:
        more = {"kind": "app", "via": "ok?chunks=200&gap=0.01", **more}
        add(outcome, error_type, name, description, **more)

    app("abandoned", "dropped", "break", "breaks out of the loop and drops the stream")
    app("abandoned", "closed", "close", "calls close()")
    app("abandoned", "dropped", "exception", "raises an exception in the loop and drops the stream")
    app("abandoned", "never_iterated", "never-iterated", "drops the stream without reading from it")
    app("cancelled", "cancelled", "cancelled", "cancels the task that reads", async_only=True)
    app("cancelled", "cancelled", "deadline", "a deadline around the loop (asyncio.timeout)", async_only=True)
    app("cancelled", "keyboard_interrupt", "keyboard-interrupt", "KeyboardInterrupt arrives while it reads")
    app("completed", "", "break-after-finish", "breaks at the finish_reason, before [DONE]", via="ok")
    return found


SCENARIOS: dict[str, Scenario] = _catalogue()

# Shorter ways to say what is used most.
ALIASES: dict[str, str] = {"reset": "reset-after-n", "fin": "fin-in-chunk", "truncated": "silent-cut"}
