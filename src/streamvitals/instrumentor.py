"""The ``opentelemetry_instrumentor`` entry point, for programs started with ``opentelemetry-instrument``.

Also: ``StreamvitalsInstrumentor().instrument(tracer_provider=…, meter_provider=…)`` and ``.uninstrument()``.
"""

from __future__ import annotations

import logging
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

logger = logging.getLogger("streamvitals")


class StreamvitalsInstrumentor(BaseInstrumentor):  # type: ignore[misc, unused-ignore]
    """Calls ``streamvitals.instrument()``. Never raises, because that would end the loading of all others."""

    def instrumentation_dependencies(self) -> Collection[str]:
        """What must be installed for there to be anything to observe."""
        return ("openai >= 1.8",)

    def _instrument(self, **kwargs: Any) -> None:
        provider = kwargs.get("meter_provider")
        try:
            streamvitals.instrument(
                tracer_provider=kwargs.get("tracer_provider"),
                meter_provider=_global_meter_provider() if provider is None else provider,
            )
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
