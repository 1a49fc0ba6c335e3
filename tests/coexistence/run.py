"""streamvitals beside other instrumentations of the SDK in one process: a table.

    python tests/coexistence/run.py [--only traceloop,sentry] [--short]

For each peer and each way to start both: our record of every stream exactly once and with the right outcome,
the app's view and the peer's spans as without us, our spans beside them. Exit code 1 on any difference. The
environments are made in .build/coexistence.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from arrangement import ALONE, IN_CODE, INSIDE, Arrangement, Seen, differences, run  # noqa: E402
from bench.environments import environment  # noqa: E402
from expected import SHORT, expected  # noqa: E402
from peers import PEERS, Peer  # noqa: E402

from streamvitals.demo.fault_server import ThreadedFaultServer  # noqa: E402

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
    for arrangement, python, title in todo:
        reference = ALONE if arrangement in (ALONE, INSIDE) else Arrangement("", arrangement.order)
        try:
            if reference not in references:
                references[reference] = run(python, base_url, peer.name, None, reference, acts, peer.members)
            both = run(python, base_url, peer.name, arrangement, reference, acts, peer.members)
            wrong = differences(references[reference], both, acts, peer.otel)
        except RuntimeError as error:
            both, wrong = Seen(), [str(error)]
        rows.append(((peer.name, title, *_cells(both, acts, wrong)), wrong))
        print("X" if wrong else ".", end="", flush=True)
    return rows


def _cells(seen: Seen, acts: tuple[str, ...], wrong: list[str]) -> tuple[str, ...]:
    wanted = [outcome for _, outcome in expected(acts)]
    right = sum(a == b for a, b in zip(seen.records, wanted, strict=False))
    return (
        str(len(wanted)), str(len(seen.records)), str(right), str(len(seen.theirs)), str(len(seen.our_spans)),
        "DIFFERS" if wrong else "yes",
    )


COLUMNS = ("peer", "started by", "streams", "records", "right", "peer's spans", "our spans", "all the same")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", metavar="PEERS")
    parser.add_argument("--short", action="store_true", help="one act of each kind")
    given = parser.parse_args()
    names = {name for name in given.only.split(",") if name}
    rows = []
    with ThreadedFaultServer(log_size=100) as server:
        for peer in PEERS:
            if not names or peer.name in names:
                rows += try_peer(peer, server.base_url, SHORT if given.short else ())
    lines = [COLUMNS, *(cells for cells, _ in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(COLUMNS))]
    print()
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    for cells, wrong in rows:
        for line in wrong:
            print(f"{cells[0]}, {cells[1]}: {line}")
    return int(any(wrong for _, wrong in rows))


if __name__ == "__main__":
    sys.exit(main())
