"""What somebody should look at this week: budgets, latencies, limits, leaks."""

from __future__ import annotations

from . import links
from .causes import KEEP_FIRING_FOR
from .chance import proven
from .rule import Alert
from .texts import MODEL, PERCENT, SERVER, query_text


def _burn(window: str, share: str) -> str:
    failed, operations = f"streamvitals:failed:increase${{{window}}}", f"streamvitals:operations:increase${{{window}}}"
    again = "hour" if window == "quarter_day" else "quarter_day"
    return f"""(
          {failed} / {operations} > {share}
            and streamvitals:failed:increase${{{again}}} / streamvitals:operations:increase${{{again}}} > {share}
            and {proven(failed, operations, "$lasting_burn")}
        )"""


def _regression(name: str, what: str, words: str, quantity: str, further: str) -> Alert:
    """A latency beyond its objective, or well beyond the model's own day before."""
    slower = f"streamvitals:{quantity}:slower"
    worst = f"topk(1, {slower}{{SERVICE}})"
    return Alert(
        name, "cause", "ticket", f"count by ($service) ({slower})",
        summary=what + query_text(worst, f" {MODEL} {{{{ value . | humanizeDuration }}}}") + query_text(
            f"quantile_over_time(0.5, streamvitals:{quantity}:p95_$fast{{SERVICE}}[$day] offset $hour)"
            f" and on ($service, $model) {worst}",
            ", p95 {{ value . | humanizeDuration }} the day before",
        ),
        description=words + " Look next: " + further,
        dashboard=links.LATENCY, for_=300, keep_firing_for=KEEP_FIRING_FOR,
    )


TICKETS = (
    Alert(
        "StreamvitalsBudgetBurn", "state", "ticket",
        _burn("quarter_day", "$slow_burn") + " or " + _burn("three_days", "$lasting_burn"),
        summary=query_text(
            "100 * streamvitals:failed:increase$quarter_day{SERVICE}"
            " / streamvitals:operations:increase$quarter_day{SERVICE}",
            '{{ value . | printf "%.2g" }}% of operations failed in $quarter_day, the budget is $budget',
        ),
        description=(
            "Failures are too few to wake somebody and too many for the objective. Look next: 1. which outcome,"
            " model and server lead on the dashboard; 2. whether it began with a deployment, or comes back every day."
        ),
        dashboard=links.STREAMS, for_=900, keep_firing_for=3600,
    ),
    _regression(
        "StreamvitalsFirstTokenRegression", "First tokens come late:", "Users wait longer for an answer to begin.",
        "first_token",
        "1. one model or all, and since which deployment; 2. whether prompts have grown, or the SDK retries unseen.",
    ),
    _regression(
        "StreamvitalsChunkGapRegression", "Chunks come slowly, so far apart:", "Answers come more slowly than usual.",
        "chunk_gap",
        "1. one model or all; 2. the event loop's lag: a busy loop looks like a slow provider to everybody but it.",
    ),
    Alert(
        "StreamvitalsEventLoopLag", "cause", "ticket",
        """
        histogram_quantile(0.9, sum by ($service, le) (rate(${loop_lag}_bucket[$mid]))) > 0.25
          and on ($service) sum by ($service) (increase(${loop_lag}_count[$mid])) > 50""",
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
        """
        min_over_time(streamvitals:held[$half_hour]) > 10
          and min_over_time(streamvitals:held[$half_hour])
            > 3 * (
              sum by ($service) (rate(${duration}_sum[$half_hour]))
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
        """
        min by ($service) (avg_over_time(streamvitals:limit_left[$mid]) < 0.15)""",
        summary=query_text(
            "bottomk(1, 100 * avg_over_time(streamvitals:limit_left{SERVICE}[$mid]))",
            PERCENT + ' of the limit of {{ label "$kind" . }} for ' + MODEL + " is left at " + SERVER,
        ),
        description=(
            "The provider says that little of a rate limit is left, and traffic goes on: next come 429s, retries and"
            " slow answers. Look next: 1. whether traffic grew or somebody runs a batch on the same key; 2. whether the"
            " limit was lowered."
        ),
        dashboard=links.LIMITS, for_=300, keep_firing_for=1800,
    ),
)
