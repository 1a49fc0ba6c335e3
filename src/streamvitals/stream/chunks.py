"""What a chunk says of its stream: is there a token in it, has the stream finished, what was used?

A reader is duck-typed (SDK objects, plain dicts from a byte stream, whatever ``parse(to=...)`` builds) and
keeps no content: finish reasons, ids and numbers only. Typed events are in events.py.
"""

from __future__ import annotations

from typing import Any, Protocol

from .fields import count, fields, get, identifier, text
from .outcome import ERROR_TYPES, Outcome, Verdict, classify_error_event
from .record import Usage
from .usage import later_usage, usage_of, usage_of_choices

# More choices than any provider offers; what a hostile body sends past it is not remembered.
_MAX_CHOICES = 128

# https://platform.openai.com/docs/api-reference/chat/streaming (finish_reason); `max_tokens` and
# `model_length` are what Mistral-like and older servers say for the same.
_LENGTH = frozenset({"length", "max_tokens", "model_length"})
_COMPLETED = frozenset({"stop", "tool_calls", "function_call"})
_FAILED = frozenset({"error", "abort", "insufficient_system_resource"})
_KNOWN = _COMPLETED | _LENGTH | _FAILED | {"content_filter"}
_TOKEN_FIELDS = (
    "content", "reasoning_content", "reasoning", "reasoning_details", "refusal", "tool_calls", "function_call", "audio",
)
# Worst first: of several choices, the worst counts.
_SEVERITY = (Outcome.API_ERROR, Outcome.CONTENT_FILTER, Outcome.LENGTH, Outcome.COMPLETED)


class Reader(Protocol):
    """What the observation asks of a surface's reader. No method raises on strange chunks."""

    done: bool
    ends_with_body: bool

    @property
    def named_events(self) -> bool:
        """Whether an event's type stands on a line of its own, beside the data, and not in the data."""

    @property
    def reads_errors(self) -> bool:
        """Whether events of the type ``error`` are for this reader, as others are."""

    @property
    def finish_reasons(self) -> tuple[str, ...]: ...

    @property
    def response_model(self) -> str | None: ...

    @property
    def response_id(self) -> str | None: ...

    def read(self, item: Any) -> None:
        """Take note of one chunk."""

    def has_token(self, item: Any) -> bool:
        """Whether this chunk carries something generated. Asked only until the first one does."""

    def marker(self) -> Verdict | None:
        """The verdict of the terminal marker, or None while the stream is unfinished."""

    def unfinished(self) -> str:
        """The error type of a body that ended now, properly, without its marker."""

    def usage(self) -> Usage | None:
        """Token counts as last reported."""


