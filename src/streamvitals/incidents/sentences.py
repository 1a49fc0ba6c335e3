"""One sentence for each end of a stream: what happened, whose it is, and what to look at next.

An error type has sentences of its own where they differ from those of its outcome. What to look at next is the first
step of the runbook of that cause. The command and the live page show the same words.
"""

from __future__ import annotations

from typing import NamedTuple

from ..outcome import Outcome, owner


class Explanation(NamedTuple):
    """``sentence``: what happened, and whose it is. ``next``: what to look at. ``runbook`` is the file's name."""

    sentence: str
    next: str
    runbook: str = ""


# What happened, of a stream of {model} at {server}; what to look at next.
_ENDS: dict[tuple[Outcome, str], tuple[str, str]] = {
    (Outcome.COMPLETED, ""): (
        "The answer came whole, and was among the slowest of the last hour",
        "In the timeline, whether the time went by before the headers, before the first token or between chunks: the "
        "first is a queue or a network, the second a model that thinks, the third a server under load or a proxy that "
        "buffers",
    ),
    (Outcome.LENGTH, ""): (
        "The model stopped at a token limit, so the answer is cut off",
        "max_tokens of the request, and how long the prompt is: together they must fit into the model's context",
    ),
    (Outcome.CONTENT_FILTER, ""): (
        "The provider's filter stopped the answer",
        "Which part of the application, or which of its users, sends such prompts; the filter's settings at the "
        "provider",
    ),
    (Outcome.TRUNCATED, ""): (
        "The body from {server} ended in the middle of the answer, and the SDK raised nothing",
        "Whether it is one server or all; and after how many chunks or seconds: always the same is a proxy's limit",
    ),
    (Outcome.TRUNCATED, "missing_terminal"): (
        "{server} closed the stream in the middle of the answer, as if it were complete, and the SDK raised nothing",
        "Whether it is one server or all; and after how many chunks or seconds: always the same is a proxy's limit",
    ),
    (Outcome.TRUNCATED, "missing_finish_reason"): (
        "The stream from {server} ended without a finish_reason, so nobody knows whether the answer is whole",
        "Whether this server ever sends a finish_reason: if it never does, name it in "
        "STREAMVITALS_FINISH_OPTIONAL_HOSTS",
    ),
    (Outcome.TRUNCATED, "empty_stream"): (
        "{server} answered 200 and sent nothing, and the SDK raised nothing",
        "What stands between: a gateway that answers 200 before it has asked anybody; with curl from the same network",
    ),
    (Outcome.TRUNCATED, "incomplete_read"): (
        "The connection to {server} was cut in the middle of the answer",
        "Whether it breaks at one duration or one number of chunks: that is the limit of a proxy",
    ),
    (Outcome.RESET, ""): (
        "The connection to {server} was reset",
        "After how many seconds it breaks: a fixed time is somebody's idle timeout. One server is the provider or its "
        "proxy, all servers are the own network",
    ),
    (Outcome.RESET, "server_disconnected"): (
        "{server} closed the connection before it answered",
        "Whether it was a connection that had been idle: then a proxy's keep-alive limit; else the provider's status "
        "page",
    ),
    (Outcome.RESET, "stream_reset"): (
        "{server} reset the HTTP/2 stream",
        "Whether many streams end at the same moment: then their one connection was closed by the server or a proxy",
    ),
    (Outcome.TIMEOUT, ""): (
        "Nothing came from {server} within the client's timeout",
        "Whether other streams hang right now, and on which model; then the provider's status page",
    ),
    (Outcome.TIMEOUT, "read_timeout"): (
        "{server} went silent, and the client's read timeout ended the stream",
        "Where the silence began: before the first token it may be a model that thinks longer than the timeout, after "
        "it the provider hangs",
    ),
    (Outcome.TIMEOUT, "connect_timeout"): (
        "No connection to {server} within the client's timeout",
        "Whether other programs on this network reach it: if not, the network or a firewall",
    ),
    (Outcome.TIMEOUT, "pool_timeout"): (
        "The application's own connection pool had no connection to give",
        "Streams that are never closed, or more at once than the client's max_connections",
    ),
    (Outcome.MALFORMED, ""): (
        "What came from {server} is no stream that can be read",
        "What stands between the application and the provider, and what changed there",
    ),
    (Outcome.MALFORMED, "unexpected_content_type"): (
        "{server} answered 200 with something that is no stream, such as a proxy's page",
        "The same address with curl from the same network: look at the content type",
    ),
    (Outcome.MALFORMED, "json_decode"): (
        "An event from {server} is no JSON",
        "Whether a gateway between rewrites, merges or cuts events, and what changed there",
    ),
    (Outcome.MALFORMED, "content_decoding"): (
        "The body from {server} could not be decompressed",
        "What stands between and compresses or caches; go around it if that can be done",
    ),
    (Outcome.MALFORMED, "protocol_error"): (
        "What answers at {server} does not speak HTTP as it should",
        "Whether the address and the port are those that were meant, and whether a proxy answers there",
    ),
    (Outcome.MALFORMED, "validation"): (
        "{server} sent something that this version of the SDK does not know",
        "The version of openai, and what the provider has changed",
    ),
    (Outcome.API_ERROR, ""): (
        "{server} reported an error inside a stream that had begun with status 200",
        "The provider's status page; of a server of your own, its log at the same minute",
    ),
    (Outcome.API_ERROR, "overloaded_error"): (
        "{server} reported inside the stream that it is overloaded",
        "The provider's status page; fewer requests at once, another region or another model",
    ),
    (Outcome.API_ERROR, "service_unavailable"): (
        "{server} reported inside the stream that it is not available",
        "The provider's status page; another region or another model meanwhile",
    ),
    (Outcome.API_ERROR, "context_length_exceeded"): (
        "The request was too long for the model, which {server} reported inside the stream",
        "Which part of the application sends such long prompts: it is the request that has to change",
    ),
    (Outcome.API_ERROR, "invalid_request_error"): (
        "{server} reported inside the stream that the request is not valid",
        "Which part of the application asks so: it is the request that has to change",
    ),
    (Outcome.API_ERROR, "finish_abort"): (
        "The engine behind {server} aborted the answer",
        "Its log at the same minute: an engine such as vLLM aborts when it is out of memory",
    ),
    (Outcome.API_ERROR, "finish_insufficient_system_resource"): (
        "{server} gave the answer up, as it had no capacity left",
        "The provider's status page; fewer requests at once, another region or another model",
    ),
    (Outcome.RATE_LIMITED, ""): (
        "{server} refused the request: a rate limit or a quota is used up",
        "How much of the limit is left and of which kind, requests or tokens; whether a batch job uses the same key",
    ),
    (Outcome.RATE_LIMITED, "insufficient_quota"): (
        "{server} refused the request: the quota is used up",
        "The bill: whoever pays",
    ),
    (Outcome.HTTP_ERROR, ""): (
        "{server} answered with an error, and the SDK's retries are used up",
        "The provider's status page; another region, server or model meanwhile. More retries add load",
    ),
    (Outcome.HTTP_ERROR, "408"): (
        "{server} answered 408: the request did not arrive there in time",
        "Whether requests are large or the way there is slow",
    ),
    (Outcome.HTTP_ERROR, "409"): (
        "{server} answered 409: another request holds the same resource",
        "Which part of the application asks for the same thing twice at a time",
    ),
    (Outcome.HTTP_ERROR, "500"): (
        "{server} answered 500, and the SDK's retries are used up",
        "The provider's status page; of a server of your own, its log at the same minute",
    ),
    (Outcome.HTTP_ERROR, "502"): (
        "A gateway at {server} answered 502: what is behind it gave no answer",
        "Whether the gateway is yours and its backend runs; else the provider's status page",
    ),
    (Outcome.HTTP_ERROR, "504"): (
        "A gateway at {server} answered 504: what is behind it was too slow",
        "Whether the gateway is yours and its timeout is longer than the wait for a first token",
    ),
    (Outcome.HTTP_ERROR, "529"): (
        "{server} answered 529: it is overloaded, and the SDK's retries are used up",
        "The provider's status page; fewer requests at once, another region or another model",
    ),
    (Outcome.REJECTED, ""): (
        "{server} rejected the request",
        "Which part of the application, or which of its users, asks so",
    ),
    (Outcome.REJECTED, "400"): (
        "{server} rejected the request as not valid (400)",
        "Which part of the application, or which of its users, sends such requests",
    ),
    (Outcome.REJECTED, "401"): (
        "{server} did not accept the API key (401)",
        "The key that this process was started with: wrong, expired or withdrawn",
    ),
    (Outcome.REJECTED, "403"): (
        "{server} does not allow this with this API key (403)",
        "What the key may do: model, project, region",
    ),
    (Outcome.REJECTED, "404"): (
        "{server} knows no such model or address (404)",
        "The model's name and the base URL: a typo, or a model that was withdrawn",
    ),
    (Outcome.REJECTED, "413"): (
        "The request was too large for {server} or a proxy before it (413)",
        "Which part of the application sends such large requests",
    ),
    (Outcome.REJECTED, "422"): (
        "{server} rejected the request as not valid (422)",
        "Which part of the application, or which of its users, sends such requests",
    ),
    (Outcome.REJECTED, "too_many_redirects"): (
        "{server} redirected the request in a circle",
        "The base URL: http for https, or a wrong path",
    ),
    (Outcome.REJECTED, "event_hook"): (
        "A hook of the application's own HTTP client raised, and nothing was refused by {server}",
        "The event hooks that the application gives its HTTP client",
    ),
    (Outcome.REJECTED, "closed_loop"): (
        "The application used one client in a second event loop, and nothing was refused by {server}",
        "Where the client is made: one per event loop",
    ),
    (Outcome.REJECTED, "other"): (
        "The request failed by its own set-up or was refused by {server}",
        "The causes, by class: an exception of the application's own transport, descriptors or ports that its machine "
        "has none of left, or an unusual status",
    ),
    (Outcome.CONNECT_ERROR, ""): (
        "{server} could not be reached",
        "Whether other programs on this network reach it: resolve the name, connect to the port",
    ),
    (Outcome.CONNECT_ERROR, "connection_refused"): (
        "Nothing listens at {server}: the connection was refused",
        "Whether the server runs, and whether host and port are those that were meant",
    ),
    (Outcome.CONNECT_ERROR, "dns"): (
        "The name {server} could not be resolved",
        "The name in the base URL, then DNS: resolve it on the same machine",
    ),
    (Outcome.CONNECT_ERROR, "tls"): (
        "No TLS connection to {server}: its certificate was not accepted, or it speaks no TLS",
        "The certificate: expired, or the image has no authorities that it is trusted by",
    ),
    (Outcome.CONNECT_ERROR, "proxy"): (
        "The proxy on the way to {server} refused or failed",
        "HTTPS_PROXY of the process, and the proxy's log",
    ),
    (Outcome.CONNECT_ERROR, "unreachable"): (
        "There is no way to {server}",
        "A firewall or a route: whether other programs on this machine reach it",
    ),
    (Outcome.CANCELLED, ""): (
        "The application cancelled the stream",
        "Nothing, if users pressed stop or left; else which deadline or timeout of the application's own ended it",
    ),
    (Outcome.CANCELLED, "keyboard_interrupt"): (
        "Ctrl-C, or a signal as it, ended the stream",
        "Who stops the process, if nobody pressed a key",
    ),
    (Outcome.CANCELLED, "deadline"): (
        "A deadline of the application's own ended the stream",
        "Whether the deadline is longer than this model's usual answer",
    ),
    (Outcome.ABANDONED, ""): (
        "The application stopped reading before the end",
        "Nothing, if users left; else where the application's code leaves its loop over the chunks",
    ),
    (Outcome.ABANDONED, "closed"): (
        "The application closed the stream before the end",
        "Nothing, if users left; else where the application's code leaves its loop over the chunks",
    ),
    (Outcome.ABANDONED, "dropped"): (
        "The application stopped reading before the end, and never closed the stream",
        "Where the application's code leaves its loop over the chunks: an open stream keeps its connection",
    ),
    (Outcome.ABANDONED, "never_iterated"): (
        "The application asked for a stream and never read it",
        "Where the application's code makes a stream that nobody reads: it is paid for and keeps its connection",
    ),
    (Outcome.ABANDONED, "process_died"): (
        "The process died with the stream open",
        "Why: the kernel's log for out of memory, the worker's timeout (gunicorn kills after 30 s), a deployment",
    ),
}
_WHOSE = {
    "nobody": "nothing failed",
    "limit": "a limit that was set; nothing failed",
    "provider": "the provider's doing",
    "quota": "for whoever owns the quota",
    "caller": "the caller's doing, by the request or its set-up",
    "app": "the application's own doing",
}
# For what ends in the provider's name although the request has to change, or a server or network of one's own.
_WHOSE_TYPES = {
    "context_length_exceeded": "counted as the provider's, but the request has to change",
    "invalid_request_error": "counted as the provider's, but the request has to change",
    "connect_timeout": "counted as the provider's, but it may be the own network",
    "write_timeout": "counted as the provider's, but it may be the own network",
}
_RUNBOOKS = {
    Outcome.TRUNCATED: "StreamvitalsTruncationWave",
    Outcome.RESET: "StreamvitalsResetStorm",
    Outcome.TIMEOUT: "StreamvitalsTimeouts",
    Outcome.MALFORMED: "StreamvitalsMalformedReplies",
    Outcome.API_ERROR: "StreamvitalsApiErrors",
    Outcome.RATE_LIMITED: "StreamvitalsRateLimited",
    Outcome.HTTP_ERROR: "StreamvitalsServerErrors",
    Outcome.REJECTED: "StreamvitalsRejected",
    Outcome.CONNECT_ERROR: "StreamvitalsUnreachable",
}


def explain(outcome: str, error_type: str, *, model: str = "the model", server: str = "the server") -> Explanation:
    """The sentence for an end; an error type without one has its outcome's. ``model`` and ``server`` are names that the
    caller may have made safe to show."""
    try:
        end = Outcome(outcome)
    except ValueError:
        return Explanation("The stream ended in a way that this version does not know.", "See its error type.")
    what, following = _ENDS.get((end, error_type)) or _ENDS[end, ""]
    whose = _WHOSE_TYPES.get(error_type) if end is not Outcome.REJECTED else None
    whose = whose or _WHOSE[owner(end, error_type)]
    if end is Outcome.CONNECT_ERROR:
        whose = "counted as the provider's, but it may be the own network or set-up"
    runbook = "StreamvitalsRejected" if error_type == "pool_timeout" else _RUNBOOKS.get(end, "")
    words = {"model": model or "the model", "server": server or "the server"}
    sentence = what.format(**words)
    return Explanation(f"{sentence}; {whose}.", f"{following.format(**words)}.", runbook)
