"""Scores of rules in a world: what was caught, how soon, and how often somebody was woken for nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from statistics import median

from .events import DAY, Event
from .replay import Firing, Labels

# A page this long after an incident is still about it: windows end later than what they see. Seconds.
AFTERMATH = 900.0


@dataclass
class Score:
    """Counts of one or several worlds; ``delays`` in seconds."""

    weeks: float = 0.0
    incidents: int = 0
    caught: int = 0
    pages: int = 0
    true_pages: int = 0
    named: int = 0
    tickets: int = 0
    ticketed: int = 0
    delays: list[float] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    unticketed: list[str] = field(default_factory=list)

    def __iadd__(self, other: Score) -> Score:
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)
        return self

    @property
    def false_a_week(self) -> float:
        return (self.pages - self.true_pages) / self.weeks if self.weeks else 0.0

    def row(self) -> list[str]:
        """Write it as it is printed: recall, precision, false a week, median minutes, pages, tickets, named."""
        def share(part: float, whole: float) -> str:
            return f"{part / whole:.2f}" if whole else "-"

        return [
            f"{share(self.caught, self.incidents)} of {self.incidents}",
            share(self.true_pages, self.pages),
            f"{self.false_a_week:.2f}",
            f"{median(self.delays) / 60:.1f}" if self.delays else "-",
            share(self.true_pages, self.caught),
            f"{share(self.ticketed, self.tickets)} of {self.tickets}",
            share(self.named, self.incidents),
        ]


COLUMNS = (
    "page recall", "precision", "false pages a week", "median minutes to page", "pages per caught incident",
    "ticket recall", "cause named",
)


def _day(at: float) -> str:
    return time.strftime("%a %d %H:%M", time.gmtime(at))


def summary(scores: Sequence[Score]) -> list[str]:
    """Make a row for several worlds, with the least and the most of a single one where they differ."""
    total = Score()
    for one in scores:
        total += one
    cells = []
    for together, *single in zip(total.row(), *(one.row() for one in scores), strict=True):
        values = sorted({value.split()[0] for value in single} - {"-"}, key=float)
        cells.append(f"{together} ({values[0]} to {values[-1]})" if len(values) > 1 else together)
    return cells


def notifications(firings: Sequence[Firing]) -> list[Firing]:
    """The pages as they are told, one for each service from the first alert to the last, as the example groups them."""
    told: dict[Labels, list[Firing]] = {}
    for one in sorted((firing for firing in firings if firing.severity == "page"), key=lambda firing: firing.start):
        group = told.setdefault(one.labels, [])
        if group and one.start <= group[-1].end:
            group[-1] = replace(group[-1], end=max(group[-1].end, one.end))
        else:
            group.append(one)
    return sorted((page for group in told.values() for page in group), key=lambda page: page.start)


def score(events: Sequence[Event], firings: Sequence[Firing], seconds: float) -> Score:
    """Score what fired: a page that starts outside of an incident that deserves one is false, even over a ticket."""
    result = Score(weeks=seconds / (7 * DAY))
    pages = notifications(firings)
    result.pages = len(pages)
    matched: set[int] = set()
    for event in events:
        minutes = (event.end - event.start) / 60
        when = f"{event.kind} {event.size:.2f}, {minutes:.0f} min, {_day(event.start)}"
        during = [f for f in firings if f.start < event.end + AFTERMATH and f.end > event.start]
        known = {f.alert for f in during} & set(event.named)
        if event.label == "page":
            result.incidents += 1
            mine = [i for i, f in enumerate(pages) if event.start <= f.start < event.end + AFTERMATH]
            matched.update(mine)
            # Caught is what began within it: a page that was firing already wakes nobody.
            soon = [pages[i].start for i in mine if pages[i].start < event.end]
            if soon:
                result.caught += 1
                result.delays.append(min(soon) - event.start)
                named = ", ".join(f"{pages[i].alert} {(pages[i].start - event.start) / 60:.1f}" for i in mine)
                result.found.append(f"{when}: {named}")
            else:
                result.missed.append(when)
            if known:
                result.named += 1
            else:
                result.unnamed.append(when)
        elif event.label == "ticket":
            result.tickets += 1
            if known:
                result.ticketed += 1
            else:
                result.unticketed.append(when)
    result.true_pages = len(matched)
    for number, page in enumerate(pages):
        if number not in matched:
            near = [e.kind for e in events if e.start - 60 <= page.start < e.end + 7200]
            result.false.append(f"{page.alert} at {_day(page.start)}, near {near}")
    return result
