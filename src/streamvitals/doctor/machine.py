"""What `doctor` sees from here: variables, port, directory."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from ..agent import directory as private
from ..agent.launch import bind
from ..config import Config, ConfigError
from .check import FAIL, OK, WARN, Check

# Below this a tmpfs is filled by a few dozen processes. Bytes.
ROOM = 16 * 2**20
# Set by `run` for the app, and by nobody else.
_INNER = {"STREAMVITALS_DIR", "STREAMVITALS_CAPTURE_PARTIAL"}


def check_variables(env: Mapping[str, str]) -> Iterator[Check]:
    """Every variable that is read: its values, and names that look like ours and are not."""
    known, bad = _read_variables(env)
    yield from (Check(FAIL, text, "set an allowed value, or unset it") for text in bad)
    for name in sorted(env):
        if name.startswith("STREAMVITALS_") and name not in known | _INNER:
            yield Check(WARN, f"{name} is not a variable of streamvitals", "check its spelling")
    valid = sorted(name for name in known & env.keys() if not any(b.startswith(name + "=") for b in bad))
    if valid:
        yield Check(OK, "variables set and valid: " + ", ".join(valid))
    if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Check(WARN, "OTEL_SDK_DISABLED=true: apps are run but not watched", "unset it")
    if env.get("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf") != "http/protobuf":
        mend = "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
        yield Check(WARN, "OTLP goes out as http/protobuf only", mend)


class _Recorder(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, env: Mapping[str, str]) -> None:
        super().__init__(env)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


def _read_variables(env: Mapping[str, str]) -> tuple[set[str], list[str]]:
    """The names that are read, and what is said of each bad value: one at a time, each without the last."""
    recorder, bad = _Recorder(env), []
    while (fault := _first_fault(recorder)) is not None:
        bad.append(fault)
        if recorder.pop(fault.partition("=")[0], None) is None:
            break
    return recorder.asked, bad


def _first_fault(env: Mapping[str, str]) -> str | None:
    try:
        Config.from_env(env)
    except ConfigError as error:
        return str(error)
    return None


def usable_config(env: Mapping[str, str]) -> Config:
    """The configuration without what is bad in it."""
    _, bad = _read_variables(env)
    names = {text.partition("=")[0] for text in bad}
    return Config.from_env({name: value for name, value in env.items() if name not in names})


def check_port(config: Config) -> Iterator[Check]:
    """Whether /metrics would be where it is expected."""
    try:
        with bind(config.host, config.port) as listener:
            got = listener.getsockname()[1]
    except OSError as error:
        mend = "set OTEL_EXPORTER_PROMETHEUS_HOST to an address of this machine"
        yield Check(FAIL, f"no port can be opened on {config.host}: {error.strerror}", mend)
        return
    if config.port in (0, got):
        yield Check(OK, f"port {got} on {config.host} is free")
    else:
        mend = "stop what holds it, or set OTEL_EXPORTER_PROMETHEUS_PORT"
        yield Check(WARN, f"port {config.port} on {config.host} is not free: {got} would be taken", mend)


def check_directory(env: Mapping[str, str]) -> Iterator[Check]:
    """Whether there is a place for the files that processes share with the agent."""
    try:
        path = private.create(env)
    except OSError as error:
        mend = "make /dev/shm or TMPDIR writable"
        yield Check(FAIL, f"no private directory can be made: {error.strerror or error}", mend)
        return
    state = os.statvfs(path)
    private.remove(path)
    free = state.f_bavail * state.f_frsize
    parent = os.path.dirname(path)
    if free < ROOM:
        yield Check(WARN, f"{parent} has {free // 2**20} MiB left", "give it more, as by docker's --shm-size")
    else:
        yield Check(OK, f"{parent} is writable, {free // 2**20} MiB free")
