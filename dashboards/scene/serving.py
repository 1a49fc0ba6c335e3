"""A program that serves its own metrics and has traces, and observes itself: serving.py PORT PROGRAM ARGUMENT..."""

from __future__ import annotations

import runpy
import sys

import prometheus_client
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

import streamvitals

# As many as a busy program keeps.
SAMPLED = 0.1

prometheus_client.start_http_server(int(sys.argv[1]), "127.0.0.1")
streamvitals.instrument(tracer_provider=TracerProvider(sampler=ParentBased(TraceIdRatioBased(SAMPLED))))
del sys.argv[:2]
runpy.run_path(sys.argv[0], run_name="__main__")
