"""streamvitals beside other instrumentations of the SDK in one process: a table.

    python -m bench.coexistence.run [--only traceloop,sentry] [--short] [--markdown FILE]

For each peer and each way to start both: our record of every stream exactly once and with the right outcome,
the app's view and the peer's spans as without us, our spans beside them. Exit code 1 on any difference. The
environments are made in .build/coexistence.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from streamvitals.faults import ThreadedFaultServer

from .. import tables
from ..environments import environment, installed
from .arrangement import ALONE, IN_CODE, INSIDE, Arrangement, Seen, differences, owed, run
from .expected import SHORT
from .peers import PEERS, Peer

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".build" / "coexistence"


def try_peer(peer: Peer, base_url: str, acts: tuple[str, ...]) -> list[tuple[tuple[str, ...], list[str]]]:
    """A row per arrangement, with what is wrong in words."""
    without = environment(WORK / peer.name, peer.requirements)
    with_ours = environment(WORK / f"{peer.name}-ours", (*peer.requirements, "-e", str(ROOT)))
    # Where it is to come in by its entry point it must be installed; for everything else it need not be.
    todo = [(arrangement, without, arrangement.title) for arrangement in IN_CODE]
    if peer.otel:
        todo += [(ALONE, with_ours, ALONE.title), (INSIDE, with_ours, INSIDE.title + ", installed")]
        todo += [(INSIDE, without, INSIDE.title + ", not installed")]
    rows, references = [], {}
    version = ", ".join(installed(without, each) for each in peer.requirements[-max(1, len(peer.members)) :])
    for arrangement, python, title in todo:
        reference = ALONE if arrangement in (ALONE, INSIDE) else Arrangement("", arrangement.order)
        try:
            if reference not in references:
                references[reference] = run(python, base_url, peer.name, None, reference, acts, peer.members)
            both = run(python, base_url, peer.name, arrangement, reference, acts, peer.members)
            wrong = differences(references[reference], both, acts, peer.otel)
        except RuntimeError as error:
            both, wrong = Seen(), [str(error)]
        wanted = [outcome for _, outcome in owed(references.get(reference, Seen()), acts)]
        rows.append(((peer.name, version, title, *_cells(both, wanted, wrong)), wrong))
        print("X" if wrong else ".", end="", flush=True)
    return rows


def _cells(seen: Seen, wanted: list[str], wrong: list[str]) -> tuple[str, ...]:
    right = sum(a == b for a, b in zip(seen.records, wanted, strict=False))
    return (
        str(len(wanted)), str(len(seen.records)), str(right), str(len(seen.theirs)), str(len(seen.our_spans)),
        "DIFFERS" if wrong else "yes",
    )


COLUMNS = ("peer", "version", "started by", "streams", "records", "right", "peer's spans", "our spans", "all the same")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PEERS")
    parser.add_argument("--short", action="store_true", help="one act of each kind")
    tables.add_option(parser)
    given = parser.parse_args()
    names = {name for name in given.only.split(",") if name}
    rows = []
    with ThreadedFaultServer(log_size=100) as server:
        for peer in PEERS:
            if not names or peer.name in names:
                rows += try_peer(peer, server.base_url, SHORT if given.short else ())
                if given.markdown:  # at once: whoever interrupts this has what was measured until then
                    lines = [COLUMNS, *(cells for cells, _ in rows)]
                    tables.write_part(given.markdown, "coexistence", lines, [peer.name for peer in PEERS])
    print("\n" + tables.text([COLUMNS, *(cells for cells, _ in rows)]))
    for cells, wrong in rows:
        for line in wrong:
            print(f"{cells[0]}, {cells[2]}: {line}")
    return int(any(wrong for _, wrong in rows))


if __name__ == "__main__":
    sys.exit(main())
