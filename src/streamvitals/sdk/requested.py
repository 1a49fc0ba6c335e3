"""What a request asks for, as the conventions' span attributes: numbers, ids and words of closed vocabularies.

Stop sequences are left out although the conventions have them: they are text of the app's, a part of its prompt.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..stream.fields import get, identifier

Attribute = tuple[str, Any]
_LONGEST = 64


def _int(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None


def _float(value: Any) -> float | None:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return float(value) if number and abs(value) < 1e300 and math.isfinite(value) else None


def _word(value: Any) -> str | None:
    found = identifier(value)
    return found[:_LONGEST] if found else None


def _choices(value: Any) -> int | None:
    count = _int(value)
    return None if count == 1 else count


def _tier(value: Any) -> str | None:
    return None if value == "auto" else _word(value)


def _effort(value: Any) -> str | None:
    return _word(get(value, "effort"))


def _format(value: Any) -> str | None:
    kind = get(value, "type")
    if kind in ("json_object", "json_schema"):
        return "json"
    return "text" if kind == "text" else None


def _format_of_text(value: Any) -> str | None:
    return _format(get(value, "format"))


def _conversation(value: Any) -> str | None:
    return identifier(value if isinstance(value, str) else get(value, "id"))


# By the field's name in a request. Of two fields for one attribute the first that is sent counts.
_FIELDS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "n": ("gen_ai.request.choice.count", _choices),
    "seed": ("gen_ai.request.seed", _int),
    "top_k": ("gen_ai.request.top_k", _int),
    "frequency_penalty": ("gen_ai.request.frequency_penalty", _float),
    "presence_penalty": ("gen_ai.request.presence_penalty", _float),
    "temperature": ("gen_ai.request.temperature", _float),
    "top_p": ("gen_ai.request.top_p", _float),
    "max_completion_tokens": ("gen_ai.request.max_tokens", _int),
    "max_output_tokens": ("gen_ai.request.max_tokens", _int),
    "max_tokens": ("gen_ai.request.max_tokens", _int),
    "previous_response_id": ("gen_ai.request.previous_response.id", identifier),
    "conversation": ("gen_ai.conversation.id", _conversation),
    "reasoning_effort": ("gen_ai.request.reasoning.level", _word),
    "reasoning": ("gen_ai.request.reasoning.level", _effort),
    "response_format": ("gen_ai.output.type", _format),
    "text": ("gen_ai.output.type", _format_of_text),
    "service_tier": ("openai.request.service_tier", _tier),
}


def request_attributes(options: Any, provider: str) -> tuple[Attribute, ...]:
    """The attributes of the SDK's request; ``openai.*`` only where the provider is ``openai``."""
    given = vars(options)  # attributes of a pydantic model are slow to read
    found: dict[str, Any] = {}
    if provider == "openai":
        path = given["url"].partition("?")[0]
        if path.endswith("/chat/completions"):
            found["openai.api.type"] = "chat_completions"
        elif "responses" in path.split("/"):
            found["openai.api.type"] = "responses"
    params = given["params"]
    if params and isinstance(params, Mapping) and (cursor := _cursor(params.get("starting_after"))) is not None:
        found["gen_ai.request.stream_cursor"] = cursor
    for body in (given.get("extra_json"), given["json_data"]):  # the first outranks the second in the SDK
        if isinstance(body, dict):
            for name, value in body.items():
                if name in _FIELDS:
                    key, read = _FIELDS[name]
                    attribute = read(value) if provider == "openai" or key[:7] != "openai." else None
                    if attribute is not None:
                        found.setdefault(key, attribute)
    return tuple(found.items())


def _cursor(value: Any) -> str | None:
    return identifier(value) if _int(value) is None else str(value)
