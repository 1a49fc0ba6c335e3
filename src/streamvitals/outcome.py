"""How a stream can end, and whose doing it was.

    Outcome
    |- completed          the terminal marker was seen                                  (nobody's fault)
    |- length             the model stopped at a token limit                            (limit)
    |- content_filter     the provider's filter stopped it                              (limit)
    |- truncated          the body ended without the terminal marker                    (provider)
    |- reset              the connection was reset or aborted                           (provider)
    |- timeout            no data within the client's timeout                           (provider)
    |- malformed          broken HTTP, JSON, UTF-8 or SSE; a 200 that is no stream       (provider)
    |- api_error          an error event or an error finish_reason inside the stream    (provider)
    |- rate_limited       429 after all SDK retries, or in-stream rate limit or quota   (quota)
    |- http_error         5xx, 408 or 409 after all SDK retries                         (provider)
    |- rejected           any other 4xx, or the caller's own set-up broke the request   (caller)
    |- connect_error      refused, DNS, TLS, proxy                                      (provider)
    |- cancelled          the task was cancelled, KeyboardInterrupt, a deadline         (app)
    `- abandoned          the app stopped reading, or its process died                  (app)

Exceptions are judged in classify.py, the words of providers in vocabulary.py.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple


class Outcome(str, Enum):
    """The closed set of the label ``outcome``."""

    COMPLETED = "completed"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TRUNCATED = "truncated"
    RESET = "reset"
    TIMEOUT = "timeout"
    MALFORMED = "malformed"
    API_ERROR = "api_error"
    RATE_LIMITED = "rate_limited"
    HTTP_ERROR = "http_error"
    REJECTED = "rejected"
    CONNECT_ERROR = "connect_error"
    CANCELLED = "cancelled"
    ABANDONED = "abandoned"

    __hash__ = str.__hash__  # an enumeration's own is a function in Python


# What those who asked wanted, or all that they had allowed.
GOOD_ENDS = frozenset({Outcome.COMPLETED, Outcome.LENGTH, Outcome.CONTENT_FILTER})


class Verdict(NamedTuple):
    """An outcome with the error type that explains it; ``error_type`` is "" where nothing failed."""

    outcome: Outcome
    error_type: str = ""


# Every error type that can be reported with an outcome. Closed, because each pair is a series; what is not listed is
# reported as "other".
ERROR_TYPES: dict[Outcome, tuple[str, ...]] = {
    Outcome.TRUNCATED: ("missing_terminal", "missing_finish_reason", "empty_stream", "incomplete_read"),
    Outcome.RESET: (
        "connection_reset", "connection_aborted", "broken_pipe", "server_disconnected", "stream_reset", "other",
    ),
    Outcome.TIMEOUT: ("read_timeout", "connect_timeout", "write_timeout", "pool_timeout", "other"),
    Outcome.MALFORMED: (
        "json_decode", "unicode_decode", "unexpected_content_type", "content_decoding", "protocol_error",
        "validation", "other",
    ),
    Outcome.API_ERROR: (
        "server_error", "overloaded_error", "api_error", "internal_error", "service_unavailable",
        "timeout_error", "context_length_exceeded", "invalid_request_error", "response_failed",
        "finish_error", "finish_abort", "finish_insufficient_system_resource", "other",
    ),
    Outcome.RATE_LIMITED: ("429", "rate_limit_exceeded", "insufficient_quota", "other"),
    Outcome.HTTP_ERROR: ("408", "409", "500", "502", "503", "504", "529", "other"),
    Outcome.REJECTED: (
        "400", "401", "403", "404", "405", "413", "415", "422", "too_many_redirects", "event_hook", "closed_loop",
        "other",
    ),
    Outcome.CONNECT_ERROR: ("connection_refused", "dns", "tls", "proxy", "unreachable", "other"),
    Outcome.CANCELLED: ("cancelled", "keyboard_interrupt", "deadline", "other"),
    Outcome.ABANDONED: ("closed", "dropped", "never_iterated", "process_died"),
}

# Who has to act. "nobody" for what completed; limits are the model's and the app's agreement.
Owner = str
_OWNERS: dict[Outcome, Owner] = {
    Outcome.COMPLETED: "nobody",
    Outcome.LENGTH: "limit",
    Outcome.CONTENT_FILTER: "limit",
    Outcome.RATE_LIMITED: "quota",
    Outcome.REJECTED: "caller",
    Outcome.CANCELLED: "app",
    Outcome.ABANDONED: "app",
}


def owner(outcome: Outcome, error_type: str = "") -> Owner:
    """Whose doing an end was: nobody, limit, provider, quota, caller or app."""
    if error_type == "pool_timeout":
        return "caller"
    return _OWNERS.get(outcome, "provider")


# The closed set of the label `result`: five words for what the fourteen outcomes mean to those who asked. A ratio of
# failures is `failed` over `completed`, `limit` and `failed`; in the others the provider had no part.
RESULTS = ("completed", "limit", "failed", "rejected", "left")
_RESULT_OF = {
    "nobody": "completed", "limit": "limit", "provider": "failed", "quota": "failed", "caller": "rejected",
    "app": "left",
}


def result(outcome: Outcome, error_type: str = "") -> str:
    """What an end means to those who asked: one of ``RESULTS``, which follows from whose doing it was."""
    return _RESULT_OF[owner(outcome, error_type)]


# Ends at which no model can have answered: the request never got there, or its answer is the refusal.
_FREE = frozenset({Outcome.HTTP_ERROR, Outcome.REJECTED, Outcome.CONNECT_ERROR})
_FREE_TYPES = frozenset({"429", "connect_timeout", "write_timeout", "pool_timeout"})


def may_be_charged(outcome: Outcome, error_type: str = "") -> bool:
    """Whether the provider may charge for a stream with this end, although it broke or was left."""
    return outcome not in _FREE and error_type not in _FREE_TYPES


def closed(outcome: Outcome, error_type: str) -> Verdict:
    """A verdict whose error type is of the closed list, else ``other``."""
    return Verdict(outcome, error_type if error_type in ERROR_TYPES.get(outcome, ()) else "other")


def classify_status(status: int) -> Verdict:
    """A final HTTP error status, before any chunk."""
    if status == 429:
        return Verdict(Outcome.RATE_LIMITED, "429")
    if status in (408, 409) or not 300 <= status < 500:
        return closed(Outcome.HTTP_ERROR, str(status))
    return closed(Outcome.REJECTED, str(status))
