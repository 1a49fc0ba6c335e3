"""Compares what was injected with what was reported, number by number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from streamvitals import names
from streamvitals.names import Metric
from streamvitals.outcome import Outcome, owner
from streamvitals.stream.record import StreamLabels

from . import plan, quantiles
from .report import Count, Look, OutcomeRow, QuantileRow, Report, Timed
from .scrape import Scrape
from .truth import Stream, Truth

QUANTILES = (0.5, 0.95, 0.99)
# In buckets: what is sent near the end of one may be felt at the beginning of the next.
BUCKETS_OFF = 1
# What waits and holds may differ by: the machine's own time per stream in seconds, and a share.
SECONDS_OFF, SHARE_OFF = 0.1, 0.1
# How far in seconds the gauge may be behind the server's log, or before it.
LOOK_SLACK = 0.25

Ends = Counter[tuple[StreamLabels, str, str]]
_NO_ERROR = ("completed", "length", "content_filter")
_NO_FAILURE = (*_NO_ERROR, "cancelled", "abandoned")


def compare(report: Report, truth: Truth, scrape: Scrape) -> None:
    """Fill the report from one scrape after the last stream.

    Counts must agree; a time that is off is a remark.
    """
    report.problems += truth.faults
    report.outcomes = list(_outcomes(truth, scrape, report.problems))
    report.scenarios = len({stream.job.scenario for stream in truth.streams})
    report.counts = list(_counts(truth, scrape))
    report.retries = list(_retries(truth, scrape))
    report.quantiles = list(_quantiles(truth, scrape))
    report.timed = list(_timed(truth, scrape))
    for count in (*report.counts, *report.retries):
        if not count.ok:
            report.problems.append(f"{count.what}: injected {count.injected:g}, reported {count.reported:g}")
    for row in report.quantiles:
        if not row.ok:
            found = f"server {row.did:.4f} s, program {row.felt:.4f} s, reported {row.reported:.4f} s"
            report.remarks.append(f"p{row.quantile * 100:g} of {row.metric}: {found}")
    for timed in report.timed:
        if not timed.ok:
            found = f"{timed.did:.2f} s, program {timed.felt:.2f} s, reported {timed.reported:.2f} s"
            report.remarks.append(f"{timed.what} of {timed.model}: {found}, more than {timed.tolerance:.2f} s apart")


# -- how streams ended


def _outcomes(truth: Truth, scrape: Scrape, problems: list[str]) -> Iterator[OutcomeRow]:
    """Compare the outcomes per label set, so that two errors that add up to the right sum are found."""
    planned: Ends = Counter((s.job.labels, s.job.outcome, s.job.error_type) for s in truth.streams)
    totals: Ends = Counter((s.job.labels, s.job.outcome, "") for s in truth.streams)
    ended, ended_totals = _reported(scrape)
    wrong: set[str] = set()
    for injected, reported, what in ((planned, ended, "by error type"), (totals, ended_totals, "")):
        for labels, outcome, error_type in sorted(injected.keys() | reported.keys()):
            here, there = (counter[labels, outcome, error_type] for counter in (injected, reported))
            if here != there:
                wrong.add(outcome)
                ending = " ".join(filter(None, (outcome, error_type, what)))
                problems.append(f"{ending} ({'/'.join(labels[:4])}): injected {here}, reported {there}")
    for outcome in names.OUTCOMES:
        mine = [stream for stream in truth.streams if stream.job.outcome == outcome]
        raised = sum(stream.said is not None and stream.said.saw != "" for stream in mine)
        yield OutcomeRow(
            outcome, owner(Outcome(outcome)), len(mine),
            sum(count for (_, o, _), count in ended_totals.items() if o == outcome),
            tuple(_errors(outcome, planned, ended)), raised,
            silent=0 if outcome in _NO_FAILURE else len(mine) - raised, ok=outcome not in wrong,
        )


def _reported(scrape: Scrape) -> tuple[Ends, Ends]:
    """The ends by error type, and without it: two metrics, which must agree."""
    ended: Ends = Counter()
    totals: Ends = Counter()
    for sample in scrape.values(names.STREAM_ERRORS):
        if sample.stream is not None:
            ended[sample.stream, sample.labels["outcome"], sample.labels["error_type"]] += int(sample.value)
    for sample in scrape.values(names.STREAMS):
        if sample.stream is not None:
            totals[sample.stream, sample.labels["outcome"], ""] += int(sample.value)
            if sample.labels["outcome"] in _NO_ERROR:
                ended[sample.stream, sample.labels["outcome"], ""] += int(sample.value)
    return ended, totals


def _errors(outcome: str, planned: Ends, ended: Ends) -> Iterator[Count]:
    for mine, error_type, _ in names.OUTCOME_ERRORS:
        if mine == outcome:
            counts = [
                sum(count for (_, o, e), count in ends.items() if (o, e) == (outcome, error_type))
                for ends in (planned, ended)
            ]
            if any(counts):
                yield Count(error_type, *counts)


# -- what is counted besides


def _counts(truth: Truth, scrape: Scrape) -> Iterator[Count]:
    streams = truth.streams
    yield Count("chunks", sum(s.chunks for s in streams), scrape.sum(names.CHUNKS))
    first = scrape.histogram(names.TIME_TO_FIRST_TOKEN).total
    yield Count("first tokens", sum(s.first_token is not None for s in streams), first)
    yield Count("gaps", sum(max(0, s.chunks - 1) for s in streams), scrape.histogram(names.CHUNK_GAP).total)
    for kind, index in (("input", 0), ("output", 1)):
        tokens = sum(s.job.tokens[index] for s in streams)
        yield Count(f"{kind} tokens", tokens, scrape.sum(names.TOKENS, type=kind))
    # Of a process that was killed there is what its slots hold: that it waited, not yet how often.
    lasting = [s for s in streams if s.job.how != "crash"]
    stalls = [sum(until - begin >= plan.STALL_AFTER for begin, until in s.silences()) for s in lasting]
    # On a busy machine a chunk that was sent in time may be had late, which the program's own watch saw too.
    felt = [sum(wait >= plan.STALL_AFTER for wait in s.said.waits) if s.said is not None else 0 for s in lasting]
    most = sum(map(max, stalls, felt))
    yield Count("stalls", sum(stalls), scrape.sum(names.STALLS), most)
    yield Count("still open", 0, scrape.sum(names.ACTIVE))
    yield Count("faults of our own", 0, scrape.sum(names.INTERNAL_ERRORS))


def _retries(truth: Truth, scrape: Scrape) -> Iterator[Count]:
    injected = Counter(reason for stream in truth.streams for reason in stream.job.retried)
    for reason in names.RETRY_REASONS:
        reported = scrape.sum(names.RETRIES, source="sdk", reason=reason)
        if injected[reason] or reported:
            yield Count(f"after {reason}", injected[reason], reported)
    recovered = sum(stream.job.recovers for stream in truth.streams)
    yield Count("recovered", recovered, scrape.sum(names.RECOVERIES, source="sdk"))


# -- times


def _quantiles(truth: Truth, scrape: Scrape) -> Iterator[QuantileRow]:
    first = [s.first_token for s in truth.streams if s.first_token is not None]
    said = [stream.said for stream in truth.streams if stream.said is not None]
    felt_first = [s.first for s in said if s.first is not None]
    yield from _quantile_rows(names.TIME_TO_FIRST_TOKEN, first, felt_first, scrape)
    gaps = [gap for stream in truth.streams for gap in stream.gaps]
    yield from _quantile_rows(names.CHUNK_GAP, gaps, [wait for s in said for wait in s.waits[1:]], scrape)


def _quantile_rows(
    metric: Metric, did: Sequence[float], felt: Sequence[float], scrape: Scrape
) -> Iterator[QuantileRow]:
    """Compare quantiles; both ends are true, as a busy machine keeps the program waiting longer than the server."""
    histogram = scrape.histogram(metric)
    for q in QUANTILES if did and felt else ():
        sent, had = quantiles.of_values(q, did), quantiles.of_values(q, felt)
        reported = quantiles.of_histogram(q, histogram)
        index = quantiles.bucket_of(reported, metric.edges)
        first, last = sorted(quantiles.bucket_of(value, metric.edges) for value in (sent, had))
        low, high = quantiles.bounds(index, metric.edges)
        ok = first - BUCKETS_OFF <= index <= last + BUCKETS_OFF
        yield QuantileRow(metric.prometheus, q, sent, had, reported, low, high, ok)


def _timed(truth: Truth, scrape: Scrape) -> Iterator[Timed]:
    """Compare who kept whom waiting: a slow provider must be all wait, a slow reader all hold."""
    for model in (plan.SLOW_PROVIDER, plan.SLOW_READER):
        streams = [stream for stream in truth.streams if stream.job.model == model]
        if not streams:
            continue
        silent = sum(until - begin for stream in streams for begin, until in stream.silences())
        held = sum(max(0, stream.chunks - 1) * stream.job.pause for stream in streams)
        said = [stream.said for stream in streams if stream.said is not None]
        waited = sum(sum(s.waits) for s in said)
        for what, did, felt, metric in (
            ("wait", silent, waited, names.WAIT), ("hold", held, sum(s.held for s in said), names.HOLD),
        ):
            tolerance = SECONDS_OFF * len(streams) + SHARE_OFF * did
            yield Timed(model, what, did, felt, scrape.sum(metric, [model]), tolerance)


def looks(truth: Truth, scrapes: Iterable[tuple[float, float, int]], origin: float) -> list[Look]:
    """Compare the scrapes made during the run, as (from, to, `streams_stalled`), with what hung then."""
    found = []
    for start, end, reported in scrapes:
        least, most = truth.stalled(start - LOOK_SLACK, end + LOOK_SLACK, plan.STALL_AFTER)
        found.append(Look(start - origin, least, most, reported))
    return found


def looks_problems(found: Sequence[Look], hanging: int) -> Iterator[str]:
    """Find the hangs that lasted for a whole scrape, and that no scrape has shown correctly."""
    whole = [look for look in found if look.least >= hanging]
    if hanging and whole and not any(look.ok for look in whole):
        yield f"no scrape saw all of the {hanging} streams while they hung"


def looks_remarks(found: Sequence[Look], hanging: int) -> Iterator[str]:
    """Find scrapes that do not fit their moment, or that all came at another."""
    for look in found:
        if not look.ok:
            hung = f"{look.least} to {look.most}" if look.least != look.most else f"{look.most}"
            yield f"streams_stalled {look.at:.1f} s into the run: {hung} hung, reported {look.reported}"
    if hanging and not any(look.least >= hanging for look in found):
        yield f"no scrape was made while all of the {hanging} streams hung"


def processes(streams: Iterable[Stream]) -> Counter[int | None]:
    """How many streams each process of the program had; None for those whose process was killed."""
    return Counter(stream.said.pid if stream.said is not None else None for stream in streams)
