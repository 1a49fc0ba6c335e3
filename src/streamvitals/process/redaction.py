"""Loads the user's redaction hook, which all text passes before it is kept."""

from __future__ import annotations

import importlib

from ..config import Config, ConfigError
from ..stream.partial import Redact


def redaction_of(config: Config) -> Redact | None:
    """The hook that STREAMVITALS_REDACT names. Imported at once: a mistake must show before any text is kept. Raises
    ConfigError."""
    if not (config.capture_partial and config.redact):
        return None
    name, _, function = config.redact.partition(":")
    prefix = f"STREAMVITALS_REDACT={config.redact!r} is not allowed"
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{prefix}: {error}") from error
    except (Exception, SystemExit) as error:
        # The class name only: the message of an exception of the app may contain anything.
        raise ConfigError(f"{prefix}: its module raises {type(error).__name__}") from error
    if not hasattr(module, function) and getattr(module.__spec__, "_initializing", False):
        # This module is importing openai right now, and may define the function below that import.
        return lambda text: getattr(module, function)(text)
    hook: Redact | None = getattr(module, function, None)
    if hook is None or not callable(hook):
        raise ConfigError(f"{prefix}: {name} has no function {function}")
    return hook
