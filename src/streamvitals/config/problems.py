"""Finds settings that will not work, and how to fix them, for `run`, /healthz and `doctor`.

Nothing here uses the network or imports the packages that it checks for. Standard library only: instrument() uses it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..conventions import GENERATIONS, LATEST
from ..system import descriptors
from . import OPT_IN, Config, install, labels, opted_in
from .declarative import SAID, VARIABLE, source

OURS = "STREAMVITALS_"
# Only `run` sets these, for the app and for the agent.
INNER = {"STREAMVITALS_DIR", "STREAMVITALS_AGENT", SAID}
# How similar a name must be to one of ours to be taken for a misspelling of it; 1 is identical.
ALIKE = 0.75
SIGNALS = ("TRACES", "METRICS", "LOGS")
HTTP_PROTOBUF = "http/protobuf"
# A collector's default ports: for gRPC, and for HTTP.
# https://opentelemetry.io/docs/specs/otel/protocol/exporter/
GRPC_PORT, HTTP_PORT = 4317, 4318
GENERAL = "OTEL_EXPORTER_OTLP_ENDPOINT"
_OTLP_VARIABLE = re.compile(r"OTEL_EXPORTER_OTLP_(TRACES|METRICS|LOGS)_([A-Z_]+)")
_OUR_VARIABLE = re.compile(f"{OURS}([A-Z_]+)")
_INTERVALS = ("OTEL_METRIC_EXPORT_INTERVAL", "OTEL_METRIC_EXPORT_TIMEOUT")
# Matches what is in the place of a scheme: another scheme, or half of one. An opening quote is stripped before.
_AS_SCHEME = re.compile(r"^(?:[a-zA-Z][\w+.-]*://|https?:/?|//)", re.IGNORECASE)
_ENDING = re.compile("(/v1/(?:traces|metrics|logs))/?$")
OTLP_PARTS = ("opentelemetry/sdk", "opentelemetry/exporter/otlp/proto/http")


class Problem(NamedTuple):
    """Something that will not work, and how to fix it.

    ``bad_value``: a variable's value is not allowed. ``minor``: it may be meant so.
    """

    what: str
    fix: str
    bad_value: bool = False
    minor: bool = False

    def __str__(self) -> str:
        return f"{self.what} -> {self.fix}" if self.fix else self.what


def of_variables(env: Mapping[str, str]) -> list[Problem]:
    """Find values that are not allowed, misspelt names of our variables, and OTLP settings without effect."""
    bad = [
        Problem(f"{value.text}; {value.instead}", "set an allowed value, or unset it", True)
        for value in Config.read(env)[1]
    ]
    found = source(env)
    of_file = [Problem(fault.what, fault.fix, not found.file, fault.minor) for fault in found.faults]
    others = [*bad, *_never_read(found.env), *_misspelt(found.env), *_contradicting(found.env), *_otlp(found.env)]
    if not found.file:
        return [*of_file, *others]
    options = {name for name, value in found.env.items() if name.startswith(OURS) and value != env.get(name)}
    return [*of_file, *(_of_file(problem, options) for problem in others)]


def _of_file(problem: Problem, options: set[str]) -> Problem:
    """The same problem in the words of the file that OTEL_CONFIG_FILE names, where it is one of the file.

    ``options`` are the variables of ours whose values are the file's.
    """

    def of_provider(match: re.Match[str]) -> str:
        provider = {"TRACES": "tracer_provider", "METRICS": "meter_provider"}.get(match[1], "logger_provider")
        what = {"PROTOCOL": "the protocol", "CERTIFICATE": "ca_file", "CLIENT_CERTIFICATE": "cert_file"}
        return f"{what.get(match[2], match[2].lower())} of {provider}"

    what, fix = problem[:2]
    if (named := _OTLP_VARIABLE.match(what)) is not None:
        encoding = " with encoding: protobuf" if "http/" in what.partition(":")[0] else ""
        if named[2] == "PROTOCOL":
            fix = fix.replace(f"set {named[0]}={HTTP_PROTOBUF}", f"use otlp_http{encoding}")
        what, fix = (_OTLP_VARIABLE.sub(of_provider, text) for text in (f"{VARIABLE}: {what}", fix))
    elif (ours := _OUR_VARIABLE.match(what)) is not None and ours[0] in options:
        what, fix = (_OUR_VARIABLE.sub(lambda match: match[1].lower(), text) for text in (what, fix))
        what = f"in {VARIABLE}, {what.replace('is not a variable of', 'is not an option of', 1)}"
        fix = fix.replace("unset it", "leave it out")
    return problem._replace(what=what, fix=fix)


def _never_read(env: Mapping[str, str]) -> Iterator[Problem]:
    """Custom labels whose values would be secrets: the others are read all the same."""
    with contextlib.suppress(ValueError):  # it is among the bad values
        for label in labels.parse(env.get("STREAMVITALS_LABELS", "")):
            if label.never_read:
                yield Problem(
                    f"STREAMVITALS_LABELS: {label} may hold a secret and is never read; there is no label {label.name}",
                    "take its value from somewhere else, or leave it out",
                )


def _contradicting(env: Mapping[str, str]) -> Iterator[Problem]:
    wanted = env.get("STREAMVITALS_CONVENTIONS", "").strip().lower()
    if wanted in GENERATIONS and wanted != LATEST and opted_in(env):
        what = f"STREAMVITALS_CONVENTIONS={wanted} has no effect: OTEL_SEMCONV_STABILITY_OPT_IN wants the latest only"
        yield Problem(what, f"leave {OPT_IN} out there, or unset STREAMVITALS_CONVENTIONS")


def known_variables() -> set[str]:
    """The names of the variables that are read."""
    recorder = _Recorder()
    Config.read(recorder)
    return recorder.names


class _Recorder(dict[str, str]):
    """An empty environment that records the names that are looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return default


