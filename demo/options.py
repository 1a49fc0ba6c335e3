"""The demo's command line."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

DEFAULT_STREAMS, MOST_STREAMS = 300, 100_000
DEFAULT_RATE, MOST_RATE = 15.0, 200.0
# With --keep the traffic that follows is to look at, not to wait for.
KEEP_RATE, KEEP_STREAMS = 3.0, 90


@dataclass(frozen=True)
class Options:
    """``rate`` is in streams started per second, ``port`` 0 for the usual one or any that is free."""

    seed: int
    streams: int
    rate: float
    keep: bool
    keep_rate: float
    json: bool
    svg: Path | None
    host: str
    port: int


def parse(arguments: Sequence[str] | None) -> Options:
    """Read the arguments. Exits with status 2, and says why, where one is bad."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description=(
            "Break streams in every way we know, under `streamvitals run`, and compare what was injected with "
            "what was reported. Exit status 1 on any difference. Everything stays on this machine."
        ),
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="which mix (default: 1)")
    parser.add_argument(
        "--streams", type=_streams, default=DEFAULT_STREAMS, metavar="N",
        help=f"how many streams, 1 to {MOST_STREAMS} (default: {DEFAULT_STREAMS})",
    )
    parser.add_argument(
        "--rate", type=_rate, metavar="PER_SECOND",
        help=f"streams started per second, up to {MOST_RATE:g} (default: {DEFAULT_RATE:g})",
    )
    parser.add_argument(
        "--keep", action="store_true",
        help=f"go on afterwards, for a Prometheus to scrape, until Ctrl-C; {KEEP_RATE:g} a second if no --rate",
    )
    parser.add_argument("--json", action="store_true", help="print the comparison as JSON, and nothing else")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="also save the table as a picture")
    parser.add_argument("--host", default="127.0.0.1", help="where /metrics is served (default: 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=0, help="its port (default: 9464, else any that is free)")
    given = parser.parse_args(arguments)
    if given.json and given.keep:
        parser.error("--json ends with one document: it cannot be combined with --keep")
    return Options(
        given.seed, given.streams, given.rate or DEFAULT_RATE, given.keep, given.rate or KEEP_RATE, given.json,
        given.svg, given.host, given.port,
    )


def _streams(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_STREAMS):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a whole number from 1 to {MOST_STREAMS}")
    return int(text)


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0.1 <= rate <= MOST_RATE:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a number from 0.1 to {MOST_RATE:g}")
    return rate


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: a port number from 1 to 65535")
    return int(text)
