"""The groups of rules: at most twenty each, as hosted rulers allow, and evaluated in any order.

Within a group rules are evaluated one after the other. Between groups nothing is promised: what another group recorded
may be up to one evaluation old. So what counts samples of two series, or asks how long something has lasted, stands
with what records them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain

from . import by_label, calls, failing, latency, recording, since
from .blind import PAGE as BLIND
from .blind import blind
from .causes import CAUSES
from .flapping import flapping
from .language import FAST, MID, SHORT
from .pages import FAILING, REFUSED, SLOW, TRAFFIC_GONE
from .refusing import refusing
from .replicas import replicas
from .rule import Alert, Record
from .series import EACH_MODEL, WHOLE
from .silence import PAGED, tickets
from .telemetry import TELEMETRY
from .tickets import TICKETS
from .traffic import traffic

# The default limit of Mimir's ruler.
MOST_RULES = 20

Group = tuple[str, tuple[Record | Alert, ...]]


def groups(by: Sequence[str] = ()) -> Iterator[Group]:
    """Return all groups; each reads what groups before it record. ``by`` are custom labels."""
    scopes = [by_label.scope_of(label) for label in by]
    yield "counts-short", (*recording.counts(SHORT), *recording.ratios(SHORT))
    yield "counts-fast", (*recording.counts(FAST), *recording.ratios(FAST), recording.failure_share(FAST))
    yield "counts-mid", (*recording.counts(MID), recording.failure_share(MID))
    yield "hours", (*recording.long_counts(), *failing.usuals())
    yield "open", (*recording.gauges(), *failing.hangs())
    for label in by:
        yield f"by-{label}", tuple(by_label.counts(label))
        yield f"by-{label}-failing", tuple(by_label.conditions(label))
    yield "flapping", (*flapping(WHOLE), *flapping(EACH_MODEL))
    yield "failing", (*failing.conditions(scopes), *since.failing_since(scopes), FAILING)
    for label in by:
        yield f"by-{label}-apart", tuple(by_label.apart(label))
    yield "refusing", (*refusing(), *since.refusing_since(), REFUSED)
    yield "latency", tuple(latency.latencies())
    yield "slow", (*since.slow_since(), SLOW)
    yield "traffic", (*traffic(), TRAFFIC_GONE)
    yield "blind", (*blind(), BLIND)
    yield "replicas", tuple(replicas())
    yield "calls", (*calls.counts(), *calls.shares())
    for label in by:
        yield f"calls-by-{label}", tuple(calls.of_each(label))
    yield "calls-hours", tuple(calls.hours())
    yield "calls-failing", (*calls.conditions(by), *since.calls_since(), calls.PAGE, calls.HANGING)
    yield "causes", CAUSES
    yield "tickets", TICKETS
    yield "telemetry", TELEMETRY
    yield "silence", (*tickets(), PAGED)


# All but what only silences.
_EVERY = chain.from_iterable(rules for _, rules in groups())
ALERTS = tuple(rule for rule in _EVERY if isinstance(rule, Alert) and rule is not PAGED)
