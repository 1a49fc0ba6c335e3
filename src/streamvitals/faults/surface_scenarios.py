"""The outcomes that the scenarios must be reported as on the surfaces beside chat.

Pure data. A scenario that a surface does not know is not listed for it.
"""

from __future__ import annotations

from .scenarios import SCENARIOS

# Ends that chat does not have.
ONLY_SURFACES: dict[str, tuple[str, str]] = {
    "failed": ("api_error", "server_error"),
    "failed-rate-limit": ("rate_limited", "rate_limit_exceeded"),
    "cancelled": ("cancelled", "other"),
    "requires-action": ("completed", ""),
    "expired": ("api_error", "response_failed"),
    "session-failed": ("api_error", "response_failed"),
    "recovered": ("completed", ""),  # an error event, and then the turn completes all the same
    "subagent-failed": ("completed", ""),  # a subagent's turn failed, the root's completed
    "closed-1011": ("truncated", "missing_terminal"),  # a WebSocket's frame that closes it for an internal error
}
WHOLE = (
    "ok", "role-first", "close-delimited", "crlf", "bom", "no-space", "keep-alive-comments", "sse-ids",
    "split-writes", "one-write", "stall-then-fine",
)
BREAKS = (
    "fin-in-chunk", "fin-at-boundary", "reset-after-n", "reset-before-first-chunk", "reset-before-headers",
    "fin-before-headers", "stall", "stall-before-first", "stall-before-headers", "html-200", "json-200",
    "empty-stream",
)
CUTS = ("silent-cut", "close-delimited-cut", "done-only")
EVENTS = ("broken-json", "error-event", "error-event-first", "error-event-rate-limit")
REFUSALS = ("400", "401", "404", "429", "500", "retries-exhausted", "429-then-ok", "500-then-ok")
_COMMON = (*WHOLE, *BREAKS, *CUTS, *EVENTS, *REFUSALS)
_RESPONSES = ("length", "content-filter", "failed", "failed-rate-limit", "cancelled")

# What each surface can play, beyond what all of them can.
MORE: dict[str, tuple[str, ...]] = {
    "responses": ("thinking", *_RESPONSES),
    "responses-fetch": _RESPONSES,
    "completions": ("length", "content-filter"),
    "runs": ("length", "content-filter", "failed", "failed-rate-limit", "cancelled", "requires-action", "expired"),
    "images": (),
    "transcriptions": (),
    "speech-events": (),
    "agents": (
        "failed", "failed-rate-limit", "cancelled", "requires-action", "session-failed", "recovered",
        "subagent-failed",
    ),
}
# One response of a WebSocket. What a status or a content type says is said before there is one.
WEBSOCKET = (
    "ok", "stall-then-fine", *_RESPONSES, "silent-cut", "closed-1011", "empty-stream", "fin-in-chunk",
    "fin-at-boundary", "reset-after-n", "reset-before-first-chunk", "stall", "stall-before-first", *EVENTS,
)
WEBSOCKETS = ("responses-ws", "realtime")
SPEECH = ("ok", "close-delimited", "content-length-short", *BREAKS, "silent-cut", *REFUSALS)

SURFACES = (*MORE, "speech", *WEBSOCKETS)

_OWN: dict[tuple[str, str], tuple[str, str]] = {
    ("completions", "done-only"): ("truncated", "missing_finish_reason"),
    # A body that is its own content has no marker that could be missing.
    ("speech", "silent-cut"): ("completed", ""),
    # No client has a timeout for a WebSocket's silence: a ping that stays unanswered ends it, if one is sent.
    **{(surface, "stall-before-first"): ("completed", "") for surface in WEBSOCKETS},
}


def scenarios_of(surface: str) -> tuple[str, ...]:
    """Names of the scenarios that a surface can play."""
    if surface in WEBSOCKETS:
        return WEBSOCKET
    return SPEECH if surface == "speech" else (*_COMMON, *MORE[surface])


def truth(surface: str, scenario: str) -> tuple[str, str]:
    """Outcome and error type that must be reported."""
    own = _OWN.get((surface, scenario)) or ONLY_SURFACES.get(scenario)
    if own is not None:
        return own
    if scenario == "done-only":
        return "truncated", "missing_terminal"
    known = SCENARIOS[scenario]
    return known.outcome, known.error_type
