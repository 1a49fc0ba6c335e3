"""Readers for the surfaces whose chunks are typed events: Responses, Assistants, images, audio, agent sessions.

Each is a vocabulary: which event types end the stream and how. Everything else is one dictionary look-up.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .chunks import get, text, usage_of
from .outcome import Outcome, Verdict, classify_error_event
from .record import Usage

_COMPLETED = Verdict(Outcome.COMPLETED)
_CANCELLED = Verdict(Outcome.CANCELLED, "other")
# Why a response or a run is incomplete, as `incomplete_details.reason` says it.
_INCOMPLETE = {
    "max_output_tokens": Verdict(Outcome.LENGTH),
    "max_completion_tokens": Verdict(Outcome.LENGTH),
    "max_prompt_tokens": Verdict(Outcome.LENGTH),
    "max_messages": Verdict(Outcome.LENGTH),
    "content_filter": Verdict(Outcome.CONTENT_FILTER),
    "steered": _COMPLETED,
}
_MAX_REASONS = 8


class TypedEvents:
    """A stream of events that say what they are. Subclasses are tables.

    ``TYPE`` is the field that holds the event's type, ``BODY`` the one that holds what it is about ("" where the
    event itself does). ``ENDS`` maps terminal types to completed, incomplete, failed, cancelled or error;
    ``BEGINS`` are the types after which the stream is unfinished (again). Types that end in one of ``TOKENS``
    carry something generated.
    """

    TYPE: ClassVar[str] = "type"
    BODY: ClassVar[str] = ""
    BEGINS: ClassVar[frozenset[str]] = frozenset()
    ENDS: ClassVar[dict[str, str]] = {}
    TOKENS: ClassVar[tuple[str, ...]] = (".delta",)
    ends_with_body = False

    __slots__ = ("_told", "_verdict", "done", "finish_reasons", "response_id", "response_model")

    def __init__(self) -> None:
        self.done = False
        self.finish_reasons: list[str] = []
        self.response_model: str | None = None
        self.response_id: str | None = None
        self._verdict: Verdict | None = None
        self._told: Any = None

    def read(self, item: Any) -> None:
        kind = get(item, self.TYPE)
        if not isinstance(kind, str):
            return
        if kind in self.BEGINS:
            self._begin(self._body(item))
        elif kind in self.ENDS:
            self._end(self.ENDS[kind], item)

    def _body(self, item: Any) -> Any:
        return get(item, self.BODY) if self.BODY else item

    def _begin(self, body: Any) -> None:
        self._verdict = None
        self.response_id = text(get(body, "id"))
        self.response_model = text(get(body, "model"))

    def _end(self, how: str, item: Any) -> None:
        body = self._body(item)
        self._told = get(body, "usage") or get(item, "usage") or self._told
        self._verdict = self._judge(how, body, item)
        if len(self.finish_reasons) < _MAX_REASONS:
            self.finish_reasons.append(how)

    def _judge(self, how: str, body: Any, item: Any) -> Verdict:
        if how == "incomplete":
            reason = get(get(body, "incomplete_details"), "reason")
            return _INCOMPLETE.get(reason if isinstance(reason, str) else "", _COMPLETED)
        if how in ("failed", "error"):
            return self._failure(body, item)
        return _CANCELLED if how == "cancelled" else _COMPLETED

    def _failure(self, body: Any, item: Any) -> Verdict:
        error = get(body, "error") or get(body, "last_error") or get(item, "error") or item
        code, kind = get(error, "code"), get(error, "type")
        if code is None and error is item:
            # The event says that something failed and nothing more.
            return Verdict(Outcome.API_ERROR, "response_failed")
        return classify_error_event(code, None if kind == "error" else kind)

    def has_token(self, item: Any) -> bool:
        kind = get(item, self.TYPE)
        return isinstance(kind, str) and kind.endswith(self.TOKENS)

    def marker(self) -> Verdict | None:
        return self._verdict

    def unfinished(self) -> str:
        return "missing_terminal"

    def usage(self) -> Usage | None:
        return usage_of(self._told)


class ResponsesEvents(TypedEvents):
    """Responses, over SSE or a WebSocket. https://platform.openai.com/docs/api-reference/responses-streaming"""

    BODY = "response"
    BEGINS = frozenset({"response.created", "response.queued"})
    ENDS: ClassVar[dict[str, str]] = {
        "response.completed": "completed",
        "response.done": "completed",  # Realtime's; its status says more
        "response.incomplete": "incomplete",
        "response.failed": "failed",
        "response.cancelled": "cancelled",
        "error": "error",
    }
    TOKENS = (".delta", ".partial_image")
    __slots__ = ()

    def _judge(self, how: str, body: Any, item: Any) -> Verdict:
        status = get(body, "status")
        if how == "completed" and status in ("incomplete", "failed", "cancelled"):
            details = get(body, "status_details")
            if status == "incomplete":
                reason = get(details, "reason")
                return _INCOMPLETE.get(reason if isinstance(reason, str) else "", _COMPLETED)
            return self._failure(details, item) if status == "failed" else _CANCELLED
        return super()._judge(how, body, item)


class AssistantEvents(TypedEvents):
    """Threads and runs. https://platform.openai.com/docs/api-reference/assistants-streaming/events"""

    TYPE = "event"
    BODY = "data"
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
    """Speech asked for as events (``stream_format="sse"``)."""

    ENDS: ClassVar[dict[str, str]] = {"speech.audio.done": "completed", "error": "error"}
    __slots__ = ()


class AgentEvents(TypedEvents):
    """Events of an agent session (beta): unfinished while a turn is under way."""

    BEGINS = frozenset({"agent.session.turn.created", "agent.session.in_progress"})
    ENDS: ClassVar[dict[str, str]] = {
        "agent.session.turn.completed": "completed",
        "agent.session.idle": "completed",
        "agent.session.requires_action": "completed",
        "agent.session.turn.failed": "failed",
        "agent.session.failed": "failed",
        "agent.session.turn.cancelled": "cancelled",
        "error": "error",
    }
    __slots__ = ()

    def _begin(self, body: Any) -> None:
        self._verdict = None
        self.response_id = text(get(body, "session_id"))


class BodyBytes:
    """A body that is its own content, as speech: whole when HTTP says so, if there was anything at all."""

    ends_with_body = True
    __slots__ = ("done", "finish_reasons", "response_id", "response_model")

    def __init__(self) -> None:
        self.done = False
        self.finish_reasons: list[str] = []
        self.response_model: str | None = None
        self.response_id: str | None = None

    def read(self, item: Any) -> None:
        """The bytes are the content; there is nothing to note."""

    def has_token(self, item: Any) -> bool:
        return True

    def marker(self) -> Verdict | None:
        return None

    def unfinished(self) -> str:
        return "missing_terminal"

    def usage(self) -> Usage | None:
        return None
