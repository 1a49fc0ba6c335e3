"""Settings from the environment: the standard ``OTEL_*`` variables first, ``STREAMVITALS_*`` for the rest.

Standard library only: this is read inside the app's processes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from ..conventions import AUTO, GENERATIONS, LATEST, SPANS
from ..names import CALLS, GROUPS, MAX_LABEL_SETS, MAX_LABEL_VALUES, PROVIDERS
from . import labels
from .declarative import source
from .labels import CustomLabel

# Most characters of a bad value that are shown.
MAX_SHOWN = 120
MOST_PARTIAL = 1 << 20
# The port of OpenTelemetry's exporter for Prometheus, and of `run`; and the port of `run` beside such an exporter.
# https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#prometheus-exporter
USUAL_PORT, PORT_BESIDE = 9464, 19464

_LEAVING_OUT = "all, or what to leave out as -durations,-gaps, or all that is to be shown as errors,retries"
# A value of OTEL_SEMCONV_STABILITY_OPT_IN: "emit the latest experimental conventions, and do not emit the old ones".
OPT_IN = "gen_ai_latest_experimental"

T = TypeVar("T")


class ConfigError(ValueError):
    """A variable has a value that is not allowed; the message names variable, value and what is allowed."""


class BadValue(NamedTuple):
    """A variable whose value is not allowed: the message about it, and what is used instead."""

    name: str
    text: str
    instead: str


@dataclass(frozen=True)
class Config:
    """The settings. Times in seconds, ``capture_partial`` in bytes.

    ``left_out`` are the metrics that are not shown, by their OTel names. A stream is stalled when it was silent for
    ``stall_after`` between chunks, or for ``first_token_stall_after`` before the first token of its answer.
    ``providers`` are provider names by host, or by host and port, for servers whose address does not show the provider.
    ``redact`` names a function, ``package.module:function``, that partial text is passed through. ``app_port`` is where
    the app's own OpenTelemetry exporter will serve, 0 where there is none. ``labels`` are the custom labels that may be
    read; of each, ``label_values`` values are told apart, and ``label_sets`` sets of all labels together.
    ``web_config`` and ``token_file`` are the files that say who may read what is served.
    ``declared`` are the variables that stand for the file that OTEL_CONFIG_FILE names, if it is in force.
    """

    disabled: bool = False
    directory: str = ""
    stall_after: float = 5.0
    first_token_stall_after: float = 60.0
    flush_every: float = 5.0
    retry_window: float = 60.0
    linger: float = 15.0
    finish_optional_hosts: frozenset[str] = frozenset()
    providers: Mapping[str, str] = field(default_factory=dict)
    http_spans: bool = False
    conventions: str = LATEST
    spans: str = AUTO
    capture_partial: int = 0
    redact: str = ""
    journal: str = ""
    quiet: bool = False
    left_out: frozenset[str] = frozenset()
    host: str = "localhost"
    port: int = USUAL_PORT
    app_port: int = 0
    web_config: str = ""
    token_file: str = ""
    otlp_traces: bool = False
    otlp_metrics: bool = False
    otlp_logs: bool = False
    labels: tuple[CustomLabel, ...] = ()
    label_values: int = MAX_LABEL_VALUES
    label_sets: int = MAX_LABEL_SETS
    declared: Mapping[str, str] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(label for label in self.labels if not label.never_read))

    @property
    def plain_calls(self) -> bool:
        """Whether calls without a stream are observed."""
        return CALLS.otel not in self.left_out

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Config:
        """Read and check every variable. Raises ConfigError on the first bad value."""
        config, bad = cls.read(env)
        if bad:
            raise ConfigError(bad[0].text)
        return config

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> tuple[Config, tuple[BadValue, ...]]:
        """Read every variable; return the settings, with the default for each bad value, and the bad values."""
        bad: list[BadValue] = []
        found = source(env)
        env = found.env

        def take(parse: Callable[[Mapping[str, str], str, T], T], name: str, default: T, instead: str = "") -> T:
            try:
                return parse(env, name, default)
            except ConfigError as error:
                bad.append(BadValue(name, str(error), instead or f"{_shown(default)} is used"))
                return default

        partial = take(_number(0, MOST_PARTIAL, "of bytes from 0 (off) to"), "STREAMVITALS_CAPTURE_PARTIAL", 0)
        redact = take(_function, "STREAMVITALS_REDACT", "", "no text is captured")
        if any(value.name == "STREAMVITALS_REDACT" for value in bad):
            partial = 0  # text that the user wanted redacted is never kept unredacted
        endpoint = bool(env.get("OTEL_EXPORTER_OTLP_ENDPOINT"))
        usual = take(_port, "OTEL_EXPORTER_PROMETHEUS_PORT", USUAL_PORT)
        stall_after = take(_seconds(0.01, 3600.0), "STREAMVITALS_STALL_SECONDS", cls.stall_after)
        app_port = 0
        if "prometheus" in _exporters(env, "METRICS"):
            app_port, usual = usual, port_beside(usual)
        config = cls(
            disabled=take(_flag, "OTEL_SDK_DISABLED", False),
            directory=env.get("STREAMVITALS_DIR", ""),
            stall_after=stall_after,
            first_token_stall_after=take(
                _seconds(0.01, 3600.0), "STREAMVITALS_FIRST_TOKEN_STALL_SECONDS",
                max(cls.first_token_stall_after, stall_after),
            ),
            retry_window=take(_seconds(0.0, 3600.0), "STREAMVITALS_RETRY_WINDOW_SECONDS", 60.0),
            linger=take(_seconds(0.0, 86400.0), "STREAMVITALS_LINGER_SECONDS", 15.0),
            finish_optional_hosts=take(_hosts, "STREAMVITALS_FINISH_OPTIONAL_HOSTS", frozenset()),
            providers=take(_providers, "STREAMVITALS_PROVIDERS", {}),
            capture_partial=partial,
            redact=redact,
            journal=env.get("STREAMVITALS_JOURNAL", ""),
            quiet=take(_flag, "STREAMVITALS_QUIET", False),
            conventions=_conventions(env, take(_one_of(GENERATIONS), "STREAMVITALS_CONVENTIONS", LATEST)),
            spans=take(_one_of(SPANS), "STREAMVITALS_SPANS", AUTO),
            http_spans=take(_flag, "STREAMVITALS_HTTP_SPANS", False),
            left_out=take(_metrics, "STREAMVITALS_METRICS", frozenset(), "all are shown"),
            host=env.get("STREAMVITALS_HOST") or env.get("OTEL_EXPORTER_PROMETHEUS_HOST") or "localhost",
            port=take(_port, "STREAMVITALS_PORT", usual),
            app_port=app_port,
            web_config=env.get("STREAMVITALS_WEB_CONFIG", ""),
            token_file=env.get("STREAMVITALS_TOKEN_FILE", ""),
            otlp_traces=_exports_otlp(env, "TRACES", endpoint),
            otlp_metrics=_exports_otlp(env, "METRICS", endpoint),
            # By name only: behind an endpoint for all signals there is often nobody for logs.
            otlp_logs=_exports_otlp(env, "LOGS", endpoint=False),
            labels=take(_labels, "STREAMVITALS_LABELS", (), "no custom labels are counted"),
            label_values=take(_number(1, 1000), "STREAMVITALS_LABEL_VALUES", MAX_LABEL_VALUES),
            label_sets=take(_number(20, 5000), "STREAMVITALS_LABEL_SETS", MAX_LABEL_SETS),
            declared=found.declared,
        )
        return config, tuple(bad)


def port_beside(app_port: int) -> int:
    """Our port, where the app's own exporter has the usual one."""
    return PORT_BESIDE if app_port != PORT_BESIDE else 0


