"""The dashboard Streams: whether users are hurt, on one screen, for the wall and the first look."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from streamvitals import names
from streamvitals.alerts import links as known
from streamvitals.alerts.measures import HANGING
from streamvitals.alerts.objectives import SERVICE, Objectives
from streamvitals.alerts.promql import total
from streamvitals.palette import OUTCOME_COLORS, RESULT_COLORS

from .board import board
from .firing import firing
from .links import drill, traces
from .panels import (
    AMBER,
    CHUNKS,
    GREEN,
    RED,
    STREAMS,
    STREAMS_PER_SECOND,
    Query,
    colored,
    heat,
    lines,
    number,
    spread,
    steps,
)
from .promql import (
    INSTANCE,
    MODEL,
    NOW,
    PROVIDER,
    buckets,
    budget_left,
    increase,
    operation_failures,
    quantile,
    rate,
    series,
    stream_failures,
)
from .tables import COLOURED, Column, grid

OBJECTIVES = Objectives()
FAILING = steps((OBJECTIVES.budget, AMBER), (OBJECTIVES.page_share, RED))
LEFT = steps((0.0, AMBER), (0.25, GREEN), base=RED)
FIRST_TOKEN = steps((OBJECTIVES.ttft_p95, RED))
GAP = steps((OBJECTIVES.chunk_gap_p95, RED))
STALLED = steps((1, AMBER), (HANGING, RED))
# Of those who felt it, and of those who did it: as different for the colour-blind as colours can be.
FELT_COLORS = {"users felt": RESULT_COLORS["failed"], "the provider broke": RESULT_COLORS["limit"]}
TO_INCIDENT = drill("What broke", known.INCIDENT)
TO_LATENCY = drill("Where the time goes", known.LATENCY)


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
            Query(stream_failures(*by, over=NOW)),
            Query(quantile("0.95", names.TIME_TO_FIRST_TOKEN, *by, over=NOW)),
            Query(quantile("0.95", names.CHUNK_GAP, *by, over=NOW)),
            Query(total(series(names.ACTIVE), *by)),
            Query(stalled),
            Query(increase(names.RETRIES, *by, over=NOW)),
        ],
        "The last five minutes of every model: which share of its operations failed for good, as the alerts count"
        " them, and which share of its streams broke, tried again or not. A click on a model leads to what broke"
        " there.",
        [
            Column(MODEL, "Model", links=[drill("What broke there", known.INCIDENT, **own)]),
            Column(PROVIDER, "Provider"),
            Column("Value #A", "Streams/s", unit="locale", decimals=2),
            Column("Value #B", "Users felt", unit="percentunit", thresholds=FAILING, cell=COLOURED, decimals=1),
            Column("Value #C", "Provider broke", unit="percentunit", thresholds=FAILING, cell=COLOURED, decimals=1),
            Column("Value #D", "First token p95", unit="s", thresholds=FIRST_TOKEN, cell=COLOURED),
            Column("Value #E", "Chunk gap p95", unit="s", thresholds=GAP, cell=COLOURED),
            Column("Value #F", "Open", unit="locale", decimals=0),
            Column("Value #G", "Stalled", unit="locale", thresholds=STALLED, cell=COLOURED, decimals=0),
            Column("Value #H", f"Retries in {NOW}", unit="locale", decimals=0),
        ],
        sort="Provider broke",
    )


def failing_now() -> object:
    """Show both truths in one tile: what users felt, and what the provider did."""
    return number(
        "Failing now", [
            Query(operation_failures(over=NOW), "users felt"), Query(stream_failures(over=NOW), "the provider broke"),
        ],
        "Of the last five minutes. Users felt: operations that failed for good, which are streams that the provider or"
        " a quota broke, less what the application tried again; all, where none ended well. This is the measure that "
        "pages. The provider broke: streams, whatever became of them. What is between the two was tried again, and"
        " users saw it as waiting. Amber over the budget, red where the alerts page.",
        unit="percentunit", decimals=1, thresholds=FAILING, links=[TO_INCIDENT],
    )


def streams() -> Dashboard:
    stalled = total(series(names.STALLED))
    figures = [
        failing_now(),
        number(
            "Error budget left", budget_left(),
            "Of the failures that the objective allows, how many are left: in 30 days, or as far back as Prometheus "
            "remembers. Used up: more has failed than was promised. From series that the alerts' rules record.",
            unit="percentunit", decimals=0, thresholds=LEFT, negative="used up", idle="no rules loaded",
            links=[TO_INCIDENT],
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
            unit=STREAMS, decimals=0, thresholds=STALLED, idle="none open", links=[TO_LATENCY],
        ),
        number(
            "Streams ending", rate(names.STREAMS, over=NOW) + " > 0",
            "Streams that ended, over five minutes.", unit=STREAMS_PER_SECOND, decimals=2,
        ),
        number(
            "Replicas seen",
            f"count(group by ({', '.join((*SERVICE, INSTANCE))}) ({series(names.BUILD_INFO)})) or vector(0)",
            "Replicas in which the SDK is observed. What is not here is not seen: no number on this page is about it.",
            unit="locale", decimals=0, thresholds=steps((1, GREEN), base=RED), words={"0": "none"},
        ),
    ]
    outcomes = colored(
        lines(
            "How streams end",
            [Query(rate(names.STREAMS, "outcome") + " > 0", "{{outcome}}")],
            "Streams per second by how they ended. Green ended well, ochre met a limit, blue and grey were the "
            "application's own; red, orange, pink and purple broke.",
            unit=STREAMS_PER_SECOND, stacked=True, bars=True, idle="none", links=[TO_INCIDENT, traces()],
        ),
        OUTCOME_COLORS,
    )
    failing = colored(
        lines(
            "Failing, against the objective",
            [Query(operation_failures(), "users felt"), Query(stream_failures(), "the provider broke")],
            "Operations that failed for good, and streams that broke; what is between the two lines was tried again,"
            " and users saw it as waiting. The dashed lines are the budget and the share that pages.",
            unit="percentunit", thresholds=FAILING, soft_most=2 * OBJECTIVES.page_share,
            few=True, links=[TO_INCIDENT],
        ),
        FELT_COLORS,
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
            (4, list(zip((6, 3, 3, 3, 3, 3, 3), figures, strict=True))),
            (8, [(8, outcomes), (8, failing), (8, firing())]),
            (7, [
                (8, first),
                (8, heat(
                    "First tokens", buckets(names.TIME_TO_FIRST_TOKEN),
                    "How many streams had their first token after how long: two bands are two kinds of request, or "
                    "two providers.", links=[TO_LATENCY],
                )),
                (8, heat(
                    "Gaps between chunks", buckets(names.CHUNK_GAP),
                    "How long the app waited for each chunk. The top rows are stalls.", of=CHUNKS,
                    links=[TO_LATENCY],
                )),
            ]),
            (6, [(24, by_model())]),
        ],
    )
