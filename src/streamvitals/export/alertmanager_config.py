"""Routes and receivers as an AlertmanagerConfig, for Prometheus' operator and the chart kube-prometheus-stack.

https://prometheus-operator.dev/docs/api-reference/api/ (monitoring.coreos.com/v1alpha1)
"""

from __future__ import annotations

from typing import Any

from ..alerts.language import duration
from ..alerts.objectives import TICKET_WAIT, Objectives
from ..alerts.silence import LABEL, NAME
from .kubernetes import Metadata
from .yaml_text import to_yaml

FILE = "alertmanagerconfig.example.yaml"
_HEADER = """\
# Routes and receivers for Prometheus' operator. The operator adds to each route and inhibition that the label
# `namespace` is that of this object, so put it into the namespace of the services, or give all alerts that label
# (alertmanagerConfigMatcherStrategy of the Alertmanager may say None instead). The watchdog has no namespace:
# kube-prometheus-stack routes its own, and this one goes where the Alertmanager's own configuration sends it.
# Fill the Secret `streamvitals-receivers`: pagerduty is a routing key of an "Events API v2", slack the webhook's URL.
"""
_SECRET = "streamvitals-receivers"  # noqa: S105  the name of an object
_ALERT = "(index .Alerts 0)"


def alertmanager_config(objectives: Objectives, namespace: str = "") -> dict[str, str]:
    """Return the file, by its name."""
    service = list(objectives.service)
    called = " ".join(f"{{{{ .CommonLabels.{label} }}}}" for label in service)
    title = f"{called}: {{{{ {_ALERT}.Annotations.summary }}}}"
    text = "{{ range .Alerts }}{{ .Annotations.summary }}\n{{ .Annotations.description }}\n{{ end }}"
    spec: dict[str, Any] = {
        "route": {
            "receiver": "tickets", "groupBy": service, "groupWait": "30s", "groupInterval": "5m",
            "repeatInterval": "12h",
            "routes": [
                {"receiver": "nobody", "matchers": [_is("alertname", NAME)], "groupWait": "1s"},
                {
                    "receiver": "pager", "matchers": [_is("severity", objectives.severity("page")), _OURS],
                    "groupWait": "5s", "repeatInterval": "4h",
                },
                {
                    "receiver": "tickets", "matchers": [_is("severity", objectives.severity("ticket")), _OURS],
                    "groupBy": [*service, "alertname"], "groupWait": duration(TICKET_WAIT), "repeatInterval": "3d",
                },
            ],
        },
        "inhibitRules": [{
            "sourceMatch": [_is("alertname", NAME)], "targetMatch": [_is("kind", "cause")], "equal": [*service, LABEL],
        }],
        "receivers": [
            {"name": "pager", "pagerdutyConfigs": [{
                "routingKey": {"name": _SECRET, "key": "pagerduty"}, "sendResolved": True, "description": title,
                "severity": "critical", "details": [{"key": "what", "value": text}],
            }]},
            {"name": "tickets", "slackConfigs": [{
                "apiURL": {"name": _SECRET, "key": "slack"}, "sendResolved": True, "channel": "#llm-streams",
                "title": title, "text": text,
                "titleLink": f"{{{{ or {_ALERT}.Annotations.dashboard_url {_ALERT}.Annotations.runbook_url }}}}",
            }]},
            {"name": "nobody"},
        ],
    }
    made = {
        "apiVersion": "monitoring.coreos.com/v1alpha1", "kind": "AlertmanagerConfig",
        "metadata": Metadata(namespace).named("streamvitals"), "spec": spec,
    }
    return {FILE: _HEADER + to_yaml(made)}


def _is(label: str, value: str, kind: str = "=") -> dict[str, str]:
    return {"name": label, "value": value, "matchType": kind}


# Severities are everybody's.
_OURS = _is("alertname", "Streamvitals.+", "=~")