def _misspelt(env: Mapping[str, str]) -> Iterator[Problem]:
    known = {name for name in known_variables() if name.startswith(OURS)} | INNER
    for name in sorted(name for name in env if name.upper().startswith("STREAM") and name not in known):
        meant = _closest(name.upper(), known - INNER)
        if meant:
            yield Problem(f"{name} is not a variable of streamvitals", f"did you mean {meant}?", minor=True)
        elif name.startswith(OURS):
            fix = "unset it; docs/settings.md has all"
            yield Problem(f"{name} is not a variable of streamvitals", fix, minor=True)


def _closest(name: str, known: Iterable[str]) -> str:
    """The name that was most likely meant.

    The prefix that all our names share is ignored.
    """
    from difflib import SequenceMatcher  # imported only if there is such a name

    if not name.startswith(OURS):
        whole = {SequenceMatcher(None, name, one).ratio(): one for one in known}
        return whole[max(whole)] if max(whole) > 0.9 else ""
    rest = {SequenceMatcher(None, name.removeprefix(OURS), one.removeprefix(OURS)).ratio(): one for one in known}
    return rest[max(rest)] if max(rest) >= ALIKE else ""


# -- problems that only the app's own Python can find: it leaves one of these words for the agent

_THERE = "in the app's environment"
BY_WORD = {
    "redact": Problem(
        "STREAMVITALS_REDACT cannot be used in the app: no text is captured",
        "make it importable there, or unset STREAMVITALS_CAPTURE_PARTIAL",
    ),
    "spans": Problem(f"no spans: OpenTelemetry's exporter is missing or raises {_THERE}", install.there("otlp")),
    "journal": Problem(
        "the journal cannot be written in the app: lines are lost",
        "see the app's log for why, or set STREAMVITALS_JOURNAL to a file that the app may write",
    ),
    "declarative": Problem(
        f"OTEL_CONFIG_FILE cannot be used {_THERE}: the variables are used there",
        f"{install.there('declarative')}; the app's log says what is wrong",
    ),
    "metrics": Problem(f"no metrics over OTLP from instrument() {_THERE}", install.there("otlp")),
}


def of_words(words: Iterable[str]) -> Iterator[Problem]:
    """The problems that these words stand for; unknown words, which any user may leave there, are skipped."""
    return (BY_WORD[word] for word in words if word in BY_WORD)


# -- OTLP


