"""``python -m bench.options``: instructions that settings cost which are off by default, as bench.instructions counts.

Prints the table of docs/costs.md. Not judged: what is off may cost nothing, and that bench.instructions guards.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace

from .environments import environment
from .instructions import FOLDER, PINNED, count, rows
from .sides import OURS, Side

LABELS = "tenant=metadata:tenant,route=header:x-route,home=env:HOME"
SIDES: tuple[tuple[str, Side], ...] = (
    ("nothing but the defaults", OURS),
    (f"`STREAMVITALS_LABELS={LABELS}`", replace(OURS, env=(("STREAMVITALS_LABELS", LABELS),))),
    ("metrics over OTLP", replace(OURS, env=(
        ("OTEL_METRICS_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9"),
    ))),
)
ACTS = ("chat", "chat_async")
_ROWS = tuple(
    f"{what}: chat, {mode}" for mode in ("sync", "async") for what in ("per chunk", "per stream beyond its chunks")
)


def table() -> Sequence[str]:
    """The lines of the table, in Markdown."""
    lines = [f"| set | {' | '.join(_ROWS)} |", "|---|" + "---|" * len(_ROWS)]
    for title, side in SIDES:
        counted = rows(count(environment(FOLDER, PINNED), side, ACTS))
        lines.append(f"| {title} | {' | '.join(f'{counted[row]:,.0f}' for row in _ROWS)} |")
    return lines


def main() -> int:
    if shutil.which("valgrind") is None:
        print("valgrind is needed (Debian package valgrind)", file=sys.stderr)
        return 2
    print("\n".join(table()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
