"""The conventions' own metrics: which names and attributes the counts of store/inferences.py go out under.

A family is one metric under one name. Which families there are depends on the generation of the conventions that the
user wants; both are made of the same rows.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .. import conventions, names
from ..store.inferences import Inference
from ..store.layout import INFERENCE_LAYOUT, Series
from ..store.snapshot import Snapshot
from .keys import stream_attributes

Attributes = dict[str, str | int]

_SERIES: dict[names.Metric, list[Series]] = {
    metric: [series for series in INFERENCE_LAYOUT.series if series.metric == metric] for metric in conventions.METRICS
}
# Those of a generation that say how an inference ended. The tokens' histograms say nothing of errors: a failed
# inference is not in them.
_WITH_END = (conventions.DURATION,)
_WITHOUT_TIER = (conventions.FIRST_CHUNK, conventions.PER_CHUNK)


class Family(NamedTuple):
    """A metric, ``source``, under a name; ``metric`` has its name, unit, text and boundaries.

    ``token_type`` is the attribute by which the old generation tells input from output. ``fetches``: whether it has
    fetches only; None: all operations."""

    source: names.Metric
    metric: names.Metric
    token_type: str = ""
    fetches: bool | None = False

    def has(self, operation: str) -> bool:
        """Whether an operation is counted in it."""
        return self.fetches is None or self.fetches == (operation == conventions.FETCH)

    def attributes(self, inference: Inference, values: tuple[str, ...] = ()) -> Attributes:
        """The attributes of a series of this family; ``values`` is its modality, if it has one."""
        found = attributes_of(inference)
        if self.source in _WITH_END:
            found["streamvitals.outcome"] = inference.outcome
            if inference.error_type:
                found["error.type"] = inference.error_type
        if inference.service_tier and self.source not in _WITHOUT_TIER:
            found["openai.response.service_tier"] = inference.service_tier
        if values:
            found["gen_ai.token.modality"] = values[0]
        if self.token_type:
            found["gen_ai.token.type"] = self.token_type
        return found


def attributes_of(inference: Inference) -> Attributes:
    """The attributes that all of the conventions' metrics have."""
    found: Attributes = {key: value for key, value in stream_attributes(inference.labels).items() if value}
    if inference.labels.model == names.UNKNOWN_MODEL or inference.labels.operation == conventions.FETCH:
        found.pop("gen_ai.request.model", None)
    if inference.port:
        found["server.port"] = inference.port
    if inference.response_model:
        found["gen_ai.response.model"] = inference.response_model
    return found


def _new(source: names.Metric) -> Family:
    return Family(source, source)


def _old(source: names.Metric) -> Family:
    name, token_type = conventions.OLD_METRICS[source]
    # A fetch was an operation like any other, but has no tokens and no chunks of its own.
    fetches = None if source is conventions.DURATION else False
    return Family(source, source._replace(otel=name), token_type, fetches)


_NEW = (*map(_new, conventions.METRICS), Family(conventions.DURATION, conventions.OPERATION_DURATION, "", True))
_OLD = tuple(map(_old, conventions.OLD_METRICS))
FAMILIES: Mapping[str, tuple[Family, ...]] = {
    conventions.LATEST: _NEW,
    conventions.OLD: _OLD,
    # The old generation's duration has the name that fetches have in the new one, and has the fetches too.
    conventions.BOTH: (*(family for family in _NEW if not family.fetches), *_OLD),
}


class Counts(NamedTuple):
    """The numbers of one metric by attributes, for as many rows as have the same ones."""

    metric: names.Metric
    by_attributes: dict[tuple[tuple[str, str | int], ...], list[float]]


def conventional_counts(snapshot: Snapshot | None, generation: str) -> Iterator[Counts]:
    """All that there is of each family; without numbers where there is no snapshot."""
    rows = {} if snapshot is None else snapshot.inferences
    found: dict[str, Counts] = {}
    for family in FAMILIES[generation]:
        into = found.setdefault(family.metric.otel, Counts(family.metric, {})).by_attributes
        for inference, row in rows.items():
            if family.has(inference.labels.operation):
                for series in _SERIES[family.source]:
                    _add(into, family, inference, series, row)
    yield from found.values()


def _add(
    into: dict[tuple[tuple[str, str | int], ...], list[float]], family: Family, inference: Inference, series: Series,
    row: list[float],
) -> None:
    numbers = row[series.start : series.start + series.width]
    if any(numbers):
        key = tuple(family.attributes(inference, series.values).items())
        known = into.get(key)
        into[key] = numbers if known is None else list(map(operator.add, known, numbers))
