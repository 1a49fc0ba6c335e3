"""Prometheus rules for LLM streams, made from one set of objectives: `streamvitals alerts`.

    objectives.py   what the user may set
    promql.py       metric and label names (from names.py), windows and thresholds, filled into expressions
    rule.py         a rule is data
    recording.py    what is computed once: operations, failures, latencies, the conditions of pages
    pages.py        what users feel
    causes.py       why, by how streams ended: tickets
    tickets.py      what somebody should look at this week: limits, budget, one replica, leaks
    telemetry.py    whether any of the above can be believed
    none_well.py    where nothing ends well, whatever is tried again
    silence.py      which causes a page silences
    texts.py        the sentences on the pager
    links.py        runbooks and dashboards
    ruleset.py      all of them, in order, as a rule file's content
"""
