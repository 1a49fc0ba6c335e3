"""A call of the SDK without a stream, from request to answer: a small counterpart of an observation.

It is counted once, whatever the SDK's retries, and nothing of it is kept but its labels, its times and how it ended.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Protocol

from ..outcome import Outcome, Verdict
from .chunks import ChatChunks, Reader
from .classify import classify_exception
from .events import ResponsesEvents
from .fields import get
from .pace import Slot
from .record import CallRecord, RateLimit, StreamLabels
from .request import RequestFacts, ResponseFacts
from .tracebacks import chain, frames_of, is_foreign, package_of

# Longest answer, in bytes, that is parsed here where the app takes it unparsed (`.with_raw_response`).
_MAX_RAW = 1 << 18
_UNFINISHED = Verdict(Outcome.ABANDONED, "process_died")
_COMPLETED = Verdict(Outcome.COMPLETED)
_NO_MODEL = Verdict(Outcome.MALFORMED, "unexpected_content_type")


class Host(Protocol):
    """What a call needs from its process; process/runtime.py implements it."""

    clock: Callable[[], float]

    def retry_call(self, labels: StreamLabels) -> None:
        """Count an attempt that the SDK makes again."""

    def end_call(self, call: PlainCall, record: CallRecord) -> None:
        """Queue the record of a call that ended; a finalizer may do no more."""

    def drain(self) -> None:
        """Run the sinks unless another thread is running them."""

    def discard_call(self, call: PlainCall, slot: Slot) -> None:
        """Free what a call holds and count nothing: nothing was sent."""

    def fault(self, where: str) -> None:
        """Count a fault of ours."""


class PlainCall:
    """One call, however many attempts it takes; no method raises, but for exceptions of the app's."""

    __slots__ = ("_answer", "_facts", "_host", "_limits", "_reader", "_sent", "_slot", "_started", "ended")

    def __init__(self, host: Host, facts: RequestFacts, reader: type[Reader], slot: Slot, now: float) -> None:
        self._host = host
        self._facts = facts
        self._reader = reader
        self._slot = slot
        self._started = now
        self._sent = 0
        self._answer: ResponseFacts | None = None  # to the current attempt
        self._limits: tuple[RateLimit, ...] = ()
        self.ended = False

    def attempting(self) -> None:
        """Note that a request is about to be sent: the first one, or another after the backoff."""
        self._sent += 1
        self._answer = None
        self._show(self._host.clock())
        if self._sent > 1:
            self._host.retry_call(self._facts.labels)

    def retrying(self, error: BaseException | None, backoff: float) -> None:
        """Note that the attempt failed; the SDK sleeps before the next one, so nothing is waited for."""
        self._show(-self._host.clock())

    def answered(self, answer: ResponseFacts) -> None:
        """Note what the headers of an attempt's response say."""
        self._answer, self._limits = answer, answer.rate_limits

    def returned(self, result: Any) -> None:
        """Note that the app is given this result."""
        try:
            verdict = self._verdict(result)
        except Exception as error:
            if is_foreign(error):
                raise
            self._host.fault("observe")
            verdict = _COMPLETED
        self._finish(verdict)

    def request_failed(self, error: BaseException) -> None:
        """Note that the call raised."""
        if not self._sent:
            self._discard()
            return
        try:
            verdict = self._verdict_of(error)
        except Exception as fault:
            if is_foreign(fault):
                raise
            self._host.fault("classify")
            verdict = Verdict(Outcome.API_ERROR, "other")
        # A coroutine that the garbage collector closes: a finalizer may run no sink.
        self._finish(verdict, later=isinstance(error, GeneratorExit))

    def left_open(self, verdict: Verdict = _UNFINISHED) -> None:
        """Note that the process is exiting with this call open."""
        self._finish(verdict)

    def disown(self) -> None:
        """Forget, in a forked child, a call of the parent, without touching the parent's memory."""
        self.ended = True

    def _show(self, state: float) -> None:
        """Write the slot's state: since when an answer is waited for, or minus since when not."""
        if not self.ended:
            self._slot.view[self._slot.at] = state

    def _discard(self) -> None:
        if not self.ended:
            self.ended = True
            self._host.discard_call(self, self._slot)

    def _finish(self, verdict: Verdict, *, later: bool = False) -> None:
        if self.ended:
            return
        duration = max(0.0, self._host.clock() - self._started)
        record = CallRecord(
            self._facts.labels, verdict.outcome, verdict.error_type, duration, self._limits, self._facts.hints,
            self._slot,
        )
        # Queued before it is marked as ended, as in Observation: a second record of the same slot is not counted.
        self._host.end_call(self, record)
        self.ended = True
        if not later:
            self._host.drain()

    def _verdict_of(self, error: BaseException) -> Verdict:
        """What an exception means; the SDK may have failed to make a model of an answer that had come."""
        came = self._answer is not None and self._answer.status < 300
        if came and isinstance(error, Exception) and self._is_page():
            return _NO_MODEL
        return classify_exception(error, headers_received=came or _read_the_body(error))

    def _is_page(self) -> bool:
        """Whether the answer is a page of a proxy's."""
        return self._answer is not None and self._answer.content_type == "text/html"

    def _verdict(self, result: Any) -> Verdict:
        """How an answer ended, by the same words as a stream's last chunk."""
        reader, answer = self._reader, self._answer
        if self._is_page():
            return _NO_MODEL
        if not issubclass(reader, (ChatChunks, ResponsesEvents)):
            return _COMPLETED
        if isinstance(result, str):  # what the SDK returns instead of a model
            return _COMPLETED if answer is None or "json" in answer.content_type else _NO_MODEL
        raw = get(result, "http_response") or result
        content = get(raw, "_content")
        if type(content) is bytes:
            if len(content) > _MAX_RAW:
                return _COMPLETED
            try:
                result = json.loads(content)
            except ValueError:
                return Verdict(Outcome.MALFORMED, "json_decode")
        return _end_of(reader(), result) or _COMPLETED


def _end_of(reader: Reader, answer: Any) -> Verdict | None:
    """What the reader of a surface's stream finds in a whole answer; None where that does not say how it ended."""
    if isinstance(reader, ResponsesEvents):
        status = get(answer, "status")
        if status not in ("failed", "incomplete", "cancelled"):
            return None
        answer = {"type": f"response.{status}", "response": answer}
    else:
        reader.done = True
    reader.read(answer)
    return reader.marker()


def _read_the_body(error: BaseException) -> bool:
    """Whether it was the body of a response that could not be read, so that its headers had come."""
    return any(
        frame.f_code.co_name in ("read", "aread") and package_of(frame) in ("httpx", "httpx2")
        for link in chain(error) for frame in frames_of(link)
    )
