"""OpenTelemetry's declarative configuration: the file that ``OTEL_CONFIG_FILE`` names, as if its variables were set.

https://opentelemetry.io/docs/specs/otel/configuration/ says that the file is then the only source of the settings. It
is read by the SDK's own loader (the extra ``declarative``), which checks it and fills in ``${NAME}``. Where that cannot
be done the variables go on. Of the file this is used: ``disabled``, the resource, the first span processor and the
first periodic reader with ``otlp_http``, the sampler, a Prometheus reader's address, and the options of streamvitals.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote
from zlib import crc32

from . import bounds, install
from .misnamed import NAME, Fault, closest, in_model, misnamed

VARIABLE = "OTEL_CONFIG_FILE"
# Set by `run` in the app's environment if the file cannot be used: the digest of what it has said of that.
SAID = "STREAMVITALS_SAID"
_OURS = "STREAMVITALS_"
_LOADER = "opentelemetry.configuration.file._loader"
# The default of the schema: where otlp_http sends without an endpoint.
_ENDPOINT = "http://localhost:4318/v1/"
_SAMPLERS = {"always_on": "always_on", "always_off": "always_off", "trace_id_ratio_based": "traceidratio"}
_DELEGATES = ("remote_parent_sampled", "remote_parent_not_sampled", "local_parent_sampled", "local_parent_not_sampled")
# Most unknown names of one place that are said.
_MOST = 4
_PLAIN = (
    "file is empty", "path is not a file", "must be a mapping", "Unsupported file format", "Unsupported file_format",
    "Invalid file_format",
)


class Source(NamedTuple):
    """Where the settings of OpenTelemetry come from.

    ``env`` are the variables, with the file's settings in place of all ``OTEL_*`` if ``file``, its path, is in force.
    ``faults`` are what is wrong.
    """

    env: Mapping[str, str]
    file: str = ""
    faults: tuple[Fault, ...] = ()

    @property
    def declared(self) -> Mapping[str, str] | None:
        """The variables that stand for the file; None if it is not in force."""
        return {name: self.env[name] for name in self.env if name.startswith("OTEL_")} if self.file else None


class _UnusableError(Exception):
    """Why the file cannot be used, without any value of it, and how to fix that."""

    def __init__(self, why: str, fix: str = "mend it, or unset the variable") -> None:
        super().__init__(why)
        self.fix = fix


def source(env: Mapping[str, str]) -> Source:
    """Find out which source is in force. ``OTEL_SDK_DISABLED=true`` is, whatever the file says."""
    path = env.get(VARIABLE, "")
    if not path or env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return Source(env)
    try:
        found = os.stat(path)
        read = _read(os.path.abspath(path), found.st_ino, found.st_mtime_ns, found.st_size)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        return Source(env, faults=(Fault(_unusable(path, why), "check the path"),))
    if isinstance(read, _UnusableError):
        return Source(env, faults=(Fault(_unusable(path, str(read)), read.fix),))
    variables, faults = read
    others = {name: value for name, value in env.items() if not name.startswith("OTEL_")}
    return Source({**others, **variables}, path, faults)


def digest(fault: Fault) -> str:
    """What tells one fault from another, and holds nothing of it."""
    return f"{crc32(fault.what.encode()):08x}"


def settings_of(env: Mapping[str, str]) -> str:
    """Where OpenTelemetry's settings come from, in words."""
    return VARIABLE if source(env).file else "the variables"


def texts(options: Mapping[str, Any]) -> dict[str, str]:
    """Options of the file as the values of the variables that mean the same."""
    return {_OURS + name.upper(): _text(value) for name, value in options.items() if value is not None}


def _unusable(path: str, why: str) -> str:
    return f"{VARIABLE}={path[:120]!r} cannot be used: {why}; the variables are used"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return ",".join(f"{key}={one}" for key, one in value.items())
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


@lru_cache(8)
def _read(path: str, *version: int) -> tuple[dict[str, str], tuple[Fault, ...]] | _UnusableError:
    # What is wrong is returned, not raised, so that a file that cannot be used is read once, too.
    faults: list[Fault] = []
    try:
        model = _load(path)
    except _UnusableError as error:
        return error.with_traceback(None)
    return dict(_variables(model, faults)), (*faults, *misnamed(model))


