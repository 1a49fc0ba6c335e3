"""A reader around another one, which reads as that one does."""

from __future__ import annotations

from typing import Any

from ..outcome import Verdict
from .chunks import Reader
from .record import Usage


class WrappedReader:
    """Reads as ``reader`` does; the base of readers that do something besides."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.ends_with_body = reader.ends_with_body
        self.named_events = reader.named_events
        self.reads_errors = reader.reads_errors

    @property
    def done(self) -> bool:
        return self._reader.done

    @done.setter
    def done(self, value: bool) -> None:
        self._reader.done = value

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        return self._reader.finish_reasons

    @property
    def unfinished_choices(self) -> tuple[int, ...]:
        return self._reader.unfinished_choices

    @property
    def response_model(self) -> str | None:
        return self._reader.response_model

    @property
    def response_id(self) -> str | None:
        return self._reader.response_id

    @property
    def service_tier(self) -> str | None:
        return self._reader.service_tier

    @property
    def system_fingerprint(self) -> str | None:
        return self._reader.system_fingerprint

    def read(self, item: Any) -> bool:
        return self._reader.read(item)

    def has_token(self, item: Any) -> bool:
        return self._reader.has_token(item)

    def has_answer(self, item: Any) -> bool:
        return self._reader.has_answer(item)

    def marker(self) -> Verdict | None:
        return self._reader.marker()

    def unfinished(self) -> str:
        return self._reader.unfinished()

    def usage(self) -> Usage | None:
        return self._reader.usage()
