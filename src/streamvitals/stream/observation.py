"""The life of one stream, from request to end. Pure: the clock is a parameter. pace.py keeps its times.

Each way in which a stream ends (by the body, an exception, the app, the garbage collector) makes an ``Ending`` and
queues it at the host; the first one counts. ``end`` says later what is to be counted, and ``record`` makes a record of
it where one is needed, on the thread that drains the dispatch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..names import OTHER
from ..outcome import GOOD_ENDS, Outcome, Verdict
from .attempts import Attempts, only_attempt
from .chunk_times import TimedPace
from .chunks import NOT_YET, Common, Reader
from .classify import classify_close, classify_exception
from .ending import Ending
from .fields import identifier
from .guards import ends, guarded
from .host import Hooks, Host
from .muted import MutedReader, muted
from .pace import Pace, Slot
from .partial import TailReader
from .record import NOT_FAILURES, Inside, RetryRecord, StreamEnd, StreamRecord
from .request import EVENT_STREAM, RequestFacts, ResponseFacts
from .request_key import Parts, RequestKey
from .retry import FIRST_ATTEMPT, Chain, Retry
from .tracebacks import chain, is_foreign, names_of

_COMPLETED = Outcome.COMPLETED
_APP_SIDE = frozenset({Outcome.CANCELLED, Outcome.ABANDONED})

_made: Any = tuple.__new__  # makes a named tuple from all its fields in less than half the time that its class takes


class Observation:
    """One logical call of the SDK, however many attempts and Stream objects it takes."""

    __slots__ = (
        "__weakref__", "_answered_at", "_attempts", "_sent_at", "chain", "clock", "closed_by_app", "ended",
        "facts", "hints", "hooks", "host", "in_band_verdict", "inside",
        "last_event_id", "loop", "origin", "pace", "reader",
        "request", "request_key", "response", "retry", "server_initiated", "slot", "started_unix", "trace_parent",
    )

    def __init__(
        self, host: Host, facts: RequestFacts, reader: Reader, slot: Slot, now: float, unix: float,
        request_key: Parts | None = None, retry: Retry = FIRST_ATTEMPT, trace_parent: object | None = None,
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
        self.hints = facts.hints
        self.ended = False
        self.request_key = request_key
        self.last_event_id: str | None = None
        self.server_initiated = False  # the server began it without a request: no time to the first chunk
        self.origin: Any = None  # if it fails: the code that had asked for it, see Host.origin
        self.retry = retry
        self.chain: Chain | None = retry.chain  # the failed attempts of the operation, those of the SDK included
        self.trace_parent = trace_parent
        self.request: tuple[tuple[str, Any], ...] = ()
        self.inside: Inside | None = None
        self.hooks: Hooks | None = None
        self.loop: Callable[[], object] | None = None  # a weak reference to the event loop that sent the request
        self._answered_at: float | None = None

    @property
    def started(self) -> float:
        """When the call began, on the monotonic clock."""
        return self.pace.started

    @property
    def chunks(self) -> int:
        """How many chunks have come."""
        return int(self.pace.chunks)

    @property
    def attempts(self) -> Attempts:
        """The attempts of the call. For most streams nothing is kept of them before the end."""
        found = self._attempts
        if found is None:
            found = self._attempts = Attempts(self._sent_at)
        return found

    # -- before the first chunk; may raise

    def attempting(self) -> None:
        """Note that a request is about to be sent: the first one, or another after the backoff."""
        now = self.clock()
        self.pace.ask(now)
        if self._sent_at is None and self._attempts is None:
            self._sent_at = now
            return
        retry = self.attempts.begin(now)
        if retry is not None:
            given_up = self.chain is not None and self.chain.overdue(now)
            self.host.submit(RetryRecord(self.facts.labels, "sdk", *retry, given_up=given_up))

    def answered(self, answer: ResponseFacts) -> None:
        """Note what the response of a failed attempt says."""
        self.attempts.answered(answer.status, answer.rate_limits, answer.request_id, answer.retry_after)

    @guarded
    def retrying(self, error: BaseException | None, backoff: float) -> None:
        """Note that the attempt failed and that the SDK makes another in ``backoff`` seconds."""
        now = self.clock()
        self.pace.waited(now)
        self.pace.rest(now)
        self.attempts.retry(now, error, backoff)
        self.chain = self.chain or self.host.begin_chain(now)

    def responded(self, facts: ResponseFacts | None = None) -> None:
        """Note that the headers of the final response have come; the app holds the stream now.

        Without ``facts`` the hooks will be asked what they say."""
        self._answered_at = now = self.clock()
        self.response = facts
        self.pace.answered(now)

    @ends
    def request_failed(self, error: BaseException) -> None:
        """Note that the call itself raised and returned no stream."""
        now = self.clock()
        if not self.attempts.count:
            # Nothing was sent: bad arguments, a failing token provider. No stream has started.
            self.discard()
            return
        if not self.attempts.cut_short(now):
            self.pace.waited(now)
        links = chain(error)
        verdict = classify_exception(error, headers_received=False, links=links)
        self._finish(Ending(verdict, now, names_of(links)))

    # -- a chunk; common ones are handled in observe.py

    def arrived(self, item: Any, now: float | None = None) -> Common:
        """Read a chunk that has come, now or a moment ago; return what chunks are common from now on.

        Never raises: a fault of ours stops the reading, not the stream."""
        try:
            if now is None:
                now = self.clock()
            pace, reader = self.pace, self.reader
            try:
                only_alive = reader.read(item)
            except BaseException:
                pace.arrived(now)
                raise
            if only_alive:
                pace.lull(now)
                return NOT_YET
            following = reader.common
            if pace.patient:
                pace.resume(now) if pace.lulled else pace.arrived(now)
                if pace.thinking:
                    if pace.first_token is None and reader.has_token(item):
                        pace.token(now)
                    if reader.has_answer(item) if pace.first_token is not None else isinstance(reader, MutedReader):
                        pace.answers()
                    else:
                        following = NOT_YET if pace.first_token is None else reader.thinking
            else:
                pace.arrived(now)
            if now >= pace.flush_at:
                self.flush(now)
            return following
        except Exception as error:
            if is_foreign(error):
                raise
            return self.broken()

    def time_chunks(self) -> None:
        """Keep the times from chunk to chunk from now on: nothing has come yet."""
        slot = self.slot
        if slot is None:
            return
        self.pace = TimedPace(slot, self.pace.started, self.host.stall_after, self.pace.flush_at)

    def flush(self, now: float) -> None:
        """Report to the sinks what has been gathered so far in a stream that goes on."""
        if self.ended:
            return
        host, facts = self.host, self.facts
        hold = self.pace.hold(now, self.attempts.backoff)
        host.submit(self.pace.flushed(facts.labels, hold, self.server_initiated, now + host.flush_every))

    def puzzled(self, item: Any, error: Exception) -> Common:
        """Read a chunk that is of another form than the common ones: the look at it has raised ``error``."""
        if isinstance(error, (AttributeError, TypeError, ValueError, LookupError)):
            return self.arrived(item)  # a dict, an omitted field, a null or several choices
        return self.broken()

    def broken(self) -> Common:
        """Stop reading chunks, after a fault of ours in reading one."""
        self.host.fault("observe")
        self.mute("unread_body")
        return NOT_YET

    # -- facts from other places than the chunks

    @guarded
    def kept_alive(self) -> None:
        """Note that a comment has come: the app does not see it, and goes on waiting."""
        self.pace.comment(self.clock())

    def asks_for(self, request: tuple[tuple[str, Any], ...]) -> None:
        """Keep the attributes of the request, since somebody wants them."""
        self.request = request

    def is_part_of(self, inside: Inside) -> None:
        """Note the inference of another instrumentation that the request was made in."""
        self.inside = inside

    def attach(self, hooks: Hooks) -> None:
        """Keep what has been hooked into the stream's response, until the stream has been recorded."""
        self.hooks = hooks

    def begun_by_server(self) -> None:
        """Note that the server began the stream without a request, so the first chunk was not waited for."""
        self.server_initiated = True

    def tries_again(self, retry: Retry) -> None:
        """Note that the stream has turned out to be another attempt at a failed operation."""
        self.retry = retry
        self.chain = retry.chain

    def asked_on(self, loop: Callable[[], object]) -> None:
        """Note the event loop that the request is sent from; ``loop`` is a weak reference."""
        self.loop = loop

    def done(self) -> None:
        """Note that ``[DONE]`` has come."""
        self.reader.done = True

    def event_id(self, event_id: str) -> None:
        """Note that an event's id has come, from which some servers can resume."""
        self.last_event_id = event_id

    def in_band(self, verdict: Verdict | None) -> None:
        """Note how the body itself shows the stream to end, by an error event or damage. None: it goes on."""
        self.in_band_verdict = verdict

    def app_closes(self) -> None:
        """Note that the app closes the stream. A thread or task blocked in a read gets an exception for it."""
        self.closed_by_app = True

    def mute(self, hint: str) -> None:
        """Stop reading: this body cannot be read any further, for the reason that ``hint`` gives."""
        self.hint(hint)
        self.reader = muted(self.reader)
        if self.pace.chunks:
            self.pace.answers()  # as far as anybody can know

    def hint(self, hint: str) -> None:
        """Note what cannot be known of this stream, or was not understood; ``hint`` is one of ``names.HINTS``."""
        if hint not in self.hints:
            self.hints += (hint,)

    # -- the ways a stream ends; none of them raises

    @ends
    def exhausted(self) -> None:
        """Note that the body ended and nothing was raised."""
        now = self.clock()
        if not self.pace.chunks:
            self._look_for_bytes(now)
        marker = self.reader.marker()
        verdict = marker if marker is not None and self.in_band_verdict is None else self._verdict_of_body(marker)
        complete = marker is not None and verdict == marker
        if complete and self.pace.arrived_at is not None:
            # Its duration ends with the last chunk; a hang after it is still a stall.
            self.pace.hung(now)
        else:
            self.pace.waited(now)
        self._finish(Ending(verdict, now, (), complete))

    @ends
    def failed(self, error: BaseException) -> None:
        """Note that an exception reached the app out of the stream."""
        if type(error).__name__ == "StreamConsumed" and self.hooks is not None and self.hooks.read_by_another():
            return  # the exception was for a second reader of a body that the first one is still reading
        now = self.clock()
        if not self.pace.chunks:
            self._look_for_bytes(now)
        self.pace.waited(now)
        links = chain(error)
        verdict = classify_exception(error, headers_received=True, closed_by_app=self.closed_by_app, links=links)
        self._finish(Ending(verdict, now, names_of(links)))

    @ends
    def closed(self, because: BaseException | None = None, by_helper: bool = False) -> None:
        """Note that the app closed the stream while it was not reading. ``because`` is the exception it was handling;
        ``by_helper``: the SDK's helper raised that, as it could not read what came."""
        causes = names_of(chain(because)) if because is not None and by_helper else ()
        self._finish(Ending(classify_close(because, by_helper=by_helper), self.clock(), causes))

    def dropped(self) -> None:
        """Note that the stream was garbage-collected or its generator closed. For finalizers: only defers."""
        if not self.ended:
            self.host.defer((self, Ending(self.drop_verdict(), self.clock())))
            self.ended = True

    def left_open(self, verdict: Verdict) -> None:
        """Note that the process is exiting with this stream open."""
        self._finish(Ending(verdict, self.clock()))

    def drop_verdict(self) -> Verdict:
        """The verdict on a stream that the app can no longer read."""
        if self.pace.chunks or isinstance(self.reader, MutedReader):
            return Verdict(Outcome.ABANDONED, "dropped")
        if self.hooks is not None and not self.hooks.hooked:
            # Reads of this response cannot be seen, so the app may have read it.
            self.hint("unread_body")
            return Verdict(Outcome.ABANDONED, "dropped")
        return Verdict(Outcome.ABANDONED, "never_iterated")

    def discard(self) -> None:
        """Forget the call: no stream has started."""
        self.ended = True
        self.host.discard(self)

    def disown(self) -> None:
        """Forget, in a forked child, a stream of the parent, without touching the parent's memory."""
        self.ended = True
        self.release_slot()

    def _finish(self, ending: Ending) -> None:
        if not self.ended:
            if ending.verdict.error_type and self.origin is None:
                # Only the code whose stream failed can try again.
                self.origin = self.host.origin()
            # Queued before the stream is marked as ended: an interrupt in between may queue a second ending, which is
            # ignored, while without any ending the stream would be open for ever.
            self.host.defer((self, ending))
            self.ended = True
            self.host.drain()

    def release(self) -> tuple[Any, RequestKey | None]:
        """Return, once, the origin of the failure and what identifies the request; neither is held any longer."""
        released = self.origin, self.request_key and RequestKey(*self.request_key)
        self.origin = self.request_key = None
        return released

    def release_slot(self) -> None:
        """Release slot and hooks: the stream has been recorded, or belongs to the parent process."""
        self.pace.stop_writing()
        self.slot = None
        if self.origin is None:
            self.request_key = None  # it will not be tried again
        # Released now, so that what belongs to the ended stream is freed without the garbage collector.
        hooks, self.hooks = self.hooks, None
        if hooks is not None:
            hooks.remove()

    def _verdict_of_body(self, marker: Verdict | None) -> Verdict:
        if self.in_band_verdict is not None:
            return self.in_band_verdict
        if marker is not None:
            return marker
        response = self._answer()
        kind = response.content_type if response is not None else EVENT_STREAM
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

    def _answer(self) -> ResponseFacts | None:
        """What the headers of the final response say; None if they have not come, or there were none."""
        if self.response is None and self._answered_at is not None and self.hooks is not None:
            self.response = self.hooks.answer(self.started_unix + self._answered_at - self.pace.started)
        return self.response

    def _look_for_bytes(self, now: float) -> None:
        """Note at the end of a stream without a chunk that bytes have come, if nobody has seen which."""
        if self.hooks is not None and not self.hooks.sees_lines and self._came():
            self.pace.unseen(now)

    def _came(self) -> bool:
        return self.hooks is not None and bool(self.hooks.bytes_received())

    # -- the record

    def end(self, ending: Ending) -> StreamEnd:
        """What is to be counted of the ended stream. The dispatch calls this, and again if it was interrupted."""
        pace, reader, attempts = self.pace, self.reader, self._attempts
        pace.stop_writing()
        verdict, end, causes, complete = ending
        response = self._answer()
        if attempts is not None:
            attempts.cut_short(end)
        if verdict.outcome in _APP_SIDE:
            # What the provider had sent by then outranks this verdict; if the app reads bytes, so does an error event.
            verdict = self.in_band_verdict or reader.marker() or verdict
            complete = True
        if complete and not causes:
            # The last chunk is the end, without the time until garbage collection and the SDK's reading after [DONE].
            # But a reader that got an exception had been waiting until then.
            end = pace.arrived_at or self._answered_at or end
        outcome, error_type = verdict
        started, chain, labels = pace.started, self.chain, self.facts.labels
        if chain is None and outcome is not _COMPLETED:
            chain = self.chain = self.host.begin_chain(end)
        reasons = reader.finish_reasons
        if OTHER in reasons:
            self.hint("unknown_finish_reason")
        if attempts is None:
            backoff, requests = 0.0, 0 if self._sent_at is None else 1
        else:
            backoff, requests = attempts.backoff, attempts.count
        # In the order of the fields: so many keyword arguments cost more than everything else here.
        found: StreamEnd = _made(StreamEnd, (
            labels, outcome, error_type, end - started if end > started else 0.0, int(pace.chunks),
            pace.max_gap, pace.first_token, requests,
            pace.progress(labels, pace.hold(end, backoff), self.server_initiated),
            reasons, reader.response_id, reader.usage(),
            response.rate_limits if response is not None else () if attempts is None else attempts.rate_limits,
            causes, started, end,
            self.hints, self.facts.fetch, self.retry.attempt, chain is not None and chain.failed, chain, self.slot,
        ))
        return found

    def record(self, counted: StreamEnd) -> StreamRecord:
        """Make the record of the ended stream, of which ``counted`` is what ``end`` has returned."""
        pace, reader, response, hooks, attempts = self.pace, self.reader, self.response, self.hooks, self._attempts
        facts, retry, end, started = self.facts, self.retry, counted.ended, pace.started
        outcome, error_type, last, headers = counted.outcome, counted.error_type, pace.arrived_at, self._answered_at
        status = None if response is None else response.status
        request_id = None if response is None else response.request_id
        retry_after = None
        if attempts is None:
            backoff, made = 0.0, only_attempt(self._sent_at, end, status, error_type)
        else:
            backoff, made = attempts.backoff, attempts.close(end, status, error_type)
            if response is None:
                status, request_id, retry_after = attempts.last_status, attempts.request_id, attempts.retry_after
        return StreamRecord(
            counted.labels, outcome, error_type,
            self.started_unix, counted.duration, counted.chunks,
            counted.max_gap, pace.wait, pace.hold(end, backoff), pace.stalls,
            None if self.server_initiated else pace.first_chunk, counted.first_token,
            None if last is None else last - started,
            None if hooks is None else hooks.bytes_received(),
            made, backoff, counted.progress,
            counted.finish_reasons, reader.response_model, counted.response_id, request_id, counted.usage,
            counted.rate_limits, status, counted.cause_chain,
            facts.method, facts.url_path, facts.server_port,
            pace.stall_times, started, None if self.last_event_id is None else identifier(self.last_event_id),
            self._partial(reader, outcome) if isinstance(reader, TailReader) else None,
            counted.hints, counted.replayed,
            retry_after,
            counted.chain_attempt, retry.retry_after_honored, retry.wait, retry.span,
            counted.given_up,
            reader.service_tier, reader.system_fingerprint,
            () if outcome in GOOD_ENDS else reader.unfinished_choices, pace.chunk_times,
            self.request, self.inside,
            self.trace_parent, None if headers is None else headers - started, pace.max_gap_at,
            counted.operation, counted.slot,
        )

    def _partial(self, reader: TailReader, outcome: Outcome) -> str | None:
        if outcome in NOT_FAILURES:
            return None
        try:
            return reader.tail()
        except Exception:  # noqa: BLE001 - a redaction hook that fails must not let the text through
            self.host.fault("observe")
            return None
