"""The files of the page, from the package: HTML, styles and modules of our own, and nothing from elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from ..palette import OUTCOME_COLORS, RESULT_COLORS

FOLDER = Path(__file__).with_name("static")
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
# No inline script or style, nothing from another place, no frame around it, and no form.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
# For every answer to a browser.
SAFE = (
    ("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"), ("Content-Security-Policy", POLICY),
)


class File(NamedTuple):
    """A file, and the headers that say what it is."""

    headers: tuple[tuple[str, str], ...]
    body: bytes


def find(path: str) -> File | None:
    """The file at a path: / is the page, the others are below /page/."""
    folder, name = ("/page/", "index.html") if path == "/" else (path[:6], path[6:])
    return _read(name) if folder == "/page/" and name in _names() else None


@cache
def _names() -> frozenset[str]:
    return frozenset({"palette.css", *(one.name for one in FOLDER.iterdir() if one.suffix in _TYPES)})


@cache
def _read(name: str) -> File:
    body = _palette() if name == "palette.css" else (FOLDER / name).read_bytes()
    kind = f"{_TYPES[Path(name).suffix]}; charset=utf-8"
    return File((("Content-Type", kind), ("Cache-Control", "no-cache")), body)


def _palette() -> bytes:
    """The colours of outcomes and results, those of the dashboards, for the page's styles and drawings."""
    named = {**{f"outcome-{name}": color for name, color in OUTCOME_COLORS.items()},
             **{f"result-{name}": color for name, color in RESULT_COLORS.items()}}
    return (":root {\n" + "".join(f"  --{name}: {color};\n" for name, color in named.items()) + "}\n").encode()
