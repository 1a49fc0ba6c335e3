"""Reads chunks: does one contain a token, has the stream finished, how many tokens were used?

A reader is duck-typed (SDK objects, plain dicts from a byte stream, whatever ``parse(to=...)`` builds) and
keeps no content: finish reasons, ids and numbers only. Typed events are in events.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from ..outcome import Outcome, Verdict
from . import vocabulary
from .fields import count, fields, get, has_any, identifier, model_name, text, word
from .record import Usage
from .usage import later_usage, usage_of, usage_of_choices

# More choices than any provider offers; a hostile body may send more, which are ignored.
_MAX_CHOICES = 128
_MAX_IN_ONE = 4  # chunks that are read of an event that is a list of chunks
_FIRST = (0,)  # the index of the only choice of nearly all streams

# "images": https://openrouter.ai/docs/features/multimodal/image-generation
# "reasoning_text": GitHub Copilot, https://github.com/BerriAI/litellm/issues/35021
_ANSWER_FIELDS = frozenset({"content", "refusal", "tool_calls", "function_call", "audio", "images"})
_TOKEN_FIELDS = _ANSWER_FIELDS | {"reasoning_content", "reasoning", "reasoning_details", "reasoning_text"}
# Types of events that keep a connection alive. "keepalive" is what Responses sends while a model thinks, undocumented:
# https://github.com/openai/openai-node/issues/1964
KEEP_ALIVES = frozenset({"ping", "keepalive", "keep_alive", "keep-alive", "heartbeat"})
# Worst first: of several choices, the worst counts.
_SEVERITY = (
    Outcome.API_ERROR, Outcome.RATE_LIMITED, Outcome.CONTENT_FILTER, Outcome.LENGTH, Outcome.CANCELLED,
    Outcome.COMPLETED,
)
# Fields, beside the choices or in one, with an error in a chunk that the SDK treats as an ordinary one.
# https://console.groq.com/docs/api-reference (x_groq), https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlmyncueh
# (error_code), https://platform.minimax.io/docs/api-reference/errorcode (base_resp)
ERRORS = frozenset({"error", "error_code", "x_groq", "base_resp"})
# Gemini's endpoint has said so where finish_reason was null: https://github.com/jakobdylanc/llmcord/issues/84
_CAMEL = "finishReason"
_RARE_IN_CHOICE = ERRORS | {_CAMEL}
IN_CHOICE = _RARE_IN_CHOICE | {"usage"}
# Where the provider's own finish_reason is: https://openrouter.ai/docs/api/reference/overview, and LiteLLM's place.
_NATIVE = frozenset({"native_finish_reason", "provider_specific_fields"})
_RARE_AT_END = IN_CHOICE | _NATIVE


class Common(NamedTuple):
    """What common chunks are by now, those that show only that the stream goes on: nothing else is read of them.

    ``kind``: events of this type. ``choices``: chunks with one choice, of one of these indexes, and nothing special;
    if ``thinks`` is given, only where it returns True of that choice. Neither: every chunk has to be read."""

    kind: str | None = None
    choices: tuple[int, ...] | None = None
    thinks: Callable[[Any], bool] | None = None


NOT_YET = Common()


class Reader(Protocol):
    """What the observation needs from the reader of a surface. No method raises on malformed chunks."""

    done: bool
    ends_with_body: bool

    @property
    def named_events(self) -> bool:
        """Whether an event's type is in the ``event:`` line and not in the data."""

    @property
    def reads_errors(self) -> bool:
        """Whether this reader is given events of the type ``error``, as it is given others."""

    @property
    def finish_reasons(self) -> tuple[str, ...]: ...

    @property
    def unfinished_choices(self) -> tuple[int, ...]:
        """The places, among the choices in the order of their indexes, of those without a finish reason."""

    @property
    def response_model(self) -> str | None: ...

    @property
    def response_id(self) -> str | None: ...

    @property
    def service_tier(self) -> str | None:
        """The tier that the provider served the request in."""

    @property
    def system_fingerprint(self) -> str | None:
        """The provider's name for its configuration."""

    @property
    def common(self) -> Common:
        """In which chunks ``read`` would find nothing."""

    @property
    def thinking(self) -> Common:
        """In which chunks neither ``read`` nor ``has_answer`` would find anything: those of a model that thinks."""

    def read(self, item: Any) -> bool:
        """Read one chunk and keep what it says of the stream; return whether it only keeps the connection alive."""

    def has_token(self, item: Any) -> bool:
        """Whether this chunk contains generated output. Not called any more after the first True."""

    def has_answer(self, item: Any) -> bool:
        """Whether this chunk contains output that is no reasoning. Not called before ``has_token`` has found some."""

    def marker(self) -> Verdict | None:
        """The verdict of the terminal marker, or None while the stream is unfinished."""

    def unfinished(self) -> str:
        """The error type to report if the body ends properly now, without a terminal marker."""

    def usage(self) -> Usage | None:
        """Token counts as last reported."""


