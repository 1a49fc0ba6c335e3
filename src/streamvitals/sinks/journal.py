"""A line of JSON per ended stream, in a file of the user's choice (``STREAMVITALS_JOURNAL``).

The file is opened for each line: an app that daemonises or rotates its logs is not disturbed, and processes
share it (appends of less than a page are not torn). What is in a line is what is in the log record, and the
partial text where that was asked for.
"""

from __future__ import annotations

import json
import os

from ..stream.record import ChainRecord, Progress, RetryRecord, StreamRecord
from .log import point_of_failure

MAX_SIZE = 64 * 1024 * 1024  # bytes; then the file is renamed to <name>.1 and begun anew


class JournalSink:
    """Appends to ``path``. Raises OSError where that cannot be written, which switches it off."""

    def __init__(self, path: str) -> None:
        self._path = path

    def on_end(self, record: StreamRecord) -> None:
        """Append one line."""
        line = {"time": record.started, **point_of_failure(record)}
        line["time_to_first_chunk"], line["time_to_first_token"] = record.first_chunk, record.first_token
        line["wait"], line["hold"], line["stalls"] = record.wait, record.hold, record.stalls
        if record.partial is not None:
            line["partial"] = record.partial
        data = (json.dumps(line, default=str) + "\n").encode()
        fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size > MAX_SIZE:
                os.replace(self._path, self._path + ".1")
            os.write(fd, data)
        finally:
            os.close(fd)

    def on_progress(self, progress: Progress) -> None:
        """Only ends are written."""

    def on_retry(self, retry: RetryRecord) -> None:
        """In the record of the stream."""

    def on_chain(self, chain: ChainRecord) -> None:
        """In the records of its streams."""

    def on_loop_lag(self, seconds: float) -> None:
        """Not of a stream."""

    def on_internal_error(self, where: str) -> None:
        """Not of a stream."""
