"""The row for calls without a stream: titles, embeddings, judges, what is asked again in one piece."""

from __future__ import annotations

from collections.abc import Sequence

from streamvitals import names
from streamvitals.alerts.promql import COUNTED, FAILED, RESULT, among, ratio, total
from streamvitals.palette import OUTCOME_COLORS, RESULT_COLORS

from .panels import CALLS, CALLS_PER_SECOND, Query, colored, lines, spread
from .promql import MODEL, PROVIDER, RATE, SERVER, counted, increase, rate, series
from .streams import FAILING
from .tables import Column, grid

TITLE = "Calls without a stream"
NONE = "no calls without a stream"


def how_they_fail() -> Sequence[object]:
    failing = ratio(
        increase(names.CALLS, MODEL, where=(FAILED,), over=RATE),
        increase(names.CALLS, MODEL, where=(COUNTED,), over=RATE),
    )
    broke = counted(names.CALL_ERRORS, "outcome", "error_type", MODEL, PROVIDER, SERVER,
                    where=(among(RESULT, ("failed", "rejected")),))
    return [
        lines(
            "Calls failing, by model", [Query(failing, f"{{{{{MODEL}}}}}")],
            "The share of calls without a stream that failed, the SDK's retries in vain, for each model. They are in no"
            " ratio of streams.",
            unit="percentunit", thresholds=FAILING, soft_most=0.1, idle=NONE,
        ),
        grid(
            "What broke in calls", [Query(f"topk(15, {broke} >= 0.5)")],
            "Calls without a stream that failed in the time shown, by how, and for which model, most frequent first.",
            [
                Column("outcome", "Outcome", width=110),
                Column("error_type", "Error type", width=130),
                Column(MODEL, "Model"),
                Column("Value", "Calls", unit="locale", decimals=0, width=80),
            ],
            sort="Calls", hidden=(PROVIDER, SERVER), idle="no call failed",
        ),
        colored(
            lines(
                "How calls end", [Query(rate(names.CALLS, "result") + " > 0", "{{result}}")],
                "Calls without a stream that ended, per second, by what their end means; the SDK's retries are inside.",
                unit=CALLS_PER_SECOND, stacked=True, bars=True, idle=NONE,
            ),
            RESULT_COLORS,
        ),
    ]


def how_long_they_take() -> Sequence[object]:
    return [
        spread(
            "Duration of calls", names.CALL_DURATION, "From the call to its answer or its failure, retries included.",
            unit="s", idle=NONE,
        ),
        colored(
            lines(
                "Open and stalled calls",
                [
                    Query(total(series(names.CALLS_ACTIVE)), "open"),
                    Query(total(series(names.CALLS_STALLED)), "stalled"),
                ],
                "Calls without a stream that are open, and those whose attempt has been without an answer for more than"
                f" {names.CALL_STALLED_AFTER:.0f} seconds.",
                unit=CALLS, idle=NONE, few=True,
            ),
            {"open": "blue", "stalled": OUTCOME_COLORS["reset"]},
        ),
        lines(
            "Retries of calls", [Query(rate(names.CALL_RETRIES, MODEL) + " > 0", f"{{{{{MODEL}}}}}")],
            "Attempts per second that the SDK made again, of calls without a stream.", unit="suffix:retries/s",
            stacked=True, bars=True, idle="none",
        ),
    ]