class ChatChunks:
    """Chat completions: finished when every choice that was seen has a finish_reason.

    If one choice has several finish_reasons the last counts. One that is followed by content was not the end: some
    gateways put a finish_reason on every chunk. From then on a choice is ended only by a finish_reason on a chunk
    without content, or by ``[DONE]``.
    """

    ends_with_body = named_events = reads_errors = False
    several = False  # whether more than one choice may come
    __slots__ = (
        "_by_choice", "_content_after_finish", "_failed", "_finishes", "_open", "_reported", "_seen", "done",
        "response_id", "response_model", "service_tier", "system_fingerprint",
    )

    def __init__(self) -> None:
        self.done = False
        self.response_model: str | None = None
        self.response_id: str | None = None
        self.service_tier: str | None = None
        self.system_fingerprint: str | None = None
        # Indexes of choices. Tuples: there is nearly always one choice, and no container is smaller.
        self._seen: tuple[int, ...] = ()
        self._open: tuple[int, ...] = ()  # choices without a finish_reason, or with content after it
        # The last finish_reason of each choice: its word, its verdict, and whether its chunk was without content.
        self._finishes: dict[int, tuple[str, Verdict, bool]] | None = None
        self._content_after_finish = False  # content has followed a finish_reason
        self._reported: Any = None
        self._by_choice: dict[int, Any] | None = None
        self._failed: Verdict | None = None

    @property
    def common(self) -> Common:
        return Common(None, self._open) if self._open else NOT_YET

    @property
    def thinking(self) -> Common:
        return Common(None, self._open, self._thinks) if self._open else NOT_YET

    @staticmethod
    def _thinks(choice: Any) -> bool:
        delta = choice.__dict__["delta"]
        return delta is None or not has_any(delta, _ANSWER_FIELDS) or _is_thought(delta)

    def _read_quickly(self, item: Any) -> bool:
        """Read a model that is common, or would be without its usage and finish_reason; False for any other chunk."""
        try:
            # Read from ``__dict__``: for a model's attribute Python would look up the class's __getattr__ first.
            chunk = item.__dict__
            (each,) = chunk["choices"]
            choice = each.__dict__
            index, reason = choice["index"], choice["finish_reason"]
            if index not in self._open:
                return False
            beside, within, usage = item.__pydantic_extra__, each.__pydantic_extra__, chunk["usage"]
        except (AttributeError, TypeError, ValueError, LookupError):
            return False  # a dict, an omitted field, a null or several choices
        if (beside and not ERRORS.isdisjoint(beside)) or (within and not IN_CHOICE.isdisjoint(within)):
            return False
        if reason and not (ERRORS.isdisjoint(chunk) and self._ends(index, reason, choice, within)):
            return False
        if usage is not None:
            self._reported = later_usage(self._reported, usage)
        return True

    def _ends(self, index: int, reason: Any, choice: Any, within: Any) -> bool:
        """Note the first finish_reason of the stream if its word is a known one; False for any other."""
        verdict = vocabulary.FINISH.get(reason) if isinstance(reason, str) else None
        if verdict is None or self._finishes is not None or self._failed is not None:
            return False
        # A class of the app's own may declare what is an extra of the SDK's.
        if not _RARE_AT_END.isdisjoint(choice) or (within and not _RARE_AT_END.isdisjoint(within)):
            return False
        self._finishes = {index: (reason, verdict, not self._says(choice))}
        self._open = () if len(self._open) == 1 else tuple([other for other in self._open if other != index])
        return True

    def read(self, item: Any) -> bool:
        if type(item) is dict:
            quick = self.response_id is not None and is_common_dict(item, self._open)
        elif self._seen:
            quick = self.response_id is not None and self._read_quickly(item)
        else:
            quick = self._begins(item)
        return False if quick else self._read_patiently(item)

    def _begins(self, item: Any) -> bool:
        """Read a first chunk that would be common if its choice had been seen before; False for any other."""
        try:
            chunk = item.__dict__
            index, found_id, model = chunk["choices"][0].__dict__["index"], chunk["id"], chunk["model"]
        except (AttributeError, TypeError, LookupError):
            return False
        if type(index) is not int or index < 0:
            return False
        self._open = alone = _FIRST if index == 0 else (index,)
        if not self._read_quickly(item):
            self._open = ()
            return False
        self._seen = alone
        if self.response_id is None:
            self.response_id, self.response_model = identifier(found_id), self.response_model or model_name(model)
            self._note_provider(chunk)
        return True

    def _read_patiently(self, item: Any) -> bool:
        if isinstance(item, list):
            # Google's errors: https://github.com/n4ze3m/page-assist/issues/406
            for each in item[:_MAX_IN_ONE]:
                if not isinstance(each, list):
                    self._read_patiently(each)
            return False
        chunk = fields(item)
        if self.response_id is None:
            self.response_id = identifier(chunk.get("id"))
            self.response_model = self.response_model or model_name(chunk.get("model"))
            self._note_provider(chunk)
        groq = chunk.get("x_groq")
        if groq is not None and (usage := get(groq, "usage")) is not None:
            self._reported = later_usage(self._reported, usage)
        if (usage := chunk.get("usage")) is not None:
            self._reported = later_usage(self._reported, usage)
        choices = chunk.get("choices")
        if not isinstance(choices, (list, tuple)):
            failed = error_alone(chunk)
            self._failed = failed or self._failed
            return failed is None and _only_keeps_alive(chunk)
        self._failed = _error_beside(chunk) or self._failed
        for each in choices:
            choice = fields(each)
            index = count(choice.get("index")) or 0
            if index not in self._seen:
                if len(choices) == 1 and self._counts_chunks(index, choice):
                    self._seen = self._open = ()
                if len(self._seen) >= _MAX_CHOICES:
                    continue
                alone = (index,)
                self._seen += alone
                self._open += alone
            usage = choice.get("usage")
            if usage is not None:
                self._usage_of_choice(index, usage)
            error = choice.get("error") or choice.get("error_code") or (groq is not None and get(groq, "error"))
            self._choice(index, choice, error if _is_error(error) else None)
        return False

    def _counts_chunks(self, index: int, choice: Any) -> bool:
        """Whether the indexes have been those of chunks: the one that ends the only choice shows it.

        https://github.com/microsoft/foundry-local/issues/263,
        https://github.com/huggingface/text-generation-inference/pull/1648"""
        seen = self._seen
        if self.several or not seen or index - seen[0] != len(seen) or self._finishes is not None:
            return False
        ends = choice.get("finish_reason") or choice.get(_CAMEL) or len(seen) >= _MAX_CHOICES
        return bool(ends) and seen == tuple(range(seen[0], index))

    def _note_provider(self, chunk: Any) -> None:
        fingerprint, tier = chunk.get("system_fingerprint"), chunk.get("service_tier")
        if fingerprint is not None:
            self.system_fingerprint = word(fingerprint)
        if tier is not None:
            self.service_tier = word(tier)

    def _choice(self, index: int, choice: Any, error: Any) -> None:
        reason = text(choice.get("finish_reason")) or text(choice.get(_CAMEL))
        finish: tuple[str, Verdict] | None
        if error is not None:
            finish = _failure(reason, error)
            self._failed = finish[1]
        elif self._failed is not None:
            return  # an error is final, whatever the provider sends after it
        else:
            finish = _finish(reason, choice) if reason is not None else None
        if finish is None:
            if index not in self._open and self._says(choice):
                self._content_after_finish = True
                self._open += (index,)
            return
        if self._finishes is None:
            self._finishes = {}
        bare = not self._says(choice)
        if not bare and index in self._finishes:
            self._content_after_finish = True
        self._finishes[index] = (*finish, bare)
        self._open = tuple([other for other in self._open if other != index])

    def _ended(self) -> dict[int, tuple[str, Verdict, bool]]:
        """The finish_reasons that have ended their choice, as far as is known so far, by the choice's index."""
        if self._finishes is None:
            return {}
        if self.done or self._failed is not None:
            return self._finishes
        return {
            index: finish for index, finish in self._finishes.items()
            if index not in self._open and (finish[2] or not self._content_after_finish)
        }

    @property
    def finish_reasons(self) -> tuple[str, ...]:
        ended = self._ended()
        return tuple([ended[index][0] for index in sorted(ended)])

    @property
    def unfinished_choices(self) -> tuple[int, ...]:
        ended = self._ended()
        return tuple([place for place, index in enumerate(sorted(self._seen)) if index not in ended])

    def _usage_of_choice(self, index: int, usage: Any) -> None:
        """Note the usage in a choice, where Moonshot puts it: https://github.com/earendil-works/pi/issues/2017"""
        known = self._by_choice or {}
        self._by_choice = {**known, index: later_usage(known.get(index), usage)}

    def has_token(self, item: Any) -> bool:
        if _has_content(item):
            return True
        choices = get(item, "choices")
        return isinstance(choices, (list, tuple)) and any(map(self._says, map(fields, choices)))

    def has_answer(self, item: Any) -> bool:
        if _has_content(item):
            return True
        choices = get(item, "choices")
        return isinstance(choices, (list, tuple)) and any(map(self._answers, map(fields, choices)))

    def _says(self, choice: Any) -> bool:
        """Whether a choice of a chunk contains generated output; ``choice`` is what ``fields`` returned for it."""
        delta = choice.get("delta")
        return delta is not None and has_any(delta, _TOKEN_FIELDS)

    def _answers(self, choice: Any) -> bool:
        delta = choice.get("delta")
        return delta is not None and has_any(delta, _ANSWER_FIELDS) and not _is_thought(delta)

    def marker(self) -> Verdict | None:
        if self._failed is not None:
            return self._failed
        ended = list(self._ended().values())
        if not self._seen or len(ended) < len(self._seen):
            return next((verdict for _, verdict, _ in ended if verdict.outcome is Outcome.API_ERROR), None)
        if len(ended) == 1:
            return ended[0][1]
        return min([verdict for _, verdict, _ in ended], key=lambda verdict: _SEVERITY.index(verdict.outcome))

    def unfinished(self) -> str:
        if self._content_after_finish and not self.done:
            return "missing_terminal"
        return "missing_finish_reason" if self.done or self._finishes else "missing_terminal"

    def usage(self) -> Usage | None:
        if self._reported is None and self._by_choice is None:
            return None
        return usage_of(self._reported) or usage_of_choices(self._by_choice)


