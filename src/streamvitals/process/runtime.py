"""The runtime of one process: what patches and observations need from it, and its life."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from .._version import __version__
from ..config import Config
from ..otel.patience import MOST, Patience
from ..outcome import Outcome, Verdict
from ..retries.app_retries import AppRetries
from ..retries.failures import Chain, Origin
from ..retries.origin import current_origin
from ..sdk.patch import Patches
from ..sdk.requested import request_attributes
from ..startup import importhook
from ..store.snapshot import Snapshot
from ..store.store import Slot, Store
from ..stream.call import Holder
from ..stream.chunks import Reader
from ..stream.dispatch import CallRetry, CallStart, Dispatch, Fault, LoopLag, Start
from ..stream.ending import Ending
from ..stream.observation import Observation
from ..stream.partial import TailReader
from ..stream.plain import PlainCall
from ..stream.record import CallRecord, Inside, StallAfter, StreamEnd, StreamLabels, StreamRecord
from ..stream.request import Key, RequestFacts
from ..stream.request_key import Parts, RequestKey
from ..stream.retry import FIRST_ATTEMPT
from ..stream.sink import Sink
from ..stream.tracebacks import is_foreign
from ..system import forks
from .exporters import Exporters
from .looplag import LoopLagMeter
from .redaction import redaction_of

logger = logging.getLogger("streamvitals")
NO_EXPORTERS = Exporters()


class HttpSpans(Protocol):
    """The interface of otel/http_spans.py."""

    def instrument_http_client(self, client: Any) -> bool:
        """Trace the requests that the SDK sends with this client."""

    def remove(self) -> None:
        """Restore all clients."""


class Runtime:
    """One per process. What stream/, sdk/ and retries/ ask of it is in their ``Host``, as in stream/host.py."""

    def __init__(
        self,
        config: Config,
        store: Store,
        sinks: Iterable[Sink] = (),
        *,
        exporters: Exporters = NO_EXPORTERS,
        capture_parent: Callable[[], object | None] | None = None,
        wants_request: Callable[[], bool] | None = None,
        find_inference: Callable[[object | None], Inside | None] | None = None,
        http_spans: HttpSpans | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.config = config
        self.store = store
        self.clock = clock
        self.stall_after = StallAfter(config.first_token_stall_after, config.stall_after)
        self.left_out = config.left_out
        self.flush_every = config.flush_every
        # Whether somebody exports the times from chunk to chunk, which cost something for each chunk.
        self.times_chunks = config.otlp_metrics
        self.exporters = exporters
        self._capture_parent = capture_parent
        self._find_inference = find_inference  # of another instrumentation, around the request
        self._wants_request = wants_request  # whether spans will be made, with what was asked for
        self._http_spans = http_spans
        self.patches = Patches(
            self, config.finish_optional_hosts, config.providers, labels=config.labels,
            plain=config.plain_calls,
        )
        self._open: dict[Observation, None] = {}  # in the order of their requests
        self._calls: dict[PlainCall, None] = {}  # open calls without a stream
        self._dispatch = Dispatch(sinks, self._record, self._recorded)
        # Called by observations; each further call in between would cost every stream something.
        self.submit, self.defer, self.drain = self._dispatch.submit, self._dispatch.defer, self._dispatch.drain
        self.retries = AppRetries(self, config.retry_window)
        self._redact = redaction_of(config)
        self._lag = LoopLagMeter(lambda seconds: self._dispatch.submit(LoopLag(seconds)), lambda: list(self._open))

    # -- called by the patches

    def begin(
        self, facts: RequestFacts, reader: Reader, key: Parts | None = None, holder: Holder | None = None,
        http_client: Any = None, options: Any = None,
    ) -> Observation:
        """Start observing one stream, and leave its observation with the holder."""
        forks.notice()
        self._dispatch.drain()
        retries = self.retries
        if retries.failures:
            retries.sweep_some()
        if http_client is not None and self._http_spans is not None:
            self._http_spans.instrument_http_client(http_client)
        now = self.clock()
        labels = facts.labels
        slot = self.store.take_slot(labels)
        if slot.labels != labels:
            facts = _as_counted(facts, slot)
        retry = retries.begin(facts.named, key and RequestKey(*key), now) if retries.failures else FIRST_ATTEMPT
        if self.config.capture_partial:
            reader = TailReader(reader, self.config.capture_partial, self._redact)
        parent = self._capture_parent() if self._capture_parent is not None else None
        observation = Observation(self, facts, reader, slot, now, time.time(), key, retry, parent)
        if self.times_chunks:
            observation.time_chunks()
        if self._find_inference is not None and (inside := self._find_inference(parent)) is not None:
            observation.is_part_of(inside)
        if options is not None and self._wants_request is not None and self._wants_request():
            observation.asks_for(request_attributes(options, facts.labels.provider))
        try:
            if holder is not None:
                holder.observation = observation
            self._open[observation] = None
            if facts.named is not None:
                retries.takes_up(facts.named, observation)
            slot.open(now)
            if self._dispatch.hears_start:
                self._dispatch.submit(Start(slot.labels))
            self._lag.watch(observation)
        except BaseException:
            # After an exception of any kind no code would ever report the end of this stream.
            observation.discard()
            raise
        return observation

    def look_around(self, observation: Observation) -> None:
        """Look once more whether the request is made inside the inference of another instrumentation."""
        if self._find_inference is None or observation.inside is not None:
            return
        inside = self._find_inference(self._capture_parent() if self._capture_parent is not None else None)
        if inside is not None:
            observation.is_part_of(inside)

    def begin_call(self, facts: RequestFacts, reader: type[Reader], holder: Holder) -> None:
        """Start observing a call without a stream, and leave it with the holder."""
        forks.notice()
        self._dispatch.drain()
        now = self.clock()
        slot = self.store.take_call_slot(facts.labels)
        if slot is None:
            return
        if slot.labels != facts.labels:
            facts = _as_counted(facts, slot)
        call = PlainCall(self, facts, reader, slot, now)
        try:
            holder.observation = call
            self._calls[call] = None
            slot.open(now)
            if self._dispatch.hears_call_start:
                self._dispatch.submit(CallStart(slot.labels))
        except BaseException:
            call.disown()
            self.discard_call(call, slot)
            raise

    def has_failures(self) -> bool:
        """Whether a stream has failed that a call without streaming could try again."""
        return bool(self.retries.failures)

    def fell_back(self, named: Key | None, key: RequestKey) -> Callable[[object | None], None] | None:
        """Note that a call without streaming begins; see ``AppRetries.fell_back``."""
        return self.retries.fell_back(named, key, self.clock())

    # -- called by observations and calls

    def retry_call(self, labels: StreamLabels) -> None:
        self._dispatch.submit(CallRetry(labels))

    def end_call(self, call: PlainCall, record: CallRecord) -> None:
        self._dispatch.defer(record)
        self._calls.pop(call, None)

    def discard_call(self, call: PlainCall, slot: Any) -> None:
        self._calls.pop(call, None)
        self.store.close_slot(slot)

    @property
    def append(self) -> Callable[[Any], None]:
        return self._dispatch.append

    def discard(self, observation: Observation) -> None:
        if self._forget(observation) and isinstance(observation.slot, Slot):
            self.store.close_slot(observation.slot)
        observation.release_slot()  # whoever holds the observation must not write into a slot that another may take

    def fault(self, where: str) -> None:
        """Count a fault of ours; the traceback is logged at debug level."""
        logger.debug("fault in %s", where, exc_info=True)
        self._dispatch.submit(Fault(where))

    def origin(self) -> Origin:
        return current_origin()

    def begin_chain(self, now: float) -> Chain:
        return Chain(now)

    def _record(self, observation: Observation, ending: Ending) -> StreamEnd | StreamRecord | None:
        if observation not in self._open:
            return None
        try:
            end = self.retries.responses.settle(observation.facts, observation.end(ending))
            return observation.record(end) if self._dispatch.needs_record(end) else end
        except Exception as error:
            if not is_foreign(error):
                self.discard(observation)
            raise

    def _recorded(self, observation: Observation | None, record: StreamEnd | StreamRecord | CallRecord) -> None:
        if observation is not None:
            self._forget(observation)
            observation.release_slot()
        if isinstance(record.slot, Slot) and not record.slot.ended:
            # The store's sink has failed, but what has ended must not be shown as something that hangs.
            self.store.close_slot(record.slot)
        if observation is None or observation.origin is None:
            return
        origin, key = observation.release()
        if isinstance(record, StreamRecord) and record.failed:
            self.retries.failed(observation, record, origin, key, record.trace_ids, self.clock())

    def _forget(self, observation: Observation) -> bool:
        named = observation.facts.named
        if named is not None:
            self.retries.ended(named, observation)
        return self._open.pop(observation, observation) is None

    # -- the process's own life

    def patch_on_import(self) -> None:
        """Patch the SDK now if it has been imported, else when it will be."""
        importhook.install(self.patch)

    def patch(self) -> None:
        """Patch the SDK that has just been imported, or leave it unpatched and log that once."""
        openai = sys.modules["openai"]
        problems = self.patches.apply(openai)
        version = str(getattr(openai, "__version__", "unknown"))
        self.store.set_build(__version__, version, "false" if problems else "true")
        if problems:
            logger.warning("not observing: %s", "; ".join(problems))

    def snapshot(self) -> Snapshot:
        """Everything counted so far, and the state of the streams that are open now."""
        forks.notice()
        self._dispatch.drain()
        self.retries.sweep()
        snapshot = self.store.snapshot(self.clock(), self.stall_after)
        snapshot.left_out = self.left_out
        return snapshot

    def add_sink(self, sink: Sink) -> Callable[[], None]:
        """Give records to one more sink from now on, until the returned function is called."""
        return self._dispatch.add(sink)

    def flush(self, timeout: float = MOST) -> None:
        """Give the sinks what finalizers have queued, and flush the exporters: ``timeout`` seconds for all."""
        patience = Patience(timeout)
        self._dispatch.drain()
        self.exporters.flush_all(patience)

    def stop(self) -> None:
        """Remove the patches, end all open streams, and make the exporters send for the last time."""
        self.patches.remove()
        self.close()
        self.exporters.shut_down_all(Patience())
        if self._http_spans is not None:
            self._http_spans.remove()

    def close(self) -> None:
        """End all open streams, since the process is exiting."""
        interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
        for observation in list(self._open):
            if interrupted:
                observation.left_open(Verdict(Outcome.CANCELLED, "keyboard_interrupt"))
            else:
                observation.left_open(observation.drop_verdict())
        for call in list(self._calls):
            call.left_open()
        # Exporters have exit functions of their own.
        self._dispatch.drain()
        for observation in list(self._open):
            # The stream had ended, but Ctrl-C has interrupted us before its end was queued.
            self._dispatch.submit((observation, Ending(observation.drop_verdict(), self.clock())))
        self.retries.close()

    def forked(self) -> None:
        """Start anew in a forked child: open streams, and the memory that counts them, belong to the parent."""
        for observation in list(self._open):
            observation.disown()
        self._open.clear()
        for call in list(self._calls):
            call.disown()
        self._calls.clear()
        self._dispatch.reset()
        self._lag.reset()
        self.retries.reset()
        self.store.reset_after_fork()


def _as_counted(facts: RequestFacts, slot: Slot) -> RequestFacts:
    """The facts with the labels that they are counted under, which are others."""
    hints = facts.hints if slot.labels.custom == facts.labels.custom else (*facts.hints, "label_limit")
    return facts._replace(labels=slot.labels, hints=hints)
