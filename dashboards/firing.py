"""The table of alerts that fire, from the series that Prometheus keeps of them: it needs no other data source."""

from __future__ import annotations

from streamvitals.alerts.objectives import SERVICE
from streamvitals.export.dashboards import ALERT_COLUMN, ALERT_PREFIX

from .panels import AMBER, RED, Query
from .promql import in_one_line
from .tables import TEXT, Column, grid

# Columns of labels that no alert has are not there.
_BY = ", ".join(("alertname", "kind", *SERVICE))
_OURS = f'alertname=~"{ALERT_PREFIX}.+",kind!~"watchdog|silence",job=~"$job"'
_FIRING = f'ALERTS{{alertstate="firing",{_OURS}}}'


def _named(alerts: str) -> str:
    """Call alerts pages or tickets, by their kind, as severities may have other names; and shorten their names."""
    page = f'label_replace({alerts}, "kind", "page", "kind", "symptom")'
    ticket = f'label_replace({page}, "kind", "ticket", "kind", "cause|state|telemetry")'
    return f'label_replace({ticket}, "alertname", "$1", "alertname", "{ALERT_PREFIX}(.+)")'


def firing() -> object:
    """List our alerts that fire now and since when, or say that nobody evaluates them."""
    unwatched = f'absent(ALERTS{{alertname="{ALERT_PREFIX}Watchdog"}})'
    for label, value in (("alertname", "The rules are not loaded"), ("kind", "unknown")):
        unwatched = f'label_replace({unwatched}, "{label}", "{value}", "", "")'
    # Grafana takes milliseconds for a time.
    since = f"min by ({_BY}) (1000 * (ALERTS_FOR_STATE{{{_OURS}}} and ignoring (alertstate) {_FIRING}))"
    return grid(
        "Alerts firing",
        [Query(f"{_named(f'group by ({_BY}) ({_FIRING})')} or {unwatched}"), Query(in_one_line(_named(since)))],
        "Alerts of streamvitals that fire now, from the series ALERTS of Prometheus, and since when their condition "
        "holds. It also says so if the rules are not loaded.",
        [
            Column("kind", "Kind", width=65, cell=TEXT, colors={"page": RED, "ticket": AMBER, "unknown": RED}),
            Column("alertname", ALERT_COLUMN),
            Column("Value #B", "Since", unit="time:MM-DD HH:mm", width=105),
            *(Column(label, label.capitalize(), width=90) for label in reversed(SERVICE)),
        ],
        sort="+Kind", hidden=("Value #A",), idle="nothing fires",
    )
