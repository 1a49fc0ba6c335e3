"""Custom labels: which ones STREAMVITALS_LABELS declares, and where the value of each comes from."""

from __future__ import annotations

import re
from typing import NamedTuple

from .. import names

# The sources, and whether each one takes a key, as in `metadata:tenant_id`.
SOURCES = {
    "metadata": True, "header": True, "env": True, "baggage": True,
    "user": False, "safety_identifier": False, "prompt_cache_key": False, "code": False,
}
GRAMMAR = (
    f"at most {names.MAX_CUSTOM_LABELS} of name=source, separated by commas, with a source of "
    + ", ".join(source + ":KEY" * takes_key for source, takes_key in SOURCES.items())
)
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_MAX_KEY = 128
# A key with one of these words, or with one of the others before the word "key", names what lets somebody in.
_SECRETS = r"authori[sz]|authentic|cookie|secret|passw|passphrase|credential|bearer|jwt|signature|csrf|xsrf"
_SECRET_WORDS = {"auth", "token", "pwd", "pat", "otp", "sid", "apikey", "accesskey"}
_KEYS = {
    "", "api", "access", "secret", "private", "subscription", "functions", "master", "signing", "encryption", "admin",
    "account", "service", "client", "app", "ssh", "license", "goog", "openai", "anthropic", "azure", "deploy",
}


class CustomLabel(NamedTuple):
    """A label of the user's own. ``key`` names the field of a source that has several."""

    name: str
    source: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.source}:{self.key}" if self.key else self.source

    @property
    def never_read(self) -> bool:
        """Whether its key is one that holds secrets, as `authorization` does."""
        return bool(self.key) and holds_secret(self.key)


def parse(text: str) -> tuple[CustomLabel, ...]:
    """Read a declaration such as ``tenant=metadata:tenant_id,feature=code``.

    Raises ValueError, which says what is wrong with which part.
    """
    found: dict[str, CustomLabel] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        label = _label(entry)
        if label.name in found:
            raise ValueError(f"{label.name!r} stands twice")
        found[label.name] = label
    if len(found) > names.MAX_CUSTOM_LABELS:
        raise ValueError(f"{len(found)} labels")
    return tuple(found.values())


def _label(entry: str) -> CustomLabel:
    name, equals, where = (part.strip() for part in entry.partition("="))
    source, colon, key = (part.strip() for part in where.partition(":"))
    if not equals or not where:
        raise ValueError(f"{entry!r} has no source")
    if not _NAME.fullmatch(name) or len(name) > names.MAX_CUSTOM_NAME:
        raise ValueError(f"{name!r} is no name of {names.MAX_CUSTOM_NAME} characters at most, as tenant or cost_center")
    if not names.may_be_custom(name):
        raise ValueError(f"{name!r} is taken by another label")
    if source not in SOURCES:
        raise ValueError(f"{source!r} is no source")
    if SOURCES[source] and (not key or len(key) > _MAX_KEY or not key.isprintable() or " " in key):
        raise ValueError(f"{where!r} needs a key without blanks, as {source}:tenant_id")
    if not SOURCES[source] and colon:
        raise ValueError(f"{source!r} takes no key")
    return CustomLabel(name, source, key.lower() if source == "header" else key)


def holds_secret(key: str) -> bool:
    """Whether a header, field or variable of this name holds what lets somebody in, as far as its name shows."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", key).lower()
    words = [word for word in re.split(r"[^a-z0-9]+", spaced) if word and word != "x"]
    if re.search(_SECRETS, "".join(words)) or not _SECRET_WORDS.isdisjoint(words):
        return True
    if any(word.endswith(("apikey", "accesskey", "authkey", "token")) for word in words):
        return True
    return any(word in ("key", "keys") and before in _KEYS for before, word in zip(["", *words], words, strict=False))
