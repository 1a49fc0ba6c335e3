"""What response headers say of rate limits, in the spellings of the providers.

    x-ratelimit-{limit,remaining,reset}-{requests,tokens}     OpenAI, Azure OpenAI, Groq and most others
    x-ratelimit-{limit,remaining,reset}                       OpenRouter, Together (requests)
    x-tokenlimit-{limit,remaining}                            Together (tokens)
    x-ratelimit-{limit,remaining}-{req,tokens}-minute,
    x-ratelimitbysize-{limit,remaining}-minute                Mistral
    anthropic-ratelimit-{requests,tokens}-{limit,remaining,reset}
    ratelimit-{limit,remaining,reset}                         the IETF draft, and gateways
    retry-after, retry-after-ms                               RFC 9110, and the SDK's own finer one

https://platform.openai.com/docs/guides/rate-limits, https://console.groq.com/docs/rate-limits,
https://docs.claude.com/en/api/rate-limits, draft-ietf-httpapi-ratelimit-headers
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import datetime
from email.utils import parsedate_to_datetime

from ..stream.record import RateLimit

PREFIXES = (b"x-ratelimit", b"ratelimit-", b"anthropic-ratelimit-", b"x-tokenlimit-", b"retry-after")
# Limits of a part of the tokens: the whole is what a request is refused for.
_PARTS = (b"input-tokens", b"output-tokens")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[smhd])")
_EPOCH = 1e9  # seconds; a larger number is a point in time, and one past 1e12 has milliseconds
_MAX_WAIT = 366 * 86400.0


class LimitHeaders:
    """Fed with the headers of one response whose lower-case names begin with one of ``PREFIXES``.

    ``unix_time`` gives the present, to which resets given as points in time are relative.
    """

    def __init__(self, unix_time: Callable[[], float] = time.time) -> None:
        self._unix_time = unix_time
        self._found: dict[str, dict[str, float]] = {"requests": {}, "tokens": {}}
        self.retry_after: float | None = None

    def note(self, name: bytes, value: bytes) -> None:
        """One header. What cannot be understood is passed over."""
        text = value.decode("latin-1").strip()
        if name.startswith(b"retry-after"):
            self._note_retry_after(name, text)
            return
        if any(part in name for part in _PARTS):
            return
        kind = "tokens" if b"token" in name or b"bysize" in name else "requests"
        what = next((word for word in ("remaining", "reset", "limit") if b"-" + word.encode() in name), "")
        number = self._seconds(text) if what == "reset" else _number(text)
        if what and number is not None:
            self._found[kind].setdefault(what, number)

    def limits(self) -> tuple[RateLimit, ...]:
        """What was said, by kind."""
        return tuple(
            RateLimit(kind, found.get("remaining"), found.get("limit"), found.get("reset"))
            for kind, found in self._found.items()
            if found
        )

    def _note_retry_after(self, name: bytes, text: str) -> None:
        seconds = self._seconds(text)
        if seconds is not None and name.endswith(b"-ms"):
            self.retry_after = seconds / 1000.0
        elif seconds is not None and self.retry_after is None:
            self.retry_after = seconds

    def _seconds(self, text: str) -> float | None:
        """From now: "59.5", "6m0s", "120ms", a Unix time in seconds or milliseconds, RFC 3339, an HTTP date."""
        number = _number(text)
        if number is None:
            parts = _DURATION.findall(text)
            if parts and "".join(amount + unit for amount, unit in parts) == text:
                number = sum(float(amount) * _UNITS[unit] for amount, unit in parts)
            else:
                number = _point_in_time(text)
        if number is not None and number > _EPOCH:
            number = number / (1000.0 if number > _EPOCH * 1000 else 1.0) - self._unix_time()
        return None if number is None else min(max(0.0, number), _MAX_WAIT)


def _number(text: str) -> float | None:
    """A finite number that is not negative; of a list ("100, 100;w=60") the first."""
    first = text.partition(",")[0].partition(";")[0].strip()
    try:
        number = float(first)
    except ValueError:
        return None
    return number if 0.0 <= number < float("inf") else None


def _point_in_time(text: str) -> float | None:
    try:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
    except ValueError:
        pass  # then an HTTP date, or nothing
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError):
        return None
