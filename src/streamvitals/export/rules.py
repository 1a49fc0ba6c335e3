"""The rules as YAML: a file for Prometheus, that file in a ConfigMap, or a PrometheusRule for the operator."""

from __future__ import annotations

from typing import Any

from ..alerts.objectives import Objectives
from ..alerts.ruleset import rule_groups
from .kubernetes import Metadata, config_map
from .yaml_text import to_yaml

FILE = "streamvitals.rules.yaml"
FORMATS = ("prometheus", "kubernetes", "configmap")
_HEADER = (
    "# Made by `streamvitals alerts`: change the objectives there, not this file.\n"
    "# Every alert has a page in the runbooks; what pages is what users feel.\n"
)


def render(
    objectives: Objectives, form: str = "prometheus", metadata: Metadata | None = None,
    content: dict[str, Any] | None = None,
) -> str:
    """The file, as text. ``form`` is one of FORMATS; ``metadata`` is for those of Kubernetes.

    ``content`` are the rules, if not all of these objectives."""
    content = content or rule_groups(objectives)
    metadata = metadata or Metadata()
    if form == "configmap":
        content = config_map("streamvitals-rules", {FILE: _HEADER + to_yaml(content)}, metadata)
    elif form == "kubernetes":
        content = {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": metadata.named("streamvitals"),
            "spec": content,
        }
    return _HEADER + to_yaml(content)
