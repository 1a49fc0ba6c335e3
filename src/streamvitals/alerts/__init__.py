"""Prometheus rules for LLM streams, made from one set of objectives: `streamvitals alerts`.

What a rule is made of:

    objectives.py   what the user may set
    promql.py       PromQL in typed pieces over names.py, for rules and for the panels of dashboards
    language.py     windows and thresholds by their names, and what they are for the objectives
    histograms.py   histograms, classic or converted to native ones
    measures.py     what is measured, each defined once, for rules and for panels
    series.py       the names of what is recorded
    chance.py       whether so many failures are more than chance
    rule.py         a rule is data
    texts.py        the sentences on the pager
    links.py        runbooks and dashboards

What is recorded:

    recording.py    operations, failures, gauges
    failing.py      whether operations fail or streams hang, so that it pages
    flapping.py     whether they fail again and again
    by_label.py     the same of each value of a custom label, such as each tenant
    refusing.py     whether the provider refuses what is asked
    latency.py      whether users wait
    traffic.py      whether requests have stopped
    blind.py        whether a busy service is not seen any more, and its page
    replicas.py     whether one replica fails alone
    calls.py        whether calls without a stream fail or hang: what is recorded, and its alerts
    since.py        since when it breaks

What alerts:

    pages.py        what users feel
    causes.py       why, by how streams ended: tickets
    tickets.py      what somebody should look at this week: limits, budget, latency, leaks
    telemetry.py    whether any of the above can be believed
    silence.py      which causes a page silences
    groups.py       all of them, in groups that are evaluated in any order
    ruleset.py      the content of a rule file
"""
