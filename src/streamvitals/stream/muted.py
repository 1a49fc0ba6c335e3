"""The reader for a body that cannot be read: a reader of ours has raised, or the encoding is unknown."""

from __future__ import annotations

from typing import Any

from ..outcome import Verdict
from .chunks import NOT_YET, Reader
from .events import BodyBytes
from .tracebacks import is_foreign


def muted(reader: Reader) -> MutedReader:
    """Make the reader that replaces this one from now on. Never raises."""
    try:
        return MutedReader(reader)
    except Exception as error:
        if is_foreign(error):
            raise
        return MutedReader(BodyBytes())


class MutedReader:
    """Keeps what another reader has learnt, and reads no further.

    From now on only the transport shows how the stream ends. A body that ended properly is given the benefit of the
    doubt; no other end is.
    """

    ends_with_body = True
    common = thinking = NOT_YET

    def __init__(self, reader: Reader) -> None:
        self.done = reader.done
        self.named_events = reader.named_events
        self.reads_errors = reader.reads_errors
        self.finish_reasons = reader.finish_reasons
        self.unfinished_choices = reader.unfinished_choices
        self.response_model = reader.response_model
        self.response_id = reader.response_id
        self.service_tier = reader.service_tier
        self.system_fingerprint = reader.system_fingerprint
        self._marker = reader.marker()
        self._usage = reader.usage()

    def read(self, item: Any) -> bool:
        """Do nothing."""
        return False

    def has_token(self, item: Any) -> bool:
        return False

    has_answer = has_token

    def marker(self) -> Verdict | None:
        return self._marker

    def unfinished(self) -> str:
        return "missing_terminal"

    def usage(self) -> Any:
        return self._usage