def _shown(default: object) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default) if default or default == 0 else "none"


def _bad(name: str, value: str, allowed: str) -> ConfigError:
    # The value may be a whole URL, with a password in it.
    shown = re.sub(r"//[^/@]*@", "//...@", value)
    return ConfigError(f"{name}={shown[:MAX_SHOWN]!r} is not allowed: {allowed}")


def _flag(env: Mapping[str, str], name: str, default: bool) -> bool:
    value = env.get(name, "").strip().lower()
    if not value:
        return default
    if value == "false":
        return False
    if value == "true":
        return True
    raise _bad(name, env[name], "true or false")


def _one_of(allowed: tuple[str, ...]) -> Callable[[Mapping[str, str], str, str], str]:
    def parse(env: Mapping[str, str], name: str, default: str) -> str:
        value = env.get(name, "").strip().lower()
        if value and value not in allowed:
            raise _bad(name, env[name], f"{', '.join(allowed[:-1])} or {allowed[-1]}")
        return value or default

    return parse


def opted_in(env: Mapping[str, str]) -> bool:
    """Whether the standard variable asks for the latest conventions, and for none before them."""
    return OPT_IN in [word.strip() for word in env.get("OTEL_SEMCONV_STABILITY_OPT_IN", "").split(",")]


def _conventions(env: Mapping[str, str], wanted: str) -> str:
    return LATEST if opted_in(env) else wanted