def is_common_dict(chunk: dict[str, Any], choices: tuple[int, ...]) -> bool:
    """Whether a chunk that was parsed from bytes shows only that the stream goes on, as ``Common`` says."""
    try:
        (choice,) = chunk["choices"]
        return (
            not choice.get("finish_reason") and choice.get("index", 0) in choices
            and chunk.get("usage") is None and choice.get("usage") is None
            and ERRORS.isdisjoint(chunk) and _RARE_IN_CHOICE.isdisjoint(choice)
        )
    except (AttributeError, TypeError, ValueError, LookupError):
        return False


class SeveralChoices(ChatChunks):
    """Chat completions of a request with ``n``."""

    several = True
    __slots__ = ()


class CompletionChunks(ChatChunks):
    """Legacy completions: choices as in chat completions, with the text directly in each choice."""

    several = True  # a choice for each prompt
    thinking = NOT_YET  # there is no field for thoughts
    __slots__ = ()

    def _says(self, choice: Any) -> bool:
        return bool(choice.get("text"))

    _answers = _says


def _is_thought(delta: Any) -> bool:
    """Whether a delta whose content is a list has parts of the type ``thinking`` only, as Mistral's models send them.
    https://github.com/BerriAI/litellm/issues/16272"""
    parts = get(delta, "content")
    if not isinstance(parts, list) or has_any(delta, _ANSWER_FIELDS - {"content"}):
        return False
    return all(get(part, "type") == "thinking" for part in parts)


