"""Recording rules on whether users wait: quantiles of each model, what was promised, and what is usual."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import names
from . import histograms
from .language import FAST, HOUR, MID, MODEL, SERVICE, SHORT
from .promql import at_least, block, either
from .rule import Record
from .series import BEGUN

# Most of so many streams must be late, or a large part of so many; so few are recorded, but prove nothing.
LATE, LATE_OF, HEARD = 10, 24, 3
# Quantiles by window, and how many streams each needs, to be no accident of the slowest few: of a service that keeps
# its promise a tenth may be late on some days. Chunks of one stream are slow together, so streams count there, too.
_OF_CHUNKS = (
    (SHORT, 60, 15), (SHORT, 80, 15), (FAST, 95, 40),
    (MID, 50, HEARD), (MID, 60, LATE_OF), (HOUR, 50, LATE),
)
_EACH = f"on ({SERVICE}, {MODEL})"


@dataclass(frozen=True)
class Latency:
    """Something users wait for: its histogram, the p95 promised, what nobody notices, and the quantiles needed."""

    name: str
    metric: names.Metric
    promised: str
    unnoticed: str
    quantiles: tuple[tuple[str, int, int], ...]

    @property
    def slow(self) -> str:
        return f"streamvitals:{self.name}:slow"

    @property
    def slower(self) -> str:
        return f"streamvitals:{self.name}:slower"

    def p(self, percent: int, window: str) -> str:
        """Return the name of a recorded quantile."""
        return f"streamvitals:{self.name}:p{percent}_{window}"


# One stream has many chunks: a long slow one of ten may well be a third of all, so that no p70 of few is judged.
FIRST_TOKEN = Latency("first_token", names.TIME_TO_FIRST_TOKEN, "$ttft", "0.3", (*_OF_CHUNKS, (MID, 70, LATE)))
CHUNK_GAP = Latency("chunk_gap", names.CHUNK_GAP, "$gap", "0.03", _OF_CHUNKS)


def latencies() -> Iterator[Record]:
    """Record how late first tokens and chunks are, and whether that is slow."""
    for window in (SHORT, FAST, MID):
        yield Record(BEGUN[window], _begun(window))
    for latency in (FIRST_TOKEN, CHUNK_GAP):
        yield from _quantiles(latency)
        yield _slow(latency)
        yield _slower(latency)


def _begun(window: str) -> str:
    return histograms.count(names.TIME_TO_FIRST_TOKEN, SERVICE, MODEL, over=window)


def _quantiles(latency: Latency) -> Iterator[Record]:
    """Record quantiles of each model, where there are enough streams to have any.

    Models are not mixed: one that reasons and one that does not make no quantile together.
    """
    for window, percent, streams in latency.quantiles:
        yield Record(latency.p(percent, window), f"""
        {histograms.quantile(f"0.{percent}", latency.metric, SERVICE, MODEL, over=window)}
          and {_EACH} {_begun(HOUR) if window == HOUR else BEGUN[window]} >= {streams}""")


def _slow(latency: Latency) -> Record:
    """Record whether users of a model wait longer than was promised, and than is usual for it.

    Where much is asked: most wait for minutes on end, or a fifth for longer. Where little is asked: most of the last
    few do, or a part of them twice as long as promised. A model that nobody has asked before is as slow as it is: what
    is usual for it is known an hour later.
    """
    promised, p95 = latency.promised, latency.p(95, FAST)
    most = at_least(latency.p(60, SHORT), "$waiting", BEGUN[SHORT])
    a_fifth = at_least(latency.p(80, SHORT), "$steady", BEGUN[SHORT])
    much = block(
        f"{p95} > {promised}",
        f"and {block(f'{most} > {promised}', f'or {a_fifth} > {promised}')}",
        f"unless {p95} <= 2 * {_usual(p95, '$half_hour')}",
    )
    return Record(latency.slow, f"""\
({either(much, *_slow_where_little_is_asked(latency))})
  and {_EACH} count_over_time({BEGUN[MID]}[$day] offset $hour)""")


def _slow_where_little_is_asked(latency: Latency) -> Iterator[str]:
    """Alternatives that judge by a quarter of an hour, or by an hour."""
    promised, p50_hour = latency.promised, latency.p(50, HOUR)
    # Few of late, as there is no p95; and some of them now.
    few, now = f"unless {latency.p(95, FAST)}", f"and {_EACH} {BEGUN[FAST]} > 0"
    some = f"{_EACH} {BEGUN[MID]} >= {LATE}"
    for percent, times, asked in (
        (60, "", f"{few} {now}"),
        (50, "", f"and {some} unless {latency.p(60, MID)} {now}"),
        (70, "2 * ", f"{few} {now}"),
    ):
        late = latency.p(percent, MID)
        if any(percent == recorded for _, recorded, _ in latency.quantiles):
            yield block(
                f"{late} > {times}{promised}", asked, f"unless {late} <= 2 * {_usual(late, '$half_hour')}"
            )
    # What was heard of since must be late as well. An hour's values are known so late that one without a past says
    # nothing.
    yield block(
        f"{p50_hour} > {promised}",
        f"and {_EACH} {BEGUN[MID]} > 0 unless {some}"
        f" unless min_over_time({latency.p(50, MID)}[$half_hour]) <= {promised}",
        f"and {p50_hour} > 2 * {_usual(p50_hour, '$half_hour')}",
    )


def _slower(latency: Latency) -> Record:
    """Record whether a model is slower than promised, or than the day before: nothing to wake somebody for."""
    p95, p50 = latency.p(95, FAST), latency.p(50, MID)
    return Record(latency.slower, either(
        block(_much_slower(latency, p95)),
        block(f"{_much_slower(latency, p50)} and {_EACH} {BEGUN[MID]} >= {LATE}"),
        latency.slow,
    ))


def _much_slower(latency: Latency, quantile: str) -> str:
    usual, promised = _usual(quantile, "$hour"), latency.promised
    return block(
        f"{quantile} > {promised} unless {quantile} <= 1.25 * {usual}",
        f"or {quantile} > 1.75 * {usual} > {latency.unnoticed}",
    )


def _usual(quantile: str, offset: str) -> str:
    """The median of a day: the last incident is not what is usual."""
    return f"quantile_over_time(0.5, {quantile}[$day] offset {offset})"