def _load(path: str) -> Any:
    quiet = logging.getLogger(_LOADER)
    quiet.addFilter(_nothing)  # it logs what it raises, with lines of the file
    try:
        from opentelemetry.configuration import load_config_file
    except ImportError as error:
        raise _UnusableError("the loader is not installed here", install.here("declarative")) from error
    try:
        bounds.check(path)
        return load_config_file(path)
    except bounds.TooMuchError as error:
        raise _UnusableError(str(error)) from None
    except Exception as error:
        raise _UnusableError(_why(error)) from error
    finally:
        quiet.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _why(error: BaseException) -> str:
    """What is wrong with the file: names of its keys, but none of its values, which may be secret."""
    cause = error.__cause__ or error
    mark, rule = getattr(cause, "problem_mark", None), getattr(cause, "validator", None)
    if mark is not None:
        return f"it is no YAML, see line {mark.line + 1}"
    if rule is not None:
        at = ".".join(map(str, getattr(cause, "absolute_path", ()))) or "the top"
        return f"it does not fit the schema at {at}: {_rule(str(rule), cause)}"
    if type(cause).__name__ == "JSONDecodeError":
        return f"it is no JSON, see line {getattr(cause, 'lineno', '?')}"
    if isinstance(error, UnicodeError):
        return "it is not UTF-8"
    # Of its messages those that hold no value of the file.
    text = str(error).removeprefix("Configuration ")
    return text[:200] if text.startswith(_PLAIN) else f"the loader raises {type(error).__name__}"


def _rule(rule: str, cause: Any) -> str:
    wanted, given = cause.validator_value, cause.instance
    if rule == "required" and isinstance(given, dict):
        return f"{', '.join(sorted(set(wanted) - set(given)))} is missing"
    if rule == "additionalProperties" and isinstance(given, dict):
        known = cause.schema.get("properties", {})
        names = sorted(map(str, set(given) - set(known)))[:_MOST]
        meant = [one for one in (closest(name, known) for name in names) if one]
        asked = f", did you mean {meant[0]}?" if meant else ""
        return f"{', '.join(names)[:80]} is not known there{asked}"
    if rule in ("type", "enum", "minimum", "maximum", "minProperties", "maxProperties", "minItems"):
        return f"{rule} must be {wanted}"[:200]
    return f"the rule {rule!r} is broken"


def _variables(model: Any, faults: list[Fault]) -> Iterator[tuple[str, str]]:
    if model.disabled:
        yield "OTEL_SDK_DISABLED", "true"
    yield from _resource(model.resource)
    yield from _traces(model.tracer_provider, faults)
    yield from _metrics(model.meter_provider)
    logs = _first(one.exporter for one in _processors(model.logger_provider) if one is not None)
    if logs is not None:
        yield from _otlp("LOGS", logs)
    yield from _options(model)


def _resource(resource: Any) -> Iterator[tuple[str, str]]:
    if resource is None:
        return
    listed = [pair.partition("=") for pair in (resource.attributes_list or "").split(",") if "=" in pair]
    attributes = {key.strip(): value.strip() for key, _, value in listed}
    for one in resource.attributes or ():
        if one.value is not None:
            attributes[one.name] = quote(_text(one.value))
    if attributes:
        yield "OTEL_RESOURCE_ATTRIBUTES", ",".join(f"{key}={value}" for key, value in attributes.items())


def _traces(provider: Any, faults: list[Fault]) -> Iterator[tuple[str, str]]:
    exporter = _first(one.exporter for one in _processors(provider) if one is not None)
    sampler = _sampler(provider.sampler) if exporter is not None else ""
    if sampler is None:
        what = f"the sampler in {VARIABLE} is one that streamvitals does not have: it exports no spans"
        fix = "use always_on, always_off, trace_id_ratio_based, or parent_based with one of them"
        meant = [one.meant for one in in_model(provider.sampler) if one.meant]
        faults.append(Fault(what, f"did you mean {meant[0]}?" if meant else fix))
    if exporter is None or sampler is None:
        yield "OTEL_TRACES_EXPORTER", "none"
        return
    yield from _otlp("TRACES", exporter)
    if sampler:
        name, _, ratio = sampler.partition(" ")
        yield "OTEL_TRACES_SAMPLER", name
        if ratio:
            yield "OTEL_TRACES_SAMPLER_ARG", ratio


