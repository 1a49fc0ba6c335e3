"""The dashboard Latency anatomy: how much time goes where, at the provider or in the application."""

from __future__ import annotations

from grafana_foundation_sdk.builders.dashboard import Dashboard

from streamvitals import names
from streamvitals.alerts import links as known
from streamvitals.alerts.measures import LOOP_LATE
from streamvitals.alerts.promql import PHASE, ratio, total
from streamvitals.names import Metric
from streamvitals.palette import OUTCOME_COLORS, RESULT_COLORS

from .board import board
from .links import traces
from .panels import (
    AMBER,
    CHUNKS,
    NO_SUMS,
    RED,
    STALLS,
    STREAMS,
    TOKENS_PER_SECOND,
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
    RATE,
    buckets,
    increase,
    quantile,
    rate,
    series,
)
from .streams import FIRST_TOKEN, GAP, STALLED

LAG = steps((LOOP_LATE, RED))


def mean(metric: Metric) -> str:
    return ratio(rate(metric, suffix="_sum"), rate(metric, suffix="_count"))


def by_label(title: str, metric: Metric, q: str, label: str, thresholds: object, description: str) -> object:
    return lines(
        title, [Query(quantile(q, metric, label), f"{{{{{label}}}}}")], description, unit="s",
        thresholds=thresholds,  # type: ignore[arg-type]
    )


