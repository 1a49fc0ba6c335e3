"""Token counts, as the many APIs report them: under several names, in several places, once or with every chunk.

A count that is reported again replaces the one before (vLLM's ``continuous_usage_stats``, SGLang, LiteLLM and
Perplexity send running totals: https://github.com/pydantic/pydantic-ai/pull/4056). A later empty value does not:
gateways put null, an empty object or zeros beside or after the real numbers
(https://github.com/router-for-me/CLIProxyAPI/pull/3077, https://github.com/jeremychone/rust-genai/pull/242).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .fields import count, fields, get, has_any
from .record import MOST_TOKENS, Usage

# new-api sends both names, one of them with zeros: the first count that is not 0 is taken.
_INPUT = ("prompt_tokens", "input_tokens")
_OUTPUT = ("completion_tokens", "output_tokens")
# Realtime and audio say "token" where the others say "tokens".
_INPUT_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details")
_OUTPUT_DETAILS = ("completion_tokens_details", "output_tokens_details", "output_token_details")
# Beside the details: Moonshot (https://github.com/vercel/ai/pull/12352), DeepSeek
# (https://api-docs.deepseek.com/guides/kv_cache) and Anthropic.
_CACHED = ("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_REASONING = ("reasoning_tokens",)
_CACHE_WRITE = ("cache_write_tokens", "cache_creation_input_tokens")
# Within the details. Realtime has those of cached tokens one level further in.
_MODALITIES = ("text_tokens", "image_tokens", "audio_tokens")
_CACHED_DETAILS = "cached_tokens_details"
_PARTS = frozenset({*_MODALITIES, _CACHE_WRITE[0], _CACHED_DETAILS})
# Of several choices the input is the same, and is counted once.
_OUTPUTS = frozenset({"output", "reasoning", "text_output", "image_output", "audio_output"})
# Cohere has the counts one level down, billed ones first, as the conventions want them.
_INNER = ("billed_units", "tokens")


def usage_of(reported: Any) -> Usage | None:
    """The token counts, under any of the names that APIs use; None where there are none, or zeros only."""
    found = _read(reported)
    return found if any(found) else None


def later_usage(known: Any, reported: Any) -> Any:
    """Take the later of two usages of one stream; counts that it lacks, or gives as 0, stay as before."""
    if known is None or _says_as_much(reported, known):
        return reported  # a running total, which comes with every chunk
    counts = zip(_read(reported), _read(known), strict=True)
    return Usage(*(new or (new if old is None else old) for new, old in counts))


def _says_as_much(reported: Any, known: Any, depth: int = 2) -> bool:
    """Whether a usage has a count, or details, wherever the known one has; False if that cannot be seen quickly."""
    now, before = fields(reported), fields(known)
    if not (isinstance(now, dict) and isinstance(before, dict)):
        return False
    for name, value in before.items():
        if not value:
            continue
        new: Any = now.get(name)
        if type(new) is not type(value):
            return False
        if isinstance(value, (int, float)):
            if new <= 0 or (isinstance(new, float) and not new.is_integer()):
                return False
        elif not (isinstance(value, str) or (depth and _says_as_much(new, value, depth - 1))):
            return False
    return True


def usage_of_choices(reported: dict[int, Any] | None) -> Usage | None:
    """Add up usages that were reported per choice: the output of each, and the common input once."""
    found = [usage for usage in map(usage_of, (reported or {}).values()) if usage is not None]
    if not found:
        return None
    if len(found) == 1:
        return found[0]
    by_field = zip(Usage._fields, zip(*found, strict=True), strict=True)
    return Usage(*[_sum(counts) if name in _OUTPUTS else _largest(counts) for name, counts in by_field])


def added_usage(one: Usage | None, other: Usage | None) -> Usage | None:
    """Add up the usages of two turns of one stream."""
    if one is None or other is None:
        return one or other
    return Usage(*(_sum(pair) for pair in zip(one, other, strict=True)))


def _read(reported: Any) -> Usage:
    if isinstance(reported, Usage):
        return reported
    if reported is None:
        return Usage()
    inner, outer = _detail(reported, _INPUT_DETAILS), _detail(reported, _OUTPUT_DETAILS)
    found = Usage(
        input=_first(reported, _INPUT),
        output=_first(reported, _OUTPUT),
        cached=_first(inner, _CACHED[:1]) or _first(reported, _CACHED, _first(inner, _CACHED[:1])),
        reasoning=_first(outer, _REASONING) or _first(reported, _REASONING, _first(outer, _REASONING)),
    )
    if _has_parts(inner) or _has_parts(outer) or get(reported, _CACHE_WRITE[1]):
        return found._replace(
            cache_write=_first(inner, _CACHE_WRITE) or _first(reported, _CACHE_WRITE),
            **_by_modality(inner, "input"), **_by_modality(get(inner, _CACHED_DETAILS), "cached"),
            **_by_modality(outer, "output"),
        )
    if found.input is None and found.output is None:
        nested = _detail(reported, _INNER)
        if nested is not None:
            return found._replace(input=_first(nested, _INPUT), output=_first(nested, _OUTPUT))
    return found


def _has_parts(details: Any) -> bool:
    """Whether details tell more than how many tokens were cached or of reasoning. Most do not."""
    return details is not None and has_any(details, _PARTS)


def _by_modality(details: Any, of: str) -> dict[str, int | None]:
    return {f"{name.removesuffix('_tokens')}_{of}": _first(details, (name,)) for name in _MODALITIES}


def _first(reported: Any, names: Iterable[str], otherwise: int | None = None) -> int | None:
    """The first of these counts that is not 0; else 0, if 0 was reported."""
    for name in names:
        number = count(get(reported, name))
        if number:
            return min(number, MOST_TOKENS)
        otherwise = number if otherwise is None else otherwise
    return otherwise


def _detail(reported: Any, names: Iterable[str]) -> Any:
    return next((found for name in names if (found := get(reported, name)) is not None), None)


def _sum(numbers: Iterable[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _largest(numbers: Iterable[int | None]) -> int | None:
    return max((number for number in numbers if number is not None), default=None)
