"""Surface by fault: what was injected into every streaming surface, in every form of reading it, and what was
reported. The same acts and the same truth as in tests/sdk/test_surfaces.py: ``make surfaces``.

    python -m bench.surfaces              every version of openai that versions.py has; writes docs/surfaces.md
    python -m bench.surfaces 2.54.0       these only, printed
    python -m bench.surfaces --here       the one of this interpreter, as JSON

Exit code 1 if anything was reported as something else, or not at all.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

FAULTS = {
    "whole": ("ok",),
    "reset": ("reset-after-n",),
    "cut silently": ("silent-cut",),
    "cut in a chunk": ("fin-in-chunk",),
    "error event": ("error-event",),
    "failed": ("failed", "finish-error"),
    "incomplete": ("length", "content-filter"),
    "stalled": ("stall",),
    "abandoned": (),  # what the app does, not the server
}
VERSIONS = ("1.8.0", "1.109.1", "2.54.0", "latest")
ROOT = Path(__file__).resolve().parents[1]
WRITTEN = ROOT / "docs" / "surfaces.md"
INTRODUCTION = """# Surfaces and faults

Reported correctly / injected, per surface of the SDK and fault, per version of openai; written by `make surfaces`.

- Each surface is read sync and async, as a stream of events, parsed from a raw response, as lines and as bytes, or
  through the helper of that name; over a WebSocket as events, one by one, as bytes, by handlers and in lanes.
- "failed" is a failed status or finish, "incomplete" one for length or by a filter. A cell is empty if a surface has no
  such end. Over a WebSocket "cut silently" is a close frame.
- Speech that is cut silently looks complete to everybody: such a body has no marker that could be missing.
"""


class Tally(NamedTuple):
    """One cell. ``wrong``: what was reported instead, with how often."""

    injected: int = 0
    reported: int = 0
    wrong: dict[str, int] = {}  # noqa: RUF012 - never changed


# -- in the interpreter whose SDK it is ---------------------------------------------------------------------------


def here() -> dict[str, Any]:
    """Everything, with the installed SDK."""
    import openai

    from streamvitals.faults import ThreadedFaultServer
    from surface_acts import SPEC, Call
    from surface_cases import CALLED, CONNECTED, HELPED

    logging.getLogger("websockets").setLevel(logging.CRITICAL)  # it tells of pings that nobody answers
    chat = Call("chat", "chat", "chat.completions.create", "chat", {"model": SPEC, "messages": []})
    table: dict[str, dict[str, Tally]] = {}
    with ThreadedFaultServer(log_size=100_000) as server:
        for call in (chat, *CALLED, *HELPED, *CONNECTED):
            _warm(call, server)
            table[call.name] = {fault: _cell(call, fault, server) for fault in FAULTS}
    return {"openai": openai.__version__, "table": table}


def _warm(call: Any, server: Any) -> None:
    """The SDK builds its types at first use; the full collections of every act need not walk them."""
    from app_support import run
    from surface_cases import act_of, forms_of

    run(act_of(call, forms_of(call)[0], "sync", "ok"), server)
    gc.collect()
    gc.freeze()


def _cell(call: Any, fault: str, server: Any) -> Tally:
    from app_support import run, settle, verdicts
    from streamvitals.testing import recorded

    injected, reported, wrong = 0, 0, Counter[str]()
    for act, truth in _acts(call, fault):
        before = len(server.log)
        with recorded() as records:
            run(act, server)
            settle()
        server.wait_idle()
        # Streams that the server began; an agent's helper asks it other things too.
        injected += sum(entry.stream and bool(entry.scenario) for entry in server.log[before:])
        right = verdicts(records[:1]) == [truth] and records[0].labels.operation == call.operation
        reported += right
        wrong.update(":".join(verdict) for verdict in verdicts(records[right:]))
    return Tally(injected, reported, dict(wrong))


def _acts(call: Any, fault: str) -> Iterator[tuple[Any, tuple[str, str]]]:
    import websocket_acts
    from surface_acts import ABANDONS, LEFT, aabandoning, abandoning, aleaving, leaving
    from surface_cases import act_of, forms_of, happens, playable, truth_of

    for form in forms_of(call):
        for mode in ("sync", "async"):
            for scenario in playable(call, FAULTS[fault]):
                if happens(call, mode, scenario):
                    yield act_of(call, form, mode, scenario), truth_of(call, scenario)
            if isinstance(call, websocket_acts.Socket):
                if fault == "abandoned" and form == "events":
                    yield from websocket_acts.ends(call, mode)
            elif fault == "abandoned" and form == "stream":
                for how, truth in ABANDONS.items():
                    if mode == "async" or how != "cancel":
                        yield (abandoning if mode == "sync" else aabandoning)(call, how), truth
            elif fault == "abandoned" and form != "raw" and (call.surface, form) != ("speech", "lines"):
                yield (leaving if mode == "sync" else aleaving)(call, form), LEFT


# -- one after the other -----------------------------------------------------------------------------------------


def of_version(name: str) -> dict[str, Any]:
    """Run in the environment of a version."""
    from .versions import prepared

    python, variables = prepared(name)
    done = subprocess.run(  # noqa: S603 - ourselves, with another interpreter
        [python, "-m", "bench.surfaces", "--here"], cwd=ROOT, stdout=subprocess.PIPE, check=True,
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT / "tests")},  # whose acts these are
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def markdown(found: dict[str, Any]) -> Iterator[str]:
    """The table of one version, and what it adds up to."""
    table = {name: {fault: Tally(*cell) for fault, cell in cells.items()} for name, cells in found["table"].items()}
    cells = [cell for row in table.values() for cell in row.values()]
    yield f"## openai {found['openai']}"
    yield ""
    yield f"{sum(c.reported for c in cells)} of {sum(c.injected for c in cells)} reported as what they were."
    yield ""
    yield "| surface | " + " | ".join(FAULTS) + " |"
    yield "|---" * (len(FAULTS) + 1) + "|"
    for name, row in table.items():
        yield f"| {name} | " + " | ".join(_text(row[fault]) for fault in FAULTS) + " |"
    yield ""


def _text(cell: Tally) -> str:
    if not cell.injected:
        return ""
    wrong = "".join(f" **{verdict}** {count}" for verdict, count in cell.wrong.items())
    return f"{cell.reported}/{cell.injected}{wrong}"


def is_right(found: dict[str, Any]) -> bool:
    """Whether all that was injected was reported, and nothing else."""
    cells = [Tally(*cell) for row in found["table"].values() for cell in row.values()]
    return all(cell.injected == cell.reported and not cell.wrong for cell in cells)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--here", action="store_true", help="the SDK of this interpreter, as JSON")
    parser.add_argument("versions", nargs="*", help=", ".join(VERSIONS))
    given = parser.parse_args()
    if given.here:
        warnings.simplefilter("ignore", DeprecationWarning)
        print(json.dumps(here()))
        return 0
    right, lines = True, [INTRODUCTION]
    for name in given.versions or VERSIONS:
        found = of_version(name)
        right = right and is_right(found)
        lines += markdown(found)
        print("\n".join(markdown(found)), flush=True)
    if not given.versions:
        WRITTEN.write_text("\n".join(lines).rstrip() + "\n")
    return int(not right)


if __name__ == "__main__":
    sys.exit(main())
