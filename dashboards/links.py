"""Links of panels, which keep time and variables. Those to runbooks are added where their address is known.

https://grafana.com/docs/grafana/latest/panels-visualizations/configure-data-links/
"""

from __future__ import annotations

import json
from urllib.parse import quote

from grafana_foundation_sdk.builders.dashboard import DashboardLink
from grafana_foundation_sdk.models.dashboard import DashboardLinkType

from .promql import VARIABLES

TAG = "streamvitals"


def _address(uid: str, **chosen: str) -> str:
    """Return the address of a dashboard at the same time, with the same variables but for those given."""
    kept = "".join(f"&${{{variable}:queryparam}}" for variable in ("datasource", *VARIABLES) if variable not in chosen)
    own = "".join(f"&var-{variable}={value}" for variable, value in chosen.items())
    return f"/d/{uid}?${{__url_time_range}}{kept}{own}"


def drill(title: str, uid: str, **chosen: str) -> DashboardLink:
    """Link to a dashboard, narrowed to what was clicked: ``model="${__field.labels.gen_ai_request_model}"``."""
    return DashboardLink(title).type(DashboardLinkType.LINK).url(_address(uid, **chosen))


def live_page() -> DashboardLink:
    """Link to the live page of a replica (docs/live.md), at the address that Prometheus scrapes."""
    return DashboardLink("Live page of this replica").type(DashboardLinkType.LINK).target_blank(True).url(
        "http://${__field.labels.instance}/"
    )


def traces(condition: str = "", title: str = "Traces") -> DashboardLink:
    """Link to Tempo's search in Explore: spans of streams, or those that a TraceQL condition selects.

    The form of the address: https://grafana.com/docs/grafana/latest/explore/get-started-with-explore/
    """
    # The names of attributes are those of the spans; `.` stands for "a span's or a resource's".
    query = "{ " + " && ".join(filter(None, ("span.streamvitals.outcome != nil", condition))) + " }"
    pane = {
        "datasource": "${tempo}",
        "queries": [{
            "refId": "A", "datasource": {"type": "tempo", "uid": "${tempo}"}, "queryType": "traceql",
            "limit": 20, "query": query,
        }],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    panes = quote(json.dumps({"a": pane}, separators=(",", ":")), safe="${}:,_")
    return DashboardLink(title).type(DashboardLinkType.LINK).url(f"/explore?schemaVersion=1&panes={panes}")


def dashboards() -> DashboardLink:
    """List all our dashboards, in the head of each."""
    return (
        DashboardLink("streamvitals").type(DashboardLinkType.DASHBOARDS).tags([TAG])
        .include_vars(True).keep_time(True).as_dropdown(False)
    )
