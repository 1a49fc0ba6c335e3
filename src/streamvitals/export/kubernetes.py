"""Objects for a Kubernetes cluster: ConfigMaps, and the metadata that every object has."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

# The limit of all keys and values together: https://kubernetes.io/docs/concepts/configuration/configmap/
CONFIG_MAP_BYTES = 1_048_576

# https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set
_WORD = r"[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?"
_DNS_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_LABEL_VALUE = re.compile(rf"(?:{_WORD})?", re.ASCII)
_LABEL_KEY = re.compile(rf"(?:(?=.{{1,253}}/){_DNS_LABEL}(?:\.{_DNS_LABEL})*/)?{_WORD}", re.ASCII)
_NAMESPACE = re.compile(_DNS_LABEL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class ManifestError(ValueError):
    """Kubernetes would refuse a value; the text names it and says what is allowed."""


@dataclass(frozen=True)
class Metadata:
    """The metadata of an object besides its name. Raises ManifestError for what Kubernetes does not allow."""

    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.namespace and not _NAMESPACE.fullmatch(self.namespace):
            _refuse("namespace", self.namespace, "up to 63 small letters, digits and - between them")
        for key, value in self.labels.items():
            if not _LABEL_KEY.fullmatch(key) or not _LABEL_VALUE.fullmatch(value):
                _refuse("label", f"{key}={value}", "KEY=VALUE of letters, digits, - _ . between them, up to 63 each")
        for key, value in self.annotations.items():
            if not value.strip() or _CONTROL.search(value):
                _refuse(key, value, "a text in one line")

    def named(self, name: str) -> dict[str, Any]:
        """Return the ``metadata`` of an object with this name."""
        made: dict[str, Any] = {"name": name}
        if self.namespace:
            made["namespace"] = self.namespace
        made["labels"] = {"app.kubernetes.io/name": "streamvitals", **self.labels}
        if self.annotations:
            made["annotations"] = dict(self.annotations)
        return made


def labels(pairs: tuple[str, ...]) -> dict[str, str]:
    """Parse labels as they are given on a command line, KEY=VALUE. Raises ManifestError."""
    made: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or key in made:
            _refuse("label", pair, "KEY=VALUE, each key once")
        made[key] = value
    return made


def config_map(name: str, data: Mapping[str, str], metadata: Metadata) -> dict[str, Any]:
    """Make a ConfigMap of these files. Raises ManifestError if they are more than one may hold."""
    size = sum(len(key.encode()) + len(text.encode()) for key, text in data.items())
    if size > CONFIG_MAP_BYTES:
        _refuse(name, f"{size} bytes", f"a ConfigMap holds up to {CONFIG_MAP_BYTES}")
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata.named(name), "data": dict(data)}


def _refuse(what: str, value: str, allowed: str) -> NoReturn:
    raise ManifestError(f"{what} {value!r} is not allowed: {allowed}")