class Endpoint(NamedTuple):
    """The URL that a signal is sent to over OTLP, and the variable that sets it."""

    signal: str
    url: str
    variable: str

    @property
    def place(self) -> str:
        """Host and port, for messages, or "?" if it is no URL: user, password, path and query may be secret."""
        try:
            parts = urlsplit(self.url.strip())
            port = parts.port or (443 if parts.scheme == "https" else 80)
        except ValueError:
            return "?"
        return f"{parts.hostname}:{port}" if parts.scheme in ("http", "https") and parts.hostname else "?"


def endpoints(env: Mapping[str, str], config: Config) -> list[Endpoint]:
    """The endpoints of the configured signals, by the rules of the exporters' specification."""
    return [_endpoint(env, signal) for signal in SIGNALS if _is_sent(config, signal)]


def _is_sent(config: Config, signal: str) -> bool:
    return {"TRACES": config.otlp_traces, "METRICS": config.otlp_metrics, "LOGS": config.otlp_logs}[signal]


def endpoints_to_ask(env: Mapping[str, str], config: Config, problems: Iterable[Problem]) -> list[Endpoint]:
    """The endpoints to test: none where one of their variables is known to be wrong."""
    wrong = any(problem.what.startswith(("OTEL_EXPORTER_OTLP_", f"{VARIABLE}: ")) for problem in problems)
    return [] if wrong else endpoints(source(env).env, config)


def _endpoint(env: Mapping[str, str], signal: str) -> Endpoint:
    name = f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"
    if env.get(name):
        return Endpoint(signal.lower(), env[name], name)
    base = env.get(GENERAL) or f"http://localhost:{HTTP_PORT}"
    return Endpoint(signal.lower(), f"{base.rstrip('/')}/v1/{signal.lower()}", GENERAL)


def _otlp(env: Mapping[str, str]) -> Iterator[Problem]:
    """Yield one problem per variable that is wrong, whichever signals it is wrong for."""
    found = [problem for signal in SIGNALS for problem in _of_signal(env, signal)]
    yield from dict.fromkeys(found)


def _of_signal(env: Mapping[str, str], signal: str) -> Iterator[Problem]:
    if not _is_asked_for(env, signal):
        return
    name = f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL"
    name = name if env.get(name) else "OTEL_EXPORTER_OTLP_PROTOCOL"
    protocol = (env.get(name) or HTTP_PROTOBUF).strip()
    if protocol.lower() != HTTP_PROTOBUF:
        what = f"{name}={protocol[:40]!r}: streamvitals sends OTLP as {HTTP_PROTOBUF} only, so nothing of ours is sent"
        yield Problem(what, f"set {name}={HTTP_PROTOBUF}, and the endpoint's port for it (as a rule {HTTP_PORT})")
        return
    where = _endpoint(env, signal)
    if env.get(where.variable):
        yield from _of_url(where, env[where.variable])
    yield from _of_options(env, signal)


def _is_asked_for(env: Mapping[str, str], signal: str) -> bool:
    """Whether OTLP is configured, with any protocol."""
    plain = {name: value for name, value in env.items() if not name.endswith("_PROTOCOL")}
    config = Config.read(plain)[0]
    return _is_sent(config, signal)


