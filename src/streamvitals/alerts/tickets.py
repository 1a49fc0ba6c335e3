"""Alerts on what somebody should look at this week: budget, latency, limits, leaks."""

from __future__ import annotations

from .. import names
from . import histograms, links
from .causes import KEEP_FIRING_FOR
from .chance import beyond_chance
from .language import FAST, HALF_HOUR, HOUR, MID, MODEL, QUARTER_DAY, SERVICE, THREE_DAYS
from .latency import CHUNK_GAP, FIRST_TOKEN, Latency
from .measures import LIMIT_LOW, LOOP_LATE
from .promql import KIND, block, either
from .rule import Alert
from .series import WHOLE
from .texts import DURATION, PERCENT, THE_MODEL, THE_SERVER, label, of_service, query_text


def _burn(window: str, share: str, again: str) -> str:
    """Whether a share fails over the whole window, and over another one as well."""
    failed, operations = WHOLE.failed, WHOLE.operations
    return block(
        f"{failed[window]} / {operations[window]} > {share}",
        f"and {failed[again]} / {operations[again]} > {share}",
        f"and {beyond_chance(failed[window], operations[window], '$lasting_burn')}",
    )


def _regression(name: str, latency: Latency, what: str, words: str, further: str) -> Alert:
    """Alert on a latency beyond its objective, or well beyond the model's own day before."""
    worst = f"topk(1, {of_service(latency.slower)})"
    return Alert(
        name, "cause", "ticket", f"count by ($service) ({latency.slower})",
        summary=what + query_text(worst, f" {THE_MODEL} {DURATION}") + query_text(
            f"quantile_over_time(0.5, {of_service(latency.p(95, FAST))}[$day] offset $hour)"
            f" and on ($service, {MODEL}) {worst}",
            f", p95 {DURATION} the day before",
        ),
        description=f"{words} Look next: {further}",
        dashboard=links.LATENCY, for_=300, keep_firing_for=KEEP_FIRING_FOR,
    )


TICKETS = (
    Alert(
        "StreamvitalsBudgetBurn", "state", "ticket",
        either(_burn(QUARTER_DAY, "$slow_burn", HOUR), _burn(THREE_DAYS, "$lasting_burn", QUARTER_DAY)),
        summary=query_text(
            f"100 * {of_service(WHOLE.failed[QUARTER_DAY])} / {of_service(WHOLE.operations[QUARTER_DAY])}",
            '{{ if ge (value .) 9.95 }}{{ value . | printf "%.0f" }}{{ else }}{{ value . | printf "%.2g" }}{{ end }}'
            "% of operations failed in $quarter_day, the budget is $budget",
        ),
        description=(
            "Failures are too few to wake somebody and too many for the objective. Look next: 1. which outcome,"
            " model and server lead on the dashboard; 2. whether it began with a deployment, or comes back every day."
        ),
        dashboard=links.STREAMS, for_=900, keep_firing_for=3600,
    ),
    _regression(
        "StreamvitalsFirstTokenRegression", FIRST_TOKEN, "First tokens come late:",
        "Users wait longer for an answer to begin.",
        "1. one model or all, and since which deployment; 2. whether prompts have grown, or the SDK retries unseen.",
    ),
    _regression(
        "StreamvitalsChunkGapRegression", CHUNK_GAP, "Chunks come slowly, so far apart:",
        "Answers come more slowly than usual.",
        "1. one model or all; 2. the event loop's lag: a busy loop looks like a slow provider to everybody but it.",
    ),
    Alert(
        "StreamvitalsEventLoopLag", "cause", "ticket",
        f"""
        {histograms.quantile("0.9", names.LOOP_LAG, SERVICE, over=MID)} > {LOOP_LATE}
          and on ($service) {histograms.count(names.LOOP_LAG, SERVICE, over=MID)} > 50""",
        summary="the event loop runs {{ $$value | humanizeDuration }} late (p90, $mid): the service itself is slow",
        description=(
            "While streams are open the application's own event loop does not keep up, so that chunks wait in the"
            " process. Look next: 1. its CPU, and what blocks the loop (asyncio's debug mode names it); 2. whether more"
            " replicas share the load."
        ),
        dashboard=links.LATENCY, for_=300, keep_firing_for=KEEP_FIRING_FOR,
    ),
    Alert(
        "StreamvitalsStreamsLeaked", "state", "ticket",
        f"""
        min_over_time(streamvitals:held[$half_hour]) > 10
          and min_over_time(streamvitals:held[$half_hour])
            > 3 * (
              {histograms.sum_rate(names.DURATION, SERVICE, over=HALF_HOUR)}
                or max_over_time(streamvitals:held[$hour] offset $quarter_day)
            )
          unless min_over_time(streamvitals:held[$half_hour])
            <= 2 * max_over_time(streamvitals:held[$hour] offset $quarter_day)""",
        summary="{{ $$value | printf `%.0f` }} streams are open that nobody reads, more than ever end",
        description=(
            "Streams are opened and neither read to their end nor closed; each holds a connection, until the pool is"
            " exhausted. Look next: 1. since which deployment the number of open streams climbs; 2. code that leaves a"
            " loop over a stream without close() or `with`."
        ),
        dashboard=links.STREAMS, for_=1800, keep_firing_for=3600,
    ),
    Alert(
        "StreamvitalsQuotaLow", "state", "ticket",
        f"min by ($service) (avg_over_time(streamvitals:limit_left[$mid]) < {LIMIT_LOW})",
        summary=query_text(
            f"bottomk(1, 100 * avg_over_time({of_service('streamvitals:limit_left')}[$mid]))",
            f"{PERCENT} of the limit of {label(KIND)} for {THE_MODEL} is left at {THE_SERVER}",
        ),
        description=(
            "The provider says that little of a rate limit is left, and traffic goes on: next come 429s, retries and"
            " slow answers. Look next: 1. whether traffic grew or somebody runs a batch on the same key; 2. whether the"
            " limit was lowered."
        ),
        dashboard=links.LIMITS, for_=300, keep_firing_for=1800,
    ),
)
