"""Reads the agent's /metrics as Prometheus would."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from streamvitals.names import STREAM_LABELS, Metric
from streamvitals.stream.record import StreamLabels

# Proxies of the environment are for others: this stays on the machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
TIMEOUT = 10.0


class Sample(NamedTuple):
    """One line of the exposition. ``stream`` is None for what is counted per process."""

    name: str
    stream: StreamLabels | None
    labels: dict[str, str]
    value: float


class Buckets(NamedTuple):
    """A histogram, summed over label sets: per bucket counts, not cumulative, the overflow bucket last."""

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    sum: float

    @property
    def total(self) -> float:
        return sum(self.counts)


class Scrape:
    """One exposition. ``size`` is its length in bytes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.size = len(text.encode())
        self._samples: dict[str, list[Sample]] = {}
        for sample in _samples(text):
            self._samples.setdefault(sample.name, []).append(sample)

    def since(self, before: Scrape) -> Scrape:
        """What was counted after ``before`` was taken; gauges as they are."""
        rest = Scrape("")
        rest.text, rest.size = self.text, self.size
        for name, samples in self._samples.items():
            old = {_key(sample): sample.value for sample in before._samples.get(name, ())}
            grows = name.endswith(("_total", "_bucket", "_sum", "_count"))
            rest._samples[name] = [
                sample._replace(value=sample.value - old.get(_key(sample), 0.0)) if grows else sample
                for sample in samples
            ]
        return rest

    def label_sets(self) -> set[StreamLabels]:
        """Every label set that has any series."""
        return {s.stream for samples in self._samples.values() for s in samples if s.stream is not None}

    def values(self, metric: Metric) -> Iterator[Sample]:
        """Every series of a counter or a gauge."""
        yield from self._samples.get(metric.prometheus + ("_total" if metric.kind == "counter" else ""), ())

    def sum(self, metric: Metric, models: Iterable[str] | None = None, **labels: str) -> float:
        """A counter or a gauge, summed over its label sets, or over those of some models."""
        return sum(s.value for s in self.values(metric) if _matches(s, models, labels))

    def histogram(self, metric: Metric) -> Buckets:
        """A histogram, summed over its label sets."""
        name = metric.prometheus
        cumulative = dict.fromkeys((*metric.edges, float("inf")), 0.0)
        for sample in self._samples.get(name + "_bucket", ()):
            cumulative[float(sample.labels["le"])] += sample.value
        counts, before = [], 0.0
        for edge in sorted(cumulative):
            counts.append(cumulative[edge] - before)
            before = cumulative[edge]
        return Buckets(metric.edges, tuple(counts), sum(s.value for s in self._samples.get(name + "_sum", ())))


def _key(sample: Sample) -> tuple[StreamLabels | None, tuple[tuple[str, str], ...]]:
    return sample.stream, tuple(sorted(sample.labels.items()))


def _matches(sample: Sample, models: Iterable[str] | None, labels: dict[str, str]) -> bool:
    if models is not None and (sample.stream is None or sample.stream.model not in models):
        return False
    return all(sample.labels.get(name) == value for name, value in labels.items())


def _samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            operation, *others = [labels.pop(name, None) for name in STREAM_LABELS]
            provider, model, server = (value or "" for value in others)
            stream = StreamLabels(operation, provider, model, server) if operation is not None else None
            yield Sample(sample.name, stream, labels, sample.value)


def fetch(url: str, names: Iterable[str] = ()) -> Scrape:
    """Scrape ``url``, or only the families of these names. Raises OSError where nobody answers."""
    query = "&".join(f"name[]={name}" for name in names)
    with _open(f"{url}?{query}" if query else url, timeout=TIMEOUT) as answer:
        return Scrape(answer.read().decode())
