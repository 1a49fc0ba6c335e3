"""The dashboard Limits and cost of failure: what is left of quotas, and what failures cost."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from streamvitals import names
from streamvitals.alerts import links as known
from streamvitals.alerts.measures import LIMIT_LOW, LIMITED_RETRIES
from streamvitals.alerts.promql import FAILED, RATE_LIMITED, RESULT, among, ratio
from streamvitals.palette import OUTCOME_COLORS, RESULT_COLORS

from .board import board
from .links import drill
from .panels import (
    AMBER,
    CHUNKS_PER_SECOND,
    GREEN,
    NO_SUMS,
    OPERATIONS_PER_SECOND,
    RED,
    REQUESTS_PER_SECOND,
    RETRIES_PER_SECOND,
    SAVED_COLORS,
    STREAMS,
    STREAMS_PER_SECOND,
    TOKENS_PER_SECOND,
    Query,
    colored,
    lines,
    number,
    steps,
)
from .promql import (
    LATELY,
    MODEL,
    NOW,
    PROVIDER,
    SERVER,
    increase,
    known_lately,
    limit_left,
    rate,
    series,
)
from .tables import GAUGE, Column, grid

# Streams that ended before their answer did.
UNFINISHED = among(RESULT, ("failed", "left"))
# Five that differ most, whatever they mean elsewhere.
TOKEN_COLORS = {
    "output: visible": OUTCOME_COLORS["cancelled"], "output: reasoning": OUTCOME_COLORS["rate_limited"],
    "input: uncached": OUTCOME_COLORS["completed"], "input: cached": OUTCOME_COLORS["length"],
    "input: cache_write": OUTCOME_COLORS["truncated"],
}
HELD_COLORS = {
    "tried again by the SDK": OUTCOME_COLORS["length"], "ended the stream": OUTCOME_COLORS["rate_limited"],
}
HEADROOM = steps((LIMIT_LOW, AMBER), (2 * LIMIT_LOW, GREEN), base=RED)


def limits() -> Dashboard:
    wasted = ratio(increase(names.CHUNKS, where=(FAILED,)), increase(names.CHUNKS))
    seconds = increase(names.DURATION, where=(FAILED,), suffix="_sum")
    figures = [
        number(
            "Least headroom", limit_left(),
            "What is left of the nearest rate limit, of requests or tokens, as the provider last said to a replica that"
            f" has asked in {LATELY}. Red under what the alert allows, {LIMIT_LOW:.0%}.",
            unit="percentunit", decimals=0, thresholds=HEADROOM, idle="no limit reported",
        ),
        number(
            "Rate limited in 5m", increase(names.STREAMS, where=(RATE_LIMITED,), over=NOW),
            "Streams that ended in a quota, after all retries.", unit=STREAMS, decimals=0,
            thresholds=steps((1, AMBER)), idle="none",
        ),
        number(
            "Back-off", increase(names.BACKOFF),
            "Seconds slept between attempts, in the time shown: waiting that users had and no latency of the provider"
            " shows.", unit="s", idle="none",
        ),
        number(
            "Chunks wasted", wasted,
            "Of all chunks received in the time shown, those of streams that then broke. They are paid for, and "
            "thrown away where the operation was tried again.", unit="percentunit", decimals=1,
        ),
        number(
            "Streaming wasted", seconds,
            "Seconds spent on streams that then broke, in the time shown.",
            unit="s", idle=NO_SUMS,
        ),
        number(
            "Asked without streaming", increase(names.FALLBACKS),
            "Failed streams asked again without streaming, in the time shown: the user waits for the whole answer.",
            unit=STREAMS, decimals=0, idle="none",
        ),
    ]
    by = (PROVIDER, MODEL, SERVER)
    own = {"model": "${__data.fields.Model}", "provider": "${__data.fields.Provider}"}
    quotas = grid(
        "Quotas",
        [
            Query(limit_left(*by, "kind")),
            Query(f"min by ({', '.join((*by, 'kind'))}) ({series(names.RATELIMIT_REMAINING)} {known_lately()})"),
            Query(f"max by ({', '.join((*by, 'kind'))}) ({series(names.RATELIMIT_LIMIT)} {known_lately()})"),
        ],
        "What the provider last said of each rate limit, the nearest first. A provider that reports none is not here,"
        f" nor is one that nobody has asked in {LATELY}.",
        [
            Column(MODEL, "Model", links=[drill("What broke there", known.INCIDENT, **own)]),
            Column(PROVIDER, "Provider", width=85),
            Column(SERVER, "Server"),
            Column("kind", "Limit of", width=80),
            Column("Value #A", "Left", unit="percentunit", decimals=0, least=0.0, most=1.0, thresholds=HEADROOM,
                   cell=GAUGE),
            Column("Value #B", "Remaining", unit="locale", width=95),
            Column("Value #C", "Limit", unit="locale", width=95),
        ],
        sort="", idle="no limit reported",
    )
    return board(
        "Limits and cost of failure", known.LIMITS, "Quota headroom, retries and back-off, what failures cost.",
        [
            (4, [(4, panel) for panel in figures]),
            "Limits",
            (8, [(14, quotas), (10, lines(
                "Headroom",
                [Query(limit_left(MODEL, SERVER, "kind"), f"{{{{kind}}}} of {{{{{MODEL}}}}} at {{{{{SERVER}}}}}")],
                "What is left of each rate limit, in percent of it, as the provider last said: a line for each. The"
                " dashed line is where the alert stands.",
                unit="percentunit", most=1.0, thresholds=steps((LIMIT_LOW, "transparent"), base=RED), fill=0,
                calc="min", idle="no limit reported",
            ))]),
            (7, [(8, colored(lines(
                "Held back by the provider",
                [
                    Query(rate(names.RETRIES, where=LIMITED_RETRIES) + " > 0", "tried again by the SDK"),
                    Query(rate(names.STREAMS, where=(RATE_LIMITED,)) + " > 0", "ended the stream"),
                ],
                "Requests that met a rate limit, per second, each once. What the application then tried again is among"
                " those that ended their stream.",
                unit=REQUESTS_PER_SECOND, stacked=True, bars=True, idle="none", few=True,
            ), HELD_COLORS)), (8, colored(lines(
                "Tokens", [Query(rate(names.TOKENS, "type", "part") + " > 0", "{{type}}: {{part}}")],
                "Tokens per second, where the provider reports usage; the parts add up.", unit=TOKENS_PER_SECOND,
                stacked=True, idle="no usage reported",
            ), TOKEN_COLORS)), (8, colored(lines(
                "Streams without usage", [Query(rate(names.UNMETERED, "result") + " > 0", "{{result}}")],
                "Streams per second that the provider may charge for and whose tokens it did not report: so far what "
                "the tokens say is less than the bill.", unit=STREAMS_PER_SECOND, stacked=True, bars=True, idle="none",
            ), RESULT_COLORS))]),
            "Cost of failure",
            (8, [(8, colored(lines(
                "Chunks that came to nothing",
                [Query(rate(names.CHUNKS, "result", where=(UNFINISHED,)) + " > 0", "{{result}}")],
                "Chunks per second of streams that then failed, or that the application left.",
                unit=CHUNKS_PER_SECOND, stacked=True, idle="none wasted",
            ), RESULT_COLORS)), (8, lines(
                "Retries, by why", [Query(rate(names.RETRIES, "source", "reason") + " > 0", "{{source}}: {{reason}}")],
                "Attempts made again per second.", unit=RETRIES_PER_SECOND, stacked=True, bars=True, idle="none",
            )), (8, lines(
                "Seconds slept between attempts", [Query(rate(names.BACKOFF, "source") + " > 0", "{{source}}")],
                "Seconds of back-off per second: as many operations are being kept waiting.", unit="s", idle="none",
            ))]),
            (7, [(8, colored(lines(
                "Seconds that came to nothing",
                [Query(rate(names.DURATION, "result", where=(UNFINISHED,), suffix="_sum") + " > 0", "{{result}}")],
                "Seconds per second of streams that then failed, or that the application left.", unit="s",
                stacked=True, idle=NO_SUMS,
            ), RESULT_COLORS)), (8, lines(
                "Fallbacks", [Query(rate(names.FALLBACKS, MODEL) + " > 0", f"{{{{{MODEL}}}}}")],
                "Failed streams asked again without streaming, per second.", unit=REQUESTS_PER_SECOND, idle="none",
            )), (8, colored(lines(
                "Saved and lost",
                [Query(rate(names.RECOVERIES, "source"), "saved by the {{source}}"),
                 Query(rate(names.OPERATIONS_FAILED), "failed for the user")],
                "Operations with a failed attempt, by what became of them.", unit=OPERATIONS_PER_SECOND, soft_most=0.1,
            ), SAVED_COLORS))]),
        ],
    )