def _processors(provider: Any) -> Iterator[Any]:
    return (one.batch or one.simple for one in (provider.processors if provider is not None else ()))


def _first(exporters: Iterator[Any]) -> Any:
    """The first exporter that is OTLP, over HTTP if there is one."""
    found = [one for one in exporters if one.otlp_http is not None or one.otlp_grpc is not None]
    return next((one for one in found if one.otlp_http is not None), found[0] if found else None)


def _otlp(signal: str, exporter: Any) -> Iterator[tuple[str, str]]:
    yield f"OTEL_{signal}_EXPORTER", "otlp"
    name, http = f"OTEL_EXPORTER_OTLP_{signal}_", exporter.otlp_http
    if http is None:
        yield name + "PROTOCOL", "grpc"
        return
    encoding = getattr(http.encoding, "value", None)
    if encoding not in (None, "protobuf"):
        yield name + "PROTOCOL", f"http/{encoding}"
    yield name + "ENDPOINT", http.endpoint or _ENDPOINT + signal.lower()
    listed = [pair.partition("=") for pair in (http.headers_list or "").split(",") if "=" in pair]
    headers = {key.strip(): value.strip() for key, _, value in listed}
    headers |= {one.name: quote(one.value or "") for one in http.headers or ()}
    if headers:
        yield name + "HEADERS", ",".join(f"{key}={value}" for key, value in headers.items())
    if http.timeout is not None:
        yield name + "TIMEOUT", f"{http.timeout / 1000:g}"  # the Python exporter takes seconds
    if http.compression:
        yield name + "COMPRESSION", http.compression
    if http.tls is not None:
        files = {"CERTIFICATE": http.tls.ca_file, "CLIENT_KEY": http.tls.key_file}
        for what, path in {**files, "CLIENT_CERTIFICATE": http.tls.cert_file}.items():
            if path:
                yield name + what, path


def _sampler(sampler: Any) -> str | None:
    """The sampler's name in OTEL_TRACES_SAMPLER and its argument; "" for the default, None if it has no such name."""
    if sampler is None:
        return ""
    parent = sampler.parent_based
    if parent is not None:
        root = _sampler(parent.root) or ("always_on" if parent.root is None else None)
        custom = any(getattr(parent, name) is not None for name in _DELEGATES)
        return None if custom or root is None or root.startswith("parentbased_") else f"parentbased_{root}"
    for name, variable in _SAMPLERS.items():
        chosen = getattr(sampler, name)
        if chosen is not None:
            ratio = getattr(chosen, "ratio", None)
            return f"{variable} {1.0 if ratio is None else ratio:g}" if variable == "traceidratio" else variable
    return None


def _metrics(provider: Any) -> Iterator[tuple[str, str]]:
    readers = provider.readers if provider is not None else ()
    periodic = [one.periodic for one in readers if one.periodic is not None]
    exporter, wanted = _first(one.exporter for one in periodic), []
    if exporter is not None:
        wanted.append("otlp")
        reader = next(one for one in periodic if one.exporter is exporter)
        yield from ((name, value) for name, value in _otlp("METRICS", exporter) if name != "OTEL_METRICS_EXPORTER")
        for name, number in (("INTERVAL", reader.interval), ("TIMEOUT", reader.timeout)):
            if number is not None:
                yield f"OTEL_METRIC_EXPORT_{name}", str(number)
        preferred = getattr(getattr(exporter.otlp_http, "temporality_preference", None), "value", "")
        if preferred:
            yield "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", preferred.replace("_", "")
    pulled = [one.pull.exporter.prometheus_development for one in readers if one.pull is not None]
    for served in [one for one in pulled if one is not None][:1]:
        wanted.append("prometheus")
        for name, value in (("HOST", served.host), ("PORT", served.port)):
            if value is not None:
                yield f"OTEL_EXPORTER_PROMETHEUS_{name}", str(value)
    yield "OTEL_METRICS_EXPORTER", ",".join(wanted) or "none"


def _options(model: Any) -> Iterator[tuple[str, str]]:
    """What stands under ``instrumentation/development: python: streamvitals:``."""
    python = getattr(model.instrumentation_development, "python", None) or {}
    options = dict(python.get(NAME) or {})
    if options.pop("enabled", True) is False:
        yield "OTEL_SDK_DISABLED", "true"
    yield from texts(options).items()
