"""Tests whether the configured OTLP endpoints accept exports, while the app is already running.

A collector may start a little later than the app, so one that does not answer is not reported until it has had time
to start. Until then the agent holds the app's stderr, and closes it as soon as the app has ended, so that a reader of
stderr gets the end of file.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from http.client import HTTPException
from typing import Any
from urllib.parse import unquote

from ..config import Config
from ..config.problems import GENERAL, HTTP_PORT, Endpoint, Problem, endpoints_to_ask
from ..system import console
from .proc import entry_of
from .protocol import STDERR

# How long one answer may take; how long a missing answer is not reported; how often to ask after that. Seconds.
ATTEMPT = 2.0
GRACE = 5.0
BETWEEN = 0.5
AGAIN = 30.0
# How long after the app's end its stderr is held for a first answer, and how often to check for one. Seconds.
AFTER_APP, LOOK_EVERY = 0.5, 0.02

_FIXES = {
    "refuses the connection": "is the collector up, and is the port right?",
    "is no name that can be resolved": "check the host, and the resolver",
    "fails the TLS handshake": "check http against https, and OTEL_EXPORTER_OTLP_CERTIFICATE",
    "does not answer in time": "check firewalls and the host",
    "does not speak HTTP": f"is that the port for gRPC? http/protobuf has {HTTP_PORT} as a rule",
    "cannot be reached": "check the host, the proxy settings and the network",
}
_FIX_BY_STATUS = {
    401: "check OTEL_EXPORTER_OTLP_HEADERS", 403: "check OTEL_EXPORTER_OTLP_HEADERS",
    404: "check the path: /v1/traces and /v1/metrics are appended to OTEL_EXPORTER_OTLP_ENDPOINT only",
}


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a collector does not redirect, but a login page does."""

    def redirect_request(self, *_: Any) -> None:
        return None


def ask(where: Endpoint, env: Mapping[str, str], timeout: float = ATTEMPT) -> Problem | None:
    """Send an empty export, which is an empty message; return what is wrong, or None."""
    why, fix = _answer(where, env, timeout)
    if not why:
        return None
    variable = where.variable if env.get(where.variable) else f"the default, as {GENERAL} is not set"
    return Problem(f"OTLP does not arrive: {where.place} ({variable}) {why}", fix or _FIXES[why])


def _answer(where: Endpoint, env: Mapping[str, str], timeout: float) -> tuple[str, str]:
    headers = {"Content-Type": "application/x-protobuf", **_headers(env, where.signal.upper())}
    url, user = _without_user(where.url)
    if user:
        headers["Authorization"] = "Basic " + b64encode(unquote(user).encode()).decode()
    try:
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler(_proxies())]
        if url.startswith("https"):
            handlers.append(urllib.request.HTTPSHandler(context=_tls(env, where.signal)))
        opener = urllib.request.build_opener(_NoRedirect, *handlers)
        request = urllib.request.Request(url, b"", headers, method="POST")  # noqa: S310  http or https
        with opener.open(request, timeout=timeout):
            return "", ""
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == 400:  # a collector is there, and rejects an empty export
            return "", ""
        return f"answers with {error.code}", _FIX_BY_STATUS.get(error.code, "see what the collector says of it")
    except (OSError, HTTPException, ValueError) as error:
        return _why(error), ""


def _proxies() -> dict[str, str]:
    """The proxies that the exporter uses, by way of the library requests.

    requests uses ALL_PROXY where no other proxy is set, also for this machine.
    """
    proxies = urllib.request.getproxies()
    every = proxies.get("all", "")
    if every.startswith("http"):
        proxies = {"http": every, "https": every, **proxies}
    return proxies


def _without_user(url: str) -> tuple[str, str]:
    scheme, slashes, rest = url.partition("//")
    place, slash, path = rest.partition("/")
    user, _, host = place.rpartition("@")
    return f"{scheme}{slashes}{host}{slash}{path}", user


