"""Wires the wings for one process: store, sinks, dispatch, observations, patches."""

from __future__ import annotations

import atexit
import itertools
import logging
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Protocol

from .._version import __version__
from ..config import Config, ConfigError
from ..config.problems import journal_is_said
from ..otel.patience import MOST, Patience, at_exit
from ..otel.trace_parent import capture_parent
from ..outcome import Outcome, Verdict
from ..retries.app_retries import AppRetries
from ..retries.failures import Chain, Origin
from ..retries.origin import current_origin
from ..sdk.patch import Patches
from ..sinks.journal import JournalSink
from ..sinks.log import LogSink
from ..startup import importhook
from ..store.memory import HeapMemory, MappedMemory
from ..store.snapshot import Snapshot
from ..store.store import Slot, Store, StoreSink
from ..stream.call import Call, Holder
from ..stream.dispatch import Dispatch, Fault, Item, LoopLag
from ..stream.observation import Ending, Observation
from ..stream.partial import TailReader
from ..stream.record import Sink, StreamLabels, StreamRecord
from ..stream.request_key import RequestKey
from ..stream.responses import Key
from ..stream.tracebacks import is_foreign
from ..system import forks
from . import visible
from .looplag import LoopLagMeter
from .redaction import redaction_of

logger = logging.getLogger("streamvitals")


