"""The dashboard Incident: what broke, where, since when, and who caused it."""

from __future__ import annotations

from collections.abc import Sequence

from grafana_foundation_sdk.builders.dashboard import Dashboard

from streamvitals import names
from streamvitals.alerts import links as known
from streamvitals.alerts.language import HOUR, QUARTER_DAY
from streamvitals.alerts.measures import failure_share
from streamvitals.alerts.objectives import PAGE_BURN
from streamvitals.alerts.promql import COUNTED, FAILED, FAILED_OUTCOMES, RESULT, among, ratio
from streamvitals.export.dashboards import BUDGET
from streamvitals.palette import OUTCOME_COLORS

from . import calls, failures, unseen
from .board import COMPARE, board
from .firing import firing
from .links import drill, live_page, traces
from .panels import (
    AMBER,
    CHUNKS,
    GREY,
    OPERATIONS_PER_SECOND,
    RED,
    RETRIES_PER_SECOND,
    SAVED_COLORS,
    STREAMS,
    STREAMS_PER_SECOND,
    Query,
    colored,
    dashed,
    heat,
    lines,
    number,
    states,
    steps,
)
from .promql import (
    INSTANCE,
    MODEL,
    NOW,
    PROVIDER,
    RATE,
    SERVER,
    buckets,
    burn,
    counted,
    in_one_line,
    increase,
    operation_failures,
    quantile,
    rate,
    stream_failures,
)
from .streams import FAILING, FIRST_TOKEN, GAP, failing_now
from .tables import GAUGE, Column, grid

BEFORE = f"${COMPARE}"
# The ends that are in no ratio: the caller's mistakes, and the application's own doing.
OWN = among(RESULT, ("rejected", "left"))


def beside(title: str, now: str, before: str, description: str, *, unit: str, **how: object) -> object:
    """Draw a value over its own past, so many hours or days before."""
    panel = lines(
        title, [Query(now, "now"), Query(before, "before")],
        f"{description} The dashed line is the same so long before as "
        "is chosen above.", unit=unit, few=True, **how,  # type: ignore[arg-type]
    )
    return colored(dashed(panel, "before", GREY), {"now": "blue"})


def share_by(what: str, *by: str) -> object:
    name = " ".join(f"{{{{{label}}}}}" for label in by)
    links, more = ((live_page(),), " A click leads to its live page.") if INSTANCE in by else ((), "")
    return lines(
        f"Failing, by {what}", [Query(stream_failures(*by), name)],
        f"The share of streams that failed, for each {what}: one line far above the others is where it broke.{more}",
        unit="percentunit", thresholds=FAILING, soft_most=0.1, links=links,
    )


def broken() -> object:
    errors = counted(names.STREAM_ERRORS, "outcome", "error_type", PROVIDER, MODEL, SERVER,
                     where=(among(RESULT, ("failed", "rejected")),))
    own = {"model": "${__data.fields.Model}", "provider": "${__data.fields.Provider}"}
    return grid(
        "What broke, and where", [Query(f"topk(15, {errors} >= 0.5)")],
        "Streams that failed in the time shown, by how, at which provider and for which model, most frequent first. A"
        " click on an outcome leads to the traces.",
        [
            Column("outcome", "Outcome", links=[traces('span.streamvitals.outcome = "${__value.raw}"')]),
            Column("error_type", "Error type"),
            Column(MODEL, "Model", links=[drill("Only this model", known.INCIDENT, **own)]),
            Column(PROVIDER, "Provider", width=100),
            Column(SERVER, "Server"),
            Column("Value", "Streams", unit="locale", decimals=0, least=0, cell=GAUGE, thresholds=steps(base=RED)),
        ],
        sort="Streams", idle="nothing failed",
    )


def figures() -> Sequence[object]:
    ended = increase(names.STREAMS, over=NOW, where=(COUNTED,))
    return [
        failing_now(),
        number(
            f"Broken in {NOW}", f"{increase(names.STREAMS, over=NOW, where=(FAILED,))} and {ended} > 0",
            "By the provider or a quota, whatever became of them afterwards.",
            unit=STREAMS, decimals=0, thresholds=steps((1, AMBER)),
        ),
        number(
            "Lost to users in 1h", increase(names.OPERATIONS_FAILED, over="1h"),
            "Chains of attempts that ended in failure, nothing having been tried again in time, or all of it in vain "
            "for two minutes. A failure is counted when a retry can no longer come, up to the retry window later.",
            unit="suffix:operations", decimals=0, thresholds=steps((1, AMBER)), idle="none",
        ),
        number(
            "Saved by a retry", ratio(
                increase(names.RECOVERIES, over="1h"),
                f"({increase(names.RECOVERIES, over='1h')} + {increase(names.OPERATIONS_FAILED, over='1h')})",
            ),
            "Of the operations with a failed attempt in the last hour, how many succeeded in the end.",
            unit="percentunit", decimals=0, idle="nothing failed",
        ),
    ]


def where_in_the_stream() -> Sequence[object]:
    chunks = ratio(increase(names.CHUNKS, MODEL, where=(FAILED,), over=RATE),
                   increase(names.STREAMS, MODEL, where=(FAILED,), over=RATE))
    return [
        lines(
            "Chunks until it broke", [Query(chunks, f"{{{{{MODEL}}}}}")],
            "How many chunks a broken stream had brought, on average, for each model. None: it broke before the first;"
            " always the same: a limit somewhere between.",
            unit=CHUNKS,
        ),
        heat(
            "Seconds until it broke", buckets(names.DURATION, FAILED),
            "How old broken streams were when they broke. A thin band at 30 or 60 seconds is somebody's timeout: a "
            "proxy's, a load balancer's, the client's.",
            exemplars=True, links=[traces("status = error")],
        ),
        lines(
            "Error types",
            [Query(counted(names.STREAM_ERRORS, "error_type", where=(FAILED,), over=RATE) + " > 0", "{{error_type}}")],
            "Failed streams by error type. A type appears with its first stream, which is counted here.",
            unit=STREAMS, stacked=True, bars=True, shades=RED, idle="nothing failed",
            links=[traces("status = error")],
        ),
    ]


