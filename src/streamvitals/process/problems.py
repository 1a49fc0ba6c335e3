"""What will not work in this process: logged, and reported to the agent."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace

from ..config import Config, ConfigError
from . import visible
from .redaction import redaction_of

logger = logging.getLogger("streamvitals")


def show_and_check(config: Config) -> tuple[Config, list[str]]:
    """Make warnings visible, unless the user asked not to, and find out whether the redaction hook is there.

    Without it nothing is captured: never text that was to be redacted and is not.
    """
    problems: list[str] = []
    if not config.quiet:
        visible.show()
    try:
        redaction_of(config)
    except ConfigError as error:
        config = replace(config, capture_partial=0)
        fix = "make it importable, or unset STREAMVITALS_CAPTURE_PARTIAL"
        warn(problems, "redact", f"{error}; no text is captured -> {fix}")
    return config, problems


def warn(problems: list[str], word: str, text: str) -> None:
    """Log what will not work here, and remember the word for it (config/problems.py) for the agent."""
    problems.append(word)
    logger.warning("%s", text)


def report(problems: list[str]) -> None:
    """Report these words to the agent, if there is one."""
    registration = sys.modules.get("_streamvitals_registration")
    if registration is not None:
        registration.report_problems(problems)
