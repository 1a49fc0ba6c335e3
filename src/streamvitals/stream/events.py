"""Readers for the surfaces whose chunks are typed events: Responses, Assistants, images, audio, agent sessions.

Each is a vocabulary: which event types end the stream and how. Everything else is one dictionary look-up.
"""

from __future__ import annotations

from typing import Any, ClassVar

from ..outcome import Outcome, Verdict
from .chunks import KEEP_ALIVES, NOT_YET, Common, error_alone
from .fields import fields, get, identifier, model_name, text, word
from .record import Usage
from .usage import added_usage, later_usage, usage_of
from .vocabulary import CANCELLED, COMPLETED, FAILED, LENGTH, classify_error_event, incomplete, words_of

_MAX_REASONS = 8
# Outcomes of a turn that the session's budget has cut short.
_CUT_SHORT = (Outcome.CANCELLED, Outcome.RATE_LIMITED)


class TypedEvents:
    """A stream of events that name their type. Subclasses are tables.

    ``TYPE`` is the field that holds the event's type, ``BODY`` the field that holds the object the event is about (""
    where that is the event itself). ``ENDS`` maps terminal types to completed, incomplete, length, failed, cancelled or
    error; ``BEGINS`` are the types after which the stream is unfinished (again). Types that end in one of ``TOKENS``
    contain generated output.
    """

    TYPE: ClassVar[str] = "type"
    BODY: ClassVar[str] = ""
    BEGINS: ClassVar[frozenset[str]] = frozenset()
    ENDS: ClassVar[dict[str, str]] = {}
    TOKENS: ClassVar[tuple[str, ...]] = (".delta",)
    ends_with_body = named_events = False
    reads_errors = True

    system_fingerprint: str | None = None  # of chat completions only
    __slots__ = (
        "_begun", "_usage", "_usual", "_verdict", "done", "finish_reasons", "response_id", "response_model",
        "service_tier",
    )

    def __init__(self) -> None:
        self.done = False
        self.finish_reasons: tuple[str, ...] = ()
        self.response_model: str | None = None
        self.response_id: str | None = None
        self.service_tier: str | None = None
        self._verdict: Verdict | None = None
        self._usage: Any = None
        self._begun = ""  # the type of the last event that began something
        self._usual = ""  # the type of the last event that neither began nor ended anything

    @property
    def unfinished_choices(self) -> tuple[int, ...]:
        return () if self.finish_reasons else (0,)

    @property
    def common(self) -> Common:
        return Common(self._usual) if self._usual else NOT_YET

    @property
    def thinking(self) -> Common:
        return NOT_YET if self._may_answer(self._usual) else self.common

    def _may_answer(self, kind: str) -> bool:
        return kind.endswith(self.TOKENS) and "reasoning" not in kind

    def read(self, item: Any) -> bool:
        kind = get(item, self.TYPE)
        if not isinstance(kind, str):
            self._verdict = error_alone(fields(item)) or self._verdict
        elif kind in self.BEGINS:
            self._begin(self._body(item))
            # Some gateways say it again and again while the model thinks.
            again, self._begun = kind == self._begun, kind
            return again
        elif kind in self.ENDS:
            self._end(self.ENDS[kind], item)
        elif kind in KEEP_ALIVES:
            return True
        else:
            self._usual = kind
        return False

    def _body(self, item: Any) -> Any:
        return get(item, self.BODY) if self.BODY else item

    def _begin(self, body: Any) -> None:
        self._verdict = None
        self.response_id = identifier(get(body, "id"))
        self.response_model = model_name(get(body, "model"))

    def _end(self, how: str, item: Any) -> None:
        body = self._body(item)
        if self.response_id is None:
            # A stream that was resumed in its middle (a fetch) has the response's id and model only in its last event.
            self.response_id, self.response_model = identifier(get(body, "id")), model_name(get(body, "model"))
        self.service_tier = word(get(body, "service_tier"))
        usage = get(body, "usage") or get(item, "usage")
        if usage is not None:
            self._note_usage(usage)
        self._verdict = self._judge(how, body, item)
        if len(self.finish_reasons) < _MAX_REASONS:
            self.finish_reasons += (how,)

    def _note_usage(self, usage: Any) -> None:
        self._usage = later_usage(self._usage, usage)

    def _judge(self, how: str, body: Any, item: Any) -> Verdict:
        if how == "incomplete":
            return incomplete(get(get(body, "incomplete_details"), "reason"))
        if how in ("failed", "error"):
            return self._failure(body, item)
        return {"cancelled": CANCELLED, "length": LENGTH}.get(how, COMPLETED)

    def _failure(self, body: Any, item: Any) -> Verdict:
        for error in (get(body, "error"), get(body, "last_error"), get(item, "error")):
            if any(words_of(error)):
                verdict = classify_error_event(error, get(item, "status"))
                if verdict != FAILED or not isinstance(error, str):  # a string may be a sentence, not a code
                    return verdict
        # Where the event itself is the error, its type is only "error".
        code = get(body, "code") or get(item, "code")
        if code is not None:
            return classify_error_event(code)
        return Verdict(Outcome.API_ERROR, "response_failed")

    def has_token(self, item: Any) -> bool:
        kind = get(item, self.TYPE)
        return isinstance(kind, str) and kind.endswith(self.TOKENS) and get(item, "delta") != ""

    def has_answer(self, item: Any) -> bool:
        return self.has_token(item) and self._may_answer(get(item, self.TYPE))

    def marker(self) -> Verdict | None:
        return self._verdict

    def unfinished(self) -> str:
        return "missing_terminal"

    def usage(self) -> Usage | None:
        return usage_of(self._usage)


