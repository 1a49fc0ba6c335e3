"""The row for what streamvitals itself has lost, or could not see."""

from __future__ import annotations

from collections.abc import Sequence

from streamvitals import names
from streamvitals.alerts.objectives import SERVICE
from streamvitals.alerts.promql import PATCHED, equals, total

from .panels import STREAMS, Query, lines
from .promql import INSTANCE, RATE, increase, series
from .tables import Column, grid

TITLE = "Our own losses, and what could not be seen"
WHAT = "what"


def _said(count: str, words: str) -> str:
    return f'label_replace({count} > 0, "{WHAT}", "{words}", "", "")'


def losses() -> Sequence[object]:
    unreported = total(series(names.UNREPORTED), *SERVICE, INSTANCE)
    unpatched = f"count by ({', '.join((*SERVICE, INSTANCE))}) ({series(names.BUILD_INFO, equals(PATCHED, 'false'))})"
    return [
        lines(
            "Faults of streamvitals",
            [Query(increase(names.INTERNAL_ERRORS, "where", over=RATE) + " > 0", "{{where}}")],
            "What went wrong in streamvitals itself, by where: so many streams, or facts of them, may be missing on"
            " these pages. The application has not noticed.",
            unit="suffix:faults", stacked=True, bars=True, idle="none",
        ),
        lines(
            "Hints", [Query(increase(names.HINTS_SEEN, "hint", over=RATE) + " > 0", "{{hint}}")],
            "Streams of which something could not be known, by what it was: a word that no table has, a body that"
            " nobody could look into, a label's value that was withheld.",
            unit=STREAMS, stacked=True, bars=True, idle="none",
        ),
        grid(
            "Not observed",
            [Query(f"{_said(unreported, 'Python that did not report in')} or "
                   f"{_said(unpatched, 'SDK of an unknown version')}")],
            "Processes in which no stream is seen: they were started past streamvitals, or their SDK is one that it"
            " does not know. `streamvitals doctor` says why.",
            [
                Column(WHAT, "What"),
                Column("Value", "How many", unit="locale", decimals=0, width=80),
                Column(INSTANCE, "Instance", width=100),
                *(Column(label, label.capitalize(), width=90) for label in reversed(SERVICE)),
            ],
            idle="all is observed",
        ),
    ]