class Runtime:
    """One per process. What the rooms below ask of it is in their ``Host``: stream/host.py, sdk/host.py, retries/."""

    def __init__(
        self, config: Config, store: Store, sinks: Iterable[Sink] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.config = config
        self.store = store
        self.clock = clock
        self.stall_after = config.stall_after
        self.flush_every = config.flush_every
        self.introduce: Callable[[StreamLabels], None] | None = None
        self.span_ids: Callable[[], object | None] | None = None
        self.capture_parent: Callable[[], object | None] | None = None
        self.patches = Patches(self, config.finish_optional_hosts, config.providers)
        # Of exporters: all begin before the first is waited for, with the seconds that are left.
        self.hasteners: list[Callable[[], object]] = []
        self.flushers: list[Callable[[float], object]] = []
        self.beginners_of_end: list[Callable[[], object]] = []
        self.enders: list[Callable[[float], object]] = []
        self.at_stop: list[Callable[[], object]] = []
        self.trace_http_client: Callable[[Any], object] | None = None
        self._open: dict[Observation, None] = {}  # in the order in which they were asked for
        self._dispatch = Dispatch(sinks, self._record, self._recorded)
        self.retries = AppRetries(self, config.retry_window)
        self._redact = redaction_of(config)
        self._lag = LoopLagMeter(lambda seconds: self._dispatch.submit(LoopLag(seconds)), lambda: list(self._open))

    # -- what patches ask

    def begin(self, call: Call, holder: Holder | None = None) -> Observation:
        """Start observing one stream, and leave its observation with the holder."""
        forks.notice()
        self._dispatch.drain()
        self.retries.sweep_some()
        facts, reader, key, http_client = call
        if http_client is not None and self.trace_http_client is not None:
            self.trace_http_client(http_client)
        now = self.clock()
        slot = self.store.take_slot(facts.labels)
        if slot.labels != facts.labels:
            facts = facts._replace(labels=slot.labels)
        retry = self.retries.begin(facts.named, key, now)
        if self.config.capture_partial:
            reader = TailReader(reader, self.config.capture_partial, self._redact)
        parent = self.capture_parent() if self.capture_parent is not None else None
        observation = Observation(self, facts, reader, slot, now, time.time(), key, retry, parent)
        try:
            if holder is not None:
                holder.observation = observation
            self._open[observation] = None
            if facts.named is not None:
                self.retries.takes_up(facts.named, observation)
            slot.open(now)
            if self.introduce is not None:
                self.introduce(slot.labels)
            self._lag.watch(observation)
        except BaseException:
            # Whatever it was, nobody will ever tell of this stream.
            observation.discard()
            raise
        return observation

    def has_failures(self) -> bool:
        """Whether anything has failed that a call without streaming could try again."""
        return bool(self.retries.failures)

    def fell_back(self, named: Key | None, key: RequestKey) -> Callable[[object | None], None] | None:
        """A call that does not stream begins; see ``AppRetries.fell_back``."""
        return self.retries.fell_back(named, key, self.clock())

    # -- what observations ask

    def submit(self, item: Item) -> None:
        self._dispatch.submit(item)

    def defer(self, item: Item) -> None:
        self._dispatch.defer(item)

    @property
    def append(self) -> Callable[[Any], None]:
        return self._dispatch.append

    def drain(self) -> None:
        self._dispatch.drain()

    def discard(self, observation: Observation) -> None:
        if self._forget(observation) and isinstance(observation.slot, Slot):
            self.store.close_slot(observation.slot)
        observation.let_go()  # whoever holds it must not write into a slot that is another's by then

    def fault(self, where: str) -> None:
        """Count a fault of ours; the traceback is for whoever turned debug logging on."""
        logger.debug("fault in %s", where, exc_info=True)
        self._dispatch.submit(Fault(where))

    def origin(self) -> Origin:
        return current_origin()

    def begin_chain(self, now: float) -> Chain:
        return Chain(now)

    def _record(self, observation: Observation, ending: Ending) -> StreamRecord | None:
        if observation not in self._open:
            return None
        try:
            return self.retries.responses.settle(observation.facts, observation.freeze(ending))
        except Exception as error:
            if not is_foreign(error):
                self.discard(observation)
            raise

    def _recorded(self, observation: Observation, record: StreamRecord) -> None:
        self._forget(observation)
        observation.let_go()
        if isinstance(record.slot, Slot) and not record.slot.ended:
            # Who counts has failed, and a stream that has ended must not be shown as one that hangs.
            self.store.close_slot(record.slot)
        origin, key = observation.release()
        if origin is not None and record.failed:
            span = self.span_ids() if self.span_ids is not None else None
            self.retries.failed(observation, record, origin, key, span, self.clock())

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
        """Patch the SDK that has just been imported, or step aside and say so once."""
        openai = sys.modules["openai"]
        problems = self.patches.apply(openai)
        version = str(getattr(openai, "__version__", "unknown"))
        self.store.set_build(__version__, version, "false" if problems else "true")
        if problems:
            logger.warning("not observing: %s", "; ".join(problems))

    def snapshot(self) -> Snapshot:
        """Everything counted so far, and the state of what is open now."""
        forks.notice()
        self._dispatch.drain()
        self.retries.sweep()
        return self.store.snapshot(self.clock(), self.stall_after)

    def add_sink(self, sink: Sink) -> Callable[[], None]:
        """Hand records to one more sink from now on, until what is returned is called."""
        return self._dispatch.add(sink)

    def flush(self, timeout: float = MOST) -> None:
        """Hand to the sinks what finalizers have left behind, and have exporters send what they hold: ``timeout``
        seconds for all of them."""
        patience = Patience(timeout)
        self._dispatch.drain()
        for begin in self.hasteners:
            begin()
        for flusher in self.flushers:
            flusher(patience.left())

    def end_exporters(self, patience: Patience) -> None:
        """Have exporters send what they hold, for the last time; a collector that refuses is not waited for."""
        for begin in self.beginners_of_end:
            begin()
        for end in self.enders:
            end(patience.left())

    def close(self) -> None:
        """The process is exiting: what is still open ends here."""
        interrupted = getattr(sys, "last_type", None) is KeyboardInterrupt
        for observation in list(self._open):
            if interrupted:
                observation.left_open(Verdict(Outcome.CANCELLED, "keyboard_interrupt"))
            else:
                observation.left_open(observation.drop_verdict())
        # Exporters have exit functions of their own.
        self._dispatch.drain()
        for observation in list(self._open):
            # It had ended, and Ctrl-C kept us from saying so.
            self._dispatch.submit((observation, Ending(observation.drop_verdict(), self.clock())))
        self.retries.close()

    def forked(self) -> None:
        """In the child: what is open belongs to the parent, and so does the memory it is counted in."""
        for observation in list(self._open):
            observation.disown()
        self._open.clear()
        self._dispatch.reset()
        self._lag.reset()
        self.retries.reset()
        self.store.reset_after_fork()


class Tracing(Protocol):
    """What otel/traces.py gives."""

    @property
    def sink(self) -> Any: ...

    @property
    def flush(self) -> Callable[..., bool]: ...

    @property
    def shutdown(self) -> Callable[..., bool]: ...

    @property
    def get_tracer(self) -> Callable[[], Any]: ...

    @property
    def hasten(self) -> Callable[[], None]: ...

    @property
    def begin_shutdown(self) -> Callable[[], None]: ...

    @property
    def prepare(self) -> Callable[[], object]: ...


TracingFactory = Callable[[], "Tracing | None"]

_runtime: Runtime | None = None
_fork_hook = itertools.count()


def current() -> Runtime | None:
    """The runtime of this process, if one was started."""
    return _runtime


def start(config: Config, tracing: TracingFactory | None = None, sinks: Iterable[Sink] = ()) -> Runtime:
    """Make this process's runtime, or return the one that there is. Does not patch anything yet.

    ``tracing`` makes the sink for spans, if there are to be any.
    """
    global _runtime
    if _runtime is None:
        memory = MappedMemory(config.directory) if config.directory else HeapMemory()
        store = Store(memory)
        traced = tracing() if tracing is not None else None
        if traced is None:
            first: list[Sink] = [StoreSink(store)]
        else:
            # Before the store, which makes exemplars of the ids of the span that was just made.
            spans = traced.sink
            first = [spans, StoreSink(store, exemplars=not store.mapped, trace_ids=lambda _: spans.last)]
        if config.journal:
            first.append(JournalSink(config.journal, lambda: report(["journal"]), said=journal_is_said(config)))
        span_ids = (lambda: spans.last) if traced is not None else (lambda: None)
        log = LogSink(span_ids)
        _runtime = Runtime(config, store, [*first, *sinks, log])
        tellers = [sink.tell_suppressed for sink in (*first, log) if isinstance(sink, (JournalSink, LogSink))]
        _runtime.hasteners += tellers
        _runtime.beginners_of_end += tellers
        if traced is not None:
            _runtime.capture_parent = _prepared(traced)
            _runtime.span_ids = span_ids
            _runtime.hasteners.append(traced.hasten)
            _runtime.flushers.append(traced.flush)
            _runtime.beginners_of_end.append(traced.begin_shutdown)
            _runtime.enders.append(traced.shutdown)
            if config.http_spans:
                _add_http_spans(_runtime, traced)
        if next(_fork_hook) == 0:
            forks.in_child(_after_fork)
            atexit.register(_at_exit)
    return _runtime


def _prepared(traced: Tracing) -> Callable[[], object | None]:
    prepare = traced.prepare

    def capture() -> object | None:
        prepare()
        return capture_parent()

    return capture


def _add_http_spans(runtime: Runtime, traced: Tracing) -> None:
    """Transport spans, where their package is installed; without it there are the others."""
    try:
        from ..otel.http_spans import HttpSpans

        spans = HttpSpans(traced.get_tracer, count_fault)
    except ImportError as error:
        mend = "pip install 'streamvitals[http-spans]' there"
        logger.warning("no HTTP spans: %s is not installed in the app's environment -> %s", error.name, mend)
        return
    runtime.trace_http_client = spans.instrument_http_client
    runtime.at_stop.append(spans.remove)


def start_tracing(config: Config, provider: Any = None) -> Tracing | None:
    """The span pipeline: the given provider, the app's global one, or our own if OTLP is asked for.

    None where OpenTelemetry is not installed and not asked for; raises ImportError where it is asked for.
    """
    try:
        from ..otel import traces
    except ImportError:
        if config.otlp_traces or provider is not None:
            raise
        return None
    return traces.start_tracing(config, provider=provider, on_error=count_fault)


def count_fault(where: str) -> None:
    """Count a fault of ours; any thread."""
    if _runtime is not None:
        _runtime.submit(Fault(where))


def stop() -> None:
    """Remove the patches and forget the runtime; open streams are counted as they stand."""
    global _runtime
    visible.hide()
    importhook.uninstall()
    if _runtime is not None:
        ending, _runtime = _runtime, None
        ending.patches.remove()
        ending.close()
        ending.end_exporters(Patience())
        for function in ending.at_stop:
            function()


def activate() -> None:
    """Called when the program under ``streamvitals run`` has imported openai.

    What was wrong in the environment has been said by `run`; what is wrong only in here is said now.
    """
    config, _ = Config.read()
    if config.disabled:
        return
    said: list[str] = []
    if _runtime is None:  # else the program has called instrument(), which has looked
        config, said = show_and_check(config)
    start(config, lambda: _tracing_under_run(config, said)).patch()
    report(said)


def show_and_check(config: Config) -> tuple[Config, list[str]]:
    """Make warnings visible, as the user may have asked not to, and find out whether the redaction hook is there.

    Without it nothing is captured: never text that was to be redacted and is not.
    """
    said: list[str] = []
    if not config.quiet:
        visible.show()
    try:
        redaction_of(config)
    except ConfigError as error:
        config = replace(config, capture_partial=0)
        mend = "make it importable, or unset STREAMVITALS_CAPTURE_PARTIAL"
        tell(said, "redact", f"{error}; no text is captured -> {mend}")
    return config, said


def tell(said: list[str], word: str, text: str) -> None:
    """Log what will not work here, and remember the word for it (config/problems.py) for the agent."""
    said.append(word)
    logger.warning("%s", text)


def report(said: list[str]) -> None:
    """Hand on to the agent, if there is one, what was told."""
    registration = sys.modules.get("_streamvitals_registration")
    if registration is not None:
        registration.report_problems(said)


def _tracing_under_run(config: Config, said: list[str]) -> Tracing | None:
    """Spans only if the standard variables ask for them, or the app has OpenTelemetry loaded; and an app whose
    environment lacks the exporter is observed all the same."""
    if not (config.otlp_traces or "opentelemetry" in sys.modules):
        return None
    return start_tracing_if_possible(config, None, said)


def start_tracing_if_possible(config: Config, provider: Any, said: list[str]) -> Tracing | None:
    """``start_tracing``; without spans, and a word, where the environment does not allow what it asks for."""
    try:
        return start_tracing(config, provider)
    except ImportError as error:
        if provider is not None:
            raise
        tell(said, "spans", f"no spans: {error.name} is not installed in the app's environment -> "
                            "pip install 'streamvitals[otlp]' there")
    except Exception as error:  # the exporter raises at bad values of the standard variables
        if provider is not None:
            raise
        what = f"no spans: OpenTelemetry's exporter raises {type(error).__name__}"
        tell(said, "spans", f"{what} -> check the OTEL_ variables")
    return None


def _after_fork() -> None:
    if _runtime is not None:
        _runtime.forked()


def end_before_others() -> None:
    """Run our exit function before those that were registered since: what it counts is for them to send."""
    atexit.unregister(_at_exit)
    atexit.register(_at_exit)


def _at_exit() -> None:
    if _runtime is not None:
        patience = at_exit()
        _runtime.close()
        _runtime.end_exporters(patience)