class ResponsesEvents(TypedEvents):
    """Responses, over SSE or a WebSocket. https://platform.openai.com/docs/api-reference/responses-streaming"""

    BODY = "response"
    BEGINS = frozenset({"response.created", "response.queued", "response.in_progress"})
    ENDS: ClassVar[dict[str, str]] = {
        "response.completed": "completed",
        "response.done": "completed",  # Realtime's; its status gives the outcome
        "response.incomplete": "incomplete",
        "response.failed": "failed",
        "response.cancelled": "cancelled",
        "error": "error",
    }
    TOKENS = (".delta", ".partial_image")
    __slots__ = ()

    def _end(self, how: str, item: Any) -> None:
        status = get(get(item, "response"), "status")
        super()._end(status if how == "completed" and status in ("incomplete", "failed", "cancelled") else how, item)

    def _judge(self, how: str, body: Any, item: Any) -> Verdict:
        details = get(body, "status_details")  # Realtime's
        if how == "incomplete" and details is not None:
            return incomplete(get(details, "reason"))
        if how == "failed" and details is not None:
            return self._failure(details, item)
        return super()._judge(how, body, item)


class AssistantEvents(TypedEvents):
    """Threads and runs. https://platform.openai.com/docs/api-reference/assistants-streaming/events"""

    TYPE = "event"
    BODY = "data"
    named_events = True
    common = NOT_YET  # the field of their type is another one
    BEGINS = frozenset({"thread.run.created", "thread.run.queued", "thread.run.in_progress"})
    ENDS: ClassVar[dict[str, str]] = {
        "thread.run.completed": "completed",
        "thread.run.requires_action": "completed",
        "thread.run.incomplete": "incomplete",
        "thread.run.failed": "failed",
        "thread.run.expired": "failed",
        "thread.run.cancelled": "cancelled",
        "error": "error",
    }
    __slots__ = ()

    def read(self, item: Any) -> bool:
        if get(item, "event") is None and isinstance(get(item, "message"), str):
            # The SDK gives its own helpers an error without the name of its event.
            self._end("error", item)
            return False
        return super().read(item)


class ImageEvents(TypedEvents):
    """Image generation and edit with partial images."""

    ENDS: ClassVar[dict[str, str]] = {
        "image_generation.completed": "completed",
        "image_edit.completed": "completed",
        "error": "error",
    }
    TOKENS = (".partial_image", ".completed")
    __slots__ = ()