def _has_content(item: Any) -> bool:
    """Whether the first choice of a chunk has text: the quick way to nearly every token, and every answer."""
    try:
        content = item.__dict__["choices"][0].__dict__["delta"].__dict__["content"]
        return isinstance(content, str) and content != ""
    except (AttributeError, TypeError, LookupError):
        return False


def _finish(reason: str, choice: Any) -> tuple[str, Verdict] | None:
    """What ended a choice. Gateways with few words of their own put the provider's word beside theirs (_NATIVE)."""
    found = vocabulary.finish(reason)
    if found is not None and found[1] == vocabulary.COMPLETED:
        native = choice.get("native_finish_reason")
        if native is None and (more := choice.get("provider_specific_fields")) is not None:
            native = get(more, "native_finish_reason")
        own = vocabulary.finish(native) if isinstance(native, str) else None
        if own is not None and (own[1] != vocabulary.COMPLETED or found[0] == vocabulary.OTHER):
            return own
    return found


def _failure(reason: str | None, error: Any) -> tuple[str, Verdict]:
    """What an error in a choice means: the kind that it names, else that the choice failed."""
    finish = vocabulary.finish(reason) if reason is not None else None
    if finish is None or finish[1].outcome is not Outcome.API_ERROR:
        finish = vocabulary.ERROR
    named = vocabulary.classify_error_event(error)
    return finish[0], named if named in vocabulary.NAMED else finish[1]


