"""The dashboard Streams: whether users are hurt, on one screen, for the wall and the first look."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from streamvitals import names
from streamvitals.alerts import links as known
from streamvitals.alerts.measures import HANGING
from streamvitals.alerts.objectives import Objectives
from streamvitals.alerts.promql import total
from streamvitals.export.dashboards import ALERT_COLUMN
from streamvitals.palette import OUTCOME_COLORS

from .board import board
from .links import drill, traces
from .panels import (
    AMBER,
    COLOURED,
    GREEN,
    RED,
    TEXT,
    Column,
    Query,
    colored,
    grid,
    heat,
    lines,
    number,
    spread,
    steps,
)
from .promql import (
    MODEL,
    NOW,
    PROVIDER,
    buckets,
    increase,
    operation_failures,
    quantile,
    rate,
    series,
    stream_failures,
)

OBJECTIVES = Objectives()
FAILING = steps((OBJECTIVES.budget, AMBER), (OBJECTIVES.page_share, RED))
FIRST_TOKEN = steps((OBJECTIVES.ttft_p95, RED))
GAP = steps((OBJECTIVES.chunk_gap_p95, RED))
STALLED = steps((1, AMBER), (HANGING, RED))
QUIET = 'alertstate="firing",alertname=~"Streamvitals.+",kind!~"watchdog|silence",job=~"$job"'
TO_INCIDENT = drill("What broke", known.INCIDENT)
TO_LATENCY = drill("Where the time goes", known.LATENCY)


def firing() -> object:
    """List our alerts that fire now, or say that nobody evaluates them."""
    unwatched = 'absent(ALERTS{alertname="StreamvitalsWatchdog"})'
    for label, value in (("alertname", "The rules are not loaded"), ("kind", "unknown")):
        unwatched = f'label_replace({unwatched}, "{label}", "{value}", "", "")'
    short = 'label_replace({}, "alertname", "$1", "alertname", "Streamvitals(.+)")'
    # By kind: severities may have other names.
    page = f'label_replace(ALERTS{{{QUIET}}}, "kind", "page", "kind", "symptom")'
    ours = short.format(
        f'group by (alertname, kind, job) (label_replace({page}, "kind", "ticket", "kind", "cause|state|telemetry"))'
    )
    return grid(
        "Alerts firing", [Query(f"{ours} or {unwatched}")],
        "Alerts of streamvitals that fire now, from the series ALERTS of Prometheus. It also says so if the rules are "
        "not loaded.",
        [
            Column("kind", "Kind", width=70, cell=TEXT, colors={"page": RED, "ticket": AMBER, "unknown": RED}),
            Column("alertname", ALERT_COLUMN),
            Column("job", "Job", width=90),
        ],
        sort="+Kind", hidden=("Value",), idle="nothing fires",
    )


def by_model() -> object:
    """Draw a row for each model and provider, with a link to what broke."""
    by = (PROVIDER, MODEL)
    stalled = total(series(names.STALLED), *by)
    own = {"model": "${__data.fields.Model}", "provider": "${__data.fields.Provider}"}
    return grid(
        "Models",
        [
            Query(rate(names.STREAMS, *by, over=NOW)),
            Query(operation_failures(*by, over=NOW)),
            Query(quantile("0.95", names.TIME_TO_FIRST_TOKEN, *by, over=NOW)),
            Query(quantile("0.95", names.CHUNK_GAP, *by, over=NOW)),
            Query(total(series(names.ACTIVE), *by)),
            Query(stalled),
            Query(increase(names.RETRIES, *by, over=NOW)),
        ],
        "The last five minutes of every model; failures as the alerts count them. A click on a model"
        " leads to what broke there.",
        [
            Column(MODEL, "Model", links=[drill("What broke there", known.INCIDENT, **own)]),
            Column(PROVIDER, "Provider"),
            Column("Value #A", "Streams/s", unit="reqps", decimals=2),
            Column("Value #B", "Failing", unit="percentunit", thresholds=FAILING, cell=COLOURED, decimals=1),
            Column("Value #C", "First token p95", unit="s", thresholds=FIRST_TOKEN, cell=COLOURED),
            Column("Value #D", "Chunk gap p95", unit="s", thresholds=GAP, cell=COLOURED),
            Column("Value #E", "Open", unit="locale", decimals=0),
            Column("Value #F", "Stalled", unit="locale", thresholds=STALLED, cell=COLOURED, decimals=0),
            Column("Value #G", "Retries in 5m", unit="locale", decimals=0),
        ],
        sort="Failing",
    )


def streams() -> Dashboard:
    stalled = total(series(names.STALLED))
    figures = [
        number(
            "Operations failing", operation_failures(over=NOW),
            "Of the last five minutes' operations, how many failed for good: streams that the provider or a quota "
            "broke, less what the application tried again; all, where none ended well. Amber over the budget, red "
            "where the alerts page.",
            unit="percentunit", decimals=1, thresholds=FAILING, links=[TO_INCIDENT],
        ),
        number(
            "First token p95", quantile("0.95", names.TIME_TO_FIRST_TOKEN, over=NOW),
            "Of 100 streams in five minutes, 95 had their first token sooner. Red where it is later than promised; all"
            " models count together here, while the alerts look at each.",
            unit="s", thresholds=FIRST_TOKEN, links=[TO_LATENCY],
        ),
        number(
            "Chunk gap p95", quantile("0.95", names.CHUNK_GAP, over=NOW),
            "How long the app waited for the next chunk, 95 of 100 times at most. Over a quarter of a second text "
            "comes slower than people read.",
            unit="s", thresholds=GAP, links=[TO_LATENCY],
        ),
        number(
            "Stalled now", stalled,
            "Open streams whose reader has been blocked for longer than the stall threshold of their phase, while it "
            f"happens. Red from {HANGING}, where the alerts begin to count.",
            unit="locale", decimals=0, thresholds=STALLED, idle="none open", links=[TO_LATENCY],
        ),
        number(
            "Open now", total(series(names.ACTIVE)), "Streams that are open.",
            unit="locale", decimals=0, idle="none open",
        ),
        number(
            "Streams/s", rate(names.STREAMS, over=NOW) + " > 0",
            "Streams that ended, over five minutes.", unit="reqps", decimals=2,
        ),
        number(
            "Replicas seen", "count(group by (job, instance) (" + series(names.BUILD_INFO) + "))",
            "Replicas in which the SDK is observed. What is not here is not seen: no number on this page is about it.",
            unit="locale", decimals=0, thresholds=steps((1, GREEN), base=RED), idle="none: nothing is seen",
            idle_color=RED,
        ),
    ]
    outcomes = colored(
        lines(
            "How streams end",
            [Query(rate(names.STREAMS, "outcome") + " > 0", "{{outcome}}")],
            "Streams per second by how they ended. Green ended well, ochre met a limit, blue and grey were the "
            "application's own; red, orange, pink and purple broke.",
            unit="reqps", stacked=True, bars=True, calcs=("last",), idle="none", links=[TO_INCIDENT, traces()],
        ),
        OUTCOME_COLORS,
    )
    failing = colored(
        lines(
            "Failing, against the objective",
            [Query(operation_failures(), "operations"), Query(stream_failures(), "streams")],
            "Streams that failed, and operations that failed for good; what is between the two lines was tried again,"
            " and users saw it as waiting. The lines are the budget and the share that pages.",
            unit="percentunit", thresholds=FAILING, soft_most=2 * OBJECTIVES.page_share,
            legend="bottom", links=[TO_INCIDENT],
        ),
        {"operations": "red", "streams": "yellow"},
    )
    first = spread(
        "Time to first token", names.TIME_TO_FIRST_TOKEN,
        "From the request to the first chunk with content, retries of the SDK included. The line is what was promised"
        " for p95. Points are traces, where the application keeps them.",
        unit="s", thresholds=FIRST_TOKEN, exemplars=True, links=[TO_LATENCY],
    )
    return board(
        "Streams", known.STREAMS, "Are users of LLM streams hurt? The first page in an incident.",
        [
            (4, list(zip((4, 4, 4, 3, 3, 3, 3), figures, strict=True))),
            (7, [(10, outcomes), (8, failing), (6, firing())]),
            (7, [
                (8, first),
                (8, heat(
                    "First tokens", buckets(names.TIME_TO_FIRST_TOKEN),
                    "How many streams had their first token after how long: two bands are two kinds of request, or "
                    "two providers.", links=[TO_LATENCY],
                )),
                (8, heat(
                    "Gaps between chunks", buckets(names.CHUNK_GAP),
                    "How long the app waited for each chunk. The top rows are stalls.",
                    links=[TO_LATENCY],
                )),
            ]),
            (7, [(24, by_model())]),
        ],
    )
