"""Writes snapshots as text; only the lines that have changed since the last snapshot are formatted again.

The text is byte for byte what prometheus_client writes for the families of prometheus.py: every line is taken from its
output, with placeholders for the numbers. A label set has some 210 lines, of which a busy minute changes 50, and the
client takes 10 microseconds for each. Exemplars, which only OpenMetrics has, are put behind the finished lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from prometheus_client.exposition import generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.utils import floatToGoString

from .. import names
from ..names import Metric
from ..store.calls import open_now, shown
from ..store.layout import PROCESS_LAYOUT, Layout, Series
from ..store.snapshot import Exemplar, Snapshot
from ..stream.record import StreamLabels
from .prometheus import EXPOSED, Family, add, builds, custom_names, family_of, series_of, texts_of, unreported

_EOF = b"# EOF\n"
_NOT_A_NUMBER = float("nan")
_Names = tuple[str, ...]  # of the custom labels


def _places(custom: _Names) -> list[str]:
    """Placeholders for the labels: real labels contain nothing unprintable (store/labels.py)."""
    return [*"\0\1\2\3", *map(chr, range(14, 14 + len(custom)))]


@lru_cache(1024)
def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]



class _Lines(NamedTuple):
    """The lines of one series, with placeholders for its numbers and its labels."""

    series: Series
    part: slice
    text: str
    created: str

    def within(self, labels: _Escaped, row: Sequence[float]) -> str:
        """The lines of a label set."""
        if not self.series.is_shown(row):
            return ""
        numbers, text = row[self.part], labels.put_into(self.text)
        if self.series.metric.kind != "histogram":
            return text % _number(numbers[0])
        counts = [_number(count) for count in accumulate(numbers[:-1])]
        return text % (*counts, counts[-1], _number(numbers[-1]))


class _Escaped:
    """The labels of a set, escaped as they are written in a line."""

    def __init__(self, labels: StreamLabels, custom: _Names) -> None:
        texts = (
            text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"").replace("%", "%%")
            for text in texts_of(labels, custom)
        )
        self._texts = list(zip(_places(custom), texts, strict=True))

    def put_into(self, text: str) -> str:
        for place, label in self._texts:
            text = text.replace(place, label)
        return text


class _Family(NamedTuple):
    """The series of one metric, and where in a row all of them are."""

    series: tuple[_Lines, ...]
    part: slice


# The exemplars of a label set, by metric, with the values of their series and their bucket.
_Exemplars = dict[str, list[tuple[tuple[str, ...], int, Exemplar]]]


class _Text:
    """All lines of one label set, by metric and by series, and the row that they show."""

    def __init__(self, labels: StreamLabels, layout: Layout, custom: _Names) -> None:
        self.labels = _Escaped(labels, custom)
        self._families = _families(layout, custom)
        self._by_metric = dict.fromkeys(self._families, "")
        self._by_series = {name: [""] * len(family.series) for name, family in self._families.items()}
        self._row: Sequence[float] = ()

    def tell(self, row: Sequence[float], left_out: frozenset[str]) -> None:
        """Format again the lines of the series that differ from the last row."""
        before, self._row = self._row, row
        if before is row:
            return
        for name, family in self._families.items():
            if row[family.part] != before[family.part] and name not in left_out:
                texts = self._by_series[name]
                for at, lines in enumerate(family.series):
                    if row[lines.part] != before[lines.part]:
                        texts[at] = lines.within(self.labels, row)
                self._by_metric[name] = "".join(texts)

    def of(self, metric: Metric, exemplars: _Exemplars, began: float | None) -> str:
        """The lines of a metric, with the exemplars of buckets that have counted something, and when it began."""
        family = self._families.get(metric.otel)
        if family is None:
            return ""
        found = exemplars.get(metric.otel, ())
        if not found and (began is None or metric.kind == "gauge"):
            return self._by_metric[metric.otel]
        texts = [text.splitlines(keepends=True) for text in self._by_series[metric.otel]]
        places = {lines.series.values: at for at, lines in enumerate(family.series)}
        for values, bucket, exemplar in found:
            at = places[values]
            if self._row[family.series[at].part][bucket]:
                texts[at][bucket] = texts[at][bucket][:-1] + _exemplar(exemplar)
        if began is not None:
            for lines, text in zip(family.series, texts, strict=True):
                if text:
                    text.append(self.labels.put_into(lines.created) % began)
        return "".join(line for text in texts for line in text)


class Exposition:
    """Writes snapshots, one after the other. A row that is the same list as last time must be unchanged."""

    def __init__(self) -> None:
        self._texts: dict[StreamLabels, _Text] = {}
        self._custom: _Names = ()

    def text(self, snapshot: Snapshot, *, openmetrics: bool = False, created: bool = False) -> bytes:
        """The whole snapshot, in Prometheus' text format or in OpenMetrics, there maybe with when counting began."""
        known, self._texts = self._texts, {}
        custom = custom_names(snapshot.streams)
        if custom != self._custom:
            known, self._custom = {}, custom
        for counted, labels, layout, row in shown(snapshot):
            text = self._texts[counted] = known.get(counted) or _Text(labels, layout, custom)
            text.tell(row, snapshot.left_out)
        began = snapshot.began if openmetrics and created else None
        written = "".join(self._parts(snapshot, openmetrics, began)).encode()
        return written + _EOF if openmetrics else written

    def _parts(self, snapshot: Snapshot, openmetrics: bool, began: float | None) -> Iterator[str]:
        write = _write_openmetrics if openmetrics else _write
        exemplars = _by_labels(snapshot) if openmetrics else {}
        for metric in EXPOSED:
            if metric.otel in snapshot.left_out:
                continue
            yield _head(metric, write)
            for labels, text in self._texts.items():
                yield text.of(metric, exemplars.get(labels, {}), began)
        for metric in names.SLOT_METRICS:
            if metric.otel in snapshot.left_out:
                continue
            yield _head(metric, write)
            for labels, values, count in open_now(snapshot, metric):
                if labels in self._texts:
                    line = _line(metric, values, self._custom)
                    yield self._texts[labels].labels.put_into(line) % _number(float(count))
        for metric in names.PROCESS_METRICS:
            if metric.otel in snapshot.left_out:
                continue
            yield _head(metric, write)
            for lines in _process_lines(metric):
                yield lines.within(_NO_LABELS, snapshot.process)
                if began is not None:
                    yield lines.created % began
        yield write(builds(snapshot))
        if snapshot.unreported is not None:
            yield write(unreported(snapshot.unreported))