def _only_keeps_alive(chunk: Any) -> bool:
    """Whether an event without choices is a ping, or has nothing in it: a proxy's `event: ping` with `data: {}`."""
    kind = chunk.get("type")
    if isinstance(kind, str):
        return kind in KEEP_ALIVES
    return isinstance(chunk, dict) and all(value is None for value in chunk.values())


def _is_error(code: Any) -> bool:
    """Whether this is an error, or the code of one. Some providers send a code that means "no error"."""
    if isinstance(code, dict):
        return any(map(_is_error, code.values()))
    return bool(code) and not (isinstance(code, (str, int)) and str(code)[:16].lower() in ("0", "200", "ok", "success"))


def _error_beside(chunk: Any) -> Verdict | None:
    """The verdict of an error beside the choices, which the SDK ignores."""
    if type(chunk) is dict and ERRORS.isdisjoint(chunk):
        return None
    error = chunk.get("error") or chunk.get("error_code") or get(chunk.get("x_groq"), "error")
    if _is_error(error):
        return vocabulary.classify_error_event(error)
    status = chunk.get("base_resp")
    code = get(status, "status_code") if status is not None else None
    return vocabulary.classify_base_resp(code) if _is_error(code) else None


def error_alone(chunk: Any) -> Verdict | None:
    """Classify an event that is an error and has no choices; None for no error.

    Older vLLM sends errors in this form. DashScope's have a code and a message, AWS's a ``__type``, FastAPI's a
    ``detail``, Cloudflare's ``errors``, those of gateways a ``status`` as in HTTP.
    """
    code, kind = chunk.get("code"), chunk.get("type")
    if "error" in (chunk.get("object"), kind) or (
        _is_error(code) and isinstance(chunk.get("message") or chunk.get("msg"), str)
    ):
        return vocabulary.classify_error_event(code, kind)
    if any(chunk.get(name) for name in ("__type", "detail", "errors")) or any(
        (count(chunk.get(name)) or 0) >= 400 for name in ("status", "statusCode", "status_code")
    ):
        return vocabulary.classify_error_event(chunk)
    return _error_beside(chunk)


