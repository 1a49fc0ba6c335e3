"""The sides of the comparison: in which environment each runs, and how its users start it."""

from __future__ import annotations

from dataclasses import dataclass

OPENAI = "openai==3.57.0"
_OTEL = ("opentelemetry-sdk>=1.27", "opentelemetry-exporter-otlp-proto-http>=1.27")

_PIPELINE = """
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
tracers = TracerProvider()
tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
"""
_METERS = "meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])\n"
_IMPORT = "import openai\n"
# Exporters that nobody answers take seconds to give up.
_END = "\nimport os; os._exit(0)\n"


@dataclass(frozen=True)
class Side:
    """``injected``: with our folder on PYTHONPATH and a STREAMVITALS_DIR, and ``env`` besides. ``start`` is a
    program that imports openai with this observer, as its documentation says, and ``without`` the same program
    without it."""

    name: str
    title: str
    requirements: tuple[str, ...] = (OPENAI, *_OTEL)
    folder: str = "base"
    injected: bool = False
    start: str = _IMPORT
    without: str = _IMPORT
    env: tuple[tuple[str, str], ...] = ()
    peer: bool = False


def _peer(
    name: str, title: str, packages: tuple[str, ...], module: str, openai: str = OPENAI, meters: bool = True
) -> Side:
    start = (
        f"import openai\n{_PIPELINE}{_METERS if meters else ''}from {module} import OpenAIInstrumentor\n"
        f"OpenAIInstrumentor().instrument(tracer_provider=tracers{', meter_provider=meters' if meters else ''})"
    )
    return Side(name, title, (openai, *_OTEL, *packages), name, False, start + _END, _IMPORT + _END, peer=True)


CONTROL = Side("bare", "bare again")
TIMED = Side("timed", "timed generator")
OURS = Side("streamvitals", "streamvitals", injected=True)
SPANS = Side(
    "streamvitals-spans", "with spans", injected=True,
    env=(("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")),
)
PEERS = (
    _peer(
        "genai-openai", "official genai-openai", ("opentelemetry-instrumentation-genai-openai==1.3b0",),
        "opentelemetry.instrumentation.genai.openai",
    ),
    _peer(
        # It asks for any newer util-genai, and works with none of them.
        "openai-v2", "openai-v2 (on 2.54.0)",
        ("opentelemetry-instrumentation-openai-v2==2.4b0", "opentelemetry-util-genai==0.4b0"),
        "opentelemetry.instrumentation.openai_v2", "openai==2.54.0",
    ),
    _peer(
        "traceloop", "Traceloop", ("opentelemetry-instrumentation-openai==0.62.4",),
        "opentelemetry.instrumentation.openai",
    ),
    _peer(
        "openinference", "openinference", ("openinference-instrumentation-openai==0.1.66",),
        "openinference.instrumentation.openai", meters=False,
    ),
    Side(
        "sentry", "sentry-sdk", (OPENAI, "sentry-sdk==2.75.0"), "sentry", peer=True, without=_IMPORT + _END,
        start="import sentry_sdk\nsentry_sdk.init(dsn='http://key@127.0.0.1:9/1', traces_sample_rate=1.0)\n"
        + _IMPORT + _END,
    ),
)
