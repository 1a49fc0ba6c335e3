"""Alerts on why users are hurt, or would be but for retries: tickets, silenced by a page of the service."""

from __future__ import annotations

from .. import names
from . import links
from .chance import share_beyond
from .language import MID, MODEL, SERVER, SHORT
from .measures import rate_limited
from .promql import (
    COUNTED,
    ERROR_TYPE,
    FAILED,
    OUTCOME,
    PHASE,
    RATE_LIMITED,
    REASON,
    REJECTED,
    SOURCE,
    equals,
    increase,
    name_of,
    selector,
    total,
)
from .recording import Counts
from .refusing import rejected
from .rule import Alert
from .series import ASKED, EACH_MODEL, WHOLE
from .texts import COUNT, PERCENT, THE_MODEL, THE_SERVER, label, of_service, query_text, worst_now
from .texts import SERVICE as OURS

# Less than a page is kept firing: a cause must not outlive the page that silences it, and come as a ticket when all is
# over.
KEEP_FIRING_FOR = 300
_COUNTS = Counts(MID, WHOLE.by)


def _ended(outcome: str, name: str, what: str, first: str, second: str) -> Alert:
    return Alert(
        f"Streamvitals{name}", "cause", "ticket",
        share_beyond(_COUNTS.streams(equals(OUTCOME, outcome), FAILED), _COUNTS.streams(COUNTED), "$ticket_share"),
        summary=worst_now(what, equals(OUTCOME, outcome), FAILED),
        description=f"{what}. Look next: 1. {first}; 2. {second}.",
        dashboard=links.INCIDENT, for_=60, keep_firing_for=KEEP_FIRING_FOR, cause=outcome,
    )


BY_OUTCOME = (
    _ended(
        "reset", "ResetStorm", "Connections are reset while streams run",
        "whether it is one server or all: one is the provider or its proxy, all is the own network",
        "after how many seconds they break: a fixed time is somebody's idle timeout",
    ),
    _ended(
        "truncated", "TruncationWave", "Answers end without a finish_reason, which raises nothing in the application",
        "the error type: missing_terminal is a body that was closed early, incomplete_read a connection that was cut",
        "whether the provider never sends a finish_reason (STREAMVITALS_FINISH_OPTIONAL_HOSTS)",
    ),
    _ended(
        "timeout", "Timeouts", "Nothing comes within the client's timeout",
        "whether streams hang right now, and on which model",
        "the error type: connect_timeout is the network, read_timeout a provider that is silent",
    ),
    _ended(
        "api_error", "ApiErrors", "The provider reports errors inside streams that began with status 200",
        "the error type: overloaded and server errors are the provider's, context length is the request's",
        "the provider's status page",
    ),
    _ended(
        "malformed", "MalformedReplies", "What comes back is no stream that can be read",
        "the error type: unexpected_content_type is a proxy's page, json_decode a broken event",
        "what stands between the service and the provider, and what changed there",
    ),
    _ended(
        "http_error", "ServerErrors", "The provider answers with 5xx, and the SDK's retries are used up",
        "the status: 502 and 503 are a gateway, 529 is overload",
        "the provider's status page",
    ),
    _ended(
        "connect_error", "Unreachable", "The provider cannot be reached",
        "the error type: dns, tls, proxy, connection_refused each have another owner",
        "whether other services on this network reach it",
    ),
)

_ASKED = ASKED[MID]
# Attempts, where all are of operations that were asked before, and are tried again for ever.
_ATTEMPTS = f"({_ASKED} > 0 or {_COUNTS.streams(COUNTED)})"

