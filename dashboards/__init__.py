"""Grafana dashboards, made by code: `python -m dashboards` writes them, `--check` compares.

    promql.py      queries: the measures of streamvitals.alerts, of what the variables choose
    panels.py      how an answer is drawn: one function per kind of panel
    tables.py      the same for tables, and for spans of a trace store
    links.py       where one gets to from here: other dashboards, traces, runbooks
    board.py       what all dashboards share: variables, annotations, links, the grid
    streams.py     are users hurt
    firing.py      which alerts fire, for both of the first
    incident.py    what broke, where, since when
    failures.py    its row with the last failures, one by one
    calls.py       its row for calls without a stream
    unseen.py      its row for what streamvitals has lost or could not see
    latency.py     where the time goes
    limits.py      what is left of quotas, and what failures cost
    lint.py        what a dashboard must not have
    scene/         an incident on purpose, for tests and pictures
    render.py      draws a dashboard with Grafana's own components, which are in renderer/

The files beside this one are what people import; they need nothing else of this folder.
"""
