"""Why users are hurt, or would be but for retries: tickets, which a page of the same service silences."""

from __future__ import annotations

from . import links
from .chance import proven
from .rule import Alert
from .texts import MODEL, PERCENT, SERVER, query_text, worst_now

# Less than a page is kept: it must not outlive the page that silences it, and come as a ticket when all is over.
KEEP_FIRING_FOR = 300
_BY = "sum by ($service)"
_COUNTED = f'{_BY} (streamvitals:streams:increase$mid{{$outcome=~"$counted_outcomes"}})'


def share(part: str, whole: str, more_than: str = "$ticket_share") -> str:
    """A share that is too large, and larger than chance makes it; both sides per service."""
    return f"""
        {part} / ({whole} > 0) > {more_than}
          and {proven(part, whole)}"""


def _ended(outcome: str, name: str, what: str, first: str, second: str) -> Alert:
    return Alert(
        f"Streamvitals{name}", "cause", "ticket",
        share(f'{_BY} (streamvitals:streams:increase$mid{{$outcome="{outcome}"}})', _COUNTED),
        summary=worst_now(what, outcome),
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
        "the error type: connect_timeout is the network, pool_timeout the application's own connection pool",
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

_ASKED = "streamvitals:asked:increase$mid"
# Attempts, where all are of operations that were asked before, and are tried again for ever.
_TRIED = f"({_ASKED} > 0 or {_COUNTED})"
_RETRIED = f"{_BY} (increase($retries[$mid]))"
_LIMITED = (
    f'({_BY} (streamvitals:streams:increase$mid{{$outcome="rate_limited"}}) or 0 * {_ASKED})'
    f' + ({_BY} (increase($retries{{$source="sdk", $reason="429"}}[$mid])) or 0 * {_ASKED})'
)

OTHERS = (
    Alert(
        "StreamvitalsStalled", "cause", "ticket",
        "streamvitals:hanging:service or on ($service) max by ($service) (streamvitals:hanging:model)",
        summary=query_text(
            "topk(1, sum by ($model, $server) ($stalled{SERVICE}))",
            "{{ value . | printf `%.0f` }} open " + MODEL + " streams hang, nothing comes from " + SERVER,
        ),
        description=(
            "Streams are open and silent for longer than the stall threshold, and far more of them than is usual."
            " Nothing has failed yet: clients wait up to their timeout. Look next: 1. whether they wait for headers"
            " or in the middle; 2. the client's read timeout, which is 10 minutes if nobody has set it."
        ),
        dashboard=links.INCIDENT, for_=60, keep_firing_for=KEEP_FIRING_FOR, cause="timeout",
    ),
    Alert(
        "StreamvitalsRateLimited", "cause", "ticket", share(f"({_LIMITED})", _TRIED),
        summary=query_text(
            'topk(1, sum by ($model, $server) (increase($errors{SERVICE,$outcome="rate_limited"}[$mid]))'
            ' + sum by ($model, $server) (increase($retries{SERVICE,$reason="429"}[$mid])))',
            '{{ value . | printf "%.0f" }} requests for ' + MODEL + " limited by " + SERVER + ", $mid",
        ),
        description=(
            "Requests run into a rate limit or a quota. Look next: 1. how much of the limit is left on the"
            " dashboard, and which kind, requests or tokens; 2. the error type: insufficient_quota is a bill."
        ),
        dashboard=links.LIMITS, for_=60, keep_firing_for=KEEP_FIRING_FOR, cause="rate_limited",
    ),
    Alert(
        "StreamvitalsRejected", "cause", "ticket",
        share(f'{_BY} (streamvitals:streams:increase$mid{{$outcome="rejected"}})', _ASKED, "0.05"),
        summary=query_text(
            'topk(1, sum by ($model, $server, $type) (increase($errors{SERVICE,$outcome="rejected"}[$mid])))',
            '{{ value . | printf "%.0f" }} requests for ' + MODEL + " rejected by " + SERVER
            + ' with {{ label "$type" . }}, $mid',
        ),
        description=(
            "The provider refuses requests as the caller's mistake; none of them counts against the objective. Look"
            " next: 1. the status: 400 and 422 are the request, 401 and 403 the key, 404 the model's name, 413 the"
            " size; 2. which part of the application, or which of its users, asks so."
        ),
        dashboard=links.STREAMS, for_=120, keep_firing_for=KEEP_FIRING_FOR, cause="rejected",
    ),
    Alert(
        "StreamvitalsRetryStorm", "cause", "ticket", share(_RETRIED, _TRIED, "0.1"),
        summary=query_text(
            "topk(1, sum by ($model, $server, $source, $reason) (increase($retries{SERVICE}[$mid])))",
            '{{ value . | printf "%.0f" }} retries of ' + MODEL + ' at {{ or (label "$server" .) "the provider" }}'
            ' for {{ label "$reason" . }} by the {{ label "$source" . }}, $mid',
        ),
        description=(
            "Attempts are made again so often that "
            + query_text(
                "streamvitals:failing{SERVICE} or streamvitals:none_well:increase$short{SERVICE}",
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
        share(f"{_BY} (increase($fallbacks[$mid]))", _ASKED, "0.05"),
        summary=query_text(
            "topk(1, sum by ($model, $server) (increase($fallbacks{SERVICE}[$mid])))",
            '{{ value . | printf "%.0f" }} streams of ' + MODEL + " asked again without streaming, $mid",
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
        "count by ($service) (streamvitals:failing:model)"
        " < on ($service)"
        " count by ($service) (streamvitals:model_operations:increase$mid > 0 or streamvitals:failing:model)",
        summary=query_text(
            "topk(1, 100 * streamvitals:failing:model{SERVICE})", f"{PERCENT} of {MODEL} fail, others do not"
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
            "topk(1, 100 * streamvitals:replica:failing{SERVICE})",
            PERCENT + ' of the streams of {{ label "instance" . }} fail, those of other replicas do not',
        ),
        description=(
            "One replica fails where the others do not: its network, its DNS, its certificates, its key or its version,"
            " not the provider. Look next: 1. what differs on it ($build has the versions); 2. whether"
            " it is well after a restart: take it out of rotation first."
        ),
        dashboard=links.INCIDENT, for_=120, keep_firing_for=KEEP_FIRING_FOR,
    ),
)

CAUSES = (*BY_OUTCOME, *OTHERS)
