"""Injected against reported, number by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from .. import names
from ..names import Metric
from ..stream.outcome import Outcome, owner
from ..stream.record import StreamLabels
from . import plan, quantiles
from .plan import Job
from .report import Count, Look, OutcomeRow, QuantileRow, Timed
from .scrape import Scrape
from .truth import Stream, Truth

QUANTILES = (0.5, 0.95, 0.99)
# A bucket further is forgiven: a chunk that was sent at the end of one is felt at the beginning of the next.
BUCKETS_OFF = 1
# What waits and holds may differ by: the machine's own time per stream, and a share.
SECONDS_OFF, SHARE_OFF = 0.1, 0.1
# How far in time the gauge may be behind the server's log.
LOOK_SLACK = 0.25

Pair = tuple[str, str]
_NOT_SILENT = {"completed", "length", "content_filter", "cancelled", "abandoned"}


def outcomes(truth: Truth, scrape: Scrape, problems: list[str]) -> list[OutcomeRow]:
    """Every outcome and error type, per label set. Differences are put into words in ``problems``."""
    planned = Counter((s.job.labels, s.job.outcome, s.job.error_type) for s in truth.streams)
    ended: Counter[tuple[StreamLabels, str, str]] = Counter()
    totals: Counter[tuple[StreamLabels, str]] = Counter()
    for sample in scrape.values(names.STREAM_ERRORS):
        if sample.stream is not None:
            ended[sample.stream, sample.labels["outcome"], sample.labels["error_type"]] += int(sample.value)
    for sample in scrape.values(names.STREAMS):
        if sample.stream is not None:
            totals[sample.stream, sample.labels["outcome"]] += int(sample.value)
            if sample.labels["outcome"] in ("completed", "length", "content_filter"):
                ended[sample.stream, sample.labels["outcome"], ""] += int(sample.value)
    wrong = {key for key in planned.keys() | ended.keys() if planned[key] != ended[key]}
    for labels, outcome, error_type in sorted(wrong):
        key = (labels, outcome, error_type)
        what = f"{outcome} {error_type}".rstrip()
        problems.append(f"{what} ({'/'.join(labels)}): injected {planned[key]}, reported {ended[key]}")
    planned_totals: Counter[tuple[StreamLabels, str]] = Counter()
    for (labels, outcome, _), count in planned.items():
        planned_totals[labels, outcome] += count
    off = {outcome for labels, outcome in planned_totals.keys() | totals.keys()
           if planned_totals[labels, outcome] != totals[labels, outcome]}
    problems += [f"{outcome}: {names.STREAMS.prometheus}_total differs" for outcome in sorted(off)]
    off |= {outcome for _, outcome, _ in wrong}
    return [_row(outcome, truth.streams, planned, ended, totals, outcome not in off) for outcome in names.OUTCOMES]


def _row(
    outcome: str, streams: Iterable[Stream], planned: Counter[tuple[StreamLabels, str, str]],
    ended: Counter[tuple[StreamLabels, str, str]], totals: Counter[tuple[StreamLabels, str]], ok: bool,
) -> OutcomeRow:
    mine = [stream for stream in streams if stream.job.outcome == outcome]
    types = sorted({e for _, o, e in planned | ended if o == outcome and e}, key=_order(outcome))
    raised = sum(stream.said is not None and bool(stream.said.saw) for stream in mine)
    return OutcomeRow(
        outcome=outcome,
        owner=owner(Outcome(outcome)),
        injected=len(mine),
        reported=sum(count for (_, o), count in totals.items() if o == outcome),
        errors=tuple(Count(e, _sum(planned, outcome, e), _sum(ended, outcome, e)) for e in types
                     if _sum(planned, outcome, e) or _sum(ended, outcome, e)),
        raised=raised,
        silent=0 if outcome in _NOT_SILENT else len(mine) - raised,
        ok=ok,
    )


def _order(outcome: str) -> dict[str, int].__class__:  # placeholder
    raise NotImplementedError


def _sum(counter: Counter[tuple[StreamLabels, str, str]], outcome: str, error_type: str) -> int:
    return sum(count for (_, o, e), count in counter.items() if (o, e) == (outcome, error_type))