def _why(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    error = reason if isinstance(reason, BaseException) else error
    kinds: Sequence[tuple[type[BaseException] | tuple[type[BaseException], ...], str]] = (
        (ssl.SSLError, "fails the TLS handshake"),
        (ConnectionRefusedError, "refuses the connection"),
        (socket.gaierror, "is no name that can be resolved"),
        (TimeoutError, "does not answer in time"),
        ((HTTPException, ConnectionError), "does not speak HTTP"),
    )
    return next((what for kind, what in kinds if isinstance(error, kind)), "cannot be reached")


def _tls(env: Mapping[str, str], signal: str) -> ssl.SSLContext:
    def of(what: str) -> str | None:
        return env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_{what}") or env.get(f"OTEL_EXPORTER_OTLP_{what}")

    context = ssl.create_default_context(cafile=of("CERTIFICATE"))
    certificate = of("CLIENT_CERTIFICATE")
    if certificate:
        context.load_cert_chain(certificate, of("CLIENT_KEY"))
    return context


def _headers(env: Mapping[str, str], signal: str) -> dict[str, str]:
    text = env.get(f"OTEL_EXPORTER_OTLP_{signal}_HEADERS") or env.get("OTEL_EXPORTER_OTLP_HEADERS") or ""
    pairs = (pair.partition("=") for pair in text.split(",") if "=" in pair)
    return {unquote(name).strip(): unquote(value).strip() for name, _, value in pairs}


def watch_endpoints(problems: Sequence[Problem], app: int, speaks: bool) -> EndpointWatch:
    """Start to ask the endpoints, for an agent that `run` has started with these problems."""
    config, _ = Config.read(os.environ)
    watch = EndpointWatch(endpoints_to_ask(os.environ, config, problems), os.environ, STDERR if speaks else None, app)
    watch.start()
    return watch


class EndpointWatch:
    """Asks the endpoints, in threads of its own.

    ``stderr`` is the app's, and is closed here as soon as it is not needed any more.
    """

    def __init__(
        self, where: Sequence[Endpoint], env: Mapping[str, str], stderr: int | None, app: int,
        ask: Callable[[Endpoint, Mapping[str, str]], Problem | None] = ask,
    ) -> None:
        self._where, self._env, self._ask = where, env, ask
        self._stderr, self._app = stderr, app
        self._seen: tuple[Problem, ...] | None = None
        self._settled, self._stop = threading.Event(), threading.Event()
        self.problems: tuple[Problem, ...] = ()

    def start(self) -> None:
        """Start both threads; they end with the agent if they are not stopped before."""
        if self._stderr is not None:
            threading.Thread(target=self._speak, args=(self._stderr,), name="say", daemon=True).start()
        if self._where:
            threading.Thread(target=self._watch, name="endpoints", daemon=True).start()

    def stop(self) -> None:
        """Stop asking."""
        self._stop.set()

    def _watch(self) -> None:
        give_up = time.monotonic() + GRACE
        while found := self._look():
            self._seen = found
            if time.monotonic() > give_up:
                break
            self._stop.wait(BETWEEN)
        self.problems = self._seen = found
        self._settled.set()
        while self.problems and not self._stop.wait(AGAIN):
            self.problems = self._look()

    def _look(self) -> tuple[Problem, ...]:
        found = (self._ask(one, self._env) for one in self._where)
        return tuple(dict.fromkeys(problem for problem in found if problem is not None))

    def _speak(self, stderr: int) -> None:
        """Write the findings to stderr once they are final or when the app ends, whichever comes first."""
        try:
            ended = _Ended(self._app)
            while not self._settled.is_set() and not ended.wait(LOOK_EVERY):
                pass
            until = time.monotonic() + AFTER_APP
            while self._seen is None and time.monotonic() < until:
                time.sleep(LOOK_EVERY)
            for problem in self._seen or ():
                console.say(str(problem), stderr, late=True)
        finally:
            os.close(stderr)


class _Ended:
    """Waits for the end of a process, even if its parent has not reaped it."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._poll: Any = None
        self._gone = False
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            self._gone = True
        except (OSError, AttributeError):  # before Linux 5.3
            pass
        else:
            self._poll = select.poll()
            self._poll.register(fd, select.POLLIN)

    def wait(self, seconds: float) -> bool:
        if self._gone:
            return True
        if self._poll is not None:
            return bool(self._poll.poll(seconds * 1000))
        time.sleep(seconds)
        try:
            return entry_of(self._pid) is None
        except OSError:
            return False
