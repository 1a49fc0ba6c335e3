"""The life of one stream, from request to end. Pure: the clock is handed in. Its times are pace.py's.

Whatever ends a stream (the body, an exception, the app, the collector) makes an ``Ending`` and hands it to the
host; the first one counts. ``freeze`` makes the record of it, later, on whichever thread drains the dispatch.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, TypeVar, cast

from ..names import OTHER
from ..outcome import Outcome, Verdict
from .attempts import Attempts
from .chunks import Reader
from .classify import classify_close, classify_exception
from .ending import Ending
from .fields import identifier
from .host import Hooks, Host
from .muted import MutedReader, muted
from .pace import Pace, Slot
from .partial import TailReader
from .record import NOT_FAILURES, RetryRecord, StreamRecord
from .request import EVENT_STREAM, RequestFacts, ResponseFacts
from .request_key import RequestKey
from .retry import FIRST_ATTEMPT, Chain, Retry
from .tracebacks import is_foreign, names_of

_APP_SIDE = frozenset({Outcome.CANCELLED, Outcome.ABANDONED})


class Common(Protocol):
    """Knows common chunks: those that say only that the stream goes on."""

    def is_common(self, item: Any) -> bool: ...


class _NoneYet:
    """Before the first token every chunk is to be read."""

    def is_common(self, item: Any) -> bool:
        return False


NOT_YET: Common = _NoneYet()


Method = TypeVar("Method", bound=Callable[..., None])


def _guarded(method: Method) -> Method:
    """A fault of ours is counted and stays here: the caller stands between the SDK and the app."""

    @functools.wraps(method)
    def guarded(self: Observation, *args: Any) -> None:
        try:
            method(self, *args)
        except Exception as error:
            if is_foreign(error):
                raise
            self.host.fault("observe")

    return cast(Method, guarded)


def _ends(method: Method) -> Method:
    """The same for what ends a stream: where the app's own exception struck, it ends all the same."""

    @functools.wraps(method)
    def ends(self: Observation, *args: Any) -> None:
        try:
            method(self, *args)
        except BaseException as error:
            if is_foreign(error):
                if not self.ended:
                    ends(self, *args)
                raise
            self.host.fault("observe")

    return cast(Method, ends)


