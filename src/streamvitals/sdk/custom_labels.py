"""Reads the values of the user's custom labels, and nothing that STREAMVITALS_LABELS does not name.

    metadata:KEY, user, safety_identifier, prompt_cache_key   fields of the request
    header:NAME    a header that the call was given (``extra_headers``), not those of the client
    baggage:KEY    OpenTelemetry's baggage, where the application uses it
    env:NAME       the environment, once per process
    code           ``with streamvitals.labels(...)``

No code of the application's runs here: a value is a string, a number or a bool, or it is not shown.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeGuard

from .. import names
from ..stream import code_labels
from ..stream.request import RequestFacts
from ..stream.tracebacks import is_foreign

Pairs = tuple[tuple[str, str], ...]
Declared = Iterable[tuple[str, str, str]]  # name, source, key; config/labels.py has the sources
_Read = Callable[["Request"], object]  # gives the raw value
_ABSENT = ("NotGiven", "Omit")  # what the SDK has instead of None

_WITHHELD = ("label_withheld",)
_BIGGEST = 10**15
# A mailbox (a URL with a password looks the same), an IPv4 address, an IPv6 address.
_ADDRESS = (
    r"[^\s@](?:[@\uff20]|%40)[^\s@]"
    r"|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?!\.?\d)"
    r"|(?<![0-9a-zA-Z:])(?:(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}"
    r"|(?=:*[0-9a-f])(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?::(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4}){0,6})?)(?![0-9a-zA-Z:])"
)
# How providers, clouds and code hosts begin their keys and tokens.
_PREFIX = (
    r"(?<![a-z0-9])(?:(?:[srp]k[-_]|gsk_|gh[pousr]_|github_pat_|glpat-|xox[a-z]-|xai-|pplx-|hf_|r8_|nvapi-|npm_|pypi-"
    r"|AIza|A[KS]IA|eyJ|ya29\.|SG\.|whsec_|dop_v1_|bearer\s+|basic\s+(?=\S*\d|\S*=))[\w.+/=-]{8}|-----BEGIN)"
)
# A value that says itself what it is, as in a connection string or a query.
_NAMED = (
    r"(?<![a-z0-9])(?:password|passwd|passphrase|pwd|secret|token|(?:api|access|account|shared|auth)[-_ ]?key)"
    r"\s*[=:]\s*\S"
)
# Runs that nobody has made up. A UUID with its dashes is none, nor is a name made of words.
_RUN = re.compile(r"[A-Za-z0-9+=]{32,}")
_LONG_RUN = re.compile(r"[A-Za-z0-9_-]{40,}")


class Request:
    """Where the values of one request may stand. ``body`` are its fields; the SDK's ``extra_body`` outranks them."""

    __slots__ = ("bodies", "headers")

    def __init__(self, bodies: Iterable[object], headers: object) -> None:
        self.bodies = bodies
        self.headers = headers

    def field(self, name: str) -> object:
        """A field of the body; None where there is none."""
        for body in self.bodies:
            if _is_dict(body) and dict.__contains__(body, name):
                return dict.get(body, name)
        return None

    def header(self, name: str) -> object:
        """A header that the call was given; ``name`` is lower case."""
        if not isinstance(self.headers, Mapping):
            return None
        # A copy, as another thread may change the app's own.
        return next((v for k, v in list(self.headers.items()) if isinstance(k, str) and k.lower() == name), None)


class CustomLabels:
    """The custom labels that are declared, and how each is read."""

    def __init__(self, declared: Declared) -> None:
        self._reads = [(name, _reader(name, source, key)) for name, source, key in declared]
        if self._reads:
            _secrets()  # now, and not in the way of the first request

    def __bool__(self) -> bool:
        return bool(self._reads)

    def put_into(self, facts: RequestFacts, request: Request) -> RequestFacts:
        """The facts of a request with its custom labels; what is given for the whole kind of request is not changed."""
        found: list[tuple[str, str]] = []
        withheld = False
        for name, read in self._reads:
            value = _shown(read, request)
            withheld = withheld or value is None
            if value != "":
                found.append((name, names.OTHER if value is None else value))
        return facts._replace(
            labels=facts.labels._replace(custom=tuple(found)), hints=_WITHHELD if withheld else facts.hints
        )


def _shown(read: _Read, request: Request) -> str | None:
    try:
        return shown(read(request))
    except Exception as error:
        if is_foreign(error):
            raise
        return None  # a mapping of the app's may raise anything


def _reader(name: str, source: str, key: str) -> _Read:
    if source == "metadata":
        return lambda request: _of_dict(request.field("metadata"), key)
    if source == "header":
        return lambda request: request.header(key)
    if source == "baggage":
        return lambda request: _baggage(key)
    if source == "code":
        return lambda request: code_labels.value_of(name)
    if source == "env":
        value = os.environ.get(key)
        return lambda request: value
    return lambda request: request.field(source)


def _of_dict(fields: object, key: str) -> object:
    return dict.get(fields, key) if _is_dict(fields) else None


def _is_dict(thing: object) -> TypeGuard[dict[Any, Any]]:
    # isinstance() asks the object, too.
    return issubclass(type(thing), dict)


def _baggage(key: str) -> object:
    # Loaded by whoever puts something into it; to load it is not ours.
    baggage: Any = sys.modules.get("opentelemetry.baggage")
    return None if baggage is None else baggage.get_baggage(key)


def shown(value: object) -> str | None:
    """The text of a value; "" where there is none, None for what must not be shown.

    The type decides, not what an object says of itself: its methods are the application's code."""
    kind = type(value)
    if value is None or kind.__name__ in _ABSENT:
        return ""
    given: Any = value
    if given is True or given is False:
        return "true" if given else "false"
    if issubclass(kind, int):
        number = int.__int__(given)
        return str(number) if -_BIGGEST < number < _BIGGEST else None
    return _text(str.__str__(given)) if issubclass(kind, str) else None


_MAX_JUDGED = 1024
_judged: set[str] = set()  # values that may be shown, for requests have the same ones again and again; no others


def _text(value: str) -> str | None:
    if value in _judged:
        return value
    if len(value) > 4 * names.MAX_CUSTOM_VALUE:
        return None  # whatever it is, it is no name of anything
    value = value.strip()
    if not value.isprintable():
        value = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in value)
    if len(value.encode()) > names.MAX_CUSTOM_VALUE or looks_secret(value):
        return None
    if len(_judged) >= _MAX_JUDGED:
        _judged.clear()
    _judged.add(value)
    return value


@cache
def _secrets() -> tuple[re.Pattern[str], ...]:
    """What a key or an address looks like. Most programs declare no labels, and compiling this takes milliseconds."""
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in (_ADDRESS, _PREFIX, _NAMED))


def looks_secret(value: str) -> bool:
    """Whether a value looks like a key, or like the address of a person or a machine."""
    if any(pattern.search(value) for pattern in _secrets()):
        return True
    if any(not run.isalpha() and not run.isdigit() for run in _RUN.findall(value)):
        return True
    return any(
        run != run.lower() and run != run.upper() and re.search(r"\d", run) is not None
        for run in _LONG_RUN.findall(value)
    )
