"""The other instrumentations, and what an environment of each is made of."""

from __future__ import annotations

from typing import NamedTuple

# Betas are named by explicit specifiers: without, what is found is years old.
OTEL = ("opentelemetry-sdk>=1.45", "opentelemetry-distro>=0.66b0", "opentelemetry-instrumentation>=0.66b0")
NEWEST, TWO = "openai>=3", "openai==2.54.0"
GENAI = "opentelemetry-instrumentation-genai-openai>=1.3b0"
TRACELOOP = "opentelemetry-instrumentation-openai>=0.62"
OPENINFERENCE = "openinference-instrumentation-openai>=0.1.66"
SENTRY = "sentry-sdk>=2.75"


class Peer(NamedTuple):
    """``otel``: it has an entry point for opentelemetry-instrument, and its spans are OpenTelemetry's."""

    name: str
    requirements: tuple[str, ...]
    otel: bool = True
    members: tuple[str, ...] = ()


PEERS = (
    Peer("genai-openai", (NEWEST, *OTEL, GENAI)),
    Peer("traceloop", (NEWEST, *OTEL, TRACELOOP)),
    Peer("openinference", (NEWEST, *OTEL, OPENINFERENCE)),
    Peer("sentry", (NEWEST, SENTRY), otel=False),
    # It was made for this version of a package that its successor has moved on.
    Peer("openai-v2", (
        TWO, *OTEL, "opentelemetry-util-genai==0.4b0", "opentelemetry-instrumentation-openai-v2>=2.4b0"
    )),
    Peer(
        "all", (NEWEST, *OTEL, GENAI, TRACELOOP, OPENINFERENCE), members=("genai-openai", "traceloop", "openinference")
    ),
)
# They get along with each other, so that CI need not make an environment of each.
TOGETHER = (NEWEST, *OTEL, GENAI, TRACELOOP, OPENINFERENCE, SENTRY)