def _by_labels(snapshot: Snapshot) -> dict[StreamLabels, _Exemplars]:
    found: dict[StreamLabels, _Exemplars] = {}
    for key, exemplar in snapshot.exemplars.items():
        found.setdefault(key.labels, {}).setdefault(key.metric, []).append((key.values, key.bucket, exemplar))
    return found


def _exemplar(exemplar: Exemplar) -> str:
    """An exemplar as it stands at the end of a bucket's line."""
    ids = f'span_id="{exemplar.span_id}",trace_id="{exemplar.trace_id}"'
    return f" # {{{ids}}} {_number(exemplar.value)} {exemplar.time}\n"


class _One:
    """A registry of one family."""

    def __init__(self, family: Family) -> None:
        self._family = family

    def collect(self) -> Iterator[Family]:
        yield self._family


_NO_LABELS = _Escaped(StreamLabels("", "", "", ""), ())


def _write(family: Family) -> str:
    registry: Any = _One(family)
    return generate_latest(registry).decode()


def _write_openmetrics(family: Family) -> str:
    registry: Any = _One(family)
    written: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]
    return written.removesuffix(_EOF).decode()


@cache
def _head(metric: Metric, write: Callable[[Family], str]) -> str:
    return write(family_of(metric))


@lru_cache(16)
def _families(layout: Layout, custom: _Names) -> dict[str, _Family]:
    return {
        metric.otel: _Family(lines, slice(lines[0].part.start, lines[-1].part.stop))
        for metric in EXPOSED if (lines := _lines(metric, layout, custom))
    }


@cache
def _process_lines(metric: Metric) -> tuple[_Lines, ...]:
    return _lines(metric, PROCESS_LAYOUT, ())


def _lines(metric: Metric, layout: Layout, custom: _Names) -> tuple[_Lines, ...]:
    found = []
    for series in series_of(layout, metric):
        text = _template(metric, series, custom, layout)
        found.append(_Lines(series, slice(series.start, series.start + series.width), text, _created(metric, text)))
    return tuple(found)


def _created(metric: Metric, text: str) -> str:
    """The line that says when a series began; none for a gauge."""
    suffix = {"counter": "_total", "histogram": "_count", "gauge": ""}[metric.kind]
    name = metric.prometheus + suffix
    line = next(line for line in text.splitlines(keepends=True) if line.startswith((f"{name}{{", f"{name} ")))
    return line.replace(name, metric.prometheus + "_created", 1) if suffix else ""


def _template(metric: Metric, series: Series, custom: _Names, layout: Layout) -> str:
    family = family_of(metric, custom)
    # NaN serves as the placeholder of a number: nothing else in a line is written like it.
    add(family, series, _places(custom) if metric.per_stream else (), [_NOT_A_NUMBER] * layout.size)
    return _without_head(metric, family)


@lru_cache(16)
def _line(metric: Metric, values: tuple[str, ...], custom: _Names) -> str:
    """A line of a gauge whose value is not in a row."""
    family = family_of(metric, custom)
    family.add_metric([*_places(custom), *values], _NOT_A_NUMBER)  # type: ignore[arg-type, call-arg]
    return _without_head(metric, family)


def _without_head(metric: Metric, family: Family) -> str:
    lines = _write(family).removeprefix(_head(metric, _write))
    return lines.replace("%", "%%").replace(" NaN\n", " %s\n")