class Observation:
    """One logical call of the SDK, however many attempts and however many Stream objects it takes."""

    __slots__ = (
        "__weakref__", "_answered_at", "_attempts", "_sent_at", "chain", "clock", "closed_by_app", "ended",
        "facts", "hints", "hooks", "host", "in_band_verdict", "last_event_id", "loop", "origin", "pace", "reader",
        "request_key", "response", "retry", "server_initiated", "slot", "started_unix", "trace_parent",
    )

    def __init__(
        self, host: Host, facts: RequestFacts, reader: Reader, slot: Slot, now: float, unix: float,
        request_key: RequestKey | None = None, retry: Retry = FIRST_ATTEMPT, trace_parent: object | None = None,
    ) -> None:
        self.host = host
        self.facts = facts
        self.reader = reader
        self.clock = host.clock
        self.slot: Slot | None = slot
        self.pace = Pace(slot, now, host.stall_after, now + host.flush_every)
        self.started_unix = unix
        self._attempts: Attempts | None = None
        self._sent_at: float | None = None
        self.response: ResponseFacts | None = None
        self.closed_by_app = False
        self.in_band_verdict: Verdict | None = None
        self.hints: tuple[str, ...] = ()
        self.ended = False
        self.request_key = request_key
        self.last_event_id: str | None = None
        self.server_initiated = False  # it began with its first chunk, for which nobody waited
        self.origin: Any = None  # who failed, should it fail
        self.retry = retry
        self.chain: Chain | None = retry.chain  # of the attempts that have failed, the SDK's included
        self.trace_parent = trace_parent
        self.hooks: Hooks | None = None
        self.loop: Callable[[], object] | None = None  # of the event loop that it was asked for on
        self._answered_at: float | None = None

    @property
    def started(self) -> float:
        """When the call began, on the clock."""
        return self.pace.started

    @property
    def chunks(self) -> int:
        """How many have come."""
        return int(self.pace.chunks)

    @property
    def attempts(self) -> Attempts:
        """What there is to say of them: of most streams nothing, before the end."""
        found = self._attempts
        if found is None:
            found = self._attempts = Attempts(self._sent_at)
        return found

    # -- before the first chunk; may raise

    def attempting(self) -> None:
        """A request is about to be sent: the first one, or one more after the backoff."""
        now = self.clock()
        self.pace.ask(now)
        if self._sent_at is None and self._attempts is None:
            self._sent_at = now
            return
        retry = self.attempts.begin(now)
        if retry is not None:
            given_up = self.chain is not None and self.chain.overdue(now)
            self.host.submit(RetryRecord(self.facts.labels, "sdk", *retry, given_up=given_up))

    @_guarded
    def retrying(self, error: BaseException | None, backoff: float) -> None:
        """The attempt failed, the SDK sleeps ``backoff`` seconds and makes another."""
        now = self.clock()
        self.pace.waited(now)
        self.pace.rest(now)
        self.attempts.retry(now, error, backoff)
        self.chain = self.chain or self.host.begin_chain(now)

    def responded(self, facts: ResponseFacts) -> None:
        """The headers of the final response have come; the app holds the stream now."""
        now = self.clock()
        self.response = facts
        self._answered_at = now
        self.pace.waited(now)
        self.pace.rest(now)

    @_ends
    def request_failed(self, error: BaseException) -> None:
        """The call itself raised: no stream came of it."""
        now = self.clock()
        if not self.attempts.count:
            # Nothing was sent: bad arguments, a failing token provider. No stream has started.
            self.discard()
            return
        if not self.attempts.cut_short(now):
            self.pace.waited(now)
        verdict = classify_exception(error, headers_received=False)
        self._finish(Ending(verdict, now, names_of(error)))

    # -- a chunk; the common one is dealt with in observe.py

    def arrived(self, item: Any, now: float | None = None) -> Common:
        """A chunk has come, now or a moment ago. Gives back what knows the common ones from now on. Never raises: a
        fault of ours switches the reading off, not the stream."""
        try:
            if now is None:
                now = self.clock()
            pace, reader = self.pace, self.reader
            pace.arrived(now)
            if pace.first_token is None and reader.has_token(item):
                pace.token(now)
            reader.read(item)
            if now >= pace.flush_at:
                self.flush(now)
            return NOT_YET if pace.first_token is None else reader
        except Exception as error:
            if is_foreign(error):
                raise
            return self.broken()

    def flush(self, now: float) -> None:
        """Tell the sinks what has been gathered so far, of a stream that goes on."""
        host, facts = self.host, self.facts
        hold = self.pace.hold(now, self.attempts.backoff)
        host.submit(self.pace.flushed(facts.labels, hold, self.server_initiated, now + host.flush_every))

    def broken(self) -> Common:
        """A fault of ours in reading chunks: go on without reading them."""
        self.host.fault("observe")
        self.mute("unread_body")
        return self.reader

    # -- what is learnt beside the chunks

    def attach(self, hooks: Hooks) -> None:
        """Keep what has been hooked into the stream's response, until the stream has been recorded."""
        self.hooks = hooks

    def begun_by_server(self) -> None:
        """Nobody asked for this one: it began with its first chunk, which has no time to wait for."""
        self.server_initiated = True

    def tries_again(self, retry: Retry) -> None:
        """It has turned out to be another attempt at what has failed."""
        self.retry = retry
        self.chain = retry.chain

    def asked_on(self, loop: Callable[[], object]) -> None:
        """The request is sent from this event loop, held weakly."""
        self.loop = loop

    def done(self) -> None:
        """``[DONE]`` has come."""
        self.reader.done = True

    def event_id(self, event_id: str) -> None:
        """An event's id has come, with which some servers can resume."""
        self.last_event_id = event_id

    def in_band(self, verdict: Verdict | None) -> None:
        """The body itself shows how the stream ends, by an error event or by damage. None: it goes on after all."""
        self.in_band_verdict = verdict

    def app_closes(self) -> None:
        """The app closes the stream, maybe while somebody is blocked in a read, who gets an exception for it."""
        self.closed_by_app = True

    def mute(self, hint: str) -> None:
        """Stop reading: nobody can look into this body any further, for the reason that ``hint`` gives."""
        self.hint(hint)
        self.reader = muted(self.reader)

    def hint(self, hint: str) -> None:
        """Something of this stream cannot be known, or was not understood; ``hint`` is of ``names.HINTS``."""
        if hint not in self.hints:
            self.hints += (hint,)

    # -- the ways a stream ends; none of them raises

    @_ends
    def exhausted(self) -> None:
        """The body ended and nothing was raised."""
        now = self.clock()
        marker = self.reader.marker()
        verdict = self._verdict_of_body(marker)
        if verdict is marker and self.pace.arrived_at is not None:
            # It was complete with the last chunk, where its duration ends; a hang after that is a stall still.
            self.pace.hung(now)
        else:
            self.pace.waited(now)
        self._finish(Ending(verdict, now))

    @_ends
    def failed(self, error: BaseException) -> None:
        """An exception reached the app out of the stream."""
        if type(error).__name__ == "StreamConsumed" and self.hooks is not None and self.hooks.read_by_another():
            return  # it asked for a second reading of what somebody is reading still
        now = self.clock()
        self.pace.waited(now)
        verdict = classify_exception(error, headers_received=True, closed_by_app=self.closed_by_app)
        self._finish(Ending(verdict, now, names_of(error)))

    @_ends
    def closed(self, because: BaseException | None = None, by_helper: bool = False) -> None:
        """The app closed the stream while it was not reading. ``because`` is the exception it was handling;
        ``by_helper``: the SDK's helper raised it, which could not read what came."""
        causes = names_of(because) if because is not None and by_helper else ()
        self._finish(Ending(classify_close(because, by_helper=by_helper), self.clock(), causes))

    def dropped(self) -> None:
        """The stream was garbage-collected or its generator closed. Called by finalizers: only defers."""
        if not self.ended:
            self.host.defer((self, Ending(self.drop_verdict(), self.clock())))
            self.ended = True

    def left_open(self, verdict: Verdict) -> None:
        """The process is exiting with this stream open."""
        self._finish(Ending(verdict, self.clock()))

    def drop_verdict(self) -> Verdict:
        """The verdict on a stream that nobody can read any more."""
        if self.pace.chunks or isinstance(self.reader, MutedReader):
            return Verdict(Outcome.ABANDONED, "dropped")
        if self.hooks is not None and not self.hooks.hooked:
            # Reads of this response cannot be seen, so there may have been some.
            self.hint("unread_body")
            return Verdict(Outcome.ABANDONED, "dropped")
        return Verdict(Outcome.ABANDONED, "never_iterated")

    def discard(self) -> None:
        """Forget it: no stream has started."""
        self.ended = True
        self.host.discard(self)

    def disown(self) -> None:
        """In a forked child: this stream is the parent's; forget it without touching the parent's memory."""
        self.ended = True
        self.let_go()

    def _finish(self, ending: Ending) -> None:
        if not self.ended:
            if ending.verdict.error_type and self.origin is None:
                # Only whoever failed can try again.
                self.origin = self.host.origin()
            # Queued before it is marked: of two endings the first counts, and none would leave it open for ever.
            self.host.defer((self, ending))
            self.ended = True
            self.host.drain()

    def release(self) -> tuple[Any, RequestKey | None]:
        """Give away, once, who failed and what identifies the request, which is held no longer."""
        released = self.origin, self.request_key
        self.origin = self.request_key = None
        return released

    def let_go(self) -> None:
        """Let go of slot and hooks: the stream has been recorded, or is somebody else's."""
        self.pace.stop_writing()
        self.slot = None
        if self.origin is None:
            self.request_key = None  # nobody will try it again
        # What belongs to the ended stream is let go without waiting for a collector.
        hooks, self.hooks = self.hooks, None
        if hooks is not None:
            hooks.remove()

    def _verdict_of_body(self, marker: Verdict | None) -> Verdict:
        if self.in_band_verdict is not None:
            return self.in_band_verdict
        if marker is not None:
            return marker
        kind = self.response.content_type if self.response is not None else EVENT_STREAM
        if self.reader.ends_with_body and (self.pace.chunks or (isinstance(self.reader, MutedReader) and self._came())):
            page = kind in ("text/html", "application/json")
            return Verdict(Outcome.MALFORMED, "unexpected_content_type") if page else Verdict(Outcome.COMPLETED)
        if self.facts.finish_optional and self.reader.done and self.pace.chunks:
            return Verdict(Outcome.COMPLETED)
        if not self.pace.chunks and not self.reader.done:
            if kind != EVENT_STREAM and not self.reader.ends_with_body:
                return Verdict(Outcome.MALFORMED, "unexpected_content_type")
            return Verdict(Outcome.TRUNCATED, "empty_stream")
        return Verdict(Outcome.TRUNCATED, self.reader.unfinished())

    def _came(self) -> bool:
        return self.hooks is not None and bool(self.hooks.bytes_received())

    # -- telling

    def freeze(self, ending: Ending) -> StreamRecord:
        """The record of the ended stream. Called by the dispatch, and again where that was interrupted."""
        pace = self.pace
        pace.stop_writing()
        verdict, end, causes = ending
        reader, response, hooks, attempts, facts = self.reader, self.response, self.hooks, self.attempts, self.facts
        attempts.cut_short(end)
        marker = reader.marker()
        app_side = verdict.outcome in _APP_SIDE
        if app_side:
            # What the provider had sent by then outranks it; if the app reads bytes, an error event, too.
            verdict = self.in_band_verdict or marker or verdict
        if not causes and (verdict == marker or app_side):
            # Not the collector's time, nor that of the SDK's draining after [DONE]; but whoever got an
            # exception had been waiting until then.
            end = pace.arrived_at or self._answered_at or end
        reasons = reader.finish_reasons
        if OTHER in reasons:
            self.hint("unknown_finish_reason")
        hold = pace.hold(end, attempts.backoff)
        progress = pace.progress(facts.labels, hold, self.server_initiated)
        started, last, retry, chain = pace.started, pace.arrived_at, self.retry, self.chain
        made = attempts.close(end, response.status if response is not None else None, verdict.error_type)
        status, request_id, limits, retry_after = (
            (attempts.last_status, attempts.request_id, attempts.rate_limits, attempts.retry_after)
            if response is None else (response.status, response.request_id, response.rate_limits, None)
        )
        # By place, in the order of the fields: forty names take longer to sort out than all else that is done here.
        return StreamRecord(
            facts.labels, verdict.outcome, verdict.error_type,
            self.started_unix, max(0.0, end - started), int(pace.chunks),
            pace.max_gap, pace.wait, hold, pace.stalls,
            None if self.server_initiated else pace.first_chunk, pace.first_token,
            None if last is None else last - started,
            hooks.bytes_received() if hooks is not None else None,
            made, attempts.backoff, progress,
            reasons, reader.response_model, reader.response_id, request_id, reader.usage(),
            limits, status, causes,
            facts.method, facts.url_path, facts.server_port,
            pace.stall_times, started, identifier(self.last_event_id),
            self._partial(reader, verdict) if isinstance(reader, TailReader) else None,
            self.hints, facts.fetch,
            retry_after,
            retry.attempt, retry.retry_after_honored, retry.wait, retry.span,
            chain is not None and chain.failed,
            self.trace_parent, self.slot,
        )

    def _partial(self, reader: TailReader, verdict: Verdict) -> str | None:
        if verdict.outcome in NOT_FAILURES:
            return None
        try:
            return reader.tail()
        except Exception:  # noqa: BLE001 - a redaction hook that fails must not let the text through
            self.host.fault("observe")
            return None
