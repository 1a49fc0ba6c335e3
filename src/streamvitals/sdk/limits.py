"""Reads rate limits from response headers, in the spellings of the providers.

    x-ratelimit-{limit,remaining,reset}-{requests,tokens}     OpenAI, Azure OpenAI, Groq, xAI and most others
    …-{requests,tokens}-{minute,hour,day}, …-1h, -per-day,
    …-{req,tokens}-{minute,month}, …-project-tokens           Cerebras, DigitalOcean, Mistral, OpenAI: several at once
    x-ratelimit-{limit,remaining,reset}                       OpenRouter, Together (requests)
    x-tokenlimit-{limit,remaining}                            Together (tokens)
    x-ratelimitbysize-{limit,remaining}-minute                Mistral (tokens)
    anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}
    ratelimit: "default";r=50;t=30                            the IETF draft since version 8, its policy in
    ratelimit-policy: "default";q=100;w=60;qu="requests"      a field of its own
    ratelimit: limit=100, remaining=50, reset=5               version 7
    ratelimit-{limit,remaining,reset}                         before, and gateways
    retry-after, retry-after-ms                               RFC 9110, and the SDK's own finer one

If there are several limits of one kind, the one with the least left is reported: it will refuse first.

https://developers.openai.com/api/docs/guides/rate-limits, https://console.groq.com/docs/rate-limits,
https://inference-docs.cerebras.ai/support/rate-limits, https://docs.claude.com/en/api/rate-limits,
https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from ..stream.record import RateLimit

PREFIXES = (b"x-ratelimit", b"ratelimit", b"anthropic-ratelimit-", b"x-tokenlimit-", b"retry-after")
# Limits on a part of the tokens, or on other things; a request is refused for the limit on all tokens.
_PARTS = re.compile(rb"(?:in|out)put-|-cached|-prompt|-generated|-images|-audio|-concurrent|-over-")
_FIELD = re.compile(rb"-(limit|remaining|reset)\b")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
# One member of a structured field, and a parameter of it: RFC 9651.
_MEMBER = re.compile(r'"([^"]*)"([^,]*)')
_PARAMETER = re.compile(r'\b([a-z]+)\s*=\s*"?([^";,\s]+)')
_DRAFT = {"r": "remaining", "q": "limit", "t": "reset", "qu": "unit"}
_EPOCH = 1e9  # seconds; a larger number is a point in time, and one past 1e12 is in milliseconds
_MAX_WAIT = 366 * 86400.0
_MAX_LIMITS = 16  # limits of one kind; more than any provider sends


class LimitHeaders:
    """Takes the headers of one response whose lower-case names begin with one of ``PREFIXES``.

    ``unix`` is when the response came, to turn resets at a point in time into seconds from then.
    """

    def __init__(self, unix: float) -> None:
        self._unix = unix
        # By kind, then by what distinguishes limits of one kind: "-minute", the name of a policy, "" for the usual.
        self._found: dict[str, dict[str, dict[str, float]]] = {"requests": {}, "tokens": {}}
        # The IETF draft's policies: `ratelimit-policy` has their kind, `ratelimit` what is left.
        self._policies: dict[str, dict[str, str]] = {}
        self.retry_after: float | None = None

    def note(self, name: bytes, value: bytes) -> None:
        """Read one header; one that cannot be parsed is ignored."""
        text = value.decode("latin-1").strip()
        if name.startswith(b"retry-after"):
            self._note_retry_after(name, text)
        elif name in (b"ratelimit", b"ratelimit-policy"):
            self._note_draft(text)
        else:
            meant = _meaning(name)
            if meant is not None:
                self._add(*meant, text)

    def limits(self) -> tuple[RateLimit, ...]:
        """The limits that were reported, one for each kind."""
        for policy, fields in self._policies.items():
            unit = fields.get("unit", "requests").removesuffix("s")
            if unit in ("request", "token"):
                for what in ("remaining", "limit", "reset"):
                    self._add(f"{unit}s", policy, what, fields.get(what, ""))
        return tuple(_tightest(kind, list(found.values())) for kind, found in self._found.items() if found)

    def _add(self, kind: str, which: str, what: str, text: str) -> None:
        number = self._seconds(text) if what == "reset" else _number(text)
        found = self._found[kind]
        if number is not None and (which in found or len(found) < _MAX_LIMITS):
            found.setdefault(which, {}).setdefault(what, number)

    def _note_draft(self, text: str) -> None:
        for policy, parameters in _MEMBER.findall(text):
            if policy in self._policies or len(self._policies) < _MAX_LIMITS:
                fields = self._policies.setdefault(policy, {})
                fields.update({_DRAFT[key]: value for key, value in _PARAMETER.findall(parameters) if key in _DRAFT})
        if '"' not in text:
            for what, number in _PARAMETER.findall(text):
                if what in ("limit", "remaining", "reset"):
                    self._add("requests", "", what, number)

    def _note_retry_after(self, name: bytes, text: str) -> None:
        seconds = self._seconds(text)
        if seconds is not None and name.endswith(b"-ms"):
            self.retry_after = seconds / 1000.0
        elif seconds is not None and self.retry_after is None:
            self.retry_after = seconds

    def _seconds(self, text: str) -> float | None:
        """Seconds from then: "59.5", "6m0s", "12ms", a Unix time in seconds or milliseconds, RFC 3339, an HTTP date."""
        number = _number(text)
        if number is None:
            parts = _DURATION.findall(text)
            if parts and "".join(amount + unit for amount, unit in parts) == text:
                number = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
            else:
                number = _point_in_time(text)
        if number is not None and number > _EPOCH:
            number = number / (1000.0 if number > _EPOCH * 1000 else 1.0) - self._unix
        return None if number is None else min(max(0.0, number), _MAX_WAIT)


@lru_cache(maxsize=128)  # a provider sends the same names with every response
def _meaning(name: bytes) -> tuple[str, str, str] | None:
    """The kind, which limit of that kind, and what the value is: limit, remaining or reset."""
    field = None if _PARTS.search(name) else _FIELD.search(name)
    if field is None:
        return None
    kind = "tokens" if b"token" in name or b"bysize" in name else "requests"
    return kind, (name[: field.start()] + name[field.end() :]).decode("latin-1"), field.group(1).decode()


def _tightest(kind: str, found: list[dict[str, float]]) -> RateLimit:
    least = found[0] if len(found) == 1 else min(found, key=lambda limit: limit.get("remaining", float("inf")))
    return RateLimit(kind, least.get("remaining"), least.get("limit"), least.get("reset"))


def _number(text: str) -> float | None:
    """A finite number that is not negative; the first one of a list ("100, 100;w=60")."""
    try:
        number = float(text.partition(",")[0].partition(";")[0]) if "," in text or ";" in text else float(text)
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None


def _point_in_time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        pass  # it is an HTTP date, or nothing
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None
