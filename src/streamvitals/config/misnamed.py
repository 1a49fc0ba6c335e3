"""Finds names in a file of OpenTelemetry's declarative configuration that its schema lets pass, and nobody may know.

A plug-in's name is as good there as one of the schema's, so that a misspelt one is no fault to the loader.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from itertools import islice
from typing import Any, NamedTuple

NAME = "streamvitals"
# Names of the schema that end so are fields without the slash.
_BETA = "/development"
# Most names that are said, and how much of each.
_MOST, _SHOWN = 4, 60
# How similar a name must be to a known one to be taken for a misspelling of it; 1 is identical.
_ALIKE = 0.75
_FILE = "OTEL_CONFIG_FILE"
_OTLP = {"otlp_http", "otlp_grpc"}  # of the latter it is said elsewhere that it is not sent
# Per signal: where its exporters stand, and those that are ours.
_SIGNALS = {
    "spans": ("tracer_provider", "processors", _OTLP),
    "metrics": ("meter_provider", "readers", _OTLP | {"prometheus/development"}),
}


class Fault(NamedTuple):
    """Something that is wrong with the file, and how to fix it; ``minor``: it may be meant so."""

    what: str
    fix: str
    minor: bool = False


class Misnamed(NamedTuple):
    """A name that the schema does not have, where it stands, and those it has there."""

    at: str
    name: str
    known: tuple[str, ...]

    @property
    def meant(self) -> str:
        """The known name that was most likely meant, or ""."""
        return closest(self.name, self.known)

def closest(name: str, known: Iterable[str]) -> str:
    """The known name that this one was most likely meant for; "" if none is like it."""
    from difflib import get_close_matches  # imported only if there is such a name

    spelt = {one.removesuffix(_BETA): one for one in known}
    close = get_close_matches(name[:_SHOWN].lower().removesuffix(_BETA).replace("-", "_"), spelt, 1, _ALIKE)
    return spelt[close[0]] if close else ""


def in_model(node: Any, at: str = "") -> Iterator[Misnamed]:
    """Every name in the loader's model that no field has, from the top downwards."""
    if isinstance(node, list):
        for position, item in enumerate(node):
            yield from in_model(item, f"{at}.{position}")
    elif is_dataclass(node):
        known = {field.name: _spelt(field.name) for field in fields(node)}
        for name in _extra(node):
            yield Misnamed(at.removeprefix("."), name, tuple(known.values()))
        for name, spelt in known.items():
            yield from in_model(getattr(node, name), f"{at}.{spelt}")


def misnamed(model: Any) -> Iterator[Fault]:
    """Names that may be misspelt: one line for a signal that is not sent for that, and one for each other name."""
    found, told = list(in_model(model)), ["tracer_provider.sampler"]  # a sampler of another name is a fault by itself
    for signal, (provider, listed, ours) in _SIGNALS.items():
        at = f"{provider}.{listed}"
        nodes = getattr(getattr(model, provider), listed, None) or ()
        names = [name[:_SHOWN] for node in nodes for name in _exporters(node)]
        if names and not ours.intersection(names):
            told.append(at)
            unknown = [one for one in found if one.at.startswith(at)]
            meant = [one.meant for one in unknown if one.meant]
            fix = f"did you mean {meant[0]}?" if meant else "name otlp_http there to have them sent"
            named = f"no otlp_http exporter for {signal} is named in {_FILE} ({at}: {', '.join(names[:_MOST])})"
            yield Fault(f"{named}: streamvitals sends none", fix, not unknown)
    others = [one for one in found if not one.at.startswith(tuple(told))]
    python = getattr(model.instrumentation_development, "python", None) or {}
    yield from islice((_fault(one) for one in (*others, *_beside_ours(python)) if _is_said(one)), _MOST)


def _is_said(one: Misnamed) -> bool:
    """A name at the top is no plug-in's, but for "x-…", where by custom anchors are defined."""
    return bool(one.meant) or (not one.at and not one.name.startswith("x-"))


def _fault(one: Misnamed) -> Fault:
    what = f"{one.name[:_SHOWN]!r} {f'in {one.at}' if one.at else 'at the top'} of {_FILE} is not known"
    if not one.at and closest(one.name, (NAME,)):
        return Fault(what, f"put it under instrumentation{_BETA}: python:")
    fix = f"did you mean {one.meant}?" if one.meant else f"the names there are {', '.join(one.known)}"
    return Fault(what, fix, not one.meant)


def _beside_ours(python: Mapping[str, Any]) -> Iterator[Misnamed]:
    """Names beside those of other instrumentations that were most likely meant for ours."""
    return (Misnamed(f"instrumentation{_BETA}.python", str(name), (NAME,)) for name in python if name != NAME)


def _exporters(node: Any) -> Iterator[str]:
    """The names of a processor's or reader's exporter, or its own name if it is none of the schema's."""
    for kind in vars(node).values():
        exporter = getattr(kind, "exporter", None)
        if exporter is not None:
            yield from (_spelt(field.name) for field in fields(exporter) if getattr(exporter, field.name) is not None)
            yield from _extra(exporter)
    yield from _extra(node)


def _extra(node: Any) -> list[str]:
    """The names in a node that it has no fields for."""
    return [str(name) for name in vars(node).get("additional_properties") or ()]


def _spelt(name: str) -> str:
    return name.removesuffix("_development") + _BETA if name.endswith("_development") else name
