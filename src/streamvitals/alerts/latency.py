"""Whether users wait: quantiles of each model, beside what was promised and what is usual for it."""

from __future__ import annotations

from collections.abc import Iterator

from .chance import lowest
from .rule import Record

# Of so many streams most must be late, or of so many a large part; so few are heard of, but prove nothing.
LATE, LATE_OF, HEARD = 10, 24, 3
# Quantiles by window, and how many streams each needs, to be no accident of the slowest few: of a service that keeps
# its promise a tenth may be late on some days. Chunks of one stream are slow together, so streams count there, too.
_OF_CHUNKS = (
    ("short", 60, 15), ("short", 80, 15), ("fast", 95, 40),
    ("mid", 50, HEARD), ("mid", 60, LATE_OF), ("hour", 50, LATE),
)
# One stream has many chunks: a long slow one of ten may well be a third of all.
QUANTILES = {"first_token": (*_OF_CHUNKS, ("mid", 70, LATE)), "chunk_gap": _OF_CHUNKS}


def begun_streams() -> Iterator[Record]:
    for window in ("short", "fast", "mid", "hour"):
        w = f"${{{window}}}"
        yield Record(
            f"streamvitals:begun:increase{w}", f"sum by ($service, $model) (increase(${{first_token}}_count[{w}]))"
        )


def latency(what: str, objective: str, least: str) -> Iterator[Record]:
    """Quantiles of each model, where there are enough streams to have any, and whether users wait; ``least`` is what
    nobody notices.

    Of each model, as a model that reasons and one that does not make no quantile together. Where much is asked: most
    wait for minutes on end, or a fifth for longer. Where little is asked: most of the last few do, or a part of them
    twice as long as promised.
    """
    now = f"streamvitals:{what}"
    each, begun = "on ($service, $model)", "streamvitals:begun:increase"
    for window, quantile, streams in QUANTILES[what]:
        w = f"${{{window}}}"
        yield Record(
            f"{now}:p{quantile}_{w}",
            f"""
        histogram_quantile(0.{quantile}, sum by ($service, $model, le) (rate(${{{what}}}_bucket[{w}])))
          and {each} {begun}{w} >= {streams}""",
        )

    def usual(quantile: str, offset: str) -> str:
        # The day's median: the last incident is not what is usual.
        return f"quantile_over_time(0.5, {now}:{quantile}[$day] offset {offset})"

    def unusual(quantile: str) -> str:
        # An hour's values are known so late that one without a past says nothing.
        past = usual(quantile, "$half_hour")
        if quantile == "p50_$hour":
            return f"and {now}:{quantile} > 2 * {past}"
        return f"unless {now}:{quantile} <= 2 * {past}"

    soon, some = f"unless {now}:p95_$fast", f"{begun}$mid >= {LATE}"
    few = " or ".join(
        f"""(
          {now}:{quantile} > {times}{objective}
            {of}
            {unusual(quantile)}
        )"""
        for quantile, times, of in (
            ("p60_$mid", "", f"{soon} and {each} {begun}$fast > 0"),
            ("p50_$mid", "", f"and {each} {some} unless {now}:p60_$mid and {each} {begun}$fast > 0"),
            ("p70_$mid", "2 * ", f"{soon} and {each} {begun}$fast > 0"),
            # What was heard of since must be late as well.
            (
                "p50_$hour", "",
                f"and {each} {begun}$mid > 0 unless {each} {some}"
                f" unless min_over_time({now}:p50_$mid[$half_hour]) <= {objective}",
            ),
        )
        if quantile != "p70_$mid" or what == "first_token"
    )
    # A model that nobody has asked before is as slow as it is: what is usual for it is known an hour later.
    yield Record(
        f"{now}:slow",
        f"""
        ((
          {now}:p95_$fast > {objective}
            and (
              {lowest(f"{now}:p60_$short", "$waiting", f"{begun}$short")} > {objective}
                or {lowest(f"{now}:p80_$short", "$steady", f"{begun}$short")} > {objective}
            )
            {unusual("p95_$fast")}
        ) or {few})
          and {each} count_over_time({begun}$mid[$day] offset $hour)""",
    )
    yield Record(
        f"{now}:slower",
        " or ".join(
            f"""(
          (
            {now}:{quantile} > {objective} unless {now}:{quantile} <= 1.25 * {usual(quantile, "$hour")}
              or {now}:{quantile} > 1.75 * {usual(quantile, "$hour")} > {least}
          ){enough}
        )"""
            for quantile, enough in (("p95_$fast", ""), ("p50_$mid", f" and {each} {some}"))
        ) + f" or {now}:slow",
    )