OTHERS = (
    Alert(
        "StreamvitalsStalled", "cause", "ticket",
        f"{WHOLE.hanging} or on ($service) max by ($service) ({EACH_MODEL.hanging})",
        summary=query_text(
            f"topk(1, {total(selector(names.STALLED, OURS), MODEL, SERVER)})",
            f"{COUNT} open {THE_MODEL} streams hang, no chunk comes from {THE_SERVER}",
        ),
        description=(
            "Streams are open without a chunk for longer than the stall threshold of their phase, and far more of them"
            " than is usual. Nothing has failed yet: clients wait up to their timeout."
            + query_text(
                f"topk(1, {total(selector(names.STALLED, OURS), PHASE)} > 0)", f" Most of them: phase {label(PHASE)}."
            )
            + " Look next: 1. the phase: first_token may be a model that thinks, keep_alive is a server that is up, and"
            " between_chunks is neither; 2. the client's read timeout, which is 10 minutes if nobody has set it."
        ),
        dashboard=links.INCIDENT, for_=60, keep_firing_for=KEEP_FIRING_FOR, cause="timeout",
    ),
    Alert(
        "StreamvitalsRateLimited", "cause", "ticket",
        share_beyond(f"({rate_limited(_COUNTS, f'0 * {_ASKED}')})", _ATTEMPTS, "$ticket_share"),
        summary=query_text(
            f"topk(1, {increase(names.STREAMS, MODEL, SERVER, over=MID, where=(OURS, RATE_LIMITED))}"
            f" + {increase(names.RETRIES, MODEL, SERVER, over=MID, where=(OURS, equals(REASON, '429')))})",
            f"{COUNT} requests for {THE_MODEL} limited by {THE_SERVER} in {MID}",
        ),
        description=(
            "Requests run into a rate limit or a quota. Look next: 1. how much of the limit is left on the"
            " dashboard, and which kind, requests or tokens; 2. the error type: insufficient_quota is a bill."
        ),
        dashboard=links.LIMITS, for_=60, keep_firing_for=KEEP_FIRING_FOR, cause="rate_limited",
    ),
    Alert(
        "StreamvitalsRejected", "cause", "ticket",
        share_beyond(rejected(MID), _ASKED, "0.05"),
        summary=query_text(
            f"topk(1, {increase(names.STREAM_ERRORS, MODEL, SERVER, ERROR_TYPE, over=MID, where=(OURS, REJECTED))})",
            f"{COUNT} requests for {THE_MODEL} at {THE_SERVER} rejected with {label(ERROR_TYPE)} in {MID}",
        ),
        description=(
            "Requests fail by the caller's mistake; none of them counts against the objective. Look next: 1. the error"
            " type: 400 and 422 are the request, 401 and 403 the key, 404 the model's name, 413 the size, pool_timeout"
            " the application's own connection pool; 2. which part of the application, or which of its users, asks so."
        ),
        dashboard=links.STREAMS, for_=120, keep_firing_for=KEEP_FIRING_FOR, cause="rejected",
    ),
    Alert(
        "StreamvitalsRetryStorm", "cause", "ticket",
        share_beyond(_COUNTS.increase(names.RETRIES), _ATTEMPTS, "0.1"),
        summary=query_text(
            f"topk(1, {increase(names.RETRIES, MODEL, SERVER, SOURCE, REASON, over=MID, where=(OURS,))})",
            f"{COUNT} retries of {THE_MODEL} at {THE_SERVER} for {label(REASON)} by the {label(SOURCE)} in {MID}",
        ),
        description=(
            "Attempts are made again so often that "
            + query_text(
                f"{of_service('streamvitals:failing')} or {of_service(WHOLE.none_well[SHORT])}",
                "the provider is the busier for it, and users are not helped",
                "a failing provider is hidden from the users, who wait longer and pay more",
            )
            + ". Look next: 1. the reason on the dashboard, and whether failures of whole operations rise as well;"
            " 2. the provider's status page: this is what an outage looks like before it is one."
        ),
        dashboard=links.INCIDENT, for_=120, keep_firing_for=KEEP_FIRING_FOR,
    ),
    Alert(
        "StreamvitalsFallbackWave", "cause", "ticket",
        share_beyond(_COUNTS.increase(names.FALLBACKS), _ASKED, "0.05"),
        summary=query_text(
            f"topk(1, {increase(names.FALLBACKS, MODEL, SERVER, over=MID, where=(OURS,))})",
            f"{COUNT} streams of {THE_MODEL} asked again without streaming in {MID}",
        ),
        description=(
            "Streams fail and the application asks again for the whole answer: users wait for it in one piece, and"
            " it is paid twice. Look next: 1. which outcome the failed streams had; 2. whether streaming alone is"
            " broken, as by a proxy that buffers or cuts."
        ),
        dashboard=links.INCIDENT, for_=120, keep_firing_for=KEEP_FIRING_FOR,
    ),
    Alert(
        "StreamvitalsOneModelFailing", "cause", "ticket",
        f"count by ($service) ({EACH_MODEL.failing})"
        " < on ($service)"
        f" count by ($service) ({EACH_MODEL.operations[MID]} > 0 or {EACH_MODEL.failing})",
        summary=query_text(
            f"topk(1, 100 * {of_service(EACH_MODEL.failing)})", f"{PERCENT} of {THE_MODEL} fail, others do not"
        ),
        description=(
            "One model fails and the rest of the service does not, or hardly. Look next: 1. whether the provider still"
            " has this model, and its status page; 2. whether the requests can go to another model meanwhile."
        ),
        dashboard=links.INCIDENT, for_=60, keep_firing_for=KEEP_FIRING_FOR,
    ),
    Alert(
        "StreamvitalsOneReplicaFailing", "cause", "ticket", "count by ($service) (streamvitals:replica:failing)",
        summary=query_text(
            f"topk(1, 100 * {of_service('streamvitals:replica:failing')})",
            f"{PERCENT} of the streams of {label('instance')} fail, those of other replicas do not",
        ),
        description=(
            "One replica fails where the others do not: its network, its DNS, its certificates, its key or its version,"
            f" not the provider. Look next: 1. what differs on it ({name_of(names.BUILD_INFO)} has the versions);"
            " 2. whether it is well after a restart: take it out of rotation first."
        ),
        dashboard=links.INCIDENT, for_=120, keep_firing_for=KEEP_FIRING_FOR,
    ),
)

CAUSES = (*BY_OUTCOME, *OTHERS)