def repairs() -> Sequence[object]:
    return [
        lines(
            "Retries", [Query(rate(names.RETRIES, "source", "reason") + " > 0", "{{source}}: {{reason}}")],
            "Attempts made again per second, by the SDK unseen and by the application, and why.",
            unit=RETRIES_PER_SECOND, stacked=True, bars=True, idle="none",
        ),
        colored(
            lines(
                "What became of failed operations",
                [
                    Query(rate(names.RECOVERIES, "source"), "saved by the {{source}}"),
                    Query(rate(names.FALLBACKS), "asked again without streaming"),
                    Query(rate(names.OPERATIONS_FAILED), "failed for the user"),
                ],
                "Operations with a failed attempt.", unit=OPERATIONS_PER_SECOND, soft_most=0.1,
            ),
            SAVED_COLORS,
        ),
        colored(
            lines(
                "Not the provider's doing",
                [Query(rate(names.STREAMS, "outcome", where=(OWN,)) + " > 0", "{{outcome}}")],
                "Streams that the caller got wrong, that the application or its users stopped, or whose process died;"
                " they are in no ratio.", unit=STREAMS_PER_SECOND, stacked=True, bars=True, idle="none",
            ),
            OUTCOME_COLORS,
        ),
    ]


def burning() -> object:
    """Draw how fast the error budget is used up."""
    return lines(
        "Error budget burnt", [
            Query(f"{operation_failures(over=NOW)} / ${BUDGET}", f"over {NOW}"),
            Query(burn(HOUR), "over 1h"), Query(burn(QUARTER_DAY), "over 6h"),
        ],
        "How many times faster than the objective allows operations fail: at 1 the budget of a month lasts a month, at"
        f" {PAGE_BURN} three days. What goes on at {PAGE_BURN} pages. What is over hours comes from series that the"
        " alerts' rules record.",
        unit="suffix:times", thresholds=steps((1, AMBER), (PAGE_BURN, RED)), soft_most=2, few=True,
        idle="no traffic, or no rules loaded",
    )


def incident() -> Dashboard:
    by_outcome = colored(
        lines(
            "How it fails", [
                Query(in_one_line(failure_share(
                    increase(names.STREAMS, "outcome", where=(FAILED,), over=RATE),
                    increase(names.STREAMS, where=(COUNTED,), over=RATE), "on () group_left ()",
                )), "{{outcome}}"),
            ],
            "The share of streams that ended in each failure.", unit="percentunit",
            stacked=True, links=[traces("status = error")],
        ),
        {outcome: OUTCOME_COLORS[outcome] for outcome in FAILED_OUTCOMES},
    )
    since = states(
        "Since when", [Query(stream_failures(MODEL, PROVIDER), "{{gen_ai_request_model}} ({{gen_ai_provider_name}})")],
        "The share of streams that failed, per model: a band turns amber over the budget and red where the alerts "
        "page. No band: nothing was asked.",
        unit="percentunit", thresholds=steps((FAILING.build().steps[1].value or 0, AMBER),
                                             (FAILING.build().steps[2].value or 0, RED)),
    )
    return board(
        "Incident", known.INCIDENT, "What broke, where in the stream, at whom, since when, and what was tried.",
        [
            (5, [*zip((6, 3, 3, 3), figures(), strict=True), (9, firing())]),
            (8, [(9, by_outcome), (15, since)]),
            (8, [(15, broken()), (9, share_by("replica", INSTANCE))]),
            (8, [
                (8, share_by("model", MODEL)), (8, share_by("provider and server", PROVIDER, SERVER)), (8, burning()),
            ]),
            failures.TITLE,
            (6, list(zip((16, 8), failures.last_failures(), strict=True))),
            "Where in the stream",
            (8, list(zip((8, 8, 8), where_in_the_stream(), strict=True))),
            "What was tried again, and what users felt",
            (8, list(zip((8, 8, 8), repairs(), strict=True))),
            "Before and now",
            (7, [
                (6, beside(
                    "Failing, now and before", stream_failures(), stream_failures(offset=BEFORE),
                    "The share of streams that failed.", unit="percentunit", soft_most=0.1,
                )),
                (6, beside(
                    "First token p95", quantile("0.95", names.TIME_TO_FIRST_TOKEN),
                    quantile("0.95", names.TIME_TO_FIRST_TOKEN, offset=BEFORE),
                    "Request to first token.", unit="s",
                    thresholds=FIRST_TOKEN,
                )),
                (6, beside(
                    "Chunk gap p95", quantile("0.95", names.CHUNK_GAP),
                    quantile("0.95", names.CHUNK_GAP, offset=BEFORE),
                    "Waiting for the next chunk.", unit="s", thresholds=GAP,
                )),
                (6, beside(
                    "Streams per second", rate(names.STREAMS) + " > 0", rate(names.STREAMS, offset=BEFORE) + " > 0",
                    "Streams that ended.", unit=STREAMS_PER_SECOND,
                )),
            ]),
            calls.TITLE,
            (8, list(zip((8, 8, 8), calls.how_they_fail(), strict=True))),
            (7, list(zip((8, 8, 8), calls.how_long_they_take(), strict=True))),
            unseen.TITLE,
            (7, list(zip((8, 8, 8), unseen.losses(), strict=True))),
        ],
        compare=True,
    )
