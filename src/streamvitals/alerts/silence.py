"""The alert that silences causes while a page is out: those that nobody has been sent yet.

Alertmanager does not know what it has sent. A ticket that it has sent and then inhibits never gets its "resolved"
(https://github.com/prometheus/alertmanager/issues/2754), so that the page itself must not inhibit causes. An alert of
its own does, which names the tickets that are still to be sent.
"""

from __future__ import annotations

from collections.abc import Iterator

from .rule import Alert, Record

NAME = "StreamvitalsPaged"
# By which Alertmanager knows which ticket an alert of that name is about: its own name, on every cause.
LABEL = "ticket"

_CAUSES = f'group by ($service, {LABEL}) (ALERTS{{{LABEL}!="",alertname!="{NAME}",alertstate="firing"}})'


def tickets() -> Iterator[Record]:
    """Record causes that fire and are not silenced, and which of them have been sent by now."""
    still = f'ALERTS{{alertname="{NAME}",alertstate="firing"}}'
    fires = "streamvitals:ticket:open"
    yield Record(fires, f"{_CAUSES} unless on ($service, {LABEL}) {still}")
    yield Record("streamvitals:ticket:sent", f"{fires} and {fires} offset $ticket_wait")


PAGED = Alert(
    NAME, "silence", "none",
    f"""
        ({_CAUSES}
          and on ($service) ALERTS{{alertname=~"Streamvitals.+",kind="symptom",alertstate="firing"}}
          unless on ($service, {LABEL}) streamvitals:ticket:sent
        )""",
    summary=f"a page is out: {{{{ $$labels.{LABEL} }}}} is part of it",
    description="Nobody is notified of this: Alertmanager sends no ticket for what it names.",
    # The end of a ticket must not overtake it.
    keep_firing_for=60,
)
