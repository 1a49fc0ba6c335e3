"""Gives exporters all that they need where a file is the only source of the settings.

Exporters read in the environment what they are not told. ``declared`` are the variables that stand for the file
(config/declarative.py); None: the environment is the source, and they may.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar
from urllib.parse import unquote

from opentelemetry.sdk.resources import (
    SERVICE_NAME,
    TELEMETRY_SDK_LANGUAGE,
    TELEMETRY_SDK_NAME,
    TELEMETRY_SDK_VERSION,
    Resource,
)
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, Sampler, TraceIdRatioBased
from opentelemetry.sdk.version import __version__ as sdk_version

Declared = Mapping[str, str] | None
Exporter = TypeVar("Exporter")
# In seconds, and in milliseconds; the specification's.
_TIMEOUT, _INTERVAL, _INTERVAL_TIMEOUT = 10.0, 60_000.0, 30_000.0


def resource(declared: Mapping[str, str]) -> Resource:
    """The file's resource."""
    sdk: dict[str, str] = {
        TELEMETRY_SDK_LANGUAGE: "python", TELEMETRY_SDK_NAME: "opentelemetry", TELEMETRY_SDK_VERSION: sdk_version,
    }
    given = dict(_pairs(declared.get("OTEL_RESOURCE_ATTRIBUTES", "")))
    return Resource({**sdk, SERVICE_NAME: "unknown_service", **given})


def sampler(declared: Declared) -> Sampler | None:
    """The file's sampler; None: the SDK finds it in the environment."""
    if declared is None:
        return None
    name = declared.get("OTEL_TRACES_SAMPLER", "parentbased_always_on")
    ratio = float(declared.get("OTEL_TRACES_SAMPLER_ARG", "1"))
    root = {"always_on": ALWAYS_ON, "always_off": ALWAYS_OFF, "traceidratio": TraceIdRatioBased(ratio)}
    chosen = root[name.removeprefix("parentbased_")]
    return ParentBased(chosen) if name.startswith("parentbased_") else chosen


def arguments(declared: Declared, signal: str) -> dict[str, Any]:
    """What an exporter is told; ``signal`` is TRACES or METRICS."""
    if declared is None:
        return {}
    from opentelemetry.exporter.otlp.proto.http import Compression

    name = f"OTEL_EXPORTER_OTLP_{signal}_"
    return {
        "endpoint": declared[name + "ENDPOINT"],
        "headers": dict(_pairs(declared.get(name + "HEADERS", ""))),
        "timeout": float(declared.get(name + "TIMEOUT", _TIMEOUT)),
        "compression": Compression(declared.get(name + "COMPRESSION", "none").strip().lower()),
        "certificate_file": declared.get(name + "CERTIFICATE"),
        "client_key_file": declared.get(name + "CLIENT_KEY"),
        "client_certificate_file": declared.get(name + "CLIENT_CERTIFICATE"),
    }


def temporality(declared: Declared) -> dict[str, Any]:
    """What an exporter of metrics is told besides."""
    if declared is None:
        return {}
    from opentelemetry.sdk.metrics import (
        Counter,
        Histogram,
        ObservableCounter,
        ObservableGauge,
        ObservableUpDownCounter,
        UpDownCounter,
    )
    from opentelemetry.sdk.metrics.export import AggregationTemporality

    wanted = declared.get("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative")
    kinds = (Counter, Histogram, ObservableCounter, UpDownCounter, ObservableUpDownCounter, ObservableGauge)
    delta = {"delta": kinds[:3], "lowmemory": kinds[:2]}.get(wanted, ())
    cumulative, changes = AggregationTemporality.CUMULATIVE, AggregationTemporality.DELTA
    return {"preferred_temporality": {kind: changes if kind in delta else cumulative for kind in kinds}}


def intervals(declared: Declared) -> dict[str, float]:
    """What a periodic reader is told, in milliseconds."""
    if declared is None:
        return {}
    return {
        "export_interval_millis": float(declared.get("OTEL_METRIC_EXPORT_INTERVAL", _INTERVAL)),
        "export_timeout_millis": float(declared.get("OTEL_METRIC_EXPORT_TIMEOUT", _INTERVAL_TIMEOUT)),
    }


def without_environment(
    exporter: Exporter, declared: Declared, signal: str, env: Mapping[str, str] = os.environ
) -> Exporter:
    """Take out of an exporter the headers that it has found in the environment: they are for another collector.

    Raises ValueError where that is not possible, as a key must not be sent to whom it was not given for."""
    if declared is None:
        return exporter
    given = env.get(f"OTEL_EXPORTER_OTLP_{signal}_HEADERS") or env.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    mine = {key.lower() for key, _ in _pairs(declared.get(f"OTEL_EXPORTER_OTLP_{signal}_HEADERS", ""))}
    foreign = {key.lower() for key, _ in _pairs(given)} - mine
    if foreign:
        found = [headers for headers in _headers_of(exporter) if foreign & {*map(str.lower, headers)}]
        if not found:
            raise ValueError("headers of the environment cannot be told from those of the file")
        for headers in found:
            for key in [key for key in headers if key.lower() in foreign]:
                del headers[key]
    return exporter


def _headers_of(exporter: Any) -> Iterator[Any]:
    client = getattr(exporter, "_client", None)
    transport = getattr(client, "_transport", None)
    for holder in (exporter, client, transport, *(getattr(one, "_session", None) for one in (exporter, transport))):
        for name in ("_headers", "headers"):
            headers = getattr(holder, name, None)
            if headers is not None and hasattr(headers, "__delitem__"):
                yield headers


def _pairs(text: str) -> list[tuple[str, str]]:
    split = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return [(unquote(key.strip()), unquote(value.strip())) for key, _, value in split]
