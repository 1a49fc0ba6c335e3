"""Shows what streamvitals logs on stderr, where the app shows nobody's log.

That is an app without logging set up, or with its server's alone: uvicorn and gunicorn set up only their own loggers.

Python's last resort does the same for every warning of a library without a handler; ours has one, which never
blocks, never raises, and writes to no other stderr than the one the process started with.
"""

from __future__ import annotations

import contextlib
import logging
import os

from ..system import console

logger = logging.getLogger("streamvitals")


class StderrFallbackHandler(logging.Handler):
    """Writes warnings to stderr, unless a handler of the app hears them."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._stderr = _stderr_identity()

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: what cannot be written is lost."""
        with contextlib.suppress(Exception):
            # A daemon closes descriptor 2, and the next file of the app's gets that number.
            if self._stderr is not None and self._stderr == _stderr_identity() and not self._heard():
                console.say(record.getMessage(), late=True)

    def _heard(self) -> bool:
        """Whether the app handles our records: it has a handler on the way, or has switched propagation off."""
        current: logging.Logger | None = logger
        while current is not None:
            for handler in current.handlers:
                if handler is not self and not isinstance(handler, (StderrFallbackHandler, logging.NullHandler)):
                    return True
            if not current.propagate:
                return True
            current = current.parent
        return False


def _stderr_identity() -> tuple[int, int, int] | None:
    try:
        state = os.fstat(console.STDERR)
    except OSError:
        return None
    return state.st_dev, state.st_ino, state.st_rdev


_handler: StderrFallbackHandler | None = None


def show() -> None:
    """From now on warnings of ours are seen; a second call does nothing."""
    global _handler
    if _handler is None:
        _handler = StderrFallbackHandler()
        logger.addHandler(_handler)


def hide() -> None:
    """Remove the handler."""
    global _handler
    if _handler is not None:
        logger.removeHandler(_handler)
        _handler = None
