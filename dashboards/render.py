"""Draw dashboards from a Prometheus with Grafana's own components, without a Grafana: for whoever works on them.

    python -m dashboards.render --prometheus http://localhost:9090 --dashboard dashboards/streams.json \\
        --from now-15m --to now --var job=chat --out streams.png

Needs node, npm and Chromium; npm's packages are installed once, into renderer/node_modules. What it draws itself,
because it is not among Grafana's packages, is listed in renderer/README.md. Exit code 1 when something could not be
drawn as Grafana would: an unknown panel type, unit or transformation, a query that fails, an error in the page.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RENDERER = Path(__file__).parent / "renderer"
CHROMIUMS = ("chromium", "chromium-browser", "google-chrome")
THEMES = ("dark", "light")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
# What npm and Chromium may take on a slow machine; a hang is an error, not a night.
INSTALLING, DRAWING = 900, 300


@dataclass(frozen=True)
class Picture:
    """One dashboard to draw.

    ``start`` and ``end`` are in seconds since the epoch, ``scrape_interval`` in seconds as the data source in Grafana
    has it; ``variables`` are by name, the rest as the dashboard has them. ``adapt`` changes the JSON before.
    """

    dashboard: Path
    out: Path
    start: float
    end: float
    variables: Mapping[str, Sequence[str]] = field(default_factory=dict)
    theme: str = "dark"
    width: int = 1600
    scrape_interval: float = 15.0
    adapt: Callable[[str], str] = str


@dataclass(frozen=True)
class Drawn:
    """A picture that was drawn.

    ``queries`` have panel, title, refId, expr and how many series came; ``problems`` are for people.
    """

    out: Path
    queries: list[dict[str, Any]]
    problems: list[str]


class CannotDraw(Exception):
    """Something that the renderer needs is missing, or failed; the text says what."""


def chromium() -> str | None:
    return next((path for name in CHROMIUMS if (path := shutil.which(name))), None)


def missing() -> list[str]:
    """List what is needed and not here, by Debian's names."""
    have = {"nodejs": shutil.which("node"), "npm": shutil.which("npm"), "chromium": chromium()}
    return [name for name, path in have.items() if path is None]


def install() -> None:
    """Install npm's packages once, and again after the lock file has changed. Raises CannotDraw."""
    lock, done = RENDERER / "package-lock.json", RENDERER / "node_modules" / ".installed"
    with open(lock) as locked:
        fcntl.flock(locked, fcntl.LOCK_EX)
        wanted = locked.read()
        if done.exists() and done.read_text() == wanted:
            return
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], INSTALLING)
        done.write_text(wanted)


def render(prometheus: str, pictures: Sequence[Picture]) -> list[Drawn]:
    """Draw the pictures, in their order. Raises CannotDraw."""
    lacking = missing()
    if lacking:
        raise CannotDraw(f"not installed: {', '.join(lacking)}")
    install()
    request = {
        "prometheus": prometheus, "chromium": chromium(), "pictures": [_as_request(one) for one in pictures],
    }
    lines = _run(["node", "render.mjs"], DRAWING, json.dumps(request)).splitlines()
    return [Drawn(Path(one["out"]), one["sent"], one["problems"]) for one in map(json.loads, lines)]


def _as_request(one: Picture) -> dict[str, Any]:
    return {
        "dashboard": json.loads(one.adapt(one.dashboard.read_text())),
        "out": str(one.out.absolute()),
        "from": round(one.start * 1000),
        "to": round(one.end * 1000),
        "variables": {name: list(values) for name, values in one.variables.items()},
        "theme": one.theme,
        "width": one.width,
        "scrapeInterval": one.scrape_interval,
    }


def _run(command: list[str], patience: float, text: str = "") -> str:
    try:
        done = subprocess.run(
            command, cwd=RENDERER, input=text, capture_output=True, text=True, timeout=patience, check=False
        )
    except FileNotFoundError:
        raise CannotDraw(f"not installed: {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise CannotDraw(f"{' '.join(command)}: not ready after {patience:g} s") from None
    if done.returncode:
        raise CannotDraw(f"{' '.join(command)}: {done.stderr.strip()[-2000:] or done.returncode}")
    return done.stdout


def moment(text: str) -> float:
    """Parse `now`, `now-15m`, or milliseconds as they stand in Grafana's addresses, into seconds since the epoch."""
    relative = re.fullmatch(r"now(?:-(\d+)([smhd]))?", text)
    if relative:
        return time.time() - (int(relative[1]) * _UNITS[relative[2]] if relative[1] else 0)
    if re.fullmatch(r"\d{12,14}", text):
        return int(text) / 1000
    raise argparse.ArgumentTypeError(f"{text!r} is not allowed: now, now-15m, or milliseconds since the epoch")


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: NAME=VALUE, again for another value")
    return name, value


def _width(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 400 <= int(text) <= 4000):
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed: pixels from 400 to 4000")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.render", description="Draw a dashboard with Grafana's own components."
    )
    parser.add_argument("--prometheus", required=True, metavar="URL")
    parser.add_argument("--dashboard", required=True, type=Path, metavar="FILE")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE.png")
    parser.add_argument("--from", dest="start", type=moment, default="now-1h", metavar="T", help="default: now-1h")
    parser.add_argument("--to", dest="end", type=moment, default="now", metavar="T", help="default: now")
    parser.add_argument("--var", type=_variable, action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--theme", choices=THEMES, default="dark")
    parser.add_argument("--width", type=_width, default=1600, metavar="PIXELS")
    parser.add_argument(
        "--scrape-interval", type=float, default=15.0, metavar="SECONDS", help="of the data source (default: 15)"
    )
    given = parser.parse_args(arguments)
    if not given.dashboard.is_file():
        parser.error(f"--dashboard: no such file: {given.dashboard}")
    if given.start >= given.end:
        parser.error("--from must be before --to")
    variables: dict[str, list[str]] = {}
    for name, value in given.var:
        variables.setdefault(name, []).append(value)
    picture = Picture(
        given.dashboard, given.out, given.start, given.end, variables, given.theme, given.width, given.scrape_interval
    )
    try:
        (drawn,) = render(given.prometheus, [picture])
    except CannotDraw as failure:
        print(failure, file=sys.stderr)
        return 1
    empty = [one for one in drawn.queries if not one["series"]]
    print(f"{drawn.out}: {len(drawn.queries)} queries, {len(empty)} of them without data")
    for text in drawn.problems:
        print(f"error: {text}", file=sys.stderr)
    return 1 if drawn.problems else 0


if __name__ == "__main__":
    sys.exit(main())
