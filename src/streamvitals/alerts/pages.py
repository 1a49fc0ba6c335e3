"""What users feel: the only alerts that page, one per service and incident.

That streams fail outranks that they are slow, and both outrank that none are asked for: `unless` sees to it here,
whatever Alertmanager is told. None but the last has a `for`: the conditions see for themselves to what lasts, in one
way for what is asked a hundred times a second and in another for what is asked once an hour.
"""

from __future__ import annotations

from . import links
from .rule import Alert
from .texts import AT, MODEL, PERCENT, SERVER, query_text, worst_now
from .traffic import EXPECTED_SOON

_HANGING = query_text(
    "topk(1, streamvitals:model_stalled{SERVICE} > 0)",
    "{{ value . | printf `%.0f` }} open "
    + MODEL
    + " streams hang, nothing comes"
    + query_text("topk(1, sum by ($server) ($stalled{SERVICE}))", f" from {SERVER}"),
    "streams fail",
)


_NONE = "none of {{ value . | printf `%.0f` }}"
_FAILED = query_text(
    "streamvitals:failed:increase$fast{SERVICE} > 0",
    ": {{ value . | printf `%.0f` }} operations failed in $fast",
) + query_text("100 * streamvitals:failure_ratio:increase$fast{SERVICE} > 0", f", {PERCENT} of all") + query_text(
    "topk(1, streamvitals:model_none_well:increase$fast{SERVICE} and streamvitals:failing:model{SERVICE})",
    f"; {_NONE} {MODEL} streams ended well",
    query_text(
        "topk(1, streamvitals:server_none_well:increase$fast{SERVICE} and streamvitals:failing:server{SERVICE})",
        f"; {_NONE} {MODEL} streams from {SERVER} ended well",
    ),
)


def _slow(quantity: str, words: str, otherwise: str = "") -> str:
    """What users wait for, also for the while that the alert goes on after they do."""
    return query_text(f"topk(1, last_over_time(streamvitals:{quantity}:slow{{SERVICE}}[$half_hour]))", words, otherwise)


def _usual(window: str, quiet: str) -> str:
    """The median, which does not go down with what is going down."""
    return f"quantile_over_time(0.5, streamvitals:ended:increase${window}{{SERVICE}}[$hour] offset ${quiet})"


_OUTRANKED = "unless on ($service) max_over_time(streamvitals:failing[$mid])"

PAGES = (
    Alert(
        "StreamvitalsFailing", "symptom", "page", "streamvitals:failing",
        summary=query_text(
            "streamvitals:failing:service{SERVICE} or streamvitals:failing:model{SERVICE}"
            " or streamvitals:failing:server{SERVICE}",
            worst_now("operations fail"),
            _HANGING,
        ),
        description=(
            "Users get errors, cut answers or silence"
            + query_text(
                "streamvitals:none_well:increase$fast{SERVICE}", f": {_NONE} streams in $fast ended well", _FAILED
            )
            + query_text("streamvitals:stalled{SERVICE} > 0", "; {{ value . | printf `%.0f` }} streams silent")
            + AT
            + ". Look next: 1. on the dashboard, which outcome, model and server lead; 2. the provider's status page,"
            " and the log lines of the logger streamvitals, which say where each stream broke."
        ),
        dashboard=links.INCIDENT, keep_firing_for=1200,
    ),
    Alert(
        "StreamvitalsRefused", "symptom", "page", f"streamvitals:refusing:service {_OUTRANKED}",
        summary=query_text(
            'topk(1, sum by ($model, $server, $type) (increase($errors{SERVICE,$outcome="rejected"}[$mid])))',
            '{{ value . | printf "%.0f" }} requests for ' + MODEL + " refused by " + SERVER
            + ' with {{ label "$type" . }}, $mid',
        ),
        description=(
            "The provider refuses what the service asks: 401 and 403 are a key that was revoked or has no right to"
            " this, 404 a model that is no more, other statuses a request that a deployment has broken. Look next:"
            " 1. which status on the dashboard, and since when; 2. the last change of keys, model names and code."
        ),
        dashboard=links.INCIDENT, keep_firing_for=1200,
    ),
    Alert(
        "StreamvitalsSlow", "symptom", "page",
        f"group by ($service) (streamvitals:first_token:slow or streamvitals:chunk_gap:slow) {_OUTRANKED}",
        summary=_slow(
            "first_token", f"first token of {MODEL} after {{{{ value . | humanizeDuration }}}}, promised ${{ttft}}s",
            _slow("chunk_gap", f"chunks of {MODEL} {{{{ value . | humanizeDuration }}}} apart, promised ${{gap}}s"),
        ),
        description=(
            "Users wait, much longer than was promised and than is usual here. Look next: 1. on the dashboard,"
            " whether it is one model or server, and whether the event loop of the service itself lags; 2. whether"
            " prompts have grown or rate limits slow the requests down."
        ),
        dashboard=links.LATENCY, keep_firing_for=1200,
    ),
    Alert(
        "StreamvitalsTrafficGone", "symptom", "page",
        "group by ($service) (streamvitals:traffic:gone)"
        f" {_OUTRANKED} unless on ($service) max_over_time(streamvitals:refusing:service[$mid])",
        summary=query_text(
            _usual("fast", "fast") + f" >= {EXPECTED_SOON}",
            'no stream has ended for $fast, {{ value . | printf "%.0f" }} are usual',
            query_text(
                _usual("mid", "half_hour"),
                'no stream has ended for $half_hour, {{ value . | printf "%.0f" }} in $mid are usual',
                "no stream has ended for minutes",
            ),
        ),
        description=(
            "The service runs and is scraped, and streams nothing, where there were many an hour ago and at this time"
            " of other days. Look next: 1. whether requests of users reach the service at all; 2. whether a deployment"
            " has switched streaming off or gone around the SDK."
        ),
        dashboard=links.STREAMS, for_=180, keep_firing_for=1200,
    ),
)