def _of_url(where: Endpoint, given: str) -> Iterator[Problem]:
    name = where.variable
    try:
        parts = urlsplit(given.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        yield Problem(f"{name} is not a URL: nothing is sent", f"give it as http://host:{HTTP_PORT}")
        return
    if parts.scheme not in ("http", "https") or not host:
        what = f"{name}={_without_secrets(given)!r} does not begin with http:// or https://: nothing is sent"
        scheme = "https" if given.lstrip("\"' ").lower().startswith("https:") else "http"
        rest = _without_secrets(_AS_SCHEME.sub("", given.strip("\"' "))) or f"localhost:{HTTP_PORT}"
        yield Problem(what, f"set {name}={scheme}://{rest}")
    elif port == GRPC_PORT:
        what = f"{name} has port {GRPC_PORT}, which is for gRPC as a rule; {HTTP_PROTOBUF} is sent there"
        yield Problem(what, f"use port {HTTP_PORT}")
    elif where.variable == GENERAL and (ending := _ENDING.search(parts.path)):
        yield Problem(f"{name} ends in {ending[1]}, and that is appended to it once more", "leave it out there")
    elif where.variable != GENERAL and not parts.path.strip("/"):
        yield Problem(f"{name} has no path, and nothing is appended to it", f"append /v1/{where.signal} to it")


def _without_secrets(url: str) -> str:
    """The value up to its path, without user and password."""
    scheme, found, rest = url.strip().rpartition("//")
    return f"{scheme}{found}{rest.partition('/')[0].rpartition('@')[2]}".partition("?")[0][:80]


def _of_options(env: Mapping[str, str], signal: str) -> Iterator[Problem]:
    """Find values at which OpenTelemetry's exporter raises, or which it ignores, depending on its version."""
    for name in (*_both(signal, "TIMEOUT"), *(_INTERVALS if signal == "METRICS" else ())):
        if env.get(name) and not re.fullmatch(r"\s*\d+(\.\d+)?\s*", env[name]):
            yield Problem(f"{name}={env[name][:40]!r} is not a number", "give it without a unit", True)
    for name in _both(signal, "COMPRESSION"):
        if env.get(name, "").strip().lower() not in ("", "none", "gzip", "deflate"):
            yield Problem(f"{name}={env[name][:40]!r} is not allowed", "set it to gzip, deflate or none", True)
    for name in (*_both(signal, "CERTIFICATE"), *_both(signal, "CLIENT_CERTIFICATE"), *_both(signal, "CLIENT_KEY")):
        if env.get(name) and not os.access(env[name], os.R_OK):
            yield Problem(f"{name} is a file that cannot be read: nothing is sent", "check its path and permissions")


def _both(signal: str, what: str) -> tuple[str, str]:
    return f"OTEL_EXPORTER_OTLP_{what}", f"OTEL_EXPORTER_OTLP_{signal}_{what}"


def of_exporter(config: Config, paths: Iterable[str]) -> Iterator[Problem]:
    """Find out whether the agent, which imports from ``paths``, lacks the exporter for OTLP metrics."""
    if config.otlp_metrics and not all(_is_there(part, paths) for part in OTLP_PARTS):
        what = "OTLP metrics are asked for, and OpenTelemetry's exporter is not installed beside streamvitals"
        yield Problem(what, install.here("otlp"))


def _is_there(part: str, paths: Iterable[str]) -> bool:
    return any(os.path.isdir(os.path.join(path, part)) for path in paths)


# -- the machine


def of_journal(path: str) -> Iterator[Problem]:
    """Find out whether this process can write the journal, without touching it."""
    fix = "set STREAMVITALS_JOURNAL to a file that the app may write"
    why = _not_writable(path) if path else ""
    if why:
        yield Problem(f"the journal {path[:200]} cannot be written: {why}", fix)


def journal_is_reported(config: Config) -> bool:
    """Whether `run` or instrument() has already reported that the journal cannot be written.

    A report of `run` counts only if the path is the same file for it, and the user is the same.
    """
    if not config.journal or not any(of_journal(config.journal)):
        return False
    if not config.directory:
        return True
    try:
        return os.path.isabs(config.journal) and os.stat(config.directory).st_uid == os.geteuid()
    except OSError:
        return False


def _not_writable(path: str) -> str:
    if "\0" in path:
        return "its name holds a NUL"
    fd = descriptors.named_by(path)
    if fd is not None:
        return _not_writable_descriptor(fd)
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        try:
            folder = os.path.dirname(os.path.abspath(os.path.realpath(path)))
        except OSError:
            return "the working directory has been removed"
        if not os.path.isdir(folder):
            return f"there is no folder {folder}"
        return "" if os.access(folder, os.W_OK | os.X_OK) and _writable(folder) else f"{folder} is not writable"
    except OSError as error:
        return error.strerror or type(error).__name__
    if stat.S_ISDIR(mode):
        return "it is a folder"
    if stat.S_ISSOCK(mode):
        return "it is a socket"
    return "" if os.access(path, os.W_OK) and (not stat.S_ISREG(mode) or _writable(path)) else "no permission"


def _not_writable_descriptor(fd: int) -> str:
    """Why a descriptor cannot be written to; the app has the same ones as `run`."""
    try:
        writable = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY
    except OSError:
        return f"descriptor {fd} is not open"
    return "" if writable else f"descriptor {fd} is open for reading only"


def _writable(path: str) -> bool:
    """Whether the file system is not read-only; root may write everywhere else."""
    return not os.statvfs(path).f_flag & os.ST_RDONLY
