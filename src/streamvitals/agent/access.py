"""Decides who is answered: the name that a browser asked for, passwords, a token, certificates.

A page of anybody's can have a browser ask a port of this machine, under a name that its own DNS points here (DNS
rebinding): an agent that is bound to loopback and lets in everybody answers to names of this machine only.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import socket
import time
from base64 import b64decode
from collections.abc import Mapping
from hashlib import blake2b
from ipaddress import ip_address
from typing import NamedTuple

from ..config import Config
from .web_config import Rules, UnusableError, is_loopback, read, state

# How often the files are looked at, and how long a handshake may take. Seconds.
LOOK_EVERY, HANDSHAKE = 1.0, 10.0
# Most passwords whose check is remembered: bcrypt takes a tenth of a second.
_MOST_REMEMBERED = 100
# bcrypt looks at no more bytes of a password, and newer versions of it refuse a longer one.
_BCRYPT_BYTES = 72
# On every answer; the page, and the file, may say more.
HEADERS = (
    ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)


class Refusal(NamedTuple):
    """The answer to somebody who is not let in."""

    status: int
    why: str
    headers: tuple[tuple[str, str], ...] = ()


_BROKEN = Refusal(503, "what says who may read this cannot be used: nothing is served; see the app's stderr")
_OTHER_NAME = Refusal(
    421, "asked for under another name than this machine's: use localhost, or set up authentication to use any name"
)
_OTHER_SITE = Refusal(403, "asked for by a page of another site")


class Access:
    """Lets clients in. Where the rules cannot be read at the start nobody is; later the last good ones stay."""

    def __init__(self, config: Config, listener: socket.socket) -> None:
        self._config = config
        self._rules: Rules | None = None
        self.fault = ""
        self._read()
        self._looked = time.monotonic()
        self._salt = os.urandom(16)
        self._remembered: dict[bytes, bool] = {}
        self._checking = asyncio.Lock()
        self._local = is_loopback(listener)

    def _read(self) -> None:
        try:
            self._rules, self.fault = read(self._config), ""
        except UnusableError as error:
            self.fault = str(error)
        files = (self._config.web_config, self._config.token_file)
        self._files = self._rules.files if self._rules is not None else tuple(filter(None, files))
        self._state = state(self._files)

    def _look(self) -> None:
        """Read the files again if they have changed, as certificates and tokens do that are renewed."""
        now = time.monotonic()
        if self._files and now - self._looked >= LOOK_EVERY:
            self._looked = now
            if state(self._files) != self._state:
                self._remembered.clear()
                self._read()

    async def connect(
        self, connection: socket.socket, limit: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The streams of a connection that was accepted. Raises OSError where the handshake fails."""
        self._look()
        rules = self._rules
        if rules is None or rules.tls is None:
            return await asyncio.open_connection(sock=connection, limit=limit)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=limit, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, connection, ssl=rules.tls, ssl_handshake_timeout=HANDSHAKE
        )
        if rules.sans:
            shown = transport.get_extra_info("peercert") or {}
            if not rules.sans.intersection(name for _, name in shown.get("subjectAltName", ())):
                transport.abort()
                raise ConnectionRefusedError("the name in the client's certificate is not allowed")
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def headers(self) -> tuple[tuple[str, str], ...]:
        """Headers for every answer that has none of these names."""
        given = self._rules.headers if self._rules is not None else ()
        names = {name for name, _ in given}
        return (*given, *(header for header in HEADERS if header[0] not in names))

    async def refusal(self, headers: Mapping[bytes, bytes]) -> Refusal | None:
        """Why a request with these headers is not answered; None if it is."""
        rules = self._rules
        if rules is None:
            return _BROKEN
        if rules.users or rules.token:
            if not await self._is_known(rules, headers.get(b"authorization", b"").decode("latin-1")):
                offered = (["Basic realm=\"streamvitals\", charset=\"UTF-8\""] if rules.users else []) + (
                    ["Bearer"] if rules.token else [])
                return Refusal(401, "who are you?", tuple(("WWW-Authenticate", one) for one in offered))
        elif self._local and not rules.certified and not self._is_own(headers.get(b"host", b"").decode("latin-1")):
            return _OTHER_NAME
        site, mode = headers.get(b"sec-fetch-site"), headers.get(b"sec-fetch-mode")
        return _OTHER_SITE if site in (b"cross-site", b"same-site") and mode != b"navigate" else None

    def _is_own(self, host: str) -> bool:
        """Whether this is a name of this machine: an address, for rebinding takes a name, or localhost."""
        name = host.strip().lower()
        if not name:
            return True  # HTTP/1.0, which no browser speaks
        name = name.rpartition("]")[0].lstrip("[") if name.startswith("[") else name.partition(":")[0].rstrip(".")
        if name == "localhost" or name.endswith(".localhost") or name == self._config.host.lower():
            return True
        try:
            return bool(ip_address(name))
        except ValueError:
            return False

    async def _is_known(self, rules: Rules, given: str) -> bool:
        scheme, _, shown = given.partition(" ")
        shown = shown.strip()
        if scheme.lower() == "bearer" and rules.token:
            return hmac.compare_digest(shown.encode(), rules.token.encode())
        if scheme.lower() != "basic" or not rules.users:
            return False
        try:
            name, _, password = b64decode(shown, validate=True).partition(b":")
        except ValueError:
            return False
        hashed = rules.users.get(name.decode(errors="replace"))
        # Also for a name that does not exist, so that the time of an answer does not tell.
        against = hashed or next(iter(rules.users.values()))
        key = blake2b(b"\0".join((name, password)), key=self._salt).digest()
        if key not in self._remembered:
            async with self._checking:  # one at a time: whoever tries passwords waits for himself
                known = await asyncio.get_running_loop().run_in_executor(None, _matches, password, against)
            if rules is not self._rules:
                return False
            while len(self._remembered) >= _MOST_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[key] = known and hashed is not None
        return self._remembered[key]


def _matches(password: bytes, hashed: str) -> bool:
    import bcrypt

    try:
        return bcrypt.checkpw(password[:_BCRYPT_BYTES], hashed.encode())
    except ValueError:  # a byte 0 in it
        return False
