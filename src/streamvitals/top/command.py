"""The command `streamvitals top`: the live page's pulse, in a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import select
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ..agent import asking

if TYPE_CHECKING:
    from .read import Seen

# Seconds.
EVERY = 0.5
SORTS = ("state", "age", "silence", "chunks", "model")


@click.command()
@click.option("--sort", type=click.Choice(SORTS), default=SORTS[0], show_default=True, help="The first lines.")
@click.option("--once", is_flag=True, help="Print once what is open now, and exit.")
@click.option("--json", "as_json", is_flag=True, help="With --once: print JSON, for a program to read.")
@asking.certificate_options
@click.argument("urls", nargs=-1, metavar="[URL]...")
def top(
    sort: str, once: bool, as_json: bool, urls: tuple[str, ...], cert: str | None, key: str | None, cacert: str | None
) -> None:
    """Show what streams do, live, as agents say: streamvitals top http://localhost:9464

    Without a URL: the agents of this user on this machine. Exit status 1 if an agent cannot be asked, with --once.
    """
    from ..agent import private_directory  # not before it is needed: all other commands would wait for it
    from . import read

    if as_json and not once:
        raise click.UsageError("--json prints once: give --once as well")
    found = urls or private_directory.urls(os.environ) or ("http://localhost:9464",)
    bases = [*dict.fromkeys(map(asking.address, found))]
    look = partial(read.look, bases, asking.tls(cert, key, cacert))
    if as_json:
        seen = look()
        click.echo(json.dumps({"version": read.VERSION, "agents": [_as_json(one) for one in seen]}, indent=2))
        sys.exit(any(one.error for one in seen))
    try:
        _draw(look, sort, once)
    except ImportError as error:
        from ..config import install

        said = f"streamvitals top draws with rich: {install.here('top')}, or use --once --json"
        raise click.ClickException(said) from error


def _as_json(one: Seen) -> dict[str, Any]:
    return {"url": one.url, "error": one.error} if one.error else one._asdict() | {"error": None}


def _draw(look: Callable[[], Sequence[Seen]], sort: str, once: bool) -> None:
    from rich.console import Console
    from rich.live import Live

    from .screen import Screen, understood

    console, screen = Console(), Screen()
    if once:
        seen = [*map(understood, look())]
        console.print(screen.draw(seen, sort, lines=1000))
        sys.exit(any(one.error for one in seen))
    live = Live(console=console, screen=True, auto_refresh=False)
    with contextlib.suppress(KeyboardInterrupt), _keys(), live:
        while True:
            began = time.monotonic()
            live.update(screen.draw([*map(understood, look())], sort, console.height), refresh=True)
            key = _key(max(0.0, EVERY - (time.monotonic() - began)))
            if key == "q":
                break
            if key == "s":
                sort = SORTS[(SORTS.index(sort) + 1) % len(SORTS)]


@contextlib.contextmanager
def _keys() -> Iterator[None]:
    """Let keys be read one by one, where there is a keyboard."""
    if not sys.stdin.isatty():
        yield
        return
    import termios
    import tty

    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _key(patience: float) -> str:
    if not sys.stdin.isatty():
        time.sleep(patience)
        return ""
    ready, _, _ = select.select([sys.stdin], [], [], patience)
    return sys.stdin.read(1) if ready else ""
