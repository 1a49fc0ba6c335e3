"""Bounds the number of label sets and cleans their text, whatever an app calls its models and hosts."""

from __future__ import annotations

from .. import names
from ..stream.record import StreamLabels
from .segment import LABEL_FIELDS, fit

OTHER_SET = StreamLabels(names.OTHER, names.OTHER, names.OTHER, names.OTHER)


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
    """Decides which label sets are kept: the first ones, up to ``names.MAX_*``.

    In later ones the model is replaced by ``other`` first, then the server, then the whole set. A label set that was
    admitted once stays admitted."""

    def __init__(self) -> None:
        self._models: set[str] = set()
        self._servers: set[str] = set()
        self._sets: set[StreamLabels] = set()

    def admit(self, labels: StreamLabels) -> StreamLabels:
        """The label set to count under."""
        operation, provider, model, server = (
            clean(text, size) for text, size in zip(labels, LABEL_FIELDS, strict=True)
        )
        folded = StreamLabels(
            operation if operation in names.OPERATIONS else names.OTHER,
            provider or names.OTHER,
            _within(self._models, model or names.UNKNOWN_MODEL, names.MAX_MODELS),
            _within(self._servers, server, names.MAX_SERVERS),
        )
        if folded == OTHER_SET or folded in self._sets:
            return folded
        if len(self._sets) >= names.MAX_LABEL_SETS:
            return OTHER_SET
        self._models.add(folded.model)
        self._servers.add(folded.server)
        self._sets.add(folded)
        return folded


def _within(known: set[str], value: str, most: int) -> str:
    """``value`` if it is known or fewer than ``most`` are, else ``other``, which is not one of the ``most``."""
    if value == names.OTHER or value in known or len(known - {names.OTHER}) < most:
        return value
    return names.OTHER
