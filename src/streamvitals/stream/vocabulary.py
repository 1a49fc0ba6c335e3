"""The words by which providers and gateways say how a stream ended, and what each of them means.

Spelling does not matter, nor the API that sends a word: ``SAFETY``, ``content_filter: SAFETY`` and
``FinishReason.SAFETY`` are one word, and so are ``ThrottlingException`` and ``error.throttling``. A word is looked up
in the table first; if it is not there, one of its parts may still show what kind it is.
docs/words.md is generated from this file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import Enum
from functools import cache
from typing import Any, NamedTuple

from ..outcome import Outcome, Verdict
from .fields import get


class Place(Enum):
    """The field that a word is in: the same word may mean different things in two fields."""

    FINISH = "finish word"  # `finish_reason` of a choice
    INCOMPLETE = "incomplete reason"  # `incomplete_details.reason`, and Realtime's `status_details.reason`
    ERROR = "error code"  # `code`, `type`, `status` of an error, in any kind of event
    BASE_RESP = "base_resp code"  # MiniMax's numbers, which mean other things elsewhere


class Row(NamedTuple):
    """Words that mean the same in one place. ``source`` names the providers that send them."""

    place: Place
    verdict: Verdict
    words: str
    source: str


COMPLETED, LENGTH, FILTER = Verdict(Outcome.COMPLETED), Verdict(Outcome.LENGTH), Verdict(Outcome.CONTENT_FILTER)
CANCELLED = Verdict(Outcome.CANCELLED, "other")
FAILED = Verdict(Outcome.API_ERROR, "other")
RATE = Verdict(Outcome.RATE_LIMITED, "rate_limit_exceeded")
QUOTA = Verdict(Outcome.RATE_LIMITED, "insufficient_quota")


def _api(error_type: str) -> Verdict:
    return Verdict(Outcome.API_ERROR, error_type)


OVERLOADED, UNAVAILABLE, TIMEOUT = _api("overloaded_error"), _api("service_unavailable"), _api("timeout_error")
SERVER, CONTEXT, INVALID = _api("server_error"), _api("context_length_exceeded"), _api("invalid_request_error")

_OPENAI = "https://platform.openai.com/docs/api-reference/chat/streaming"
_RESPONSES = "https://platform.openai.com/docs/api-reference/responses/object"
_AGENTS = "https://github.com/openai/openai-python/blob/main/src/openai/types/beta/session_turn_error.py"
_ERRORS = "https://platform.openai.com/docs/guides/error-codes"
_ANTHROPIC = "https://docs.anthropic.com/en/api/handling-stop-reasons"
_ANTHROPIC_ERRORS = "https://docs.anthropic.com/en/api/errors"
_GEMINI = "https://ai.google.dev/api/generate-content#FinishReason"
_GEMINI_OPENAI = "https://github.com/googleapis/python-genai/issues/1836"
_GOOGLE_ERRORS = "https://ai.google.dev/gemini-api/docs/troubleshooting"
_COHERE = "https://docs.cohere.com/reference/chat-stream"
_CONVERSE = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"
_TITAN = "https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-text.html"
_BEDROCK_ERRORS = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html"
_ZHIPU = "https://docs.bigmodel.cn/cn/api/api-code"
_MISTRAL = "https://docs.mistral.ai/api/"
_DEEPSEEK = "https://api-docs.deepseek.com/api/create-chat-completion"
_VLLM = "https://github.com/vllm-project/vllm/blob/main/vllm/v1/engine/__init__.py"
_TGI = "https://huggingface.co/docs/text-generation-inference/reference/launcher"
_LITELLM = "https://github.com/BerriAI/litellm/blob/main/litellm/litellm_core_utils/core_helpers.py"
_LLAMA_CPP = "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"
_OLLAMA = "https://github.com/ollama/ollama/blob/main/docs/api.md"
_MIMO = "https://platform.xiaomimimo.com/docs/en-US/quick-start/error-codes"
_QIANFAN = "https://cloud.baidu.com/doc/WENXINWORKSHOP/s/tlmyncueh"
_WATSONX = "https://cloud.ibm.com/apidocs/watsonx-ai"
_VERCEL = "https://ai-sdk.dev/docs/reference/ai-sdk-core/stream-text"
_OPENROUTER = "https://openrouter.ai/docs/api/reference/errors-and-debugging"
_DASHSCOPE = "https://help.aliyun.com/en/model-studio/error-code"
_ARK = "https://www.volcengine.com/docs/82379/1299023"
_MOONSHOT = "https://platform.kimi.com/docs/api/errors"
_MINIMAX = "https://platform.minimax.io/docs/api-reference/errorcode"
_AZURE = "https://learn.microsoft.com/azure/ai-foundry/openai/concepts/content-filter"

_F, _I, _E, _B = Place.FINISH, Place.INCOMPLETE, Place.ERROR, Place.BASE_RESP
TABLE: tuple[Row, ...] = (
    # -- how a choice ended
    Row(_F, COMPLETED, "stop tool_calls function_call", _OPENAI),
    Row(_F, LENGTH, "length", _OPENAI),
    Row(_F, FILTER, "content_filter", _OPENAI),
    Row(_F, COMPLETED, "end_turn stop_sequence tool_use pause_turn compaction", _ANTHROPIC),
    Row(_F, LENGTH, "max_tokens model_context_window_exceeded", _ANTHROPIC),
    Row(_F, FILTER, "refusal", _ANTHROPIC),
    Row(_F, FILTER, "safety recitation blocklist prohibited_content spii language image_safety"
        " image_prohibited_content image_recitation model_armor jailbreak escalation", _GEMINI),
    Row(_F, FAILED, "malformed_function_call unexpected_tool_call too_many_tool_calls malformed_response"
        " missing_thought_signature no_image image_other other", _GEMINI),
    Row(_F, FAILED, "function_call_filter", _GEMINI_OPENAI),
    Row(_F, COMPLETED, "complete tool_call", _COHERE),
    Row(_F, LENGTH, "error_limit limit", _COHERE),
    Row(_F, FILTER, "error_toxic", _COHERE),
    Row(_F, FAILED, "timeout", _COHERE),
    Row(_F, CANCELLED, "user_cancel cancel cancelled canceled", _COHERE),
    Row(_F, FILTER, "guardrail_intervened content_filtered", _CONVERSE),
    Row(_F, FAILED, "malformed_model_output malformed_tool_use", _CONVERSE),
    Row(_F, COMPLETED, "finished finish stop_criteria_met endoftext", _TITAN),
    Row(_F, FILTER, "sensitive", _ZHIPU),
    Row(_F, FAILED, "network_error", _ZHIPU),
    Row(_F, LENGTH, "model_length", _MISTRAL),
    Row(_F, _api("finish_error"), "error", _MISTRAL),
    Row(_F, _api("finish_insufficient_system_resource"), "insufficient_system_resource", _DEEPSEEK),
    Row(_F, _api("finish_abort"), "abort", _VLLM),
    Row(_F, LENGTH, "repetition", _VLLM),
    Row(_F, LENGTH, "repetition_truncation", _MIMO),
    Row(_F, COMPLETED, "eos_token", _TGI),
    Row(_F, COMPLETED, "eos", _LITELLM),
    Row(_F, COMPLETED, "word stop_word", _LLAMA_CPP),
    Row(_F, COMPLETED, "load unload", _OLLAMA),
    Row(_F, COMPLETED, "normal end", _QIANFAN),
    Row(_F, LENGTH, "token_limit time_limit", _WATSONX),
    Row(_F, COMPLETED, "completed", _OPENROUTER),
    Row(_F, LENGTH, "max_output_tokens max_completion_tokens max_prompt_tokens", _OPENROUTER),
    Row(_F, FAILED, "server_error failed", _OPENROUTER),
    Row(_F, RATE, "rate_limit rate_limit_exceeded", _OPENROUTER),
    Row(_F, QUOTA, "insufficient_quota", _OPENROUTER),
    # -- why a response or a run is incomplete: a finish word means the same here, unless it means "completed"
    Row(_I, LENGTH, "max_output_tokens max_messages", _RESPONSES),
    Row(_I, FILTER, "content_filter", _RESPONSES),
    Row(_I, COMPLETED, "steered", _RESPONSES),
    Row(_I, LENGTH, "max_completion_tokens max_prompt_tokens",
        "https://platform.openai.com/docs/api-reference/runs/object"),
    # -- errors
    Row(_E, FILTER, "content_filter content_policy_violation responsible_ai_policy_violation", _AZURE),
    Row(_E, FILTER, "cyber_policy misalignment_policy_violation", _AGENTS),
    Row(_E, FILTER, "bio_policy image_content_policy_violation", _RESPONSES),
    Row(_E, FILTER, "data_inspection_failed", _DASHSCOPE),
    Row(_E, FILTER, "1301", _ZHIPU),
    Row(_E, FILTER, "safety recitation blocklist prohibited_content spii refusal", _GEMINI),
    Row(_E, FILTER, "guardrail_intervened", _CONVERSE),
    Row(_E, RATE, "rate_limit_exceeded too_many_requests tokens requests", _ERRORS),
    Row(_E, Verdict(Outcome.RATE_LIMITED, "429"), "429", _ERRORS),
    Row(_E, RATE, "rate_limit rate_limited limit limit_exceeded", _ANTHROPIC_ERRORS),
    Row(_E, RATE, "resource_exhausted", _GOOGLE_ERRORS),
    Row(_E, RATE, "throttling throttled", _BEDROCK_ERRORS),
    Row(_E, RATE, "throttling_rate_quota throttling_allocation_quota throttling_burst_rate limit_requests"
        " limit_burst_rate", _DASHSCOPE),
    Row(_E, RATE, "1302 1303 1304 1305 1313", _ZHIPU),
    Row(_E, RATE, "inflight_batchsize_exceeded", _ARK),
    Row(_E, RATE, "336501 336502", _QIANFAN),
    Row(_E, QUOTA, "insufficient_quota quota_exceeded billing_hard_limit_reached billing_not_active", _ERRORS),
    Row(_E, QUOTA, "usage_limit_exceeded session_budget_exceeded project_spend_limit_exceeded"
        " organization_spend_limit_exceeded organization_usage_limit_exceeded credit_balance_exhausted", _AGENTS),
    Row(_E, QUOTA, "402", _OPENROUTER),
    Row(_E, QUOTA, "arrearage allocation_quota_free_tier_only", _DASHSCOPE),
    Row(_E, QUOTA, "account_overdue", _ARK),
    Row(_E, QUOTA, "exceeded_current_quota", _MOONSHOT),
    Row(_E, QUOTA, "1113 1308 1309 1310", _ZHIPU),
    Row(_E, LENGTH, "max_output_tokens max_completion_tokens max_prompt_tokens", _AGENTS),
    Row(_E, OVERLOADED, "overloaded_error overloaded 529", _ANTHROPIC_ERRORS),
    Row(_E, OVERLOADED, "server_overloaded", _AGENTS),
    Row(_E, OVERLOADED, "slow_down", _ERRORS),
    Row(_E, OVERLOADED, "engine_overloaded", _MOONSHOT),
    Row(_E, OVERLOADED, "1312", _ZHIPU),
    Row(_E, OVERLOADED, "336100", _QIANFAN),
    Row(_E, UNAVAILABLE, "service_unavailable unavailable 503", _GOOGLE_ERRORS),
    Row(_E, UNAVAILABLE, "502", _OPENROUTER),
    Row(_E, UNAVAILABLE, "flex_unavailable", _AGENTS),
    Row(_E, UNAVAILABLE, "model_not_ready", _BEDROCK_ERRORS),
    Row(_E, TIMEOUT, "timeout_error timeout request_timeout", _AGENTS),
    Row(_E, TIMEOUT, "deadline_exceeded 504", _GOOGLE_ERRORS),
    Row(_E, TIMEOUT, "408", _OPENROUTER),
    Row(_E, TIMEOUT, "model_timeout", _BEDROCK_ERRORS),
    Row(_E, SERVER, "server_error internal_server_error 500", _ERRORS),
    Row(_E, SERVER, "internal_server model_error model_stream_error", _BEDROCK_ERRORS),
    Row(_E, SERVER, "internal", _GOOGLE_ERRORS),
    Row(_E, _api("internal_error"), "internal_error", _AGENTS),
    Row(_E, _api("api_error"), "api_error", _ANTHROPIC_ERRORS),
    Row(_E, CONTEXT, "context_length_exceeded", _ERRORS),
    Row(_E, CONTEXT, "exceed_context_size", _LLAMA_CPP),
    Row(_E, CONTEXT, "max_tokens_exceeded token_limit_exceeded", _OPENROUTER),
    Row(_E, CONTEXT, "1261", _ZHIPU),
    Row(_E, CONTEXT, "336007", _QIANFAN),
    Row(_E, INVALID, "invalid_request_error 400", _ERRORS),
    Row(_E, INVALID, "invalid_request", _AGENTS),
    Row(_E, INVALID, "invalid_prompt", _RESPONSES),
    Row(_E, INVALID, "string_above_max_length", _ERRORS),
    Row(_E, INVALID, "request_too_large", _ANTHROPIC_ERRORS),
    Row(_E, INVALID, "bad_request", _ARK),
    Row(_E, INVALID, "validation", _BEDROCK_ERRORS),
    Row(_E, INVALID, "invalid_argument failed_precondition", _GOOGLE_ERRORS),
    # -- MiniMax's `base_resp.status_code`
    Row(_B, FILTER, "1026 1027", _MINIMAX),
    Row(_B, RATE, "1002 1041", _MINIMAX),
    Row(_B, QUOTA, "1008 1028 1030 2056", _MINIMAX),
    Row(_B, TIMEOUT, "1001", _MINIMAX),
    Row(_B, CONTEXT, "1039", _MINIMAX),
    Row(_B, SERVER, "1000 1013 1024 1033", _MINIMAX),
    Row(_B, INVALID, "2013", _MINIMAX),
)
# Words for "not finished": https://help.aliyun.com/en/model-studio/text-generation (the word "null" on every
# chunk but the last), https://cloud.ibm.com/apidocs/watsonx-ai (`not_finished`).
GOES_ON = frozenset({"null", "none", "not_finished"})

# Parts of words: the first that is found counts. (Regular expression, verdict as a finish word, verdict as an error;
# None where the part means nothing there.) "_" is put before and after every word.
_FILTERS = (
    r"_content_?filter|_content_polic|policy_violation|_content_violation|_content_management|_sensitive|_unsafe"
    r"|_safety|_moderat|_guardrail|_risk_detect|_risk_control|_data_?inspect|_responsible_ai|_prohibited"
    r"|_(?:prompt|content|input|output|response)_blocked|_inappropriate|_jailbreak|_toxic|_cyber_policy|_bio_policy|_usage_policy|_blocklist|_recitation|_copyright"
)
_RATES = (
    r"_rate_?limit|_rate_exceeded|_rate_?quota|_throttl|_too_many_request|_requests?_limit|_burst|_concurren"
    r"|_throughput|_[rt]p[msd]_|_qps_"
)
_QUOTAS = (
    r"_quota|_billing|_balance_|_arrear|_overdue|_credits?_|_budget|_spend|_payment|_usage_limit|_funds_"
)
_CONTEXTS = r"_context_(?:length|window)|_too_long_|_tokens?_limit|_max_(?:\w+_)?tokens?|_tokens?_exceeded"
PARTS: tuple[tuple[str, Verdict | None, Verdict | None], ...] = (
    (_FILTERS, FILTER, FILTER),
    (r"_blocked_|_flagged_|_censored_", FILTER, None),
    (_RATES, RATE, RATE),
    (_QUOTAS, QUOTA, QUOTA),
    (_CONTEXTS, LENGTH, CONTEXT),
    (r"_max_(?:length|turns|steps|iterations|time)_", LENGTH, None),
    (r"_overload|_capacity_|_busy_|_queue_full_", FAILED, OVERLOADED),
    (r"_time_?(?:d_)?out|_deadline", FAILED, TIMEOUT),
    (r"_unavailable|_bad_gateway", FAILED, UNAVAILABLE),
    (r"_internal_", FAILED, SERVER),
    (r"^_(?:invalid_(?:request|argument|param|prompt|input|image)|bad_request|validation|unprocessable)", FAILED,
     INVALID),
    (r"_limit_(?:exceeded|reached)_|_exceed(?:s|ed)?_limit_", LENGTH, RATE),
    (r"_limit(?:ed)?_", LENGTH, None),
    (r"_(?:error|err|fail|failed|failure|fault|malformed|exception|abort|aborted)_", FAILED, None),
)


def _at(place: Place) -> dict[str, Verdict]:
    return {word: row.verdict for row in TABLE if row.place is place for word in row.words.split()}


FINISH, _INCOMPLETE, _ERROR, _BASE_RESP = map(_at, Place)
# The finish reason for a word that was recognised by a part: the word itself would be the provider's text.
_BY_OUTCOME = {Outcome.LENGTH: "length", Outcome.CONTENT_FILTER: "content_filter"}
OTHER = "other"
ERROR = ("error", FINISH["error"])
REPORTED = frozenset({*FINISH, OTHER})  # every finish reason that a record can have

_MAX_WORD = 128
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN = re.compile(r"[\W_]+")
_AFFIXES = re.compile(r"^(?:finish_reason|stop_reason)_|_(?:exception|error)$")
# Matches a name. A sentence is not searched for parts.
_NAME = re.compile(r"[\w.:/#@$-]+(?:: ?[\w.-]+)?")


@cache
def _by_parts() -> tuple[tuple[re.Pattern[str], Verdict | None, Verdict | None], ...]:
    """``PARTS``, compiled for the first word that is not in the table: it takes a millisecond, and most never come."""
    return tuple((re.compile(pattern), at_finish, at_error) for pattern, at_finish, at_error in PARTS)


def _normal(word: str) -> str:
    return _BETWEEN.sub("_", _CAMEL.sub("_", word)).strip("_").lower()


def _spellings(text: str) -> Iterator[str]:
    """The spellings under which a word may be in the table, the likeliest first."""
    # AWS appends an address: https://smithy.io/2.0/aws/protocols/aws-restjson1-protocol.html#operation-error-serialization
    text = text.partition(":http")[0]
    parts = re.split(r"[.:/#]", text) if _NAME.fullmatch(text) else []
    for part in (text, *reversed(parts)):
        word = _normal(part)
        yield word
        shorter = _AFFIXES.sub("", word)
        while shorter != word:
            yield shorter
            word, shorter = shorter, _AFFIXES.sub("", shorter)


def finish(text: str) -> tuple[str, Verdict] | None:
    """The finish reason to report for a provider's word, and its verdict; None if the choice goes on.

    The reason is of a closed list, or ``other``, since the word is the provider's text.
    """
    verdict = FINISH.get(text)
    if verdict is not None:
        return text, verdict
    text = text[:_MAX_WORD]
    for word in _spellings(text):
        if word in GOES_ON:
            return None
        verdict = FINISH.get(word)
        if verdict is not None:
            return word, verdict
    if _NAME.fullmatch(text):
        word = f"_{_normal(text)}_"
        for pattern, verdict, _ in _by_parts():
            if verdict is not None and pattern.search(word):
                return _BY_OUTCOME.get(verdict.outcome, "error"), verdict
    return OTHER, COMPLETED


def incomplete(reason: object) -> Verdict:
    """What the reason of an incomplete response or run means. An unknown reason, or none, is a failure."""
    if not isinstance(reason, str) or not reason:
        return FAILED
    for word in _spellings(reason[:_MAX_WORD]):
        if word in _INCOMPLETE:
            return _INCOMPLETE[word]
    found = finish(reason)
    return found[1] if found is not None and found[1].outcome is not Outcome.COMPLETED else FAILED


# If one error has several words the most specific counts: a named cause before a status, both before "an error".
_COARSE = frozenset({SERVER, INVALID, FAILED, _api("api_error"), _api("internal_error")})


NAMED = (FILTER, QUOTA, RATE, LENGTH, OVERLOADED, Verdict(Outcome.RATE_LIMITED, "429"))


def _rank(verdict: Verdict) -> int:
    if verdict == OVERLOADED:
        verdict = RATE  # both are sent with 429: the word that comes first, the code, tells them apart
    return NAMED.index(verdict) if verdict in NAMED else len(NAMED) + (verdict in _COARSE)


def _error(text: str) -> Verdict | None:
    text = text[:_MAX_WORD]
    for word in _spellings(text):
        if word in _ERROR:
            return _ERROR[word]
    if _NAME.fullmatch(text):
        word = f"_{_normal(text)}_"
        for pattern, _, verdict in _by_parts():
            if verdict is not None and pattern.search(word):
                return verdict
    return None


# Fields that name an error's kind; the code is the most specific. Azure and OpenRouter repeat them further inside.
_NAMES = ("code", "type", "__type", "status", "statusCode", "status_code", "error_code", "error_type")
_WITHIN = ("error", "errors", "detail", "innererror", "inner_error", "metadata")
_MAX_DEPTH = 3
_MAX_ERRORS = 4  # errors that are read of a list


def words_of(error: Any, depth: int = _MAX_DEPTH) -> Iterator[str]:
    """The words and numbers of an error: an object of any kind, a word, a status."""
    if isinstance(error, str):
        if error:
            yield error
    elif isinstance(error, (int, float)):
        if not isinstance(error, bool):
            yield f"{error:g}" if isinstance(error, float) else str(error)
    elif isinstance(error, (list, tuple)):
        for one in error[:_MAX_ERRORS] if depth else ():
            yield from words_of(one, depth - 1)
    elif error is not None and depth:
        for name in _NAMES:
            word = get(error, name)
            if isinstance(word, (str, int, float)):
                yield from words_of(word, 0)
        for name in _WITHIN:
            yield from words_of(get(error, name), depth - 1)


def classify_error_event(*parts: object) -> Verdict:
    """Classify an error inside a 200 stream by its words: an error object, or its code and type."""
    found = [verdict for one in parts for word in words_of(one) if (verdict := _error(word)) is not None]
    return min(found, key=_rank, default=FAILED)


def classify_base_resp(code: object) -> Verdict:
    """Classify MiniMax's status beside the choices, when it is not 0."""
    return _BASE_RESP.get(str(code), FAILED)

