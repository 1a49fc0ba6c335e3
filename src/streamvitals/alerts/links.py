"""Links of alerts: runbooks by the alert's name, dashboards by their uid; none where nobody said where they are."""

from __future__ import annotations

from .objectives import Objectives

# What each is for. The uids are the contract with whoever makes the dashboards.
STREAMS = "streamvitals-streams"
INCIDENT = "streamvitals-incident"
LATENCY = "streamvitals-latency"
LIMITS = "streamvitals-limits"
DASHBOARDS = (STREAMS, INCIDENT, LATENCY, LIMITS)


def runbook(alert: str, objectives: Objectives) -> str:
    """Return the address of an alert's runbook, or "" where nobody said where runbooks are."""
    return objectives.runbook_url and f"{objectives.runbook_url.rstrip('/')}/{alert}.md"


def printed(alert: str, objectives: Objectives) -> str:
    """Say at the end of a text how to read the runbook, where there is no address of it."""
    return "" if objectives.runbook_url else f" Runbook: streamvitals runbook {alert}"


def dashboard(uid: str, objectives: Objectives) -> str:
    """Return the address of a dashboard with the service's labels as its variables, or "": a Go template."""
    if uid not in DASHBOARDS:
        raise KeyError(f"{uid!r} is no dashboard; there are {', '.join(DASHBOARDS)}")
    if not objectives.dashboard_url:
        return ""
    variables = "&".join(f"var-{label}={{{{ $labels.{label} | urlquery }}}}" for label in objectives.service)
    return f"{objectives.dashboard_url.rstrip('/')}/d/{uid}?{variables}&from=now-1h&to=now"
