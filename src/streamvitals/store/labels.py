"""Bounds the number of label sets and cleans their text, whatever an app calls its models and hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from .. import names
from ..stream.record import StreamLabels
from .segment import LABEL_FIELDS, fit

OTHER_SET = StreamLabels(names.OTHER, names.OTHER, names.OTHER, names.OTHER)
OTHER_CALLS = OTHER_SET._replace(operation=names.OF_CALLS + names.OTHER)
# Most names of custom labels at a time: processes of one tree need not declare the same ones.
_MAX_NAMES = 2 * names.MAX_CUSTOM_LABELS


class Limits(NamedTuple):
    """What is told apart: ``values`` of each custom label, and ``sets`` of labels, half of them without custom ones.

    ``custom`` are the names of the custom labels that are declared, the most important one first.
    """

    custom: tuple[str, ...] = ()
    values: int = names.MAX_LABEL_VALUES
    sets: int = names.MAX_LABEL_SETS


NO_CUSTOM_LABELS = Limits()


def clean(text: object, size: int) -> str:
    """The text without unprintable characters, cut to ``names.MAX_LABEL_LENGTH`` characters and ``size`` bytes of
    UTF-8."""
    value = text if isinstance(text, str) else str(text)
    value = value[: names.MAX_LABEL_LENGTH]
    if not value.isprintable():
        # Characters without UTF-8 (lone surrogates) are not printable either.
        value = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
    return fit(value, size).decode()


class Admission:
    """Decides which label sets are kept: the first ones, up to ``names.MAX_*`` and the limits.

    In later ones the model is replaced by ``other`` first, then the server, then the whole set. Custom labels change
    nothing about that: they have room of their own, and when that is full they become ``other``, the last one first. A
    label set that was admitted once stays admitted."""

    def __init__(self, limits: Limits = NO_CUSTOM_LABELS) -> None:
        self._limits = limits
        self._models: set[str] = set()
        self._servers: set[str] = set()
        self._sets: set[StreamLabels] = set()
        self._values: dict[str, set[str]] = {name: set() for name in limits.custom}
        # Label sets that were admitted with custom labels, and those that will take their place when there is no room.
        self._kept: set[StreamLabels] = set()
        # Label sets of `other` only. When a process with further names comes there are new ones beside them.
        self._full: set[StreamLabels] = set()

    def admit(self, labels: StreamLabels) -> StreamLabels:
        """The label set to count under."""
        base = self._without_custom(labels)
        if base in (OTHER_SET, OTHER_CALLS) or not (labels.custom or self._values):
            return base
        return self._with_custom(base, labels.custom)

    def _without_custom(self, labels: StreamLabels) -> StreamLabels:
        operation, provider, model, server = (
            clean(text, size) for text, size in zip(labels[:4], LABEL_FIELDS, strict=True)
        )
        marked, bare = ("", operation) if not labels.of_calls else (names.OF_CALLS, operation[len(names.OF_CALLS) :])
        folded = StreamLabels(
            marked + (bare if bare in names.OPERATIONS else names.OTHER),
            provider or names.OTHER,
            _within(self._models, model or names.UNKNOWN_MODEL, names.MAX_MODELS),
            _within(self._servers, server, names.MAX_SERVERS),
        )
        other = OTHER_CALLS if labels.of_calls else OTHER_SET
        if folded == other or folded in self._sets:
            return folded
        if len(self._sets) >= self._limits.sets // 2:
            return other
        self._models.add(folded.model)
        self._servers.add(folded.server)
        self._sets.add(folded)
        return folded

    def _with_custom(self, base: StreamLabels, custom: tuple[tuple[str, str], ...]) -> StreamLabels:
        for name, _ in custom:
            # What is in a file of another process may be anything.
            if len(self._values) < _MAX_NAMES and names.may_be_custom(name):
                self._values.setdefault(name, set())
        given, values = dict(custom), {}
        for name, known in self._values.items():
            value = clean(given.get(name, ""), names.MAX_CUSTOM_VALUE)
            values[name] = value and _within(known, value, self._limits.values)
        *wanted, last = _from_full_to_other(base, values)
        if wanted[0] in self._full:
            return wanted[0]
        room = self._limits.sets - self._limits.sets // 2
        for at, labels in enumerate(wanted):
            if labels == last:
                break
            if labels in self._kept:
                return labels
            new = {*wanted[at:]} - self._kept - {last}
            if len(self._kept) + len(new) <= room:
                self._kept |= new
                for name, value in labels.custom:
                    self._values[name].add(value)
                return labels
        self._full.add(last)
        return last


def _from_full_to_other(base: StreamLabels, values: dict[str, str]) -> Iterator[StreamLabels]:
    """The label set with the values of its custom labels, with the last of them replaced by ``other``, and so on.

    A label without a value is no label to Prometheus. In the last label set all are ``other``: there is one of these
    for each operation, provider, model and server."""
    of = {name: value for name, value in values.items() if value}
    yield base._replace(custom=tuple(of.items()))
    for name in [*of][:0:-1]:
        of[name] = names.OTHER
        yield base._replace(custom=tuple(of.items()))
    yield base._replace(custom=tuple((name, names.OTHER) for name in values))


def _within(known: set[str], value: str, most: int) -> str:
    """``value`` if it is known or fewer than ``most`` are, else ``other``, which is not one of the ``most``."""
    if value == names.OTHER or value in known or len(known - {names.OTHER}) < most:
        return value
    return names.OTHER