class ChatChunks:
    """Chat completions: finished when every choice that was seen has a finish_reason."""

    ends_with_body = named_events = reads_errors = False
    __slots__ = (
        "_by_choice", "_failed", "_reported", "_seen", "_unfinished", "done", "finish_reasons", "response_id",
        "response_model",
    )

    def __init__(self) -> None:
        self.done = False
        self.finish_reasons: tuple[str, ...] = ()
        self.response_model: str | None = None
        self.response_id: str | None = None
        # Indexes of choices. Tuples, as there is nearly always one choice, and no smaller container.
        self._seen: tuple[int, ...] = ()
        self._unfinished: tuple[int, ...] = ()
        self._reported: Any = None
        self._by_choice: dict[int, Any] | None = None
        self._failed: Verdict | None = None

    def read(self, item: Any) -> None:
        """The common chunk, one unfinished choice that is known, is recognised in a few attribute reads."""
        try:
            choices = item.choices
            if len(choices) == 1:
                choice = choices[0]
                if choice.finish_reason is None and choice.index in self._unfinished and item.usage is None:
                    return
        except (AttributeError, TypeError, LookupError):
            pass  # a dict, an omitted field or a null: the patient way below reads those
        self._read_patiently(item)

    def _read_patiently(self, item: Any) -> None:
        chunk = fields(item)
        if self.response_id is None:
            self.response_id = identifier(chunk.get("id"))
            self.response_model = text(chunk.get("model"))
        groq = chunk.get("x_groq")
        if groq is not None and (usage := get(groq, "usage")) is not None:
            self._reported = later_usage(self._reported, usage)
        if (usage := chunk.get("usage")) is not None:
            self._reported = later_usage(self._reported, usage)
        choices = chunk.get("choices")
        if not isinstance(choices, (list, tuple)):
            # Older vLLM: the error is not in a field `error`, so the SDK takes it for one more chunk.
            if chunk.get("object") == "error":
                self._failed = classify_error_event(chunk.get("code"), chunk.get("type"))
            return
        for each in choices:
            choice = fields(each)
            index = count(choice.get("index")) or 0
            if index not in self._seen:
                if len(self._seen) >= _MAX_CHOICES:
                    continue
                alone = (index,)
                self._seen += alone
                self._unfinished += alone
            usage = choice.get("usage")
            if usage is not None:
                self._told_by_choice(index, usage)
            reason = text(choice.get("finish_reason"))
            if choice.get("error") is not None or (groq is not None and get(groq, "error") is not None):
                reason = reason if reason is not None and reason.lower() in _FAILED else "error"
            if reason is not None and index in self._unfinished:
                self._unfinished = tuple(other for other in self._unfinished if other != index)
                self.finish_reasons += (known_finish(reason),)

    def _told_by_choice(self, index: int, usage: Any) -> None:
        """Moonshot's place for it: https://github.com/earendil-works/pi/issues/2017"""
        known = self._by_choice or {}
        self._by_choice = {**known, index: later_usage(known.get(index), usage)}

    def has_token(self, item: Any) -> bool:
        choices = get(item, "choices")
        if not isinstance(choices, (list, tuple)):
            return False
        for choice in choices:
            delta = get(choice, "delta")
            if delta is not None:
                told = fields(delta)
                for name in _TOKEN_FIELDS:
                    if told.get(name):
                        return True
        return False

    def marker(self) -> Verdict | None:
        if self._failed is not None:
            return self._failed
        if not self._seen or self._unfinished:
            failed = [r for r in self.finish_reasons if r in _FAILED]
            return _verdict(failed[0]) if failed else None
        if len(self.finish_reasons) == 1:
            return _verdict(self.finish_reasons[0])
        verdicts = [_verdict(reason) for reason in self.finish_reasons]
        return min(verdicts, key=lambda v: _SEVERITY.index(v.outcome))

    def unfinished(self) -> str:
        return "missing_finish_reason" if self.done or self.finish_reasons else "missing_terminal"

    def usage(self) -> Usage | None:
        return usage_of(self._reported) or usage_of_choices(self._by_choice)


class CompletionChunks(ChatChunks):
    """Legacy completions: the same choices, with the text in them."""

    __slots__ = ()

    def has_token(self, item: Any) -> bool:
        choices = get(item, "choices")
        return isinstance(choices, (list, tuple)) and any(get(choice, "text") for choice in choices)


_DONE = Verdict(Outcome.COMPLETED)


def _verdict(reason: str) -> Verdict:
    if reason in _COMPLETED:
        return _DONE
    if reason in _LENGTH:
        return Verdict(Outcome.LENGTH)
    if reason == "content_filter":
        return Verdict(Outcome.CONTENT_FILTER)
    if reason in _FAILED:
        kind = f"finish_{reason}"
        return Verdict(Outcome.API_ERROR, kind if kind in ERROR_TYPES[Outcome.API_ERROR] else "other")
    return Verdict(Outcome.COMPLETED)


def known_finish(reason: str) -> str:
    """A finish reason as it may be told: one of the closed list, or ``other``, for it is the provider's text.
    Gateways to Gemini hand on its capitals: https://github.com/QwenLM/qwen-code/issues/9882"""
    reason = reason.lower()
    return reason if reason in _KNOWN else "other"
