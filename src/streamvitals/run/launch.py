"""`streamvitals run`: starts the agent beside the app, then becomes the app.

The app is exec'ed in this very process, so that pid, parent, terminal, descriptors, signals and exit code
are its own by construction. Nothing of ours may keep it from starting: a fault is one line on stderr.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NoReturn

from ..agent import private_directory
from ..agent.proc import named
from ..config import Config, port_beside
from ..config.declarative import SAID, digest, source
from ..config.problems import Problem
from ..startup import registration
from ..system import console, descriptors
from . import checks, handover, init
from .command import Command, CommandError, become, original_environment, otel_options
from .spawn import AgentHandle, AgentOptions, spawn_agent

INJECT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "startup", "inject")
# The names of the settings for the address, for messages.
HOST, PORT = "--host or STREAMVITALS_HOST", "--port or STREAMVITALS_PORT"


def run_command(
    host: str | None, port: int | None, arguments: Sequence[str], web_config: str | None = None
) -> NoReturn:
    """Run `streamvitals run` with these options; exit as a shell would if there is nothing to exec."""
    env = original_environment()
    try:
        if env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            become(Command.find(arguments, env), env)
        # Bad variables do not stop the app from starting: they are reported, and their defaults are used.
        config = read_config(env, arguments)
        config = with_options(config, host, port, web_config)
        run(arguments, config, env)
    except CommandError as error:
        say(str(error))
        sys.exit(error.status)


def with_options(config: Config, host: str | None, port: int | None, web_config: str | None) -> Config:
    """The settings with what the command line says; the agent does not run in this folder."""
    paths = (web_config or config.web_config, config.token_file)
    file, token = (os.path.abspath(path) if path else "" for path in paths)
    port = config.port if port is None else port
    return replace(config, host=host or config.host, port=port, web_config=file, token_file=token)


def read_config(env: Mapping[str, str], arguments: Sequence[str]) -> Config:
    """Read the settings; options of ``opentelemetry-instrument`` outrank the environment."""
    config, _ = Config.read(env)
    beside, _ = Config.read({**env, **otel_options(arguments)})
    return replace(config, port=beside.port, app_port=beside.app_port)


def run(arguments: Sequence[str], config: Config, env: Mapping[str, str]) -> NoReturn:
    """Start the agent, then exec `arguments`. Raises CommandError where there is nothing to exec."""
    # Until the exec, an interrupt ends this process as it would have ended the app.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = Command.find(arguments, env)
    if config.disabled:
        become(command, env)
    if watched_already(config, env):
        become(command, env)
    agent = set_up(config, env, arguments)
    if agent is None:
        become(command, env)
    inside = {**env, **injected(env, agent.directory)}
    if os.getpid() == 1:
        init.run_as_init(command, inside, agent, flush=config.otlp_metrics)
    registration.register(agent.directory, registration.RUN)
    try:
        become(command, inside)
    except CommandError:
        tear_down(agent)
        raise


def watched_already(config: Config, env: Mapping[str, str]) -> bool:
    """Whether a `run` that started this one (as an image's entrypoint) serves on the same port; report it."""
    try:
        url = handover.around(env, wanted_port(config))
    except Exception:  # noqa: BLE001  whatever it is, the app starts
        return False
    if url and not config.quiet:
        say(f"the `streamvitals run` around this one watches it; {checks.where(url)}")
    return bool(url)


def wanted_port(config: Config) -> int:
    """The port to serve on: not the one of the app's own exporter."""
    return port_beside(config.port) if config.port and config.port == config.app_port else config.port


def set_up(config: Config, env: Mapping[str, str], arguments: Sequence[str] = ()) -> AgentHandle | None:
    """Make the directory, open the port and start the agent; on failure return None and report it on stderr."""
    directory = ""
    try:
        if os.pathsep in INJECT:
            raise OSError(f"{INJECT!r} cannot stand in PYTHONPATH")
        if not os.path.isdir(INJECT):
            raise OSError("streamvitals is in an archive, and has to be unpacked to be run from")
        checks.check_machine()
        directory = private_directory.create(env)
        problems = checks.find_problems(arguments, config, env)
        listener, host = listen_near(config, env, problems)
        with listener:
            unusable, note, tls = checks.who_may_read(replace(config, host=host), listener)
            problems += unusable
            url = url_of(listener, host, tls=tls)
            speaks = checks.wants_to_speak(env, config, problems)
            options = AgentOptions(
                directory, url, os.getpid(), problems, speaks=speaks, quiet=config.quiet,
                web_config=config.web_config, token_file=config.token_file,
            )
            agent = spawn_agent(listener, options, env)
            # For a later run, which may find the port taken before the agent has written its own facts.
            with contextlib.suppress(OSError):
                facts = {"url": url, "agent": named(agent.pid), "app": named(os.getpid())}
                private_directory.write_facts(directory, facts)
    except Exception as error:  # noqa: BLE001  whatever it is, the app starts
        if directory:
            private_directory.remove(directory)
        if not config.quiet:
            say(f"not watching this app: {error}")
        return None
    if not config.quiet:
        checks.announce(url, problems, config.app_port, note)
    return agent


def listen_near(config: Config, env: Mapping[str, str], problems: list[Problem]) -> tuple[socket.socket, str]:
    """Listen on the configured address, or a similar one, and return the socket and its host.

    If it is another address, ``problems`` gets an entry.
    """
    host, port = config.host, wanted_port(config)
    if port != config.port:
        what = f"port {config.port} is for the app's own OpenTelemetry exporter; streamvitals serves on another"
        problems.append(Problem(what, f"set {PORT} to another than OTEL_EXPORTER_PROMETHEUS_PORT"))
    try:
        listener = bind(host, port, env)
    except (OSError, UnicodeError) as error:
        host, why = Config.host, getattr(error, "strerror", None) or error
        listener = bind(host, port, env)
        what = f"{config.host[:100]!r} is no address to serve on ({why}); {host} is used"
        problems.append(Problem(what, f"set {HOST} to an address of this machine"))
    got = listener.getsockname()[1]
    if port not in (0, got):
        what = f"port {port} is not free; {got} is used"
        problems.append(Problem(what, f"stop what holds it, or set {PORT}"))
    return listener, host


def tear_down(agent: AgentHandle) -> None:
    """End the agent, since the app has not started."""
    with contextlib.suppress(OSError):
        os.kill(agent.pid, signal.SIGTERM)
    private_directory.remove(agent.directory)


def injected(env: Mapping[str, str], directory: str) -> dict[str, str]:
    """The variables that the app gets in addition to its own."""
    # An empty PYTHONPATH has no entries; appended to ours it would mean the working directory.
    others = env.get("PYTHONPATH", "")
    parts = [part for part in others.split(os.pathsep) if part != INJECT] if others else []
    found = source(env)
    more = {} if found.file or not found.faults else {SAID: digest(found.faults[0])}
    if journal := env.get("STREAMVITALS_JOURNAL", ""):
        more["STREAMVITALS_JOURNAL"] = descriptors.absolute(journal)  # wherever the app goes before it streams
    return {"PYTHONPATH": os.pathsep.join([INJECT, *parts]), "STREAMVITALS_DIR": directory, **more}


def bind(host: str, port: int, env: Mapping[str, str] | None = None) -> socket.socket:
    """Listen on the port, or on any that is free. Raises OSError.

    Never on a port next to it, which may belong to another service and be scraped as such. If ``env`` is given, an
    agent that lingers on the port after its app has gone is asked to leave.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)

    def listen(candidate: int) -> socket.socket:
        if candidate:
            _check_other_family(family, str(address[0]), candidate)
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address[0], candidate, *address[2:]))
            listener.listen(64)
        except BaseException:
            listener.close()
            raise
        return listener

    try:
        return listen(port)
    except OSError as error:
        if port == 0:
            raise
        if env is not None and error.errno == errno.EADDRINUSE:
            left = handover.take_over(port, env, lambda: listen(port))
            if left is not None:
                return left
        return listen(0)


def _check_other_family(family: int, address: str, port: int) -> None:
    """Raise OSError where another process has the port on the other family's loopback.

    `localhost` resolves to that address too.
    """
    if address not in ("127.0.0.1", "0.0.0.0", "::1"):  # "::" is both
        return
    other, place = (socket.AF_INET, "127.0.0.1") if family == socket.AF_INET6 else (socket.AF_INET6, "::1")
    try:
        with socket.socket(other, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((place, port))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # other errors: this machine lacks the family
            raise


def url_of(listener: socket.socket, host: str, *, tls: bool = False) -> str:
    """The URL of /metrics, as a person on this machine would type it."""
    name = "localhost" if host in ("0.0.0.0", "::", "") else f"[{host}]" if ":" in host else host
    return f"http{'s' * tls}://{name}:{listener.getsockname()[1]}/metrics"


def say(text: str) -> None:
    """Write one line on stderr, where there is one."""
    if sys.stderr is not None:  # None: descriptor 2 was closed, and may by now be anything
        console.say(text)
