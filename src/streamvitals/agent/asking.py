"""What the commands that ask agents have in common: how one is named, and the certificates that are shown and trusted.

The options have curl's names.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import click

if TYPE_CHECKING:
    import ssl

_Command = TypeVar("_Command", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False)


def certificate_options(command: _Command) -> _Command:
    """Give a command the options --cert, --key and --cacert, for ``tls``."""
    for name, what in (
        ("--cacert", "Trust this authority alone, or this certificate."),
        ("--key", "The key of --cert, if that file has none."),
        ("--cert", "Show this certificate to an agent that asks for one."),
    ):
        command = click.option(name, metavar="FILE", type=_FILE, help=what)(command)
    return command


def tls(cert: str | None, key: str | None, cacert: str | None) -> ssl.SSLContext | None:
    """How to speak TLS by these options; None where none is given. A file that cannot be used ends the command with 2.
    """
    import ssl  # not before it is needed: all other commands would wait for it

    if key is not None and cert is None:
        raise click.UsageError("--key is the key of --cert, which is not given")
    if cert is None and cacert is None:
        return None
    given = "--cacert"
    try:
        context = ssl.create_default_context(cafile=cacert)
        given = "--cert"
        if cert is not None:
            context.load_cert_chain(cert, key)
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
        raise click.UsageError(f"the file of {given} cannot be used: {why}") from error
    return context


def address(url: str) -> str:
    """The URL of an agent, with its scheme; what is none ends the command with 2. A password in it is not said."""
    url = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        where = url.rpartition("@")[2]
        raise click.UsageError(f"{where!r} is no address of an agent: one is as in http://localhost:9464")
    return url
