"""The answer to /metrics, in the format that the client asks for."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, choose_encoder, generate_latest

from ..sinks.exposition import Exposition
from ..sinks.prometheus import SnapshotCollector
from ..store.snapshot import Take


class MetricsPage:
    """Writes the snapshot that ``take`` returns as text; raises what ``take`` raises."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._exposition = Exposition()
        self._registry = CollectorRegistry()
        self._registry.register(SnapshotCollector(take))

    def __call__(self, names: tuple[str, ...], accept: str) -> tuple[bytes, str]:
        """Answer as http.Metrics."""
        content_type = _content_type(accept)
        # Requests for some metrics only, or for names with dots, are rare and need no fast path.
        if names or "escaping=dots" in content_type:
            return of_registry(self._registry, names, accept)
        openmetrics = content_type.startswith("application/openmetrics-text")
        text = self._exposition.text(self._take(), openmetrics=openmetrics, created=_wants_created(accept))
        return text, content_type


def _wants_created(accept: str) -> bool:
    """Whether a client of OpenMetrics makes use of the lines `_created`.

    Prometheus does with its feature created-timestamp-zero-ingestion, with which it asks for protobuf first; otherwise
    it keeps each of them as a series."""
    return "application/vnd.google.protobuf" in accept or "text/plain" not in accept


def of_registry(registry: Any, names: tuple[str, ...], accept: str) -> tuple[bytes, str]:
    """Write a registry with prometheus_client; as plain text where the client's Accept makes no sense."""
    wanted = registry.restricted_registry(names) if names else registry
    try:
        encode, content_type = choose_encoder(accept)
        return encode(wanted), content_type
    except Exception:  # noqa: BLE001  where it was not the client's fault, the next line raises as well
        return generate_latest(wanted), CONTENT_TYPE_LATEST


def _content_type(accept: str) -> str:
    try:
        return str(choose_encoder(accept)[1])
    except Exception:  # noqa: BLE001  a version that is none, say
        return CONTENT_TYPE_LATEST
