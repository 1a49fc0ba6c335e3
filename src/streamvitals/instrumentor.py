"""The ``opentelemetry_instrumentor`` entry point, for programs started with ``opentelemetry-instrument``.

Also: ``StreamvitalsInstrumentor().instrument(tracer_provider=…, meter_provider=…)`` and ``.uninstrument()``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from typing import Any

try:
    # Its module is exempt from type checking, by itself or because it is not installed.
    from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore
except ImportError as error:
    raise ImportError(
        "streamvitals.instrumentor needs the package opentelemetry-instrumentation, which is missing here: "
        "pip install opentelemetry-instrumentation. Without it, use streamvitals.instrument()."
    ) from error

import streamvitals

from .config import ConfigError
from .config.declarative import texts
from .config.options import NAMES, Options, unknown
from .process.instrument import observe

logger = logging.getLogger("streamvitals")


class StreamvitalsInstrumentor(BaseInstrumentor):  # type: ignore[misc, unused-ignore]
    """Calls ``streamvitals.instrument()``. Never raises, because that would end the loading of all others.

    ``configuration`` is the class of the options, which OpenTelemetry's loader of declarative configuration looks for.
    """

    configuration = Options

    def instrumentation_dependencies(self) -> Collection[str]:
        """What must be installed for there to be anything to observe."""
        return ("openai >= 1.8",)

    def _instrument(self, **kwargs: Any) -> None:
        provider = kwargs.get("meter_provider")
        options = texts({name: kwargs[name] for name in NAMES if name in kwargs})
        try:
            for problem in unknown(kwargs.get("unknown_options") or []):
                logger.warning("%s", problem)
            given = {
                "tracer_provider": kwargs.get("tracer_provider"),
                "meter_provider": _global_meter_provider() if provider is None else provider,
            }
            if options:
                observe({**os.environ, **options}, **given)
            else:
                streamvitals.instrument(**given)
        except ConfigError as error:
            logger.warning("not observing: %s", error)
        except Exception as error:
            # The class only: a message may hold what the environment holds.
            logger.warning("not observing: %s", type(error).__name__)
            logger.debug("not observing", exc_info=True)

    def _uninstrument(self, **kwargs: Any) -> None:
        try:
            streamvitals.uninstrument()
        except Exception as error:
            logger.warning("not wholly uninstrumented: %s", type(error).__name__)
            logger.debug("not wholly uninstrumented", exc_info=True)


def _global_meter_provider() -> Any:
    """The app's own, which opentelemetry-instrument has set up before; None if nobody set one.

    Not ``metrics.get_meter_provider()``, which can set one.
    """
    from opentelemetry.metrics import _internal

    return getattr(_internal, "_METER_PROVIDER", None)
