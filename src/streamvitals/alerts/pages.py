"""Alerts on what users feel: the only ones that page.

No page hides another one, neither here nor in Alertmanager: somebody may have silenced that. Those of one service are
one notification, as the example groups them. None but the last has a `for`: the conditions see for themselves to what
lasts, in one way for what is asked a hundred times a second and in another for what is asked once an hour.
"""

from __future__ import annotations

from .. import names
from . import links
from .language import FAST, HALF_HOUR, MID, MODEL, SERVER
from .latency import CHUNK_GAP, FIRST_TOKEN, Latency
from .promql import ERROR_TYPE, FAILED, REJECTED, increase, selector, total
from .rule import Alert
from .series import ASKED, EACH_MODEL, EACH_SERVER, ENDED, FAILING_SINCE, REFUSING_SINCE, SLOW_SINCE, WHOLE
from .texts import (
    AT,
    COUNT,
    DURATION,
    PERCENT,
    SERVICE,
    THE_MODEL,
    THE_SERVER,
    affected,
    label,
    of_service,
    query_text,
    since,
    worst_now,
)
from .traffic import EXPECTED_SOON

_HANGING = query_text(
    f"topk(1, {of_service(EACH_MODEL.stalled)} > 0)",
    f"{COUNT} open {THE_MODEL} streams hang, no chunk comes" + query_text(
        f"topk(1, {total(selector(names.STALLED, SERVICE), SERVER)})", f" from {THE_SERVER}"
    ),
    "streams fail",
)

_NONE = f"none of {COUNT}"
_FAILED = query_text(
    f"{of_service(WHOLE.failed[FAST])} > 0",
    f": {COUNT} of {query_text(of_service(WHOLE.operations[FAST]), COUNT)} operations failed in {FAST}",
) + query_text(f"100 * {of_service(WHOLE.failure_ratio[FAST])} > 0", f", {PERCENT}") + query_text(
    f"topk(1, {of_service(EACH_MODEL.none_well[FAST])} and {of_service(EACH_MODEL.failing)})",
    f"; {_NONE} {THE_MODEL} streams ended well",
    query_text(
        f"topk(1, {of_service(EACH_SERVER.none_well[FAST])} and {of_service(EACH_SERVER.failing)})",
        f"; {_NONE} {THE_MODEL} streams from {THE_SERVER} ended well",
    ),
)


def _slow(latency: Latency, words: str, otherwise: str = "") -> str:
    """Say what users wait for, also for the while that the alert goes on after they do."""
    return query_text(f"topk(1, last_over_time({of_service(latency.slow)}[{HALF_HOUR}]))", words, otherwise)


def _usual(window: str, quiet: str) -> str:
    """The median, which does not go down with what is going down."""
    return f"quantile_over_time(0.5, {of_service(ENDED[window])}[$hour] offset {quiet})"


# All that was asked for in the same time.
_OF_ASKED = query_text(of_service(ASKED[MID]), f" of {COUNT}")
# The last evaluation that saw one in its window, which is so much later.
_LAST = query_text(
    f"max_over_time(timestamp({of_service(ENDED[FAST])} > 0)[$quarter_day:$interval]) - $fast_seconds",
    ', the last about {{ (value . | toTime).Format "15:04" }}',
)

FAILING = Alert(
    "StreamvitalsFailing", "symptom", "page",
    # Its graph shows what share of the operations fails; a page for a hang, or for one model, may have none.
    f"{WHOLE.failure_ratio[FAST]} and on ($service) streamvitals:failing or on ($service) streamvitals:failing",
    summary="$whose" + query_text(
        " or ".join(of_service(scope.failing) for scope in (WHOLE, EACH_MODEL, EACH_SERVER)) + "$or_theirs",
        worst_now("operations fail", FAILED),
        _HANGING,
    ) + since(FAILING_SINCE),
    description=(
        "Users get errors, cut answers or silence"
        + query_text(
            of_service(WHOLE.none_well[FAST]), f": {_NONE} streams in {FAST} ended well", _FAILED
        )
        + query_text(f"{of_service(WHOLE.stalled)} > 0", f"; {COUNT} streams silent")
        + AT + "." + affected()
        + " Look next: 1. on the dashboard, which outcome, model and server lead; 2. the provider's status page,"
        " and the log lines of the logger streamvitals, which say of each stream where it broke and its request id."
    ),
    dashboard=links.INCIDENT, keep_firing_for=1200,
)

REFUSED = Alert(
    "StreamvitalsRefused", "symptom", "page", "streamvitals:refusing:service",
    summary=query_text(
        f"topk(1, {increase(names.STREAM_ERRORS, MODEL, SERVER, ERROR_TYPE, over=MID, where=(SERVICE, REJECTED))})",
        f"{COUNT}{_OF_ASKED} requests for {THE_MODEL} at {THE_SERVER} refused with {label(ERROR_TYPE)} in {MID}",
    ) + since(REFUSING_SINCE),
    description=(
        "What the service asks is refused: 401 and 403 are a key that was revoked or has no right to this, 404 a"
        " model that is no more, pool_timeout the application's own connection pool, which is full, other statuses"
        " a request that a deployment has broken. Look next: 1. which error type on the dashboard, and since when;"
        " 2. the last change of keys, model names and code."
    ),
    dashboard=links.INCIDENT, keep_firing_for=1200,
)

SLOW = Alert(
    "StreamvitalsSlow", "symptom", "page",
    # In seconds, and on its graph beside the time: so long do users wait.
    f"max by ($service) ({FIRST_TOKEN.slow} or {CHUNK_GAP.slow})",
    summary=_slow(
        FIRST_TOKEN, f"first token of {THE_MODEL} after {DURATION}, promised ${{ttft}}s",
        _slow(CHUNK_GAP, f"chunks of {THE_MODEL} {DURATION} apart, promised ${{gap}}s"),
    ) + since(SLOW_SINCE),
    description=(
        "Users wait, much longer than was promised and than is usual here. Look next: 1. on the dashboard,"
        " whether it is one model or server, and whether the event loop of the service itself lags; 2. whether"
        " prompts have grown or rate limits slow the requests down."
    ),
    dashboard=links.LATENCY, keep_firing_for=1200,
)

TRAFFIC_GONE = Alert(
    "StreamvitalsTrafficGone", "symptom", "page",
    # How many streams were to be expected.
    "max by ($service) (streamvitals:traffic:gone)",
    summary=query_text(
        f"{_usual(FAST, FAST)} >= {EXPECTED_SOON}",
        f"no stream has ended for {FAST}, {COUNT} are usual",
        query_text(
            _usual(MID, HALF_HOUR),
            f"no stream has ended for {HALF_HOUR}, {COUNT} in {MID} are usual",
            "no stream has ended for minutes",
        ),
    ) + _LAST,
    description=(
        "The service runs and is scraped, and streams nothing, where there were many an hour ago and at this time"
        " of other days. Look next: 1. whether requests of users reach the service at all; 2. whether a deployment"
        " has switched streaming off or gone around the SDK."
    ),
    dashboard=links.STREAMS, for_=180, keep_firing_for=1200,
)
