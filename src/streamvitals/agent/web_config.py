"""Reads who may read what the agent serves: Prometheus' own file for that, and a token in a file.

https://prometheus.io/docs/prometheus/latest/configuration/https/ has the format. What stands there and cannot be done
here makes the whole file unusable: nothing is served then, rather than served with less than was asked for.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config import Config, install

if TYPE_CHECKING:
    import ssl

VARIABLE, TOKEN_VARIABLE = "STREAMVITALS_WEB_CONFIG", "STREAMVITALS_TOKEN_FILE"
_MOST_BYTES = 1 << 16
# $2a$10$ and 53 characters. Each step of the cost doubles the time, 14 takes about a second.
_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{53}")
_MOST_COST = 14
# Headers that Prometheus allows under http_server_config.
_HEADERS = (
    "Content-Security-Policy", "X-Frame-Options", "X-Content-Type-Options", "X-XSS-Protection",
    "Strict-Transport-Security",
)
_TLS_VERSIONS = {"TLS10": "TLSv1", "TLS11": "TLSv1_1", "TLS12": "TLSv1_2", "TLS13": "TLSv1_3"}
_CLIENTS = {
    "": "CERT_NONE", "NoClientCert": "CERT_NONE", "RequestClientCert": "CERT_NONE",
    "VerifyClientCertIfGiven": "CERT_OPTIONAL", "RequireAndVerifyClientCert": "CERT_REQUIRED",
}
_KNOWN = {
    "": {"tls_server_config", "http_server_config", "basic_auth_users"},
    "tls_server_config": {
        "cert_file", "key_file", "client_auth_type", "client_ca_file", "client_allowed_sans", "min_version",
        "max_version", "cipher_suites", "prefer_server_cipher_suites",
    },
    "http_server_config": {"http2", "headers"},
}
# Go's names of the suites of TLS 1.2, but for one rule: https://pkg.go.dev/crypto/tls#pkg-constants
_SUITE = re.compile(r"TLS_(ECDHE_RSA|ECDHE_ECDSA|RSA)_WITH_(AES_128|AES_256|CHACHA20)_(\w+)")


class UnusableError(Exception):
    """Why nothing can be served: names of keys and files, but none of their values; and how to fix it."""

    def __init__(self, why: str, fix: str = "mend it, or unset the variable") -> None:
        super().__init__(why)
        self.fix = fix


class Rules(NamedTuple):
    """Who may read, and over what; ``users`` are the bcrypt hashes by name, ``token`` is "" if there is none."""

    users: Mapping[str, str] = {}
    token: str = ""
    tls: ssl.SSLContext | None = None
    sans: frozenset[str] = frozenset()  # what a client's certificate must have one of
    certified: bool = False  # clients have to show a certificate
    headers: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()  # all that this was read from

    @property
    def asks(self) -> bool:
        """Whether somebody who shows nothing is turned away."""
        return bool(self.users or self.token or self.certified)


def read(config: Config) -> Rules:
    """The rules that the settings ask for. Raises UnusableError."""
    rules = _of_file(config.web_config) if config.web_config else Rules()
    if config.token_file:
        rules = rules._replace(token=_token(config.token_file), files=(*rules.files, config.token_file))
    return rules


def is_loopback(listener: socket.socket) -> bool:
    """Whether only this machine reaches the port."""
    try:
        return ip_address(str(listener.getsockname()[0]).partition("%")[0]).is_loopback
    except (OSError, ValueError):
        return False


def state(paths: tuple[str, ...]) -> list[tuple[int, int, int]]:
    """The state of these files, another one if one has been changed or replaced."""
    return [_state(path) for path in paths]


def _state(path: str) -> tuple[int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size


def _text(path: str, name: str) -> str:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UnusableError(f"{name}={path[:120]!r} cannot be used: it is not a file")
        with open(path, "rb") as file:
            content = file.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise UnusableError(f"{name}={path[:120]!r} cannot be used: it has more than {_MOST_BYTES} bytes")
        return content.decode()
    except OSError as error:
        raise UnusableError(f"{name}={path[:120]!r} cannot be used: {error.strerror}", "check the path") from error
    except UnicodeDecodeError as error:
        raise UnusableError(f"{name}={path[:120]!r} cannot be used: it is not UTF-8") from error


def _token(path: str) -> str:
    token = _text(path, TOKEN_VARIABLE).strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        why = f"{TOKEN_VARIABLE}={path[:120]!r} cannot be used: it holds no token"
        raise UnusableError(why, "write one line into it: openssl rand -hex 32")
    return token


def _parsed(path: str) -> dict[str, Any]:
    text = _text(path, VARIABLE)
    try:
        import yaml  # type: ignore[import-untyped, unused-ignore]
    except ImportError as error:
        raise UnusableError(f"{VARIABLE} cannot be used: {error.name} is not installed here", _install()) from error
    try:
        given = yaml.safe_load(text) or {}
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        at = f", see line {mark.line + 1}" if mark is not None else ""
        raise _unusable(path, f"it is no YAML{at}") from error
    if not isinstance(given, dict):
        raise _unusable(path, "it is no mapping")
    for place, known in _KNOWN.items():
        part = given if not place else given.get(place) or {}
        if not isinstance(part, dict):
            raise _unusable(path, f"{place} is no mapping")
        for key in part:
            if key not in known:
                raise _unusable(path, f"{str(key)[:60]!r} {f'in {place} ' if place else ''}is not known here")
    return given


def _install() -> str:
    return install.here("auth")


def _unusable(path: str, why: str, fix: str = "mend it, or unset the variable") -> UnusableError:
    return UnusableError(f"{VARIABLE}={path[:120]!r} cannot be used: {why}", fix)


def _of_file(path: str) -> Rules:
    given = _parsed(path)
    tls = given.get("tls_server_config") or {}
    others = (_beside(path, tls.get(key)) for key in ("cert_file", "key_file", "client_ca_file"))
    rules = Rules(
        _users(path, given.get("basic_auth_users") or {}), headers=_headers(path, given),
        files=(path, *filter(None, others)),
    )
    if not tls:
        return rules
    sans = _strings(path, tls, "client_allowed_sans")
    context, certified = _context(path, tls)
    if sans and not certified:
        raise _unusable(path, "client_allowed_sans needs client_auth_type: RequireAndVerifyClientCert")
    return rules._replace(tls=context, sans=frozenset(sans), certified=certified)


def _users(path: str, given: Any) -> dict[str, str]:
    if not isinstance(given, dict):
        raise _unusable(path, "basic_auth_users is no mapping of names to bcrypt hashes")
    for name, hashed in given.items():
        found = _BCRYPT.fullmatch(hashed) if isinstance(hashed, str) else None
        if not isinstance(name, str) or not name or ":" in name:
            raise _unusable(path, "a name in basic_auth_users is no name")
        if found is None:
            what = f"what basic_auth_users has for {name[:60]!r} is no bcrypt hash"
            raise _unusable(path, what, "make one: htpasswd -nBC 10 NAME")
        if not 4 <= int(found[1]) <= _MOST_COST:
            raise _unusable(path, f"the cost of the hash of {name[:60]!r} is not from 4 to {_MOST_COST}")
    if given:
        try:
            import bcrypt  # noqa: F401
        except ImportError as error:
            raise UnusableError(f"{VARIABLE} cannot be used: bcrypt is not installed here", _install()) from error
    return given


def _headers(path: str, given: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    headers = (given.get("http_server_config") or {}).get("headers") or {}
    if not isinstance(headers, dict):
        raise _unusable(path, "headers in http_server_config is no mapping")
    for name, value in headers.items():
        if name not in _HEADERS:
            raise _unusable(path, f"the header {str(name)[:60]!r} is none of {', '.join(_HEADERS)}")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise _unusable(path, f"the value of the header {name} is no printable text")
    return tuple(headers.items())


def _strings(path: str, tls: Mapping[str, Any], key: str) -> list[str]:
    found = tls.get(key) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise _unusable(path, f"{key} is no list of texts")
    return found


def _beside(path: str, name: object) -> str:
    """A path in the file is relative to its folder."""
    return os.path.join(os.path.dirname(os.path.abspath(path)), name) if isinstance(name, str) and name else ""


def _context(path: str, tls: Mapping[str, Any]) -> tuple[ssl.SSLContext, bool]:
    import ssl

    cert, key, ca = (_beside(path, tls.get(name)) for name in ("cert_file", "key_file", "client_ca_file"))
    if not cert or not key:
        raise _unusable(path, "tls_server_config needs cert_file and key_file")
    wanted = str(tls.get("client_auth_type") or "")
    if wanted not in _CLIENTS:
        raise _unusable(path, f"client_auth_type is none of {', '.join(filter(None, _CLIENTS))}")
    clients = ssl.VerifyMode[_CLIENTS[wanted]]
    if bool(ca) != (clients is not ssl.CERT_NONE):
        raise _unusable(path, "client_ca_file goes with a client_auth_type that verifies, and that with it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        for attribute, given in (("minimum_version", tls.get("min_version") or "TLS12"),
                                 ("maximum_version", tls.get("max_version") or "TLS13")):
            if given not in _TLS_VERSIONS:
                raise _unusable(path, f"a version of TLS is none of {', '.join(_TLS_VERSIONS)}")
            setattr(context, attribute, ssl.TLSVersion[_TLS_VERSIONS[given]])
        suites = [_suite(path, one) for one in _strings(path, tls, "cipher_suites")]
        if any(suites):
            context.set_ciphers(":".join(filter(None, suites)))
        if tls.get("prefer_server_cipher_suites") is False:
            context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
        context.load_cert_chain(cert, key, password=_no_password)
        if ca:
            context.load_verify_locations(ca)
    except ssl.SSLError as error:
        raise _unusable(path, f"certificate, key or suites cannot be used: {error.reason}") from error
    except OSError as error:
        raise _unusable(path, f"a file of tls_server_config cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise _unusable(path, "the key of tls_server_config has a password") from error
    context.verify_mode = clients
    return context, clients is ssl.CERT_REQUIRED


def _no_password() -> str:
    raise ValueError("encrypted")  # else OpenSSL asks on the terminal


def _suite(path: str, name: str) -> str:
    """OpenSSL's name of a suite; "" for one of TLS 1.3, all of which are always on, as in Go."""
    if name in ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"):
        return ""
    found = _SUITE.fullmatch(name)
    if found is None:
        raise _unusable(path, f"the suite {name[:60]!r} is not known here")
    exchange, cipher, rest = found.groups()
    parts = [] if exchange == "RSA" else [exchange.replace("_", "-")]
    if cipher == "CHACHA20":
        return "-".join([*parts, "CHACHA20-POLY1305"])
    mode = rest.removeprefix("CBC_").replace("_", "-")
    return "-".join([*parts, cipher.replace("_", ""), mode])