def _seconds(low: float, high: float) -> Callable[[Mapping[str, str], str, float], float]:
    def parse(env: Mapping[str, str], name: str, default: float) -> float:
        text = env.get(name, "").strip()
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise _bad(name, text, f"a number of seconds from {low:g} to {high:g}, without a unit")
        return value

    return parse


def _number(
    least: int, most: int, words: str = ""
) -> Callable[[Mapping[str, str], str, int], int]:
    def parse(env: Mapping[str, str], name: str, default: int) -> int:
        text = env.get(name, "").strip()
        if not text:
            return default
        if not _is_whole(text, most) or int(text) < least:
            raise _bad(name, text, f"a number {words or f'from {least} to'} {most}")
        return int(text)

    return parse


def _labels(env: Mapping[str, str], name: str, default: tuple[CustomLabel, ...]) -> tuple[CustomLabel, ...]:
    try:
        return labels.parse(env.get(name, "")) or default
    except ValueError as error:
        raise _bad(name, env[name], f"{error}; {labels.GRAMMAR}") from None


def _is_whole(text: str, most: int) -> bool:
    # int() raises for thousands of digits.
    return text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most


def _function(env: Mapping[str, str], name: str, default: str) -> str:
    text = env.get(name, "").strip()
    module, colon, function = text.partition(":")
    if text and not (colon and function.isidentifier() and all(p.isidentifier() for p in module.split("."))):
        raise _bad(name, text, "a function as package.module:function")
    return text or default


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip()
    if not text:
        return default
    if not _is_whole(text, 65535):
        raise _bad(name, text, "a port number from 0 (any free one) to 65535")
    return int(text)


def _hosts(env: Mapping[str, str], name: str, default: frozenset[str]) -> frozenset[str]:
    hosts = [h.strip().lower() for h in env.get(name, "").split(",") if h.strip()]
    for host in hosts:
        if "/" in host or " " in host:
            raise _bad(name, host, "host names without scheme or path, separated by commas")
    return frozenset(hosts) or default


def _providers(env: Mapping[str, str], name: str, default: Mapping[str, str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for entry in env.get(name, "").split(","):
        if entry.strip():
            host, _, provider = (part.strip().lower() for part in entry.partition("="))
            if not host or "/" in host or provider not in PROVIDERS:
                raise _bad(name, entry, f"host=provider or host:port=provider, provider one of {', '.join(PROVIDERS)}")
            found[host] = provider
    return found or default


def left_out(text: str, name: str = "STREAMVITALS_METRICS") -> frozenset[str]:
    """The metrics that are not to be shown, by their OTel names. Raises ConfigError."""
    words = [word.strip().lower() for word in text.split(",") if word.strip()]
    without = {word[1:] for word in words if word.startswith("-")}
    groups = without or set(words)
    if words in ([], ["all"]):
        return frozenset()
    if not groups <= GROUPS.keys() or 0 < len(without) < len(set(words)):
        raise _bad(name, text, f"{_LEAVING_OUT}, of {', '.join(GROUPS)}")
    return frozenset(metric.otel for group in (without or GROUPS.keys() - groups) for metric in GROUPS[group])


def _metrics(env: Mapping[str, str], name: str, default: frozenset[str]) -> frozenset[str]:
    return left_out(env.get(name, ""), name) or default


def _exporters(env: Mapping[str, str], signal: str) -> set[str]:
    return {part.strip().lower() for part in env.get(f"OTEL_{signal}_EXPORTER", "").split(",") if part.strip()}


def _exports_otlp(env: Mapping[str, str], signal: str, endpoint: bool) -> bool:
    """Whether the standard variables ask for OTLP over http/protobuf: an endpoint, or the exporter named.

    Other exporters and protocols are legal values meant for the app's own pipeline: not ours, no error.
    """
    exporters = _exporters(env, signal)
    wanted = "otlp" in exporters if exporters else endpoint or bool(env.get(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT"))
    protocol = env.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or env.get("OTEL_EXPORTER_OTLP_PROTOCOL") or ""
    return wanted and protocol.strip().lower() in ("", "http/protobuf")