def latency() -> Dashboard:
    wait, hold = rate(names.WAIT), rate(names.HOLD)
    figures = [
        number(
            "First chunk p95", quantile("0.95", names.TIME_TO_FIRST_CHUNK, over=NOW),
            "From the request to the first chunk, headers and retries of the SDK included.", unit="s",
            thresholds=FIRST_TOKEN,
        ),
        number(
            "First token p95", quantile("0.95", names.TIME_TO_FIRST_TOKEN, over=NOW),
            "From the request to the first chunk with content. Much later than the first chunk: the model thinks, or "
            "the provider answers before it begins.",
            unit="s", thresholds=FIRST_TOKEN,
        ),
        number(
            "Chunk gap p95", quantile("0.95", names.CHUNK_GAP, over=NOW),
            "Waiting for the next chunk.", unit="s", thresholds=GAP,
        ),
        number(
            "Tokens per second, median", quantile("0.5", names.TOKEN_RATE, over=NOW),
            "Output tokens per second of completed streams, where usage is reported.", unit=TOKENS_PER_SECOND,
            decimals=0, idle="no usage reported",
        ),
        number(
            "Held by the app", ratio(rate(names.HOLD, over=NOW),
                                     f"({rate(names.WAIT, over=NOW)} + {rate(names.HOLD, over=NOW)})"),
            "Of the time that streams were open after their first chunk was asked for, how much the application spent"
            " between chunks instead of waiting. Much: the application is slow, not the provider.",
            unit="percentunit", decimals=0, thresholds=steps((0.5, AMBER)),
        ),
        number(
            "Event loop late, p90", quantile("0.9", names.LOOP_LAG, over=NOW),
            "How late the application's event loop runs while streams are open. A busy loop makes every provider look"
            " slow.", unit="s", thresholds=LAG, idle="no loop",
        ),
    ]
    phases = colored(
        lines(
            "A stream, from request to end: means",
            [
                Query(mean(names.TIME_TO_FIRST_CHUNK), "to the first chunk"),
                Query(
                    f"{mean(names.TIME_TO_FIRST_TOKEN)} - {mean(names.TIME_TO_FIRST_CHUNK)} >= 0", "to the first token"
                ),
                Query(
                    f"{ratio(rate(names.WAIT), rate(names.STREAMS))} - "
                    f"{mean(names.TIME_TO_FIRST_TOKEN)} >= 0",
                    "waiting for chunks",
                ),
                Query(ratio(rate(names.HOLD), rate(names.STREAMS)), "held by the app"),
            ],
            "What an average stream's seconds are made of. Streams that failed before their first chunk are in the "
            "waiting.",
            unit="s", stacked=True, calc="lastNotNull", idle=NO_SUMS,
        ),
        {"to the first chunk": "blue", "to the first token": "purple", "waiting for chunks": "orange",
         "held by the app": "green"},
    )
    both = f"({wait} + {hold})"
    owners = colored(
        lines(
            "Whose time it is",
            [Query(ratio(wait, both), "waiting for the provider"), Query(ratio(hold, both), "held by the app")],
            "Of the time that streams are open, how much they wait for the provider, and how much the application holds"
            " them.",
            unit="percentunit", most=1.0, stacked=True, few=True, calc="mean",
        ),
        {"waiting for the provider": "orange", "held by the app": "green"},
    )
    first_what = "95 of 100 streams had their first token sooner, for each "
    return board(
        "Latency anatomy", known.LATENCY, "Where the time goes: provider or us?",
        [
            (4, [(4, panel) for panel in figures]),
            (8, [(14, phases), (10, owners)]),
            "Before the first token",
            (8, [
                (8, spread(
                    "Time to first chunk", names.TIME_TO_FIRST_CHUNK,
                    "Request to first chunk: headers, queueing at the provider, retries of the SDK.",
                    unit="s", thresholds=FIRST_TOKEN, exemplars=True, links=[traces()],
                )),
                (8, spread(
                    "Time to first token", names.TIME_TO_FIRST_TOKEN,
                    "Request to first token. The line is what was promised for p95.",
                    unit="s", thresholds=FIRST_TOKEN, exemplars=True, links=[traces()],
                )),
                (8, heat(
                    "First tokens", buckets(names.TIME_TO_FIRST_TOKEN),
                    "How many streams had their first token after how long.",
                    links=[traces()],
                )),
            ]),
            (7, [
                (8, by_label("First token p95, by provider", names.TIME_TO_FIRST_TOKEN, "0.95", PROVIDER, FIRST_TOKEN,
                             first_what + "provider.")),
                (8, by_label("First token p95, by model", names.TIME_TO_FIRST_TOKEN, "0.95", MODEL, FIRST_TOKEN,
                             first_what + "model.")),
                (8, by_label("First token p95, by replica", names.TIME_TO_FIRST_TOKEN, "0.95", INSTANCE, FIRST_TOKEN,
                             first_what + "replica: one alone is not the provider.")),
            ]),
            "Between chunks",
            (8, [
                (8, spread(
                    "Chunk gap", names.CHUNK_GAP,
                    "Waiting for the next chunk, the app's own time between chunks not counted.",
                    unit="s", thresholds=GAP,
                )),
                (8, heat("Gaps between chunks", buckets(names.CHUNK_GAP),
                         "How long the app waited for each chunk. The top rows are stalls.", of=CHUNKS)),
                (8, by_label("Chunk gap p95, by model", names.CHUNK_GAP, "0.95", MODEL, GAP,
                             "Waiting for the next chunk, for each model.")),
            ]),
            (7, [
                (8, colored(lines(
                    "Open and stalled streams",
                    [
                        Query(total(series(names.ACTIVE)), "open"),
                        Query(total(series(names.STALLED), PHASE), f"stalled, {{{{{PHASE}}}}}"),
                    ],
                    "Streams that are open, and those that are stalled: before the first token of the answer, between "
                    "chunks, or in either while keep-alives come.",
                    unit=STREAMS, thresholds=STALLED, idle="none open",
                ), {
                    "open": "blue", "stalled, first_token": OUTCOME_COLORS["truncated"],
                    "stalled, between_chunks": OUTCOME_COLORS["reset"], "stalled, keep_alive": OUTCOME_COLORS["length"],
                })),
                (8, lines(
                    "Stalls", [Query(increase(names.STALLS, MODEL, over=RATE) + " > 0", f"{{{{{MODEL}}}}}")],
                    "Waits for a chunk that exceeded the threshold of their phase, each counted once when it is over.",
                    unit=STALLS, bars=True, stacked=True, idle="none",
                )),
                (8, spread(
                    "Tokens per second", names.TOKEN_RATE,
                    "Output tokens per second of completed streams, first token to end, where usage is reported.",
                    unit=TOKENS_PER_SECOND, idle="no usage reported",
                )),
            ]),
            "The whole stream, and the application itself",
            (7, [
                (8, colored(lines(
                    "Duration, by how it ended",
                    [Query(quantile("0.95", names.DURATION, "result"), "{{result}}")],
                    "Request to end, 95 of 100 sooner.", unit="s",
                ), RESULT_COLORS)),
                (8, heat("Durations", buckets(names.DURATION), "How long streams took.")),
                (8, lines(
                    "Event loop lag",
                    [Query(quantile("0.9", names.LOOP_LAG, INSTANCE), f"{{{{{INSTANCE}}}}}")],
                    "How late each replica's event loop runs while streams are open, p90. The line is where the alert"
                    " stands.",
                    unit="s", thresholds=LAG, idle="no loop",
                )),
            ]),
        ],
    )