class TranscriptEvents(TypedEvents):
    """Audio transcription."""

    ENDS: ClassVar[dict[str, str]] = {"transcript.text.done": "completed", "error": "error"}
    TOKENS = (".delta", ".segment", ".done")
    __slots__ = ()


class SpeechEvents(TypedEvents):
    """Speech as events (``stream_format="sse"``)."""

    ENDS: ClassVar[dict[str, str]] = {"speech.audio.done": "completed", "error": "error"}
    __slots__ = ()


class AgentEvents(TypedEvents):
    """Events of an agent session (beta): unfinished while a turn is under way.

    The verdict of a turn is final when the session is idle again; that of an error event is dropped if the turn
    completes all the same."""

    BEGINS = frozenset({"agent.session.turn.created", "agent.session.in_progress"})
    ENDS: ClassVar[dict[str, str]] = {
        "agent.session.turn.completed": "completed",
        "agent.session.turn.failed": "failed",
        "agent.session.turn.cancelled": "cancelled",
        "agent.session.failed": "failed",
        "agent.session.budget_reached": "length",  # since openai 3.54, without a type of its own
        "error": "error",
    }
    # The session waits for the app: that completes a turn unless it has ended worse. These are also the first events
    # of a subscription to a session.
    RESTS: ClassVar[frozenset[str]] = frozenset({"agent.session.idle", "agent.session.requires_action"})
    WORKS: ClassVar[tuple[str, ...]] = ("agent.session.turn.", "agent.session.in_progress", "agent.output.")
    __slots__ = ("_worked",)

    def __init__(self) -> None:
        super().__init__()
        self._worked = False

    common = NOT_YET  # an event of any type may come from a subagent, or end a turn

    def read(self, item: Any) -> bool:
        kind = get(item, "type")
        if not isinstance(kind, str) or get(get(item, "turn"), "subagent_id") is not None:
            return False  # the end of a subagent does not end the turn that the app waits for
        if not self._worked:
            self._worked = kind.startswith(self.WORKS)
        elif kind in self.RESTS and self._verdict is None:
            self._verdict = COMPLETED
        return super().read(item) and kind in KEEP_ALIVES  # a turn may follow another one

    def _note_usage(self, usage: Any) -> None:
        self._usage = added_usage(self._usage, usage_of(usage))  # each turn reports its own usage

    def _judge(self, how: str, body: Any, item: Any) -> Verdict:
        before = self._verdict
        if how == "length" and before is not None and before.outcome not in _CUT_SHORT:
            return before  # the turn had completed, or had failed by itself, before the budget was reported as used up
        return super()._judge(how, body, item)

    def _body(self, item: Any) -> Any:
        return get(item, "turn") or get(item, "session") or item

    def _begin(self, body: Any) -> None:
        self._verdict = None
        self.response_id = identifier(get(body, "session_id")) or identifier(get(body, "id"))
        self.response_model = text(get(get(body, "agent"), "model")) or self.response_model


class BodyBytes:
    """A body that is the content itself, such as speech: complete when HTTP says so, unless it was empty."""

    ends_with_body = True
    named_events = reads_errors = False
    service_tier: str | None = None
    system_fingerprint: str | None = None
    unfinished_choices: tuple[int, ...] = ()
    common = thinking = NOT_YET
    __slots__ = ("done", "finish_reasons", "response_id", "response_model")

    def __init__(self) -> None:
        self.done = False
        self.finish_reasons: tuple[str, ...] = ()
        self.response_model: str | None = None
        self.response_id: str | None = None

    def read(self, item: Any) -> bool:
        """Do nothing: the bytes are the content and say nothing of the stream."""
        return False

    def has_token(self, item: Any) -> bool:
        return True

    has_answer = has_token

    def marker(self) -> Verdict | None:
        return None

    def unfinished(self) -> str:
        return "missing_terminal"

    def usage(self) -> Usage | None:
        return None
