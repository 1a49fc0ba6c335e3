"""Asks an agent: for the commands that look at one, here or elsewhere, with what it wants to be shown.

The token is the one of STREAMVITALS_TOKEN_FILE, name and password stand in the URL (http://name:password@host:9464).
Certificates are those that this machine trusts, and those of SSL_CERT_FILE; or what is given (asking.py).
"""

from __future__ import annotations

import os
import ssl
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPException
from ipaddress import ip_address
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from ..config import Config
from .web_config import TOKEN_VARIABLE, UnusableError, read

_FIXES = {
    401: f"set {TOKEN_VARIABLE} to a file with its token, or give the URL as http://name:password@host:port",
    421: "give it as http://localhost:port, on its own machine",
    503: "see the app's stderr, or `streamvitals doctor` on its machine",
}


class UnreachableError(Exception):
    """Why an agent has not answered, without any password, and how to fix that."""

    def __init__(self, why: str, fix: str = "check host and port") -> None:
        super().__init__(why)
        self.fix = fix


class RefusedError(UnreachableError):
    """An agent has answered, and not with what was asked for."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: an agent sends none, and a token is for the agent alone."""

    def redirect_request(self, *_: Any) -> None:
        return None


def root_of(url: str) -> str:
    """The address of an agent, of which any page may be given; without a name and password that stand in it."""
    parts = urlsplit(url)
    path = parts.path.removesuffix("/metrics").removesuffix("/healthz").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))


def ask(
    url: str, path: str, tls: ssl.SSLContext | None = None, *, env: Mapping[str, str] = os.environ,
    timeout: float = 10.0, accept: str = "*/*",
) -> Any:
    """Ask the agent at ``url`` for a path; return the open answer, which may go on. Raises UnreachableError."""
    try:
        parts = urlsplit(url)
        root, _ = root_of(url), parts.port
    except ValueError:
        raise UnreachableError("that is not a URL of an agent", "give it as http://host:port") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UnreachableError(f"{url.rpartition('@')[2]!r} is not a URL of an agent", "give it as http://host:port")
    request = urllib.request.Request(root + path, headers={"Accept": accept})  # noqa: S310  http or https
    shown = _shown(parts.username, parts.password, env)
    if shown:
        request.add_unredirected_header("Authorization", shown)
    try:
        return _opener(parts.hostname, tls).open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.close()
        why = f"the agent at {root} answers {error.code}"
        fix = _FIXES.get(error.code, "see whether that is an agent of streamvitals")
        if error.code == 401 and shown:
            what = f"the token of {TOKEN_VARIABLE}" if parts.username is None else "the name and password in the URL"
            why, fix = f"the agent at {root} does not accept {what}", "give what it was started with"
        raise RefusedError(why, fix) from error
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            fix = "set SSL_CERT_FILE, or --cacert, to its certificate or to that of its authority"
            raise UnreachableError(f"the certificate of {root} is not trusted here", fix) from error
        fix = "check host and port"
        if parts.scheme == "https" and isinstance(reason, (ssl.SSLError, ConnectionError)):
            fix += "; if it asks for certificates, give --cert"
        raise UnreachableError(f"no agent answers at {root}: {type(reason).__name__}", fix) from error


def _shown(name: str | None, password: str | None, env: Mapping[str, str]) -> str:
    if name is not None:
        pair = f"{unquote(name)}:{unquote(password or '')}"
        return f"Basic {b64encode(pair.encode()).decode()}"
    file = env.get(TOKEN_VARIABLE, "")
    if not file:
        return ""
    try:
        return f"Bearer {read(Config(token_file=file)).token}"
    except UnusableError as error:
        raise UnreachableError(str(error), error.fix) from error


def _opener(host: str, tls: ssl.SSLContext | None) -> urllib.request.OpenerDirector:
    """Make an opener that uses no proxy for this machine, or for private addresses, where agents are."""
    try:
        direct = host == "localhost" or ip_address(host).is_private
    except ValueError:
        direct = False
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})] if direct else []
    if tls is not None:
        handlers.append(urllib.request.HTTPSHandler(context=tls))
    return urllib.request.build_opener(_NoRedirect, *handlers)
