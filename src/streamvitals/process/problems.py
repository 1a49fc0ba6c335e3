"""Logs what will not work in this process, and reports it to the agent."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import replace

from ..config import Config, ConfigError
from ..config.declarative import SAID, digest, source
from . import visible
from .redaction import redaction_of

logger = logging.getLogger("streamvitals")


def show_and_check(config: Config) -> tuple[Config, list[str]]:
    """Make warnings visible, unless the user has turned that off, and check that the redaction hook exists.

    If it does not exist no text is captured, since the user wanted the text redacted.
    """
    problems: list[str] = []
    if not config.quiet:
        visible.show()
    if "_streamvitals_registration" in sys.modules:  # else instrument() reports it, with what else is wrong
        found = source(os.environ)
        # `run` has said what is wrong within a file that can be used, and the same of one that it could not use itself.
        new = [] if found.file else [one for one in found.faults if digest(one) != os.environ.get(SAID)]
        for fault in new:
            warn(problems, "declarative", f"{fault.what} -> {fault.fix}")
    try:
        redaction_of(config)
    except ConfigError as error:
        config = replace(config, capture_partial=0)
        fix = "make it importable, or unset STREAMVITALS_CAPTURE_PARTIAL"
        warn(problems, "redact", f"{error}; no text is captured -> {fix}")
    return config, problems


def warn(problems: list[str], word: str, text: str) -> None:
    """Log a problem, and add its word (config/problems.py) to those for the agent."""
    problems.append(word)
    logger.warning("%s", text)


def report(problems: list[str]) -> None:
    """Report these words to the agent, if there is one."""
    registration = sys.modules.get("_streamvitals_registration")
    if registration is not None:
        registration.report_problems(problems)
